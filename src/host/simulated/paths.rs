//! One name for each thing: sysfs shows a function's directory under many paths.

use std::path::{Component, Path, PathBuf};

use crate::host::pci;
use crate::types::PciAddress;

/// The name under which the overlay keeps a sysfs path: what lies in a function's directory is kept below
/// `/sys/bus/pci/devices/ADDRESS`, whichever of its paths was taken
/// (`/sys/devices/pci0000:00/…`, `/sys/kernel/iommu_groups/1/devices/…`, `/sys/bus/pci/drivers/igb/…`).
///
/// Purely lexical: it costs no system call.
pub(super) fn in_sysfs(path: &Path) -> PathBuf {
    let names: Vec<&std::ffi::OsStr> = path.iter().collect();
    let is_function = |name: &std::ffi::OsStr| name.to_str()?.parse::<PciAddress>().ok();
    // The last component may be a link to a function; only what is below a function is in its directory.
    let below = names.len().saturating_sub(1);
    let last = names.iter().take(below).rposition(|name| is_function(name).is_some());
    let Some((at, address)) = last.and_then(|at| Some((at, is_function(names.get(at)?)?))) else {
        return path.to_owned();
    };
    let mut canonical = pci::device_path(address);
    canonical.extend(names.iter().skip(at + 1));
    canonical
}

/// `target` as a link at `link` means it, with `.` and `..` resolved by name.
pub(super) fn follow(link: &Path, target: &Path) -> PathBuf {
    let start = link.parent().unwrap_or(Path::new("/"));
    let mut resolved = if target.is_absolute() { PathBuf::from("/") } else { start.to_owned() };
    for component in target.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_of_a_function_are_one() {
        let expected = Path::new("/sys/bus/pci/devices/0000:03:00.0/driver_override");
        for path in [
            "/sys/bus/pci/devices/0000:03:00.0/driver_override",
            "/sys/devices/pci0000:00/0000:00:01.0/0000:03:00.0/driver_override",
            "/sys/kernel/iommu_groups/7/devices/0000:03:00.0/driver_override",
            "/sys/bus/pci/drivers/igb/0000:03:00.0/driver_override",
        ] {
            assert_eq!(in_sysfs(Path::new(path)), expected, "{path}");
        }
        for path in [
            "/sys/bus/pci/drivers/igb/0000:03:00.0",
            "/sys/module/vfio_pci",
            "/sys/bus/pci/devices/0000:03:00.0",
        ] {
            assert_eq!(in_sysfs(Path::new(path)), Path::new(path));
        }
    }

    #[test]
    fn links_resolve_by_name() {
        let link = Path::new("/etc/modules-load.d/modules.conf");
        assert_eq!(follow(link, Path::new("../modules")), Path::new("/etc/modules"));
        assert_eq!(follow(link, Path::new("/x/./y")), Path::new("/x/y"));
        assert_eq!(follow(link, Path::new("../../../../z")), Path::new("/z"));
    }
}
