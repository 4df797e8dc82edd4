//! TuneD: kernel arguments of the active profile.
//!
//! Its bootloader plug-in writes them to `/etc/tuned/bootcmdline`; `/etc/grub.d/00_tuned` and the loader entries pass them
//! as `$tuned_params`. What the profile says and that file does not yet is on its way there (TuneD's
//! `plugin_bootloader.py`, `consts.py`).

use std::collections::BTreeSet;
use std::path::Path;

use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::formats::cmdline;
use crate::formats::ini;
use crate::host::{HostError, ReadHost};
use crate::types::KernelArg;

const WRITTEN: &str = "/etc/tuned/bootcmdline";
const VARIABLE: &str = "TUNED_BOOT_CMDLINE";
const ACTIVE: &str = "/etc/tuned/active_profile";

/// Where profiles are, first wins; those in `profiles` since TuneD 2.23.
const DIRECTORIES: [&str; 4] =
    ["/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned"];

const WINS: &str = "on the command line TuneD's arguments stand where $tuned_params does, behind those of every kernel that is \
                    installed later, and of two values the last one counts; TuneD writes them again with every change of profile";

#[derive(Debug)]
pub(super) struct Tuned;

impl Owner for Tuned {
    fn name(&self) -> &'static str {
        "TuneD"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        !wanted.present.is_empty() || !wanted.absent.is_empty()
    }

    fn look(&self, host: &dyn ReadHost, _: &Wanted) -> Result<Found, HostError> {
        let mut given: Vec<(KernelArg, String, String)> = Vec::new();
        if let Some(text) = host.text(Path::new(WRITTEN))? {
            given.extend(written(&text).into_iter().map(|(arg, line)| {
                let remedy = "tuned-adm profile, with one that does not set it, or tuned-adm off".to_owned();
                (arg, format!("{WRITTEN}:{line}"), remedy)
            }));
        }
        let mut waiting: Vec<String> =
            host.text(Path::new(ACTIVE))?.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let mut seen = BTreeSet::new();
        while let Some(profile) = waiting.pop() {
            if !seen.insert(profile.clone()) || profile.contains('/') {
                continue;
            }
            let Some((path, text)) = profile_file(host, &profile)? else { continue };
            let (args, includes) = profile_arguments(&text);
            waiting.extend(includes);
            for (arg, line) in args {
                if !given.iter().any(|(known, ..)| *known == arg) {
                    let remedy = format!("take it out of the profile {profile}, or choose another one");
                    given.push((arg, format!("{path}:{line}"), remedy));
                }
            }
        }
        let holding = |(arg, at, remedy): (KernelArg, String, String)| Holding {
            text: format!("TuneD gives the kernel {arg}"),
            setting: Setting::Argument(arg),
            force: Force::Sets,
            at,
            wins: WINS,
            remedy,
        };
        Ok(Found { holdings: given.into_iter().map(holding).collect(), notes: Vec::new() })
    }
}

/// The arguments in the file that TuneD writes, with their line. A shell reads it: the last assignment counts.
fn written(text: &str) -> Vec<(KernelArg, usize)> {
    let prefix = format!("{VARIABLE}=");
    let lines = (1..).zip(text.lines());
    let last = lines.filter_map(|(line, text)| Some((line, text.trim().strip_prefix(&prefix)?))).last();
    let (line, value) = last.unwrap_or_default();
    arguments(value.trim_matches(['"', '\''])).into_iter().map(|arg| (arg, line)).collect()
}

fn arguments(text: &str) -> Vec<KernelArg> {
    let tokens = cmdline::tokens(text.as_bytes()).into_iter().map(|token| token.arg);
    // What a variable stands for only TuneD knows.
    tokens.filter(|arg| !arg.to_string().contains('$')).collect()
}

fn profile_file(host: &dyn ReadHost, profile: &str) -> Result<Option<(String, String)>, HostError> {
    for directory in DIRECTORIES {
        let path = format!("{directory}/{profile}/tuned.conf");
        if let Some(text) = host.text(Path::new(&path))? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

/// The arguments that a profile adds, with their lines, and the profiles that it includes.
fn profile_arguments(text: &str) -> (Vec<(KernelArg, usize)>, Vec<String>) {
    let (mut given, mut includes) = (Vec::new(), Vec::new());
    for entry in ini::entries(text) {
        match entry.section.as_str() {
            "main" if entry.key == "include" => {
                includes.extend(entry.value.split([',', ';', ' ']).map(|name| name.trim().to_owned()));
            }
            // A value may begin with the way in which it joins those of included profiles; behind `-` it takes away.
            "bootloader" if entry.key.starts_with("cmdline") && !entry.value.starts_with('-') => {
                let value = entry.value.trim_start_matches('+').trim().trim_matches(['"', '\'']);
                given.extend(arguments(value).into_iter().map(|arg| (arg, entry.line)));
            }
            _ => {}
        }
    }
    (given, includes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tuned_writes_and_what_a_profile_says() {
        let shown = |given: Vec<(KernelArg, usize)>| -> Vec<String> {
            given.into_iter().map(|(arg, line)| format!("{arg} @{line}")).collect()
        };
        let text = "# tuned\nTUNED_BOOT_CMDLINE=\"old=1\"\nTUNED_BOOT_CMDLINE=\"intel_iommu=off isolcpus=1,2\"\nTUNED_BOOT_INITRD_ADD=\"\"\n";
        assert_eq!(shown(written(text)), ["intel_iommu=off @3", "isolcpus=1,2 @3"]);
        assert!(written("TUNED_BOOT_CMDLINE=\n").is_empty());
        let profile = "[main]\ninclude=cpu-partitioning, base\n[variables]\nx=1\n[bootloader]\ncmdline_a = +iommu=pt isolcpus=${x}\ncmdline_b=-quiet\n";
        let (given, includes) = profile_arguments(profile);
        assert_eq!(shown(given), ["iommu=pt @6"]);
        assert_eq!(
            includes.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(),
            ["cpu-partitioning", "base"]
        );
    }
}
