//! Taking over a captured machine as it runs, and booting it again.

use std::fs;

use super::{DRIVERS, Driver, Kernel};

impl Kernel {
    /// Makes the captured tree a running kernel, and works out what the hardware is without it.
    pub(super) fn take_over(&mut self) {
        self.learn_drivers();
        self.known_drivers
            .entry("vfio-pci".to_owned())
            .or_insert_with(|| Driver { module: "vfio_pci".to_owned(), ..Driver::default() });
        self.complete_attributes();
        // The hardware is what is left when everything that a kernel did is undone, on a copy.
        let running = (self.tree.clone(), self.drivers.clone(), self.parked.clone());
        for address in self.functions() {
            self.remove_vfs(&address);
            self.detach(&address);
            if let Some(directory) = self.directory(&address) {
                self.tree.put_file(&format!("{directory}/driver_override"), "(null)\n", 0o644);
                if self.tree.exists(&format!("{directory}/sriov_drivers_autoprobe")) {
                    self.tree.put_file(&format!("{directory}/sriov_drivers_autoprobe"), "1\n", 0o644);
                }
            }
        }
        for (name, driver) in self.drivers.clone() {
            if !driver.module.is_empty() {
                self.tree.take(&format!("{DRIVERS}/{name}"));
            }
        }
        for module in self.tree.list("/sys/module") {
            if self.tree.exists(&format!("/sys/module/{module}/initstate")) {
                self.tree.take(&format!("/sys/module/{module}"));
            }
        }
        self.tree.put_file("/proc/modules", "", 0o444);
        let parked;
        (self.hardware, parked) = (self.tree.clone(), self.parked.clone());
        (self.tree, self.drivers, self.parked) = running;
        self.parked_at_boot = parked;
    }

    /// Switches off and on again: the boot loader's default entry, coldplug, modules-load; then nothing has run yet
    /// that belongs to the product.
    pub fn reboot(&mut self, boot_id: &str) {
        let arguments = self.default_entry();
        self.tree = self.hardware.clone();
        self.parked = self.parked_at_boot.clone();
        self.traps.clear();
        self.bound.clear();
        if let Some(arguments) = arguments {
            self.tree.put_file("/proc/cmdline", format!("{arguments}\n"), 0o444);
        }
        self.tree.put_file("/proc/sys/kernel/random/boot_id", format!("{boot_id}\n"), 0o444);
        let builtin: Vec<String> = self.tree.list(DRIVERS);
        self.drivers = self.known_drivers.clone();
        self.drivers.retain(|name, _| builtin.contains(name));
        for address in self.functions() {
            self.offer(&address);
        }
        for address in self.functions() {
            self.coldplug(&address);
        }
        self.load_listed_modules();
        drop(self.take_events());
    }

    /// `linux` line of grub.cfg's first entry, as the kernel finds it in /proc/cmdline.
    fn default_entry(&self) -> Option<String> {
        let config = fs::read_to_string(self.root.join("boot/grub/grub.cfg")).ok()?;
        let entries = config.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
        let words = entries.into_iter().find(|words| words.first() == Some(&"linux"))?;
        let words = &words[1..];
        let (image, arguments) = words.split_first()?;
        Some(format!("BOOT_IMAGE={image} {}", arguments.join(" ")))
    }
}
