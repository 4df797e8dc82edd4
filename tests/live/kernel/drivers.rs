//! Drivers of the PCI bus: matching, probing, binding (drivers/base/dd.c, drivers/pci/pci-driver.c).

use nix::errno::Errno;

use super::{Answer, DEVICES, DRIVERS, Kernel};

/// What a function has only while a driver of the host is bound to it.
const CLASS_DIRECTORIES: [&str; 8] =
    ["net", "drm", "infiniband", "ptp", "hwmon", "graphics", "nvme", "sound"];

/// A driver and what it takes.
#[derive(Clone, Debug, Default)]
pub struct Driver {
    /// The module that registers it; empty for one that is built in.
    pub module: String,
    /// Patterns of `modalias` that its table matches.
    pub table: Vec<String>,
    /// `vendor device` pairs given at run time (`new_id`, `ids=`).
    pub dynamic: Vec<(u32, u32)>,
}

impl Kernel {
    /// Whether `driver` takes the function (`pci_match_device`): with an override, only the one of that name.
    fn matches(&self, driver: &str, address: &str) -> bool {
        let Some(known) = self.drivers.get(driver) else { return false };
        if let Some(wanted) = self.override_of(address) {
            return wanted == driver;
        }
        let modalias = self.modalias(address);
        let number = |name: &str| {
            let text = self.attribute(address, name).unwrap_or_default();
            u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_default()
        };
        known.dynamic.contains(&(number("vendor"), number("device")))
            || known.table.iter().any(|pattern| glob(pattern, &modalias))
    }

