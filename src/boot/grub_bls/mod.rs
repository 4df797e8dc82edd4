//! GRUB that boots loader entries (Fedora, RHEL and what comes from it): `blscfg` reads `/boot/loader/entries/*.conf`.
//!
//! An argument has to stand in four places, or some command of the system takes it away again: in the `options` of
//! every entry; in `kernelopts` of grubenv where entries use that (RHEL 8); in `/etc/kernel/cmdline`, from which the next
//! kernel's entry is made; and in `/etc/default/grub`, from which grub2-mkconfig writes the three others. The last is written
//! first: a `/etc/kernel/cmdline` that is older is written anew by the next kernel's installation (`20-grub.install`).
//!
//! grubby could write most of it. It drops other values of a parameter that is given several times, and takes an
//! argument for a regular expression; so the files are edited here.

use std::path::{Path, PathBuf};

use super::conform::{Demand, objection};
use super::esp::{EntryFile, System, entries_in};
use super::grub::{self, ENTRIES, Variant};
use super::kernel_cmdline::CMDLINE;
use super::lines::{Form, Held, Holder, edited, options, whole};
use super::shell_files::{self, Effective, Files, Layout, Words};
use super::{BootChain, Edits, Evidence, Given, Judged, MenuEntry, Persisted, Sources, Wish};
use crate::engine::Means;
use crate::formats::{cmdline, grubenv};
use crate::host::{HostError, ReadHost};
use crate::plan::{Bytes, FileState, Objection, Reason, Step};
use crate::types::KernelArg;

/// As grubby has it: what all entries get stands in `GRUB_CMDLINE_LINUX`.
static LAYOUT: Layout = Layout {
    defaults: grub::DEFAULTS,
    drop_ins: &[],
    own: None,
    variables: &[grub::LINUX, grub::LINUX_DEFAULT],
    extends: &[grub::LINUX, grub::LINUX_DEFAULT],
    words: Words::Grub,
    unknown: grub::UNKNOWN,
    fixed: grub::FIXED,
};

/// GRUB's environment.
const GRUBENV: [&str; 2] = ["/boot/grub2/grubenv", "/boot/grub/grubenv"];
const KERNELOPTS: &str = "kernelopts";

// What kernel-install takes from /etc/kernel/cmdline GRUB reads in the entry, by its own rules.
const ENTRY_FORM: Form = Form { read: options, words: Words::Grub };
const CMDLINE_FORM: Form = Form { read: whole, words: Words::Grub };
const GRUBENV_FORM: Form = Form { read: kernelopts, words: Words::Grub };

/// GRUB with loader entries.
#[derive(Debug, Clone, Copy)]
pub struct GrubBls;

/// The value of `kernelopts` in the environment block.
fn kernelopts(block: &[u8]) -> Vec<Held> {
    let variables = grubenv::variables(block).unwrap_or_default();
    let found = variables.into_iter().find(|variable| variable.name == KERNELOPTS);
    found
        .map(|variable| Held { new: (variable.value.start, "", ""), pieces: vec![variable.value] })
        .into_iter()
        .collect()
}

/// Whether the entry's options use the variable.
fn uses_kernelopts(options: &[u8]) -> bool {
    let uses = |word: &[u8]| matches!(word, b"$kernelopts" | b"${kernelopts}");
    options.split(u8::is_ascii_whitespace).any(uses)
}

/// The environment block, where there is one.
fn environment(host: &dyn ReadHost) -> Result<Option<(PathBuf, FileState)>, HostError> {
    for path in GRUBENV {
        let state = host.file_state(Path::new(path))?;
        if state != FileState::Absent {
            return Ok(Some((PathBuf::from(path), state)));
        }
    }
    Ok(None)
}

fn is_entry(path: &Path) -> bool {
    path.starts_with(ENTRIES)
}

fn is_grubenv(path: &Path) -> bool {
    GRUBENV.iter().any(|known| path == Path::new(known))
}

