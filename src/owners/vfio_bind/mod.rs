//! The script vfio-bind with its unit, as guides for OpenNebula and others hand it on: it unbinds devices at boot and writes
//! their ids to vfio-pci's `new_id`. It is named with the faults that its own text has (`faults`).
//!
//! Enabled, it is a second owner of every function that it lists and, by `new_id`, of every twin of one, even where it wants
//! vfio-pci as the document does: which of its faults strikes decides what becomes of them.

mod faults;

use std::collections::BTreeSet;
use std::path::Path;

use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::formats::ini;
use crate::host::{HostError, Pci, ReadHost, systemd};
use crate::types::{PciAddress, PciId};

const UNIT: &str = "vfio-bind.service";
/// An administrator's unit: no package brings one.
const UNIT_FILE: &str = "/etc/systemd/system/vfio-bind.service";

/// The script, where the unit names none.
const SCRIPT: &str = "/usr/local/bin/vfio-bind";

/// Where the devices are listed: Red Hat's place, and Debian's.
const LISTS: [&str; 2] = ["/etc/sysconfig/vfio-bind", "/etc/default/vfio-bind"];

#[derive(Debug)]
pub(super) struct VfioBind;

/// A file that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct File {
    path: String,
    text: String,
}

impl File {
    fn read(host: &dyn ReadHost, path: &str) -> Result<Option<Self>, HostError> {
        let text = host.text(Path::new(path))?;
        Ok(text.map(|text| Self { path: path.to_owned(), text }))
    }

    /// The lines that have it, with the place of each.
    fn lines(&self, has: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, String)> {
        let numbered = (1..).zip(self.text.lines());
        let live = numbered.filter(move |(_, line)| !line.trim_start().starts_with('#') && has(line));
        live.map(|(number, line): (usize, &str)| (line, format!("{}:{number}", self.path)))
    }
}

/// The whole set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Set {
    script: Option<File>,
    unit: File,
    lists: Vec<File>,
    enabled: bool,
    /// The functions that it lists, each with the place.
    devices: Vec<(PciAddress, String)>,
}

impl Set {
    /// `None` without the unit: nothing starts the script then.
    fn read(host: &dyn ReadHost) -> Result<Option<Self>, HostError> {
        let Some(unit) = File::read(host, UNIT_FILE)? else { return Ok(None) };
        let mut set = Self { unit, ..Self::default() };
        let command = set.of_unit("ExecStart").into_iter().next().unwrap_or_default().0;
        let program = command.split_whitespace().next().unwrap_or_default();
        // A prefix says how the program is started (systemd.service(5)).
        let program = program.trim_start_matches(['-', '@', ':', '+', '!']);
        set.script = File::read(host, if program.starts_with('/') { program } else { SCRIPT })?;
        for path in LISTS {
            set.lists.extend(File::read(host, path)?);
        }
        set.enabled = systemd::is_enabled(host, UNIT)?;
        set.devices = set.listed();
        Ok(Some(set))
    }

    /// What the lists name, read by the unit or not, and what the unit names itself.
    fn listed(&self) -> Vec<(PciAddress, String)> {
        let in_lists =
            self.lists.iter().flat_map(|file| file.lines(|line| line.trim_start().starts_with("DEVICES=")));
        let in_unit = self.unit.lines(|line| line.starts_with("ExecStart="));
        let mut devices: Vec<(PciAddress, String)> = Vec::new();
        for (line, at) in in_lists.chain(in_unit) {
            let words = line.split([' ', '\t', '=', '"', '\'']);
            for address in words.filter(|word| word.contains(':')).filter_map(|word| word.parse().ok()) {
                if !devices.iter().any(|(known, _)| *known == address) {
                    devices.push((address, at.clone()));
                }
            }
        }
        devices
    }

    fn writes_new_id(&self) -> bool {
        self.script.iter().any(|file| file.lines(|line| line.contains("new_id")).next().is_some())
    }

    /// The value of a key of the unit's, with its place.
    fn of_unit(&self, key: &str) -> Vec<(String, String)> {
        let entries = ini::entries(&self.unit.text).into_iter().filter(|entry| entry.key == key);
        entries.map(|entry| (entry.value, format!("{}:{}", self.unit.path, entry.line))).collect()
    }
}

impl Owner for VfioBind {
    fn name(&self) -> &'static str {
        "vfio-bind"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        !wanted.drivers.is_empty() || !wanted.counts.is_empty()
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let Some(set) = Set::read(host)? else { return Ok(Found::default()) };
        let twins = if set.writes_new_id() { twins(host, &set)? } else { Vec::new() };
        let named = set
            .devices
            .iter()
            .map(|(function, at)| (*function, at.clone(), format!("vfio-bind gives {function} to vfio-pci")));
        let by_id = twins.iter().map(|(function, of, at)| {
            (*function, at.clone(), format!("vfio-bind gives {function} to vfio-pci, by the id of {of}"))
        });
        let wins = match (set.enabled, faults::binds_nothing(&set, host)?) {
            (true, false) => {
                "vfio-bind.service comes behind reconcile.service, so that its unbind and its new_id are what stays"
            }
            (true, true) => {
                "as it stands it binds nothing; whoever mends its faults makes it come behind reconcile.service, and its \
                             unbind and its new_id are what stays"
            }
            (false, _) => "vfio-bind.service is not enabled: it does so when somebody starts it",
        };
        let holdings = named.chain(by_id).filter(|(function, ..)| wanted.concerns(*function));
        let holdings = holdings.map(|(function, at, text)| Holding {
            setting: Setting::Driver(function, Some("vfio-pci".to_owned())),
            force: if set.enabled { Force::Meddles } else { Force::Weak },
            text,
            at,
            wins,
            remedy: match set.enabled {
                true => format!(
                    "systemctl disable {UNIT}, then remove it with its script: the document does its work"
                ),
                false => format!("remove {UNIT} with its script: the document does its work"),
            },
        });
        let holdings: Vec<Holding> = holdings.collect();
        // Of a set that has nothing to do with the document nothing is said.
        let notes = if holdings.is_empty() { Vec::new() } else { faults::of(&set, &twins, host)? };
        Ok(Found { holdings, notes })
    }
}

/// The functions that are not listed and have the id of one that is, with that one and its place.
fn twins(host: &dyn ReadHost, set: &Set) -> Result<Vec<(PciAddress, PciAddress, String)>, HostError> {
    let pci = Pci::new(host);
    let Ok(scan) = pci.scan() else { return Ok(Vec::new()) };
    let listed: BTreeSet<PciAddress> = set.devices.iter().map(|(function, _)| *function).collect();
    let id_of = |address: PciAddress| -> Option<PciId> {
        scan.functions.iter().find(|function| function.address == address).map(|function| function.id)
    };
    let twins = scan.functions.iter().filter(|function| !listed.contains(&function.address));
    let twins = twins.filter_map(|function| {
        let (of, at) = set.devices.iter().find(|(listed, _)| id_of(*listed) == Some(function.id))?;
        Some((function.address, *of, at.clone()))
    });
    Ok(twins.collect())
}
