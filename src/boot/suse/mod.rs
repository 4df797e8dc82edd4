//! SUSE: `/etc/sysconfig/bootloader` names the boot loader, and update-bootloader (perl-Bootloader) or sdbootutil carries
//! the configuration to it.
//!
//! update-bootloader's own `--add-option` keeps one value of a parameter that is given several times; so the files are
//! edited here, and it is called to write the menu.

use std::path::{Path, PathBuf};

use super::esp::System;
use super::grub_in_place::LAYOUT;
use super::kernel_cmdline::CMDLINE;
use super::shell_files::{self, Effective, Files, Words};
use super::{
    BootChain, Edits, Evidence, Judged, MenuEntry, Persisted, Sources, Weight, Wish, grub, kernel_install,
    sd_boot,
};
use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{FileState, Objection, Reason};
use crate::types::KernelArg;

const SYSCONFIG: &str = "/etc/sysconfig/bootloader";
const MENU: &str = "/boot/grub2/grub.cfg";
const DROP_INS: &str = "/etc/kernel/cmdline.d";

/// SUSE's boot loader, by `LOADER_TYPE`.
#[derive(Debug, Clone, Copy)]
pub struct Suse;

/// What `LOADER_TYPE` names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Loader {
    /// GRUB with a menu from grub2-mkconfig.
    Grub,
    /// systemd-boot, or GRUB with loader entries: sdbootutil writes them.
    Entries,
    Other(String),
}

fn loader(host: &dyn ReadHost) -> Result<Option<Loader>, HostError> {
    let text = host.text(Path::new(SYSCONFIG))?.unwrap_or_default();
    let value = text.lines().filter_map(|line| line.trim().strip_prefix("LOADER_TYPE=")).next_back();
    let value = value.map(|value| value.trim().trim_matches(['"', '\'']).to_owned());
    Ok(value.filter(|value| !value.is_empty()).map(|value| match value.as_str() {
        "grub2" | "grub2-efi" => Loader::Grub,
        "systemd-boot" | "grub2-bls" => Loader::Entries,
        _ => Loader::Other(value),
    }))
}

/// Whether the root file system is a read-only snapshot, which only transactional-update may change.
fn is_transactional(host: &dyn ReadHost) -> Result<bool, HostError> {
    let there = host.exists(Path::new("/usr/sbin/transactional-update"))?;
    let mounts = host.text(Path::new("/proc/self/mountinfo"))?.unwrap_or_default();
    let read_only = |line: &str| {
        let mut fields = line.split(' ').skip(4);
        fields.next() == Some("/")
            && fields.next().is_some_and(|options| options.split(',').any(|option| option == "ro"))
    };
    Ok(there && mounts.lines().any(read_only))
}

fn is_cmdline(sources: &Sources) -> bool {
    sources.files.iter().any(|(path, _)| path == Path::new(CMDLINE))
}

impl BootChain for Suse {
    fn key(&self) -> &'static str {
        "update-bootloader"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        let tells = match loader(host)? {
            None => return Ok(Vec::new()),
            Some(Loader::Grub) => "names GRUB in LOADER_TYPE",
            Some(Loader::Entries) => "names a boot loader with loader entries in LOADER_TYPE",
            Some(Loader::Other(_)) => "names the boot loader in LOADER_TYPE",
        };
        Ok(vec![Evidence::new(SYSCONFIG, tells).weighing(Weight::InCharge)])
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        if is_transactional(host)? {
            let text = "the root file system is a read-only snapshot, which transactional-update replaces as a whole";
            let reason = Reason::new("root-read-only", text);
            return Ok(Sources::refused(vec![
                reason.remedy("run reconcile in transactional-update shell, then reboot"),
            ]));
        }
        match loader(host)? {
            Some(Loader::Grub) => LAYOUT.sources(host),
            Some(Loader::Entries) => {
                let others = host.list(Path::new(DROP_INS))?.unwrap_or_default();
                if let Some(name) = others.first() {
                    let text = "sdbootutil adds this file to /etc/kernel/cmdline, and what comes of both is not worked out here";
                    let reason = Reason::new("cmdline-drop-ins", text).at(format!("{DROP_INS}/{name}"));
                    return Ok(Sources::refused(vec![
                        reason.remedy("move its arguments into /etc/kernel/cmdline"),
                    ]));
                }
                kernel_install::sources(host)
            }
            other => {
                let name = match other {
                    Some(Loader::Other(name)) => name,
                    _ => "none".to_owned(),
                };
                let text = format!("LOADER_TYPE is {name}, whose arguments are not managed");
                let reason = Reason::new("boot-chain-unsupported", text).at(SYSCONFIG);
                Ok(Sources::refused(vec![reason.remedy("set the arguments by that boot loader's own means")]))
            }
        }
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        if is_cmdline(sources) {
            return kernel_install::persisted(sources);
        }
        let effective = Effective::of(&Files::of(&LAYOUT, sources))?;
        Ok(Persisted { lines: vec![effective.line(grub::DEFAULTS)] })
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        if is_cmdline(sources) {
            kernel_install::edits(sources, wish)
        } else {
            shell_files::edits(&LAYOUT, sources, wish)
        }
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Grub.unpassable(arg).or_else(|| Words::Kernel.unpassable(arg))
    }

    /// With loader entries `update-bootloader --config` does nothing; sdbootutil is what rewrites them.
    fn regenerate(&self, host: &dyn ReadHost) -> Result<Means, HostError> {
        let command = |words: &[&str]| Means::Command(words.iter().map(|word| (*word).to_owned()).collect());
        Ok(match loader(host)? {
            Some(Loader::Entries) => command(&["sdbootutil", "update-all-entries"]),
            _ => {
                let mut there = false;
                for path in ["/usr/sbin/update-bootloader", "/sbin/update-bootloader"] {
                    there |= host.exists(Path::new(path))?;
                }
                if there {
                    command(&["update-bootloader", "--config"])
                } else {
                    command(&["grub2-mkconfig", "-o", MENU])
                }
            }
        })
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        if loader(host)? != Some(Loader::Entries) {
            return grub::entries(host, MENU);
        }
        let (system, entries) = (System::read(host)?, sd_boot::entries(host)?);
        let judged =
            |entry| super::esp::EntryFile::exempt(entry, &system).map_or(Judged::Ours, Judged::Exempt);
        Ok(Some(entries.iter().map(|entry| sd_boot::shown(entry, judged(entry))).collect()))
    }

    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        if loader(host)? != Some(Loader::Entries) {
            return grub::predict(host, MENU, &LAYOUT);
        }
        if host.file_state(Path::new(CMDLINE))? == FileState::Absent {
            return Ok(Vec::new());
        }
        kernel_install::predict(host, |_| true)
    }
}

#[cfg(test)]
mod tests;
