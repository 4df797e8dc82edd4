//! Virtual functions (drivers/pci/iov.c).

use nix::errno::Errno;

use super::drivers::is_vfio;
use super::{Answer, DEVICES, Kernel};

impl Kernel {
    /// The VFs of a PF, in their order.
    pub fn vfs(&self, pf: &str) -> Vec<String> {
        let Some(directory) = self.directory(pf) else { return Vec::new() };
        (0..u16::MAX).map_while(|index| self.tree.link_name(&format!("{directory}/virtfn{index}"))).collect()
    }

    /// The PF of a VF.
    pub(super) fn pf_of(&self, address: &str) -> Option<String> {
        self.tree.link_name(&format!("{}/physfn", self.directory(address)?))
    }

    pub(super) fn set_autoprobe(&mut self, path: &str, value: &str) -> Answer {
        // kstrtobool looks at the first character (the second after an `o`).
        let on = match value.to_ascii_lowercase().as_bytes() {
            [b'1' | b'y' | b't', ..] | [b'o', b'n', ..] => "1\n",
            [b'0' | b'n' | b'f', ..] | [b'o', b'f', ..] => "0\n",
            _ => return Err(Errno::EINVAL),
        };
        self.tree.put_file(path, on, 0o644);
        Ok(())
    }

    /// `sriov_numvfs_store`.
    pub(super) fn set_numvfs(&mut self, pf: &str, value: &str) -> Answer {
        let number = |name: &str| self.attribute(pf, name).and_then(|text| text.parse::<u16>().ok());
        let wanted = kstrtou16(value).ok_or(Errno::EINVAL)?;
        if wanted > number("sriov_totalvfs").unwrap_or_default() {
            return Err(Errno::ERANGE);
        }
        let now = number("sriov_numvfs").unwrap_or_default();
        if wanted == now {
            return Ok(());
        }
        // Neither a PF without driver nor one on vfio-pci (without enable_sriov) has `sriov_configure`.
        if self.driver_of(pf).is_none_or(|driver| is_vfio(&driver)) {
            return Err(Errno::ENOENT);
        }
        if wanted == 0 {
            self.remove_vfs(pf);
            return Ok(());
        }
        if now != 0 {
            return Err(Errno::EBUSY);
        }
        let count = self.vf_limits.get(pf).map_or(wanted, |most| wanted.min(*most));
        self.add_vfs(pf, count);
        Ok(())
    }

    fn add_vfs(&mut self, pf: &str, count: u16) {
        let Some(directory) = self.directory(pf) else { return };
        let number = |name: &str, default: u32| {
            self.attribute(pf, name).and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let (offset, stride) = (number("sriov_offset", 1), number("sriov_stride", 1));
        self.tree.put_file(&format!("{directory}/sriov_numvfs"), format!("{count}\n"), 0o644);
        for index in 0..count {
            let address = routed(pf, offset + u32::from(index) * stride);
            self.add_vf(pf, &directory, index, &address);
        }
    }

    fn add_vf(&mut self, pf: &str, pf_directory: &str, index: u16, address: &str) {
        let (above, _) = pf_directory.rsplit_once('/').unwrap_or_default();
        let vf = format!("{above}/{address}");
        let device = self.attribute(pf, "sriov_vf_device");
        for name in ["vendor", "subsystem_vendor", "subsystem_device", "class", "revision", "numa_node"] {
            if let Some(value) = self.attribute(pf, name) {
                self.tree.put_file(&format!("{vf}/{name}"), format!("{value}\n"), 0o444);
            }
        }
        let device = device.or_else(|| self.attribute(pf, "device")).unwrap_or_default();
        let device = device.trim_start_matches("0x");
        self.tree.put_file(&format!("{vf}/device"), format!("0x{device}\n"), 0o444);
        self.tree.put_file(&format!("{vf}/driver_override"), "(null)\n", 0o644);
        self.tree.put_file(&format!("{vf}/enable"), "0\n", 0o644);
        self.tree.put_relative_link(&format!("{vf}/physfn"), pf_directory);
        self.tree.put_relative_link(&format!("{vf}/subsystem"), "/sys/bus/pci");
        self.tree.put_relative_link(&format!("{pf_directory}/virtfn{index}"), &vf);
        if vf != format!("{DEVICES}/{address}") {
            self.tree.put_relative_link(&format!("{DEVICES}/{address}"), &vf);
        }
        if self.group_of(pf).is_some() {
            let groups = self.tree.list("/sys/kernel/iommu_groups");
            let highest = groups.iter().filter_map(|group| group.parse::<u32>().ok()).max();
            let number = highest.map_or(0, |highest| highest + 1).max(self.next_group);
            let group = format!("/sys/kernel/iommu_groups/{number}");
            self.tree.put_relative_link(&format!("{group}/devices/{address}"), &vf);
            self.tree.put_file(&format!("{group}/type"), "DMA-FQ\n", 0o644);
            self.tree.put_relative_link(&format!("{vf}/iommu_group"), &group);
        }
        let modalias = self.modalias(address);
        self.tree.put_file(&format!("{vf}/modalias"), format!("{modalias}\n"), 0o444);
        // The kernel probes with what is loaded before udev has read the event and loads what the alias names.
        self.offer(address);
        self.coldplug(address);
    }

    pub(super) fn remove_vfs(&mut self, pf: &str) {
        let Some(directory) = self.directory(pf) else { return };
        for (index, vf) in self.vfs(pf).into_iter().enumerate() {
            self.detach(&vf);
            self.vanish(&vf);
            self.tree.take(&format!("{directory}/virtfn{index}"));
        }
        if self.tree.exists(&format!("{directory}/sriov_numvfs")) {
            self.tree.put_file(&format!("{directory}/sriov_numvfs"), "0\n", 0o644);
        }
    }
}

/// `kstrtou16` with base 0.
fn kstrtou16(text: &str) -> Option<u16> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) { None } else { u16::from_str_radix(digits, base).ok() }
}

/// The address `distance` routing ids after `address`.
fn routed(address: &str, distance: u32) -> String {
    let (domain, rest) = address.split_once(':').unwrap_or_default();
    let hex = |text: &str| u32::from_str_radix(text, 16).unwrap_or_default();
    let (bus, rest) = rest.split_once(':').unwrap_or_default();
    let (slot, function) = rest.split_once('.').unwrap_or_default();
    let id = (hex(bus) << 8 | hex(slot) << 3 | hex(function)) + distance;
    format!("{domain}:{:02x}:{:02x}.{}", id >> 8, id >> 3 & 0x1f, id & 7)
}
