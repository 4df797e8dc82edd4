//! Where things are in sysfs.

use std::path::{Component, Path, PathBuf};

use crate::host::{FileKind, HostError, ReadHost};
use crate::types::PciAddress;

/// The directory of a device by its entry in a class: the entry's link says it, without a walk. `None` where there is no
/// such entry.
///
/// # Errors
/// When the entry cannot be read.
pub(super) fn directory(host: &dyn ReadHost, entry: &Path) -> Result<Option<PathBuf>, HostError> {
    if let Some(target) = host.read_link(entry)? {
        return Ok(Some(followed(entry, &target)));
    }
    if host.kind(entry)? != Some(FileKind::Directory) {
        return Ok(None);
    }
    // Kernels with CONFIG_SYSFS_DEPRECATED have directories in the classes.
    let device = entry.join("device");
    let target = host.read_link(&device)?;
    Ok(Some(target.map_or_else(|| entry.to_owned(), |target| followed(&device, &target))))
}

/// What a link leads to, by the names alone: sysfs' links lead through no other link.
pub(super) fn followed(link: &Path, target: &Path) -> PathBuf {
    let mut path = PathBuf::new();
    let above = link.parent().unwrap_or(Path::new("/"));
    for component in above.join(target).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// The functions that a device is behind, from the one nearest to it up to the root.
pub(super) fn functions_in(directory: &Path) -> Vec<PciAddress> {
    let address = |name: &str| {
        let address: PciAddress = name.parse().ok()?;
        (address.to_string() == name).then_some(address)
    };
    directory.iter().rev().filter_map(|name| address(name.to_str()?)).collect()
}

/// The directory of a block device.
///
/// # Errors
/// When its entry cannot be read.
pub(super) fn block_directory(host: &dyn ReadHost, name: &str) -> Result<Option<PathBuf>, HostError> {
    for class in ["/sys/class/block", "/sys/block"] {
        if let Some(directory) = directory(host, &Path::new(class).join(name))? {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_functions_are_read_by_name() {
        let link = Path::new("/sys/class/net/eth0");
        let target = Path::new("../../devices/pci0000:00/0000:00:1c.0/0000:01:00.0/virtio0/net/eth0");
        let directory = followed(link, target);
        assert!(directory.starts_with("/sys/devices/pci0000:00"), "{directory:?}");
        let functions: Vec<String> = functions_in(&directory).iter().map(PciAddress::to_string).collect();
        assert_eq!(functions, ["0000:01:00.0", "0000:00:1c.0"]);
        let usb = Path::new("/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/0003:046D:C31C.0001/x");
        assert_eq!(functions_in(usb).len(), 1);
    }
}
