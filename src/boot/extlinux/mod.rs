//! extlinux: syslinux on a disk, and U-Boot, which reads the same menu. `append` of each label is edited in place.

use std::path::{Path, PathBuf};

use super::lines::{Form, Held, Holder};
use super::loader_entries::{edits_of, persisted_of};
use super::shell_files::Words;
use super::{BootChain, Edits, Evidence, Judged, MenuEntry, Persisted, Sources, Wish, u_boot_menu};
use crate::engine::Means;
use crate::formats::cmdline::CommandLine;
use crate::formats::extlinux::{Label, labels};
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason};
use crate::types::KernelArg;

/// Where menus are.
const MENUS: [&str; 3] =
    ["/boot/extlinux/extlinux.conf", "/boot/extlinux.conf", "/boot/syslinux/syslinux.cfg"];

const FORM: Form = Form { read: appends, words: Words::UBoot };

/// extlinux.
#[derive(Debug, Clone, Copy)]
pub struct Extlinux;

/// Why an entry need not pass what the document asks for; `None` where it boots this system normally.
fn exempt(text: &[u8], label: &Label) -> Option<&'static str> {
    let line = label.append.clone().and_then(|range| text.get(range)).unwrap_or_default();
    let kernel = label.kernel.as_deref().unwrap_or_default();
    let repairs =
        |arg: &KernelArg| arg.value().is_none() && matches!(arg.name(), "single" | "emergency" | "rescue");
    if kernel.is_empty() || kernel.ends_with(".c32") || kernel.contains("memtest") {
        Some("it starts no Linux kernel")
    } else if CommandLine::parse(line).args().any(repairs) {
        Some("it boots for repairs")
    } else {
        None
    }
}

/// The `append` of every entry that boots this system normally.
fn appends(text: &[u8]) -> Vec<Held> {
    let labels = labels(text).into_iter().filter(|label| exempt(text, label).is_none());
    labels
        .map(|label| Held { pieces: label.append.into_iter().collect(), new: (label.end, "\tappend ", "\n") })
        .collect()
}

/// The menu's entries.
///
/// # Errors
/// When the host does not answer.
pub(super) fn entries(host: &dyn ReadHost, path: &str) -> Result<Option<Vec<MenuEntry>>, HostError> {
    let Some(text) = host.read(Path::new(path))? else { return Ok(None) };
    let shown = |label: &Label| {
        let line = label.append.clone().and_then(|range| text.get(range)).unwrap_or_default();
        MenuEntry {
            title: label.title.clone().unwrap_or_else(|| label.name.clone()),
            kernel: label.kernel.clone().unwrap_or_default(),
            at: format!("{path}:{}", label.line),
            args: CommandLine::parse(line).args().cloned().collect(),
            judged: exempt(&text, label).map_or(Judged::Ours, Judged::Exempt),
        }
    };
    Ok(Some(labels(&text).iter().map(shown).collect()))
}

fn menu(host: &dyn ReadHost) -> Result<Option<&'static str>, HostError> {
    for path in MENUS {
        if host.exists(Path::new(path))? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn holders(sources: &Sources) -> Vec<Holder<'_>> {
    sources.files.iter().filter_map(|(path, _)| Holder::of(sources, path, FORM)).collect()
}

impl BootChain for Extlinux {
    fn key(&self) -> &'static str {
        "extlinux"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        // A menu that a program writes is that program's chain.
        if u_boot_menu::is_there(host)? {
            return Ok(Vec::new());
        }
        let menu = menu(host)?;
        Ok(menu.map(|path| Evidence::new(path, "is an extlinux menu")).into_iter().collect())
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let generated =
            ["/etc/update-extlinux.conf", "/usr/sbin/update-extlinux", "/usr/sbin/extlinux-update"];
        for path in generated {
            if host.exists(Path::new(path))? {
                let text = "the menu is written by a program whose configuration is not managed, and an edit of it would not last";
                let reason = Reason::new("boot-chain-unsupported", text).at(path);
                return Ok(Sources::refused(vec![
                    reason.remedy("set the arguments there (default_kernel_opts) and run the program"),
                ]));
            }
        }
        let mut sources = Sources::default();
        if let Some(path) = menu(host)? {
            let state = host.file_state(Path::new(path))?;
            let bytes = state.bytes().unwrap_or_default();
            if appends(bytes).is_empty() {
                let reason =
                    Reason::new("entries-missing", "no entry of the menu boots this system").at(path);
                return Ok(Sources::refused(vec![reason.remedy("write an entry for this system")]));
            }
            sources.files.push((PathBuf::from(path), state));
        }
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        persisted_of(&holders(sources))
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        edits_of(&holders(sources), wish)
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::UBoot.unpassable(arg)
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::NotNeeded(Reason::new("entries-edited", "the boot loader reads the menu itself")))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        menu(host)?.map_or(Ok(None), |path| entries(host, path))
    }

    fn predict_regenerated(&self, _: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