/// What GRUB makes of an entry's options: variables of the environment block are replaced, unknown ones are kept apart.
fn expanded(options: &[u8], block: Option<&[u8]>) -> Vec<KernelArg> {
    let mut text = Vec::new();
    for word in options.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        let name = word.strip_prefix(b"$").map(|name| {
            let inner = name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}"));
            String::from_utf8_lossy(inner.unwrap_or(name)).into_owned()
        });
        let value = name.and_then(|name| grubenv::value(block?, &name));
        text.extend_from_slice(value.as_deref().unwrap_or(word));
        text.push(b' ');
    }
    let passed = Words::Grub.passed(&text).unwrap_or_default();
    let kernel =
        passed.into_iter().take_while(|passed| passed.opaque || !cmdline::is_terminator(&passed.arg));
    kernel.filter(|passed| !passed.opaque).map(|passed| passed.arg).collect()
}

impl GrubBls {
    fn holders(sources: &Sources) -> Vec<Holder<'_>> {
        let form = |path: &Path| {
            if is_entry(path) {
                Some(ENTRY_FORM)
            } else if is_grubenv(path) {
                Some(GRUBENV_FORM)
            } else {
                (path == Path::new(CMDLINE)).then_some(CMDLINE_FORM)
            }
        };
        let paths = sources.files.iter().map(|(path, _)| path);
        paths.filter_map(|path| Holder::of(sources, path, form(path)?)).collect()
    }

    fn defaults(sources: &Sources) -> Option<Files> {
        let there = sources.files.iter().any(|(path, _)| path == Path::new(grub::DEFAULTS));
        there.then(|| Files::of(&LAYOUT, sources))
    }

    fn block(sources: &Sources) -> Option<&[u8]> {
        sources.files.iter().find(|(path, _)| is_grubenv(path)).and_then(|(_, state)| state.bytes())
    }
}

impl BootChain for GrubBls {
    fn key(&self) -> &'static str {
        "grub-bls"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        grub::evidence(host, Variant::LoaderEntries)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let mut sources = Sources::default();
        let system = System::read(host)?;
        let mut ours = entries_in(host, Path::new(ENTRIES))?;
        ours.retain(|entry| entry.exempt(&system).is_none());
        if ours.is_empty() {
            let reason = Reason::new("entries-missing", "no loader entry boots this system").at(ENTRIES);
            return Ok(Sources::refused(vec![reason.remedy("install a kernel")]));
        }
        let by_variable = ours.iter().any(|entry| uses_kernelopts(&entry.options()));
        let environment = if by_variable { environment(host)? } else { None };
        if by_variable {
            let value =
                environment.as_ref().and_then(|(_, state)| grubenv::value(state.bytes()?, KERNELOPTS));
            let problem = match value {
                None => Some("entries use $kernelopts, and grubenv does not set it"),
                Some(value) if value.contains(&b'\\') => {
                    Some("kernelopts has a backslash, which programs read in different ways")
                }
                Some(_) => None,
            };
            if let Some(problem) = problem {
                let reason = Reason::new("kernelopts-uncertain", problem).at(GRUBENV[0]);
                return Ok(Sources::refused(vec![
                    reason.remedy("set kernelopts with grub2-editenv - set kernelopts=\"…\""),
                ]));
            }
        } else if host.exists(Path::new("/etc/kernel"))? {
            super::kernel_cmdline::add(host, &mut sources)?;
        }
        let cmdline = host.file_state(Path::new(CMDLINE))?;
        if by_variable && cmdline != FileState::Absent {
            sources.files.push((PathBuf::from(CMDLINE), cmdline));
        }
        sources.files.extend(environment);
        sources.files.extend(LAYOUT.sources(host)?.files);
        for entry in ours {
            let state = host.file_state(&entry.path)?;
            sources.files.push((entry.path, state));
        }
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        let block = Self::block(sources);
        let mut persisted = Persisted::default();
        for holder in Self::holders(sources) {
            for mut line in holder.lines()? {
                // An entry gives what its variables hold.
                let expand = |given: Given| match given.arg.name() {
                    "$kernelopts" | "${kernelopts}" if given.opaque => {
                        let args = expanded(b"$kernelopts", block).into_iter();
                        args.map(|arg| Given { arg, opaque: false, ..given.clone() }).collect()
                    }
                    _ => vec![given],
                };
                line.given = line.given.into_iter().flat_map(expand).collect();
                persisted.lines.push(line);
            }
        }
        if let Some(files) = Self::defaults(sources) {
            persisted.lines.push(Effective::of(&files)?.line(grub::DEFAULTS));
        }
        Ok(persisted)
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        let demand = Demand::of(wish);
        let mut steps: Vec<Step> = Vec::new();
        if Self::defaults(sources).is_some() {
            steps.extend(shell_files::edits(&LAYOUT, sources, wish)?.steps);
        }
        let defaults_change = !steps.is_empty();
        let mut last = None;
        for holder in Self::holders(sources) {
            let elsewhere = uses_kernelopts(holder.text()).then_some(wish.present);
            let (mut after, _) = edited(&holder, &demand, elsewhere.filter(|_| is_entry(holder.path())))?;
            if is_grubenv(holder.path()) {
                after = fitted(&holder, after)?;
            }
            if holder.path() == Path::new(CMDLINE) {
                last = holder.step(after).or_else(|| touched(sources).filter(|_| defaults_change));
            } else {
                steps.extend(holder.step(after));
            }
        }
        steps.extend(last);
        let given = self.persisted(sources).map_err(super::conform::uncertain)?;
        let new = |arg: &&KernelArg| !given.lines.iter().any(|line| line.args().contains(arg));
        Ok(Edits { steps, ours: wish.present.iter().filter(new).cloned().collect() })
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Grub.unpassable(arg)
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::NotNeeded(Reason::new("entries-edited", "GRUB boots the loader entries themselves")))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        let system = System::read(host)?;
        let environment = environment(host)?;
        let block = environment.as_ref().and_then(|(_, state)| state.bytes());
        let entries = entries_in(host, Path::new(ENTRIES))?;
        let shown = |entry: &EntryFile| MenuEntry {
            title: entry.title(),
            kernel: entry.kernel().unwrap_or_default(),
            at: entry.place(),
            args: expanded(&entry.options(), block),
            judged: entry.exempt(&system).map_or(Judged::Ours, Judged::Exempt),
        };
        Ok(Some(entries.iter().map(shown).collect()))
    }

    fn predict_regenerated(&self, _: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        Ok(Vec::new())
    }
}

