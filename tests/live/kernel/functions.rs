//! PCI functions: where they stand, what they are, and how they come and go.

use super::{DEVICES, DRIVERS, Kernel};

/// Attributes that can only be written.
const WRITE_ONLY: [&str; 8] =
    ["bind", "unbind", "new_id", "remove_id", "drivers_probe", "rescan", "remove", "reset"];
/// Attributes that can be read and written.
const READ_WRITE: [&str; 6] = [
    "driver_override",
    "sriov_numvfs",
    "sriov_drivers_autoprobe",
    "drivers_autoprobe",
    "numa_node",
    "reset_method",
];

impl Kernel {
    /// Every function, by address.
    pub fn functions(&self) -> Vec<String> {
        self.tree.list(DEVICES)
    }

    /// The directory of a function without links.
    pub fn directory(&self, address: &str) -> Option<String> {
        if !address.contains(':') {
            return None;
        }
        self.tree.resolve(&format!("{DEVICES}/{address}"))
    }

    /// The address of the function whose directory this is.
    pub(super) fn function_at(&self, directory: &str) -> Option<String> {
        let (_, name) = directory.rsplit_once('/')?;
        (self.directory(name)? == directory).then(|| name.to_owned())
    }

    /// An attribute of a function, `None` where it has none such.
    pub fn attribute(&self, address: &str, name: &str) -> Option<String> {
        self.tree.text(&format!("{}/{name}", self.directory(address)?))
    }

    /// The driver that a function is bound to.
    pub fn driver_of(&self, address: &str) -> Option<String> {
        self.tree.link_name(&format!("{}/driver", self.directory(address)?))
    }

    /// What `driver_override` holds, if it holds something.
    pub fn override_of(&self, address: &str) -> Option<String> {
        self.attribute(address, "driver_override").filter(|name| !name.is_empty() && name != "(null)")
    }

    /// The IOMMU group that a function is in.
    pub fn group_of(&self, address: &str) -> Option<String> {
        self.tree.link_name(&format!("{}/iommu_group", self.directory(address)?))
    }

    /// The kernel's `modalias` of a function.
    pub(super) fn modalias(&self, address: &str) -> String {
        let field = |name: &str| {
            let text = self.attribute(address, name).unwrap_or_default();
            u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_default()
        };
        let class = field("class");
        format!(
            "pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i{:02X}",
            field("vendor"),
            field("device"),
            field("subsystem_vendor"),
            field("subsystem_device"),
            class >> 16,
            class >> 8 & 0xff,
            class & 0xff
        )
    }

    /// A function falls off the bus: a surprise removal.
    pub fn vanish(&mut self, address: &str) {
        let Some(directory) = self.directory(address) else { return };
        for vf in self.vfs(address) {
            self.vanish(&vf);
        }
        if let Some(driver) = self.driver_of(address) {
            self.tree.take(&format!("{DRIVERS}/{driver}/{address}"));
        }
        if let Some(group) = self.group_of(address) {
            let group = format!("/sys/kernel/iommu_groups/{group}");
            self.tree.take(&format!("{group}/devices/{address}"));
            if self.tree.list(&format!("{group}/devices")).is_empty() {
                self.tree.take(&group);
            }
        }
        self.parked.remove(address);
        self.tree.take(&directory);
        self.tree.take(&format!("{DEVICES}/{address}"));
    }

    /// Gives attributes the modes and the files that a checked-out tree cannot carry.
    pub(super) fn complete_attributes(&mut self) {
        self.tree.put_file("/sys/bus/pci/drivers_probe", "", 0o200);
        self.tree.put_dir(DRIVERS);
        let mut directories: Vec<String> = vec!["/sys/bus/pci".to_owned()];
        for address in self.functions() {
            let Some(directory) = self.directory(&address) else { continue };
            if self.override_of(&address).is_none() {
                self.tree.put_file(&format!("{directory}/driver_override"), "(null)\n", 0o644);
            }
            directories.push(directory);
        }
        for driver in self.tree.list(DRIVERS) {
            let directory = format!("{DRIVERS}/{driver}");
            for attribute in ["bind", "unbind", "new_id", "remove_id"] {
                self.tree.put_file(&format!("{directory}/{attribute}"), "", 0o200);
            }
            directories.push(directory);
        }
        for directory in directories {
            for name in self.tree.list(&directory) {
                let path = format!("{directory}/{name}");
                if WRITE_ONLY.contains(&name.as_str()) {
                    self.tree.set_mode(&path, 0o200);
                } else if READ_WRITE.contains(&name.as_str()) {
                    self.tree.set_mode(&path, 0o644);
                } else {
                    self.tree.set_mode(&path, 0o444);
                }
            }
        }
    }
}
