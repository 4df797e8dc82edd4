//! Which processes have VFIO nodes open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{UNKNOWN_USE, Use};
use crate::host::{HostError, Reach, ReadHost};
use crate::plan::{Because, Reason};

/// What a device's own file descriptor reads as, whichever device that is (drivers/vfio/group.c).
const DEVICE: &str = "anon_inode:[vfio-device]";

/// The open VFIO nodes and who has them open.
#[derive(Debug)]
pub(super) struct OpenNodes(BTreeMap<String, BTreeSet<String>>);

/// The nodes through which a guest would hold the function at `directory`.
pub(super) fn node_names(host: &dyn ReadHost, directory: &Path) -> Result<Vec<String>, HostError> {
    let mut names = Vec::new();
    if let Some(group) = host.link_name(&directory.join("iommu_group"))? {
        names.push(format!("/dev/vfio/{group}"));
        names.push(format!("/dev/vfio/noiommu-{group}"));
    }
    for name in host.list(&directory.join("vfio-dev"))?.unwrap_or_default() {
        names.push(format!("/dev/vfio/devices/{name}"));
    }
    Ok(names)
}

impl OpenNodes {
    /// Looks at every open file of every process.
    pub(super) fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut nodes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let proc = Path::new("/proc");
        let entries = host.list(proc)?.unwrap_or_default();
        if host.reach() == Reach::Machine && !entries.iter().any(|name| name == "self") {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(HostError::new("list the processes in", proc, missing));
        }
        for pid in entries.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            let directory = proc.join(pid);
            let mut open = BTreeSet::new();
            for fd in host.list(&directory.join("fd"))?.unwrap_or_default() {
                let target = host.read_link(&directory.join("fd").join(fd))?;
                open.extend(target.and_then(|target| vfio_node(&target.to_string_lossy())));
            }
            if open.is_empty() {
                continue;
            }
            // A device without its group or node: that was closed after the device was opened.
            if open.len() > 1 {
                open.remove(DEVICE);
            }
            let name = host.text(&directory.join("comm"))?.unwrap_or_else(|| "a process".to_owned());
            for node in open {
                nodes.entry(node).or_default().insert(format!("{name} (pid {pid})"));
            }
        }
        Ok(Self(nodes))
    }

    /// Who has one of these nodes open.
    pub(super) fn users(&self, names: &[String]) -> Vec<Use> {
        let mut uses = Vec::new();
        for name in names {
            for process in self.0.get(name).into_iter().flatten() {
                let text = format!("{process} has {name} open");
                let remedy = format!("shut down the guest that {process} runs");
                uses.push(Use::new(Because::Guest, Reason::new("open-vfio-node", text).remedy(remedy)));
            }
        }
        for process in self.0.get(DEVICE).into_iter().flatten() {
            let text = format!("{process} has a VFIO device open, and nothing tells which");
            let remedy = format!("shut down the guest that {process} runs");
            uses.push(Use::new(Because::Unsure, Reason::new(UNKNOWN_USE, text).remedy(remedy)));
        }
        uses
    }
}

/// The node's name, if the link's target is one; a container's node may have been deleted meanwhile.
fn vfio_node(target: &str) -> Option<String> {
    let target = target.strip_suffix(" (deleted)").unwrap_or(target);
    let is_node = target.starts_with("/dev/vfio/") && target != "/dev/vfio/vfio";
    (is_node || target == DEVICE).then(|| target.to_owned())
}
