//! depmod's text indexes of one kernel: `modules.dep`, `modules.builtin`, `modules.alias` (`depmod(8)`).

use std::collections::{BTreeMap, BTreeSet};

use super::glob;
use crate::types::ModuleName;

/// Which of `wanted` are in `modules.dep` or `modules.builtin`, with their paths below `/lib/modules/RELEASE`.
pub fn find(index: &[u8], wanted: &BTreeSet<ModuleName>) -> BTreeMap<ModuleName, String> {
    let text = String::from_utf8_lossy(index);
    let module = |line: &str| {
        let path = line.split(':').next()?.trim();
        let name = module_of_path(path)?;
        wanted.contains(&name).then(|| (name, path.to_owned()))
    };
    text.lines().filter_map(module).collect()
}

/// The lines of `modules.dep`: the path of each module and the paths of those that it needs.
pub fn dependencies(index: &str) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
    index.lines().filter_map(|line| {
        let (path, needs) = line.split_once(':')?;
        Some((path.trim(), needs.split_ascii_whitespace()))
    })
}

/// The module in a path such as `kernel/drivers/vfio/pci/vfio-pci.ko.xz`.
pub fn module_of_path(path: &str) -> Option<ModuleName> {
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    name.parse().ok()
}

/// The modules of `modules.alias` (or `modules.builtin.alias`) whose patterns match `alias`: a device's modalias, or a
/// name.
pub fn aliased(index: &[u8], alias: &str) -> BTreeSet<ModuleName> {
    let text = String::from_utf8_lossy(index);
    let module = |line: &str| {
        let (pattern, module) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
        if glob::matches(pattern, alias) { module.parse().ok() } else { None }
    };
    text.lines().filter_map(module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_of_every_compression() {
        let wanted = ["ext4", "nvidia", "vfio_pci", "gone"].map(|name| name.parse().unwrap()).into();
        let found = find(
            b"kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\nupdates/dkms/nvidia.ko:\nkernel/fs/ext4.ko\n\nnonsense\nkernel/x.ko:\n",
            &wanted,
        );
        let names: Vec<&str> = found.keys().map(ModuleName::as_str).collect();
        assert_eq!(names, ["ext4", "nvidia", "vfio_pci"]);
        assert_eq!(found.values().next_back().unwrap(), "kernel/drivers/vfio/pci/vfio-pci.ko.xz");
    }

    #[test]
    fn finds_the_drivers_of_a_device() {
        let index = b"# Aliases extracted from modules themselves.\nalias pci:v000010DEd*sv*sd*bc03sc00i* nouveau\nalias pci:v000010DEd*sv*sd*bc03sc00i* nvidia\nalias pci:v00008086d*sv*sd*bc03sc*i* i915\nalias fs-ext4 ext4\n";
        let found = aliased(index, "pci:v000010DEd000011BFsv000010DEsd0000100Dbc03sc00i00");
        assert_eq!(found.iter().map(ModuleName::as_str).collect::<Vec<_>>(), ["nouveau", "nvidia"]);
        assert_eq!(aliased(index, "fs-ext4").len(), 1);
    }
}
