//! What is mounted, swapped to, or held open by the device mapper.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::graph::{Carrier, Graph, Thing, carriers};
use super::mounts::unescaped;
use super::{Scope, names};
use crate::host::{FileKind, HostError};
use crate::plan::{Because, Reason};

/// Where the system itself lies, or what boots it.
const ROOT: [&str; 6] = ["/", "/usr", "/boot", "/boot/efi", "/boot/firmware", "/efi"];

/// What would be lost with the file system at this point.
pub(super) fn because_of(point: &str) -> Because {
    if ROOT.contains(&point) { Because::RootDisk } else { Because::Storage }
}

/// The modules that a file system at this point needs, by what the kernel calls it.
pub(super) fn file_system(kind: &str, point: &str) -> Vec<Carrier> {
    let names: &[&str] = match kind {
        "ext2" | "ext3" => &[kind, "ext4"],
        "nfs4" => &["nfs", "nfsv4"],
        "smb3" => &["cifs"],
        kind if kind.starts_with("fuse") => &["fuse"],
        kind => &[kind],
    };
    carriers(names, &format!("the file system of {point}"))
}

/// Mounts and swap.
pub(super) fn add(graph: &mut Graph<'_>) {
    // One need for all points of a medium: a file system can be mounted a hundred times (bind mounts, containers).
    let mut points: BTreeMap<(Because, Vec<Thing>, String, String), BTreeSet<String>> = BTreeMap::new();
    let mounts: Vec<_> = graph.mounts.iter().cloned().collect();
    for mount in mounts {
        let medium = graph.medium(&mount);
        let (medium, called) = graph.known(Scope::Storage, medium);
        let because = because_of(&mount.point);
        // The layers of a container's overlay lie on file systems that are mounted themselves.
        let only_files = medium.iter().all(|thing| matches!(thing, Thing::File(_)));
        if medium.is_empty() || (only_files && because != Because::RootDisk) {
            continue;
        }
        points.entry((because, medium, called, mount.kind)).or_default().insert(mount.point);
    }
    for ((because, medium, called, kind), points) in points {
        let Some(first) = points.iter().min_by_key(|point| (point.len(), (*point).clone())) else { continue };
        let more = match points.len() {
            1 => String::new(),
            count => format!(" (and at {} more places)", count - 1),
        };
        let mut head = Reason::new("mounted-disk", format!("{first}{more} is mounted from {called}"));
        if because != Because::RootDisk {
            head = head.remedy(format!("unmount {first}"));
        }
        graph.need_by(because, head, medium, file_system(&kind, first));
    }
    let swaps = graph.host.text(Path::new("/proc/swaps"));
    for line in graph.known(Scope::Storage, swaps).unwrap_or_default().lines().skip(1) {
        let mut fields = line.split_whitespace();
        let (Some(path), Some(kind)) = (fields.next(), fields.next()) else { continue };
        let path = unescaped(path);
        let on = if kind == "file" {
            Thing::File(path.clone().into())
        } else {
            let name = names::by_path(graph.host, &path);
            Thing::Block(graph.known(Scope::Storage, name).unwrap_or_else(|| path.clone()))
        };
        let head = Reason::new("swap", format!("the host swaps to {path}"));
        graph.need(Because::Swap, head.remedy(format!("swapoff {path}")), vec![on]);
    }
}

/// What nobody has mounted and what is nevertheless in use: imported pools, mounted btrfs of other namespaces, volumes
/// and arrays that are active.
pub(super) fn add_active(graph: &mut Graph<'_>) {
    let pools = graph.imported_pools();
    for pool in graph.known(Scope::Storage, pools) {
        let thing = Thing::Pool(pool.clone());
        if !graph.reached.contains(&thing) {
            let head = Reason::new("imported-pool", format!("the ZFS pool {pool} is imported"));
            graph.need(Because::Storage, head.remedy(format!("zpool export {pool}")), vec![thing]);
        }
    }
    let class = Path::new("/sys/fs/btrfs");
    let filesystems = graph.host.list(class);
    for filesystem in graph.known(Scope::Storage, filesystems).unwrap_or_default() {
        let devices = graph.host.list(&class.join(&filesystem).join("devices"));
        let devices = graph.known(Scope::Storage, devices).unwrap_or_default();
        let devices: Vec<Thing> = devices.into_iter().map(Thing::Block).collect();
        if !devices.iter().any(|device| graph.reached.contains(device)) {
            let head = Reason::new("mounted-disk", format!("the btrfs {filesystem} is mounted"));
            graph.need(Because::Storage, head.remedy(format!("unmount the btrfs {filesystem}")), devices);
        }
    }
    let names = graph.host.list(Path::new("/sys/class/block"));
    let names = graph.known(Scope::Storage, names).unwrap_or_default();
    let active = |name: &String| ["dm-", "md", "bcache"].iter().any(|kind| name.starts_with(kind));
    let stacked: Vec<String> = names.into_iter().filter(active).collect();
    // From the top of each stack down: the names below then are reached already.
    for name in stacked.into_iter().rev() {
        let thing = Thing::Block(name.clone());
        if graph.reached.contains(&thing) {
            continue;
        }
        let inactive = graph.is_inactive(&name);
        if graph.known(Scope::Storage, inactive) {
            continue;
        }
        let head = Reason::new("held-disk", format!("{name} is active"));
        let remedy = format!("stop {name} (vgchange -an, cryptsetup close, mdadm --stop, multipath -f)");
        graph.need(Because::Storage, head.remedy(remedy), vec![thing]);
    }
}

impl Graph<'_> {
    /// Whether a device of the stack has nothing below it, so that nothing can be lost with it.
    fn is_inactive(&self, name: &str) -> Result<bool, HostError> {
        let Some(directory) = super::sysfs::block_directory(self.host, name)? else { return Ok(true) };
        let partition = self.host.exists(&directory.join("partition"))?;
        let slaves = self.host.list(&directory.join("slaves"))?;
        Ok(partition || slaves.is_some_and(|slaves| slaves.is_empty()))
    }

    /// The names of the imported ZFS pools.
    pub(super) fn imported_pools(&self) -> Result<Vec<String>, HostError> {
        let directory = Path::new("/proc/spl/kstat/zfs");
        let mut pools = Vec::new();
        for name in self.host.list(directory)?.unwrap_or_default() {
            if self.host.kind(&directory.join(&name))? == Some(FileKind::Directory) {
                pools.push(name);
            }
        }
        Ok(pools)
    }
}
