//! rpm-ostree: the arguments belong to a deployment. `rpm-ostree kargs` makes a new one, from the one that boots next.
//!
//! Without rpm-ostree (bootc alone) the entry of the deployment tells what boots, and what the image does not give is
//! refused: it belongs into `/usr/lib/bootc/kargs.d/*.toml` of the image, from where an upgrade takes it over.

use std::path::{Path, PathBuf};

use super::conform::{Demand, MAX_EDITS, endless, objection, uncertain};
use super::esp::{EntryFile, entries_in};
use super::lines::{Form, Holder, options};
use super::sd_boot::{shown, with_options};
use super::shell_files::Words;
use super::{BootChain, Edits, Evidence, Judged, MenuEntry, Persisted, Sources, Weight, Wish};
use crate::engine::Means;
use crate::formats::cmdline;
use crate::formats::grub_script::Passed;
use crate::formats::loader_entry;
use crate::host::{HostError, Reach, ReadHost};
use crate::plan::{Objection, Reason, Step};
use crate::types::KernelArg;

const MARK: &str = "/run/ostree-booted";
const ENTRIES: &str = "/boot/loader/entries";
/// Where an image has its arguments.
const KARGS_D: &str = "/usr/lib/bootc/kargs.d";
const FORM: Form = Form { read: options, words: Words::Kernel };
const APPEND: &str = "--append=";
const APPEND_IF_MISSING: &str = "--append-if-missing=";
const DELETE: &str = "--delete-if-present=";
/// A deployment is written, and its initramfs stays.
const DEADLINE_MS: u64 = 600_000;

/// rpm-ostree.
#[derive(Debug, Clone, Copy)]
pub struct RpmOstree;

/// The entries of deployments, the one that boots next first: the highest `version`.
fn deployments(host: &dyn ReadHost) -> Result<Vec<EntryFile>, HostError> {
    let mut entries = entries_in(host, Path::new(ENTRIES))?;
    entries.retain(|entry| entry.id.starts_with("ostree-"));
    let version = |entry: &EntryFile| {
        let value = loader_entry::value(&entry.text, "version");
        value.and_then(|value| value.parse::<u64>().ok()).unwrap_or_default()
    };
    entries.sort_by_key(|entry| std::cmp::Reverse(version(entry)));
    Ok(entries)
}

/// What is to be done in an image about arguments that cannot be changed on the host.
fn in_the_image(added: &[KernelArg], takes_out: bool) -> String {
    let quoted: Vec<String> =
        added.iter().map(|arg| format!("\"{}\"", arg.to_string().replace('"', "\\\""))).collect();
    let written = format!("write kargs = [{}] into {KARGS_D}/50-vfio.toml", quoted.join(", "));
    let change = match (added.is_empty(), takes_out) {
        (false, false) => written,
        (false, true) => format!("{written} and take what is in the way out of the other files there"),
        (true, _) => format!("take them out of the files in {KARGS_D}"),
    };
    format!("in the image, {change}; build it, and let bootc upgrade bring it")
}

fn holder(sources: &Sources) -> Option<Holder<'_>> {
    let (path, _) = sources.files.first()?;
    Holder::of(sources, path, FORM)
}

