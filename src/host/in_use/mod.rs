//! What uses a function right now: mounted disks, the default route, open VFIO nodes. Told from sysfs and /proc alone.

mod disks;
mod interfaces;
mod vfio;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use self::disks::Disks;
use self::interfaces::DefaultRoutes;
use self::vfio::OpenNodes;
use super::pci::device_path;
use super::{FileKind, HostError, Reach, ReadHost};
use crate::plan::{Because, Reason};
use crate::types::PciAddress;

/// Directories below a function are nested no deeper than this: a disk behind USB hubs takes about twenty levels.
const DEPTH: usize = 32;

/// One use of a function: what would be lost with it, and why it would be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// What would be lost.
    pub because: Because,
    /// From the thing that is needed down to the function; never empty. The first reason has the remedy.
    pub chain: Vec<Reason>,
}

impl Use {
    fn new(because: Because, reason: Reason) -> Self {
        Self { because, chain: vec![reason] }
    }

    /// The use that cannot be excluded, because something cannot be read.
    fn unreadable(error: &HostError) -> Self {
        let cause = error.reason();
        let text = format!("nothing tells whether it is in use: {}", cause.text);
        let remedy = cause.remedy.unwrap_or_else(|| "see to it that this can be read".to_owned());
        Self::new(Because::Unsure, Reason::new(UNKNOWN_USE, text).remedy(remedy))
    }
}

/// The code of a reason for which nobody can be sure.
pub const UNKNOWN_USE: &str = "users-unknown";

/// The users of functions. What is common to all functions (mounts, routes, the processes' open files) is read once,
/// and only when a function is asked about that could have such users.
pub struct Users<'a> {
    host: &'a dyn ReadHost,
    disks: Option<Disks>,
    routes: Option<DefaultRoutes>,
    nodes: Option<OpenNodes>,
}

impl fmt::Debug for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl<'a> Users<'a> {
    /// Reads nothing yet.
    pub fn new(host: &'a dyn ReadHost) -> Self {
        Self { host, disks: None, routes: None, nodes: None }
    }

    /// The uses of `function` and, if it is a PF, of its VFs; none for a function that is not there. Where something that
    /// could tell cannot be read, that is a use as well ([`Because::Unsure`]).
    pub fn of(&mut self, function: PciAddress) -> Vec<Use> {
        self.of_family(function).into_iter().map(|(_, found)| found).collect()
    }

    /// As [`Users::of`], each use with the function that is used.
    pub fn of_family(&mut self, function: PciAddress) -> Vec<(PciAddress, Use)> {
        let own = self.of_one(function).unwrap_or_else(|error| vec![Use::unreadable(&error)]);
        own.into_iter().map(|found| (function, found)).chain(self.of_vfs(function)).collect()
    }

    /// The uses of the VFs of `pf`, each with its VF.
    pub fn of_vfs(&mut self, pf: PciAddress) -> Vec<(PciAddress, Use)> {
        let vfs = match vfs(self.host, pf) {
            Ok(vfs) => vfs,
            Err(error) => return vec![(pf, Use::unreadable(&error))],
        };
        let mut uses = Vec::new();
        for vf in vfs {
            for mut used in self.of_one(vf).unwrap_or_else(|error| vec![Use::unreadable(&error)]) {
                used.chain.push(Reason::new("vf-of", format!("{vf} is a VF of {pf}")));
                uses.push((vf, used));
            }
        }
        uses
    }

    fn of_one(&mut self, function: PciAddress) -> Result<Vec<Use>, HostError> {
        let host = self.host;
        let directory = device_path(function);
        let mut below = Below::default();
        below.walk(host, &directory, DEPTH)?;
        let mut uses = Vec::new();
        if !below.disks.is_empty() || !below.nvme_controllers.is_empty() {
            let disks = remembered(&mut self.disks, || Disks::read(host))?;
            uses.extend(disks.users(host, &below)?);
        }
        if !below.interfaces.is_empty() {
            let routes = remembered(&mut self.routes, || DefaultRoutes::read(host))?;
            uses.extend(routes.users(host, &below)?);
        }
        let names = vfio::node_names(host, &directory)?;
        if !names.is_empty() {
            let nodes = remembered(&mut self.nodes, || OpenNodes::read(host))?;
            uses.extend(nodes.users(&names));
        }
        Ok(uses)
    }
}

/// The value, read at the first use.
fn remembered<T>(slot: &mut Option<T>, read: impl FnOnce() -> Result<T, HostError>) -> Result<&T, HostError> {
    let value = match slot.take() {
        Some(value) => value,
        None => read()?,
    };
    Ok(slot.insert(value))
}

/// The VFs of a PF, in the order of their names.
fn vfs(host: &dyn ReadHost, pf: PciAddress) -> Result<BTreeSet<PciAddress>, HostError> {
    let directory = device_path(pf);
    let mut vfs = BTreeSet::new();
    for name in host.list(&directory)?.unwrap_or_default() {
        if name.starts_with("virtfn") {
            let target = host.link_name(&directory.join(name))?;
            vfs.extend(target.and_then(|target| target.parse::<PciAddress>().ok()));
        }
    }
    Ok(vfs)
}

/// Reads a file of /proc without which nothing can be told. A tree need not have it: nothing runs there.
fn required(host: &dyn ReadHost, path: &str) -> Result<String, HostError> {
    match host.text(Path::new(path))? {
        Some(text) => Ok(text),
        None if host.reach() == Reach::Tree => Ok(String::new()),
        None => Err(HostError::new("read", path, std::io::Error::from(std::io::ErrorKind::NotFound))),
    }
}

/// What a function offers to the rest of the system.
#[derive(Debug, Default)]
struct Below {
    /// Directories of block devices.
    disks: Vec<PathBuf>,
    /// Names of network interfaces.
    interfaces: Vec<String>,
    /// Names of NVMe controllers; with multipath their disks lie elsewhere.
    nvme_controllers: Vec<String>,
}

impl Below {
    fn walk(&mut self, host: &dyn ReadHost, directory: &Path, depth: usize) -> Result<(), HostError> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        let class_by_place = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for name in host.list(directory)?.unwrap_or_default() {
            let path = directory.join(&name);
            if matches!(name.as_str(), "power" | "msi_irqs") || host.kind(&path)? != Some(FileKind::Directory)
            {
                continue;
            }
            let class = host.link_name(&path.join("subsystem"))?;
            match class.as_deref().unwrap_or(class_by_place) {
                "block" => self.disks.push(path),
                "net" => self.interfaces.push(name),
                "nvme" => {
                    self.nvme_controllers.push(name);
                    self.walk(host, &path, depth)?;
                }
                _ => self.walk(host, &path, depth)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