    /// What the driver's own probe says.
    fn probe(&self, driver: &str, address: &str) -> Answer {
        if let Some(errno) = self.failing_probes.get(&(address.to_owned(), driver.to_owned())) {
            return Err(*errno);
        }
        if !is_vfio(driver) {
            return Ok(());
        }
        let bridge = self.attribute(address, "class").is_some_and(|class| class.starts_with("0x0604"));
        if bridge || self.group_of(address).is_none() {
            return Err(Errno::EINVAL);
        }
        let vfs = self.attribute(address, "sriov_numvfs").is_some_and(|count| count != "0");
        if vfs { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// Probes and, where that succeeds, binds.
    fn attach(&mut self, driver: &str, address: &str) -> Answer {
        self.probe(driver, address)?;
        let directory = self.directory(address).ok_or(Errno::ENODEV)?;
        self.bound.push((address.to_owned(), driver.to_owned()));
        self.tree.put_relative_link(&format!("{directory}/driver"), &format!("{DRIVERS}/{driver}"));
        self.tree.put_relative_link(&format!("{DRIVERS}/{driver}/{address}"), &directory);
        if is_vfio(driver) {
            let group = self.group_of(address).unwrap_or_default();
            self.tree.put_dir(&format!("{directory}/vfio-dev/vfio{group}"));
            let node = self.root.join("dev/vfio").join(group);
            let _ = std::fs::create_dir_all(self.root.join("dev/vfio"));
            let _ = std::fs::write(node, "");
        } else {
            for child in self.parked.remove(address).unwrap_or_default() {
                self.tree.put_back(child);
            }
        }
        Ok(())
    }

    /// The drivers that a function has had since the machine was switched on.
    pub fn drivers_since_boot(&self, address: &str) -> Vec<String> {
        self.bound.iter().filter(|(of, _)| of == address).map(|(_, driver)| driver.clone()).collect()
    }

    /// Takes the driver from the function; a PF's driver takes its VFs away with it.
    pub(super) fn detach(&mut self, address: &str) {
        let (Some(driver), Some(directory)) = (self.driver_of(address), self.directory(address)) else {
            return;
        };
        self.remove_vfs(address);
        self.tree.take(&format!("{directory}/driver"));
        self.tree.take(&format!("{DRIVERS}/{driver}/{address}"));
        self.tree.take(&format!("{directory}/vfio-dev"));
        for name in CLASS_DIRECTORIES {
            if let Some(child) = self.tree.take(&format!("{directory}/{name}")) {
                self.parked.entry(address.to_owned()).or_default().push(child);
            }
        }
        if is_vfio(&driver) {
            self.drop_group_node(address);
        }
    }

    /// The node of a group lives as long as a member is bound to vfio.
    fn drop_group_node(&self, address: &str) {
        let Some(group) = self.group_of(address) else { return };
        let members = self.tree.list(&format!("/sys/kernel/iommu_groups/{group}/devices"));
        if !members.iter().any(|member| self.driver_of(member).is_some_and(|driver| is_vfio(&driver))) {
            let _ = std::fs::remove_file(self.root.join("dev/vfio").join(group));
        }
    }

    /// Offers a function without a driver to every registered one; the first whose probe succeeds has it.
    pub(super) fn offer(&mut self, address: &str) {
        let names: Vec<String> = self.drivers.keys().cloned().collect();
        for driver in names {
            if self.driver_of(address).is_none() && self.may_probe(address) && self.matches(&driver, address)
            {
                let _ = self.attach(&driver, address);
            }
        }
    }

    /// `pci_device_can_probe`: an override counts for more than the PF's `sriov_drivers_autoprobe`.
    fn may_probe(&self, address: &str) -> bool {
        let Some(pf) = self.pf_of(address) else { return true };
        self.attribute(&pf, "sriov_drivers_autoprobe").is_none_or(|on| on != "0")
            || self.override_of(address).is_some()
    }

    /// A driver comes: it gets its directory and every free function that it matches.
    pub(super) fn register(&mut self, name: &str, driver: Driver) {
        if self.drivers.contains_key(name) {
            return;
        }
        let directory = format!("{DRIVERS}/{name}");
        for attribute in ["bind", "unbind", "new_id", "remove_id"] {
            self.tree.put_file(&format!("{directory}/{attribute}"), "", 0o200);
        }
        if !driver.module.is_empty() {
            let module = format!("/sys/module/{}", driver.module);
            self.tree.put_relative_link(&format!("{directory}/module"), &module);
            self.tree.put_relative_link(&format!("{module}/drivers/pci:{name}"), &directory);
        }
        self.drivers.insert(name.to_owned(), driver);
        for address in self.functions() {
            if self.driver_of(&address).is_none() && self.may_probe(&address) && self.matches(name, &address)
            {
                let _ = self.attach(name, &address);
            }
        }
    }

    pub(super) fn bind(&mut self, driver: &str, address: &str) -> Answer {
        if self.directory(address).is_none() || !self.matches(driver, address) {
            return Err(Errno::ENODEV);
        }
        if self.driver_of(address).is_some() {
            return Err(Errno::EBUSY);
        }
        if !self.may_probe(address) {
            return Err(Errno::ENODEV);
        }
        self.attach(driver, address)
    }

    pub(super) fn unbind(&mut self, driver: &str, address: &str) -> Answer {
        if self.driver_of(address).as_deref() != Some(driver) {
            return Err(Errno::ENODEV);
        }
        self.detach(address);
        Ok(())
    }

    /// Success, whatever came of it, unless there is no such function.
    pub(super) fn drivers_probe(&mut self, address: &str) -> Answer {
        if self.directory(address).is_none() {
            return Err(Errno::ENODEV);
        }
        self.offer(address);
        Ok(())
    }

    pub(super) fn new_id(&mut self, driver: &str, value: &str) -> Answer {
        let fields = hexadecimal(value);
        let [vendor, device, ..] = fields.as_slice() else { return Err(Errno::EINVAL) };
        let known = self.drivers.get_mut(driver).ok_or(Errno::ENODEV)?;
        if known.dynamic.contains(&(*vendor, *device)) {
            return Err(Errno::EEXIST);
        }
        known.dynamic.push((*vendor, *device));
        for address in self.functions() {
            if self.driver_of(&address).is_none() && self.matches(driver, &address) {
                let _ = self.attach(driver, &address);
            }
        }
        Ok(())
    }

    pub(super) fn remove_id(&mut self, driver: &str, value: &str) -> Answer {
        let fields = hexadecimal(value);
        let [vendor, device, ..] = fields.as_slice() else { return Err(Errno::EINVAL) };
        let known = self.drivers.get_mut(driver).ok_or(Errno::ENODEV)?;
        let at = known.dynamic.iter().position(|id| id == &(*vendor, *device)).ok_or(Errno::ENODEV)?;
        known.dynamic.remove(at);
        Ok(())
    }

    /// Stored and no more: nothing is unbound, loaded or probed.
    pub(super) fn override_driver(&mut self, path: &str, value: &str) -> Answer {
        if value.len() >= 4095 {
            return Err(Errno::EINVAL);
        }
        let stored = if value.is_empty() { "(null)" } else { value };
        self.tree.put_file(path, format!("{stored}\n"), 0o644);
        Ok(())
    }

    /// The drivers that are bound in the captured tree, with what they hold as the table of those that no
    /// `modules.alias` describes.
    pub(super) fn learn_drivers(&mut self) {
        for address in self.tree.list(DEVICES) {
            let Some(driver) = self.driver_of(&address) else { continue };
            let modalias = self.modalias(&address);
            if !is_vfio(&driver) {
                let module = self.tree.link_name(&format!("{DRIVERS}/{driver}/module"));
                let known = self.known_drivers.entry(driver.clone()).or_default();
                known.table.push(modalias);
                if known.module.is_empty() {
                    known.module = module.unwrap_or_default();
                }
            }
        }
        for name in self.tree.list(DRIVERS) {
            let known = self.known_drivers.get(&name).cloned().unwrap_or_default();
            let module = self.tree.link_name(&format!("{DRIVERS}/{name}/module")).unwrap_or(known.module);
            self.drivers.insert(name, Driver { module, ..known });
        }
    }
}

/// vfio-pci and its variants (drivers/vfio/pci/*/).
pub fn is_vfio(driver: &str) -> bool {
    driver == "vfio-pci" || driver.ends_with("_vfio_pci") || driver == "xe-vfio-pci"
}

fn hexadecimal(value: &str) -> Vec<u32> {
    value.split_whitespace().map_while(|field| u32::from_str_radix(field, 16).ok()).collect()
}

/// `fnmatch` with `*` alone, which is all that modules.alias has for PCI; those patterns end in one.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || pattern.ends_with('*')
}