impl BootChain for RpmOstree {
    fn key(&self) -> &'static str {
        "rpm-ostree"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        let there = host.exists(Path::new(MARK))?;
        let evidence = Evidence::new(MARK, "shows that an ostree deployment runs").weighing(Weight::InCharge);
        Ok(there.then_some(evidence).into_iter().collect())
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let reason = |code, text: &str| Reason::new(code, text).at(MARK);
        let Some(next) = deployments(host)?.into_iter().next() else {
            let text = "no loader entry of a deployment was found in /boot/loader/entries";
            let reason = reason("deployment-unmanaged", text).remedy("is /boot mounted?");
            return Ok(Sources::refused(vec![reason]));
        };
        let mut sources = Sources::default();
        let state = host.file_state(&next.path)?;
        sources.files.push((next.path, state));
        if host.reach() == Reach::Tree {
            let text = "arguments of a deployment are changed by rpm-ostree on the machine: no command is run under --root";
            sources.fixed.push(reason("deployment-unmanaged", text));
        } else if !host.exists(Path::new("/usr/bin/rpm-ostree"))? {
            let text =
                "the arguments belong to the image, and there is no rpm-ostree that could change them here";
            sources.fixed.push(reason("deployment-unmanaged", text));
        }
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        Ok(Persisted { lines: holder(sources).map_or(Ok(Vec::new()), |holder| holder.lines())? })
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        let demand = Demand::of(wish);
        let given = self.persisted(sources).map_err(uncertain)?;
        let of = |arg: &KernelArg, opaque| Passed { arg: arg.clone(), span: 0..0, opaque };
        let mut passed: Vec<Passed> = given.given().map(|given| of(&given.arg, given.opaque)).collect();
        let mut flags = Vec::new();
        for _ in 0..MAX_EDITS {
            let Some((at, _)) = demand.next_edit(&passed, &[]) else { break };
            flags.push(format!("{DELETE}{}", passed.remove(at).arg));
        }
        if demand.next_edit(&passed, &[]).is_some() {
            return Err(endless());
        }
        if passed.iter().any(|passed| cmdline::is_terminator(&passed.arg)) {
            let text = "a bare -- hides from the kernel what rpm-ostree appends";
            let chain = vec![Reason::new("arguments-hidden", text)];
            return Err(objection("kernel arguments", chain, "take -- out with rpm-ostree kargs --editor"));
        }
        let args: Vec<&KernelArg> = passed.iter().map(|passed| &passed.arg).collect();
        let added = demand.to_add(&args, &[]);
        flags.extend(added.iter().map(|arg| {
            // A size and its count are a pair, and either may stand there for another pair.
            let pair = arg.is_named("hugepagesz") || arg.is_named("hugepages");
            format!("{}{arg}", if pair { APPEND } else { APPEND_IF_MISSING })
        }));
        if let (Some(fixed), false) = (sources.fixed.first(), flags.is_empty()) {
            let remedy = in_the_image(&added, flags.len() > added.len());
            return Err(objection("kernel arguments", vec![fixed.clone().remedy(&remedy)], &remedy));
        }
        let command = ["rpm-ostree".to_owned(), "kargs".to_owned()];
        let argv: Vec<String> = command.into_iter().chain(flags.iter().cloned()).collect();
        let step = (!flags.is_empty()).then_some(Step::Run { argv, deadline_ms: DEADLINE_MS });
        let new = added.iter().filter(|arg| !given.given().any(|given| given.arg == **arg));
        Ok(Edits { steps: step.into_iter().collect(), ours: new.cloned().collect() })
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        let blank = arg.to_string().contains(char::is_whitespace);
        let text = format!("rpm-ostree splits {arg} at its blanks");
        let reason = Reason::new("argument-unpassable", text).remedy("choose a value without blanks");
        blank.then_some(reason)
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::NotNeeded(Reason::new(
            "deployment-made",
            "rpm-ostree kargs makes the deployment that boots next",
        )))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        let entries = deployments(host)?;
        let judged = |at| {
            if at == 0 {
                Judged::Ours
            } else {
                Judged::Exempt("it is an earlier deployment, kept for a rollback")
            }
        };
        Ok(Some(entries.iter().enumerate().map(|(at, entry)| shown(entry, judged(at))).collect()))
    }

    fn predict_regenerated(&self, _: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        Ok(Vec::new())
    }

    fn predict(&self, host: &dyn ReadHost, argv: &[String]) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        let [program, verb, flags @ ..] = argv else { return Ok(Vec::new()) };
        let next = deployments(host)?.into_iter().next();
        let (true, Some(next)) = (program == "rpm-ostree" && verb == "kargs", next) else {
            return Ok(Vec::new());
        };
        let tokens = cmdline::tokens(&next.options());
        let mut words: Vec<String> = tokens.into_iter().map(|token| token.arg.to_string()).collect();
        for flag in flags {
            if let Some(arg) = flag.strip_prefix(DELETE) {
                if let Some(at) = words.iter().position(|word| word == arg) {
                    words.remove(at);
                }
            } else if let Some(arg) = flag.strip_prefix(APPEND_IF_MISSING) {
                if !words.iter().any(|word| word == arg) {
                    words.push(arg.to_owned());
                }
            } else if let Some(arg) = flag.strip_prefix(APPEND) {
                words.push(arg.to_owned());
            }
        }
        Ok(vec![with_options(&next, words.join(" ").as_bytes())])
    }
}

#[cfg(test)]
mod tests;
