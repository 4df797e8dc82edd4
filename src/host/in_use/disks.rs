//! Which block devices are in use: mounted, swapped to, or held by another device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Below, UNKNOWN_USE, Use, required};
use crate::host::{FileKind, HostError, ReadHost};
use crate::plan::{Because, Reason};

/// The block devices that are in use by something other than a block device.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// Mount points by device number (`259:2`).
    mounts: BTreeMap<String, BTreeSet<String>>,
    /// Uses by kernel name (`nvme0n1p2`), for file systems with anonymous device numbers and for swap.
    named: BTreeMap<String, BTreeSet<String>>,
    /// Imported ZFS pools; which disks they lie on, neither sysfs nor /proc tells.
    zfs_pools: Vec<String>,
}

impl Disks {
    pub(super) fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut disks = Self::default();
        disks.add_mounts(host, &required(host, "/proc/self/mountinfo")?)?;
        // A sandbox may hide mounts from this process; the first one has none.
        disks.add_mounts(host, &host.text(Path::new("/proc/1/mountinfo"))?.unwrap_or_default())?;
        for line in host.text(Path::new("/proc/swaps"))?.unwrap_or_default().lines().skip(1) {
            let mut fields = line.split_whitespace();
            if let (Some(path), Some("partition")) = (fields.next(), fields.next()) {
                let path = unescaped(path);
                let name = block_name(host, &path)?.unwrap_or_default();
                disks.named.entry(name).or_default().insert(format!("swap ({path})"));
            }
        }
        // Every device of a mounted btrfs, which mountinfo names but one of (Documentation/ABI: fs/btrfs/sysfs.c).
        let btrfs = Path::new("/sys/fs/btrfs");
        for filesystem in host.list(btrfs)?.unwrap_or_default() {
            for name in host.list(&btrfs.join(&filesystem).join("devices"))?.unwrap_or_default() {
                disks.named.entry(name).or_default().insert(format!("btrfs {filesystem}"));
            }
        }
        let pools = Path::new("/proc/spl/kstat/zfs");
        for name in host.list(pools)?.unwrap_or_default() {
            if host.kind(&pools.join(&name))? == Some(FileKind::Directory) {
                disks.zfs_pools.push(name);
            }
        }
        Ok(disks)
    }

    /// Takes in lines of `mountinfo` (proc_pid_mountinfo(5)).
    fn add_mounts(&mut self, host: &dyn ReadHost, text: &str) -> Result<(), HostError> {
        for line in text.lines() {
            let mut fields = line.split(' ');
            let (Some(number), Some(point)) = (fields.nth(2), fields.nth(1)) else { continue };
            let point = unescaped(point);
            let mut after = fields.skip_while(|field| *field != "-").skip(1);
            let (kind, source) = (after.next().unwrap_or_default(), after.next().unwrap_or_default());
            if !number.starts_with("0:") {
                self.mounts.entry(number.to_owned()).or_default().insert(point);
            } else if matches!(kind, "btrfs" | "bcachefs") {
                // bcachefs joins its devices with colons.
                for path in unescaped(source).split(':') {
                    let name = block_name(host, path)?.unwrap_or_default();
                    self.named.entry(name).or_default().insert(point.clone());
                }
            }
        }
        Ok(())
    }

    /// The users of the disks of a function.
    pub(super) fn users(&self, host: &dyn ReadHost, below: &Below) -> Result<Vec<Use>, HostError> {
        let mut search = Search { disks: self, host, uses: Vec::new(), seen: BTreeSet::new() };
        let mut disks = below.disks.clone();
        for controller in &below.nvme_controllers {
            disks.extend(multipath_disks(host, controller)?);
        }
        for disk in &disks {
            search.climb(disk, &[])?;
        }
        let mut found = search.uses;
        if !disks.is_empty() && found.is_empty() {
            let mut unsure = |text: String, remedy: String| {
                found.push(Use::new(Because::Unsure, Reason::new(UNKNOWN_USE, text).remedy(remedy)));
            };
            // A mounted thing whose disk could not be found may lie on this one.
            for uses in self.named.get("").into_iter().flatten() {
                unsure(
                    format!("nothing tells whether {uses} lies on its disks"),
                    format!("unmount or switch off {uses}"),
                );
            }
            for pool in &self.zfs_pools {
                unsure(
                    format!("nothing tells whether the ZFS pool {pool} lies on its disks"),
                    format!("export the pool {pool}"),
                );
            }
        }
        Ok(found)
    }
}