/// The environment block in the size that it had.
fn fitted(holder: &Holder<'_>, after: Vec<u8>) -> Result<Vec<u8>, Objection> {
    let refuse = |code: &'static str, text: &str| {
        let reason = Reason::new(code, text).at(holder.path().display());
        objection("kernel arguments", vec![reason], "shorten kernelopts with grub2-editenv")
    };
    if after == holder.text() {
        return Ok(after);
    }
    if grubenv::value(&after, KERNELOPTS).is_none_or(|value| value.contains(&b'\\'))
        || kernelopts(&after).iter().any(|held| {
            held.pieces.iter().any(|piece| after.get(piece.clone()).is_some_and(|raw| raw.contains(&b'\\')))
        })
    {
        return Err(refuse(
            "argument-uneditable",
            "an argument with a backslash cannot stand in kernelopts with certainty",
        ));
    }
    let size = holder.text().len();
    grubenv::resized(&after, size).ok_or_else(|| {
        refuse(
            "grubenv-full",
            &format!("GRUB's environment block has {size} bytes, and kernelopts does not fit"),
        )
    })
}

/// `/etc/kernel/cmdline` written once more, so that it is not older than `/etc/default/grub`; none where it was.
fn touched(sources: &Sources) -> Option<Step> {
    let state =
        |path: &str| sources.files.iter().find(|(known, _)| known == Path::new(path)).map(|(_, state)| state);
    let modified = |state: &FileState| match state {
        FileState::File { mtime_ns, .. } => Some(*mtime_ns),
        FileState::Absent => None,
    };
    let (before, defaults) = (state(CMDLINE)?, state(grub::DEFAULTS)?);
    let after = Bytes::from(before.bytes()?.to_vec());
    (modified(before)? >= modified(defaults)?).then(|| Step::WriteFile {
        path: PathBuf::from(CMDLINE),
        before: before.clone(),
        after,
        mode: 0o644,
    })
}

#[cfg(test)]
mod tests;
