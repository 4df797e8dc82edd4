//! What the host itself needs, told from sysfs, /proc and configuration files alone, down to PCI functions.
//!
//! A need is a thing that somebody would miss: a mounted file system, a default route, the console, a guest's device.
//! From it the walk goes down, thing by thing (a volume, an array, a partition, a disk; a bridge, a bond, a port), until
//! it reaches functions, and from a VF on to its PF. So what is read follows what the host uses and not how many
//! functions it has. Every step down is a reason of the chain that a refusal shows.
//!
//! | file | needs | steps down |
//! |---|---|---|
//! | `storage` | mounts, swap, imported pools, active volumes | |
//! | `fstab` | what the next boot mounts or unlocks | |
//! | `kdump` | what a crash is written to | |
//! | `network` | default routes, addresses | |
//! | `session` | the SSH client of this session | |
//! | `console` | boot display, framebuffer, serial console, last keyboard | |
//! | `holders` | open device nodes, guests | |
//! | `libvirt` | running domains | |
//! | `block` | | volumes, arrays, partitions, disks, loops, remote disks |
//! | `interfaces` | | bridges, bonds, VLANs, Open vSwitch, ports |
//! | `mounts`, `names`, `routes`, `udev` | | what these steps look things up in |

mod block;
mod console;
mod fstab;
mod graph;
mod holders;
mod interfaces;
mod kdump;
mod libvirt;
mod mounts;
mod names;
mod network;
mod routes;
mod session;
mod storage;
mod sysfs;
mod udev;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use self::graph::Graph;
use super::pci::{attribute, described};
use super::{HostError, Reach, ReadHost};
use crate::plan::{Because, Reason};
use crate::types::{ModuleName, PciAddress};

/// One use of a function: what would be lost with it, and why it would be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// What would be lost.
    pub because: Because,
    /// From the thing that is needed down to the function; never empty. The first reason has the remedy.
    pub chain: Vec<Reason>,
}

/// The code of a reason for which nobody can be sure.
pub const UNKNOWN_USE: &str = "users-unknown";

/// Which functions may carry something of which nobody can be sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// Those that disks can be behind.
    Storage,
    /// Those that network interfaces can be behind.
    Network,
    /// Any.
    Any,
}

impl Scope {
    /// Whether a function of this class can be meant; without a class every one can.
    fn covers(self, class: Option<u32>) -> bool {
        let Some(class) = class else { return true };
        // Mass storage, SD hosts; network, wireless, InfiniBand; USB carries both, and class 00 is old virtio.
        let (base, subclass) = (class >> 16, class >> 8);
        match self {
            Self::Any => true,
            Self::Storage => matches!(base, 0x00 | 0x01) || matches!(subclass, 0x0805 | 0x0c03),
            Self::Network => matches!(base, 0x00 | 0x02 | 0x0d) || matches!(subclass, 0x0c03 | 0x0c06),
        }
    }
}

/// Something that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Unsure {
    scope: Scope,
    chain: Vec<Reason>,
}

/// What the host needs, by function.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    uses: BTreeMap<PciAddress, BTreeSet<Use>>,
    /// The PF of each VF that something needs.
    pfs: BTreeMap<PciAddress, PciAddress>,
    /// What stands on a module that drives no function: a file system, a target of the device mapper.
    carried: BTreeMap<ModuleName, BTreeSet<(PciAddress, Use)>>,
    unsure: BTreeSet<Unsure>,
}

impl Needs {
    /// Reads everything that tells. What cannot be read is a use as well ([`Because::Unsure`]), never an error.
    /// On a tree (`reach`) a missing file is a fact, on a machine it is not.
    pub fn read(host: &dyn ReadHost, reach: Reach) -> Self {
        let mut graph = Graph::new(host, reach);
        network::add_defaults(&mut graph);
        session::add(&mut graph);
        let told = graph.reached.clone();
        network::add_addresses(&mut graph, &told);
        storage::add(&mut graph);
        fstab::add(&mut graph);
        kdump::add(&mut graph);
        storage::add_active(&mut graph);
        console::add(&mut graph);
        holders::add(&mut graph);
        libvirt::add(&mut graph);
        graph.into_needs()
    }
}

/// The users of functions. Everything is read at the first question, and once for a host that remembers it
/// ([`ReadHost::needs`]).
pub struct Users<'a> {
    host: &'a dyn ReadHost,
    needs: Option<Arc<Needs>>,
}

impl fmt::Debug for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl<'a> Users<'a> {
    /// Reads nothing yet.
    pub fn new(host: &'a dyn ReadHost) -> Self {
        Self { host, needs: None }
    }

    fn needs(&mut self) -> Arc<Needs> {
        let host = self.host;
        let needs = self
            .needs
            .get_or_insert_with(|| host.needs().unwrap_or_else(|| Arc::new(Needs::read(host, host.reach()))));
        Arc::clone(needs)
    }