/// Climbs from a disk to what stands on it: partitions, device mapper, md.
struct Search<'a> {
    disks: &'a Disks,
    host: &'a dyn ReadHost,
    uses: Vec<Use>,
    seen: BTreeSet<String>,
}

impl Search<'_> {
    fn climb(&mut self, device: &Path, below: &[String]) -> Result<(), HostError> {
        let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let via = [below, std::slice::from_ref(&name)].concat();
        let number = self.host.text(&device.join("dev"))?;
        for point in number.iter().filter_map(|number| self.disks.mounts.get(number)).flatten() {
            let text = format!("a file system on its disk {} is mounted on {point}", via.join(" > "));
            let because = if point == "/" { Because::RootDisk } else { Because::Storage };
            let reason = Reason::new("mounted-disk", text).remedy(format!("unmount {point}"));
            self.uses.push(Use::new(because, reason));
        }
        for used in self.disks.named.get(&name).into_iter().flatten() {
            let text = format!("its disk {} is in use for {used}", via.join(" > "));
            let because = match used.as_str() {
                "/" => Because::RootDisk,
                used if used.starts_with("swap") => Because::Swap,
                _ => Because::Storage,
            };
            let reason = Reason::new("mounted-disk", text).remedy(format!("stop using {used}"));
            self.uses.push(Use::new(because, reason));
        }
        for entry in self.host.list(device)?.unwrap_or_default() {
            let path = device.join(&entry);
            if self.host.exists(&path.join("partition"))? {
                self.climb(&path, &via)?;
            }
        }
        for holder in self.host.list(&device.join("holders"))?.unwrap_or_default() {
            if self.seen.contains(&holder) {
                continue;
            }
            let found = self.uses.len();
            self.climb(&Path::new("/sys/class/block").join(&holder), &via)?;
            if self.uses.len() == found {
                let text = format!("its disk {} is held by {holder}", via.join(" > "));
                let remedy =
                    format!("stop {holder} (vgchange -an, cryptsetup close, mdadm --stop, multipath -f)");
                let reason = Reason::new("held-disk", text).remedy(remedy);
                self.uses.push(Use::new(Because::Storage, reason));
            }
        }
        Ok(())
    }
}

/// The disks of an NVMe subsystem that has this controller. With native multipath they lie beside the controllers'
/// links in the subsystem, and not below any function (drivers/nvme/host/multipath.c).
fn multipath_disks(host: &dyn ReadHost, controller: &str) -> Result<Vec<PathBuf>, HostError> {
    let class = Path::new("/sys/class/nvme-subsystem");
    let mut disks = Vec::new();
    for subsystem in host.list(class)?.unwrap_or_default() {
        let directory = class.join(subsystem);
        let entries = host.list(&directory)?.unwrap_or_default();
        if !entries.iter().any(|entry| entry == controller) {
            continue;
        }
        for entry in entries {
            let path = directory.join(&entry);
            if entry.starts_with("nvme")
                && host.exists(&path.join("dev"))?
                && host.exists(&path.join("size"))?
            {
                disks.push(path);
            }
        }
    }
    Ok(disks)
}

/// The kernel's name of the block device node at `path`; `None` if it cannot be told.
fn block_name(host: &dyn ReadHost, path: &str) -> Result<Option<String>, HostError> {
    let known = |name: &str| host.exists(&Path::new("/sys/class/block").join(name));
    // sysfs spells the slash of `cciss/c0d0` with an exclamation mark.
    let name = path.strip_prefix("/dev/").unwrap_or(path).replace('/', "!");
    if known(&name)? {
        return Ok(Some(name));
    }
    match host.link_name(Path::new(path))? {
        Some(target) if known(&target)? => Ok(Some(target)),
        _ => Ok(None),
    }
}

/// Undoes the octal escapes of mountinfo and swaps (`\040` for a space).
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            (byte == b'\\').then(|| tail.get(..3)).flatten().and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(escaped) => {
                out.push(escaped);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (escaped, plain) in
            [("/mnt/a\\040b", "/mnt/a b"), ("\\134", "\\"), ("/x\\04", "/x\\04"), ("", "")]
        {
            assert_eq!(unescaped(escaped), plain);
        }
    }
}
