//! What a change takes away at the next boot: a module that is kept from loading, ids that claim a function for a guest, an
//! IOMMU that is turned off.
//!
//! The files that a change writes are read as kmod and the boot loader read them, before and after. What they say anew is
//! weighed by what runs now: a driver that a needed device has today is the one that it needs tomorrow.

mod arguments;
mod drivers;
mod ids;
mod iommu;
mod modprobe;
mod modules;

use crate::plan::Change;
use crate::types::KernelArg;

pub(super) use ids::IdsAtBoot;
pub(super) use iommu::IommuAtBoot;
pub(super) use modules::ModulesAtBoot;

use super::Scene;

/// Something that the next boot does and this one did not, by a change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    /// No alias loads this module: udev does not.
    NoAlias { module: String, by: String },
    /// Nothing loads this module, not even one that depends on it.
    NotAtAll { module: String, by: String },
    /// A driver for guests claims the functions of these ids when it is loaded.
    Claimed { ids: String, by: String },
}

/// Drivers that keep a function for a guest, by their module: both have the parameter `ids` with the same syntax
/// (`drivers/vfio/pci/vfio_pci.c`, `drivers/pci/pci-stub.c`).
const STUBS: [&str; 2] = ["vfio_pci", "pci_stub"];

/// What a change brings in modprobe.d and on the kernel command line.
fn news(item: &str, change: &Change, scene: &Scene<'_>) -> Vec<News> {
    let mut news = modprobe::news(change);
    for arg in arguments::of(item, change, scene).added {
        news.extend(said_by(&arg));
    }
    news
}

/// What one kernel argument says about modules. Names are compared as they stand, with underscores (libkmod's
/// `kmod_config_parse_kcmdline`; `kernel/module/main.c`, `blacklisted`), so that one with a hyphen says nothing.
fn said_by(arg: &KernelArg) -> Vec<News> {
    let name = arg.name().replace('-', "_");
    let Some(value) = arg.value() else { return Vec::new() };
    let by = arg.to_string();
    let listed =
        || value.split(',').filter(|module| !module.is_empty() && !module.contains('-')).map(str::to_owned);
    match name.as_str() {
        "modprobe.blacklist" | "rd.driver.blacklist" | "rdblacklist" => {
            listed().map(|module| News::NoAlias { module, by: by.clone() }).collect()
        }
        "module_blacklist" => listed().map(|module| News::NotAtAll { module, by: by.clone() }).collect(),
        _ => match name.split_once('.') {
            Some((module, "ids")) if STUBS.contains(&module) => {
                vec![News::Claimed { ids: value.to_owned(), by }]
            }
            _ => Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_kmod_and_the_kernel_read_them() {
        let count = |arg: &str| said_by(&arg.parse().unwrap()).len();
        assert_eq!(count("modprobe.blacklist=ahci,nvme"), 2);
        assert_eq!(count("modprobe.blacklist=snd-hda-intel"), 0, "names are compared as they stand");
        assert_eq!(count("module_blacklist=ahci,,"), 1);
        assert_eq!((count("vfio-pci.ids=10de:11bf"), count("vfio_pci.ids=10de:11bf")), (1, 1));
        assert_eq!(count("pci-stub.ids=10de:11bf"), 1);
        assert_eq!((count("quiet"), count("kvm.ids=1"), count("modprobe.blacklist")), (0, 0, 0));
    }
}
