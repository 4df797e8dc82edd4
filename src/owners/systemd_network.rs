//! systemd: `.link` files that make VFs, and `.network` files that set up VFs.
//!
//! udev applies the first `.link` file that fits when an interface appears. A count that is written out is reached through
//! 0; without one it only rises, to the highest `VirtualFunction=` (systemd.link(5); systemd's `netif-sriov.c`).

use std::path::Path;

use super::matching::{Fits, Subject, drop_ins, glob};
use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::formats::ini;
use crate::host::{HostError, ReadHost};
use crate::plan::Reason;
use crate::types::PciAddress;

/// Where they are, first wins.
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
];

#[derive(Debug)]
pub(super) struct SystemdNetwork;

impl Owner for SystemdNetwork {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        !wanted.counts.is_empty()
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let mut found = Found::default();
        let links = files(host, ".link")?;
        let networks = files(host, ".network")?;
        for (pf, desired) in &wanted.counts {
            let subject = Subject::read(host, wanted, *pf)?;
            found.holdings.extend(link_of(&links, &subject).into_iter().filter_map(|(file, fits)| {
                let (count, at) = file.vfs.count(desired.value)?;
                Some(Holding {
                    setting: Setting::VfCount(*pf, Some(count)),
                    force: if fits == Fits::Yes { Force::Sets } else { Force::Weak },
                    text: format!("systemd-udevd{} gives {pf} the VF count {count}", perhaps(fits)),
                    at,
                    wins: "udev sets it whenever the interface appears: before reconcile.service at most boots, behind it where \
                           the driver is slow, and again whenever the driver is loaded anew",
                    remedy: format!("take SR-IOVVirtualFunctions= and [SR-IOV] out of {}", file.path),
                })
            }));
            let missing = networks
                .iter()
                .filter(|file| !file.vfs.indices.is_empty() && file.fits(&subject) == Fits::Yes)
                .filter_map(|file| file.missing_vf(*pf, desired.value));
            found.notes.extend(missing);
        }
        Ok(found)
    }
}

fn perhaps(fits: Fits) -> &'static str {
    if fits == Fits::Yes { "" } else { " perhaps" }
}

/// The file that udev applies, and before it those of which nothing tells whether they fit.
fn link_of<'f>(links: &'f [File], subject: &Subject) -> Vec<(&'f File, Fits)> {
    let judged = links.iter().map(|file| (file, file.fits(subject))).filter(|(_, fits)| *fits != Fits::No);
    let mut applied = false;
    judged.take_while(|(_, fits)| !std::mem::replace(&mut applied, *fits == Fits::Yes)).collect()
}

/// What a file says of VFs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Vfs {
    /// `SR-IOVVirtualFunctions=`, and its place.
    count: Option<(u16, String)>,
    /// `VirtualFunction=` of each section, and its place.
    indices: Vec<(u16, String)>,
}

impl Vfs {
    /// The count that it brings about where `wanted` are there; `None` where it leaves them alone.
    fn count(&self, wanted: u16) -> Option<(u16, String)> {
        if self.count.is_some() {
            return self.count.clone();
        }
        let (highest, at) = self.indices.iter().max_by_key(|(index, _)| *index)?;
        let count = highest.saturating_add(1);
        (count > wanted).then(|| (count, at.clone()))
    }
}

/// A file with its drop-ins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: String,
    conditions: Vec<(String, String)>,
    vfs: Vfs,
}

/// The files of a kind, in the order in which they are tried.
fn files(host: &dyn ReadHost, suffix: &str) -> Result<Vec<File>, HostError> {
    let mut files = Vec::new();
    for (path, text) in drop_ins(host, &DIRECTORIES, suffix)? {
        let mut file = File { path: path.clone(), conditions: Vec::new(), vfs: Vfs::default() };
        file.take_in(&path, &text);
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
        let beside: Vec<String> =
            DIRECTORIES.iter().map(|directory| format!("{directory}/{name}.d")).collect();
        let beside: Vec<&str> = beside.iter().map(String::as_str).collect();
        for (path, text) in drop_ins(host, &beside, ".conf")? {
            file.take_in(&path, &text);
        }
        files.push(file);
    }
    Ok(files)
}

impl File {
    fn take_in(&mut self, path: &str, text: &str) {
        for entry in ini::entries(text) {
            let at = format!("{path}:{}", entry.line);
            match (entry.section.as_str(), entry.key.as_str()) {
                ("Match", _) => self.conditions.push((entry.key, entry.value)),
                ("Link", "SR-IOVVirtualFunctions") => {
                    self.vfs.count = entry.value.parse().ok().map(|count| (count, at));
                }
                ("SR-IOV", "VirtualFunction") => {
                    self.vfs.indices.extend(entry.value.parse().ok().map(|index| (index, at)));
                }
                _ => {}
            }
        }
    }

    /// A file without conditions fits nothing (systemd 243 and later).
    fn fits(&self, subject: &Subject) -> Fits {
        let fit = |(key, value): &(String, String)| {
            Subject::one_of(value, |pattern| match key.as_str() {
                "MACAddress" | "PermanentMACAddress" => subject.has_mac(pattern),
                "Path" => glob(pattern, &subject.path()).into(),
                "Driver" => subject.driven(|driver| glob(pattern, driver)),
                // Renamed since: a name that is not there now may have been the kernel's own.
                "OriginalName" if pattern == "*" => Fits::Yes,
                "OriginalName" => match subject.named(|name| glob(pattern, name)) {
                    Fits::Yes => Fits::Yes,
                    Fits::No | Fits::Perhaps => Fits::Perhaps,
                },
                "Name" => subject.named(|name| glob(pattern, name)),
                "Type" => glob(pattern, "ether").into(),
                _ => Fits::Perhaps,
            })
        };
        self.conditions.iter().map(fit).reduce(|one, other| one & other).unwrap_or(Fits::No)
    }

    /// A VF that the file sets up and the document does not make.
    fn missing_vf(&self, pf: PciAddress, wanted: u16) -> Option<Reason> {
        let (index, at) = self.vfs.indices.iter().find(|(index, _)| *index >= wanted)?;
        let text = format!(
            "systemd-networkd sets up VF {index} of {pf}, and this document gives it the VF count {wanted}"
        );
        Some(Reason::new("vf-not-there", text).at(at).remedy("ask for more VFs, or take the section out"))
    }
}