    /// The uses of `function` and, if it is a PF, of its VFs; none for a function that is not there. Where something that
    /// could tell cannot be read, that is a use as well ([`Because::Unsure`]).
    pub fn of(&mut self, function: PciAddress) -> Vec<Use> {
        let needs = self.needs();
        let mut uses: Vec<Use> = needs.uses.get(&function).into_iter().flatten().cloned().collect();
        match console::boot_display(self.host, function) {
            Ok(found) => uses.extend(found),
            Err(error) => uses.push(Use { because: Because::Unsure, chain: vec![Gap::from(error).reason()] }),
        }
        match interfaces::elsewhere(self.host, function) {
            Ok(found) => uses.extend(found),
            Err(error) => uses.push(Use { because: Because::Unsure, chain: vec![Gap::from(error).reason()] }),
        }
        uses.extend(self.unsure_of(&needs, function));
        uses
    }

    /// The uses that a module carries which drives no function: a file system, a target of the device mapper.
    pub fn of_module(&mut self, module: &ModuleName) -> Vec<(PciAddress, Use)> {
        self.needs().carried.get(module).into_iter().flatten().cloned().collect()
    }

    /// As [`Users::of`], each use with the function that is used: the PF itself, or the VF that goes with it.
    pub fn of_family(&mut self, function: PciAddress) -> Vec<(PciAddress, Use)> {
        let of_vfs = self.of_vfs(function);
        // A need that leads to a VF leads on to its PF.
        let through_vf = |found: &Use| {
            of_vfs.iter().any(|(vf, of_vf)| *vf != function && found.chain.starts_with(&of_vf.chain))
        };
        let own: Vec<Use> = self.of(function).into_iter().filter(|found| !through_vf(found)).collect();
        let of_vfs = of_vfs.iter().filter(|(vf, _)| *vf != function).cloned();
        own.into_iter().map(|found| (function, found)).chain(of_vfs).collect()
    }

    /// The uses of the VFs of `pf`, each with its VF; what nobody can be sure of stands with the PF.
    pub fn of_vfs(&mut self, pf: PciAddress) -> Vec<(PciAddress, Use)> {
        let needs = self.needs();
        let needed = needs.pfs.iter().filter(|(_, of)| **of == pf).map(|(vf, _)| *vf);
        let mut uses: Vec<(PciAddress, Use)> = Vec::new();
        for vf in needed {
            uses.extend(needs.uses.get(&vf).into_iter().flatten().map(|found| {
                let mut found = found.clone();
                found.chain.push(graph::vf_of(vf, pf));
                (vf, found)
            }));
        }
        match interfaces::of_vfs_elsewhere(self.host, pf) {
            Ok(found) => uses.extend(found.into_iter().map(|(vf, mut found)| {
                found.chain.push(graph::vf_of(vf, pf));
                (vf, found)
            })),
            Err(error) => {
                let chain = vec![Gap::Unknown(described(&error)).reason()];
                uses.push((pf, Use { because: Because::Unsure, chain }));
            }
        }
        // What could be behind the PF could be behind its VFs: they are of its class.
        uses.extend(self.unsure_of(&needs, pf).into_iter().map(|found| (pf, found)));
        uses
    }

    fn unsure_of(&self, needs: &Needs, function: PciAddress) -> Vec<Use> {
        if needs.unsure.is_empty() {
            return Vec::new();
        }
        let class = self.host.text(&attribute(function, "class")).ok().flatten();
        let class = class.and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        let meant = needs.unsure.iter().filter(|unsure| unsure.scope.covers(class));
        meant.map(|unsure| Use { because: Because::Unsure, chain: unsure.chain.clone() }).collect()
    }
}

/// Why the walk cannot go on.
#[derive(Debug)]
enum Gap {
    /// Something is there and cannot be read.
    Unreadable(HostError),
    /// Nothing tells.
    Unknown(String),
}

impl From<HostError> for Gap {
    fn from(error: HostError) -> Self {
        Self::Unreadable(error)
    }
}

impl Gap {
    fn reason(&self) -> Reason {
        match self {
            Self::Unreadable(error) => {
                let cause = error.reason();
                let text = format!("nothing tells whether it is in use: {}", cause.text);
                let remedy = cause.remedy.unwrap_or_else(|| "see to it that this can be read".to_owned());
                Reason::new(UNKNOWN_USE, text).remedy(remedy)
            }
            Self::Unknown(text) => Reason::new(UNKNOWN_USE, text.clone()),
        }
    }
}

/// Reads a file of /proc without which nothing can be told. A tree need not have it: nothing runs there.
fn required(host: &dyn ReadHost, reach: Reach, path: &str) -> Result<String, HostError> {
    match host.text(Path::new(path))? {
        Some(text) => Ok(text),
        None if reach == Reach::Tree => Ok(String::new()),
        None => Err(HostError::new("read", path, io::Error::from(io::ErrorKind::NotFound))),
    }
}

/// Names as a sentence has them: `sda`, `sda and sdb`, `sda, sdb and sdc`.
fn listed<T: fmt::Display>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(T::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
