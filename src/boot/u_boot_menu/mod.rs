//! Debian's u-boot-menu: `/etc/default/u-boot`, then drop-ins, sourced by u-boot-update, which writes `U_BOOT_PARAMETERS` into
//! every label of `/boot/extlinux/extlinux.conf`.
//!
//! Where nothing sets `U_BOOT_PARAMETERS` it stands for `/etc/kernel/cmdline` without `root=`, else for `ro quiet`.

use std::path::{Path, PathBuf};

use super::kernel_cmdline::CMDLINE;
use super::shell_files::{self, DropIns, Effective, Files, Layout, Words};
use super::{BootChain, Edits, Evidence, MenuEntry, Persisted, Sources, Wish, extlinux, kernel_install};
use crate::engine::Means;
use crate::formats::cmdline;
use crate::formats::extlinux::labels;
use crate::host::{HostError, ReadHost};
use crate::plan::{Bytes, FileState, Objection, Reason};
use crate::types::KernelArg;

const DEFAULTS: &str = "/etc/default/u-boot";
const MENU: &str = "/boot/extlinux/extlinux.conf";
const PARAMETERS: &str = "U_BOOT_PARAMETERS";
const PROGRAM: &str = "/usr/sbin/u-boot-update";

static LAYOUT: Layout = Layout {
    defaults: DEFAULTS,
    drop_ins: &[
        DropIns { directory: "/usr/share/u-boot-menu/conf.d", suffix: ".conf" },
        DropIns { directory: "/etc/u-boot-menu/conf.d", suffix: ".conf" },
    ],
    own: None,
    variables: &[PARAMETERS],
    extends: &[PARAMETERS],
    words: Words::UBoot,
    // sh(1), and the variable of the script's loop.
    unknown: &[
        "HOME", "IFS", "LANG", "LC_ALL", "LOGNAME", "OPTIND", "PATH", "PPID", "PS1", "PS2", "PS4", "PWD",
        "SHELL", "TERM", "USER", "file",
    ],
    fixed: &["IFS", "file"],
};

/// Debian's u-boot-menu.
#[derive(Debug, Clone, Copy)]
pub struct UBootMenu;

/// Whether u-boot-update writes this host's menu.
///
/// # Errors
/// When the host does not answer.
pub(super) fn is_there(host: &dyn ReadHost) -> Result<bool, HostError> {
    let menu = host.text(Path::new(MENU))?;
    let written = menu.as_ref().is_some_and(|text| text.contains("u-boot-update"));
    Ok(written || (menu.is_none() && host.exists(Path::new(PROGRAM))? && host.exists(Path::new(DEFAULTS))?))
}

/// What the files set the variable to; `None` where they leave it empty.
fn value(sources: &Sources) -> Result<Option<Vec<u8>>, Vec<Reason>> {
    let effective = Effective::of(&Files::of(&LAYOUT, sources))?;
    let value = effective.value(PARAMETERS).to_vec();
    Ok((!value.is_empty()).then_some(value))
}

fn is_cmdline(sources: &Sources) -> bool {
    sources.files.iter().any(|(path, _)| path == Path::new(CMDLINE))
}

impl BootChain for UBootMenu {
    fn key(&self) -> &'static str {
        "u-boot-menu"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        let mut found = Vec::new();
        if is_there(host)? {
            if host.exists(Path::new(DEFAULTS))? {
                found.push(Evidence::new(DEFAULTS, "configures u-boot-update"));
            }
            if host.exists(Path::new(MENU))? {
                found.push(Evidence::new(MENU, "was written by u-boot-update"));
            }
        }
        Ok(found)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let mut sources = LAYOUT.sources(host)?;
        if !matches!(value(&sources), Ok(None)) {
            return Ok(sources);
        }
        let cmdline = host.file_state(Path::new(CMDLINE))?;
        if cmdline != FileState::Absent {
            return Ok(Sources { files: vec![(PathBuf::from(CMDLINE), cmdline)], ..Sources::default() });
        }
        // The program's own default has to be said once something is added to it.
        let defaults = PathBuf::from(DEFAULTS);
        let known = sources.files.iter().find(|(path, _)| *path == defaults);
        let mut seed = known.and_then(|(_, state)| state.bytes()).unwrap_or_default().to_vec();
        if seed.last().is_some_and(|last| *last != b'\n') {
            seed.push(b'\n');
        }
        seed.extend_from_slice(format!("{PARAMETERS}=\"ro quiet\"\n").as_bytes());
        if known.is_none() {
            sources.files.insert(0, (defaults.clone(), FileState::Absent));
        }
        sources.seeds.insert(defaults, Bytes::from(seed));
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        if is_cmdline(sources) {
            return kernel_install::persisted(sources);
        }
        let effective = Effective::of(&Files::of(&LAYOUT, sources))?;
        Ok(Persisted { lines: vec![effective.line(DEFAULTS)] })
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        if is_cmdline(sources) {
            kernel_install::edits(sources, wish)
        } else {
            shell_files::edits(&LAYOUT, sources, wish)
        }
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::UBoot.unpassable(arg)
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::Command(vec!["u-boot-update".to_owned()]))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        extlinux::entries(host, MENU)
    }

    /// `append ROOT PARAMETERS`, and for a recovery entry `append ROOT PARAMETERS single` without the first ` quiet`.
    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        let Some(text) = host.read(Path::new(MENU))? else { return Ok(Vec::new()) };
        let sources = self.sources(host)?;
        let parameters = if is_cmdline(&sources) {
            let line = host.text(Path::new(CMDLINE))?.unwrap_or_default();
            without_root(&line).into_bytes()
        } else {
            match value(&sources) {
                Ok(value) => value.unwrap_or_default(),
                Err(_) => return Ok(Vec::new()),
            }
        };
        let mut after = Vec::new();
        let mut copied = 0;
        for label in labels(&text) {
            let Some(append) = label.append else { continue };
            let old = text.get(append.clone()).unwrap_or_default();
            let root = cmdline::tokens(old).into_iter().next().filter(|token| token.arg.is_named("root"));
            let Some(root) = root.and_then(|root| old.get(root.span)) else { continue };
            after.extend_from_slice(text.get(copied..append.start).unwrap_or_default());
            after.extend_from_slice(root);
            after.push(b' ');
            if label.name.ends_with('r') {
                let parameters = String::from_utf8_lossy(&parameters).replacen(" quiet", "", 1);
                after.extend_from_slice(parameters.as_bytes());
                after.extend_from_slice(b" single");
            } else {
                after.extend_from_slice(&parameters);
            }
            copied = append.end;
        }
        after.extend_from_slice(text.get(copied..).unwrap_or_default());
        Ok(vec![(PathBuf::from(MENU), after)])
    }
}

/// As u-boot-update takes `/etc/kernel/cmdline`: the first `root=` gone, blanks in front too.
fn without_root(line: &str) -> String {
    let at = line.find("root=");
    let rest = at.map_or_else(
        || line.to_owned(),
        |at| {
            let (head, tail) = line.split_at(at);
            let tail = tail.trim_start_matches(|c: char| !c.is_whitespace());
            format!("{head}{tail}")
        },
    );
    rest.trim_start().to_owned()
}

#[cfg(test)]
mod tests;
