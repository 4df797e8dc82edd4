//! How VFs come and go (`drivers/pci/iov.c`, `sriov_numvfs_store`).

use nix::errno::Errno;

use super::SimulatedHost;
use super::kernel::errno_of;
use crate::host::ReadHost;
use crate::host::pci::{Function, SriovFacts, attribute, device_path};
use crate::types::{IommuGroup, PciAddress};

impl SimulatedHost<'_> {
    pub(super) fn set_vf_count(&mut self, pf: PciAddress, value: &str) -> Result<(), Errno> {
        let count = parse_u16(value).ok_or(Errno::EINVAL)?;
        let sriov = self.known(|pci| pci.sriov(pf))?.ok_or(Errno::ENOENT)?;
        if count > sriov.total {
            return Err(Errno::ERANGE);
        }
        if count == sriov.current {
            return Ok(());
        }
        let driver = self.known(|pci| pci.driver(pf))?.ok_or(Errno::ENOENT)?;
        let on_vfio = driver.is_vfio();
        if on_vfio && !self.vfio_enables_sriov()? {
            return Err(Errno::ENOENT);
        }
        if count == 0 {
            return self.remove_vfs(pf, sriov.current);
        }
        if sriov.current != 0 {
            return Err(Errno::EBUSY);
        }
        let parent = self.known(|pci| pci.function(pf))?.ok_or(Errno::ENODEV)?;
        self.set(pf, "sriov_numvfs", &count.to_string());
        let mut vfs = Vec::new();
        for index in 0..count {
            let vf = self.add_vf(&parent, &sriov, index, on_vfio)?;
            self.find_driver(&vf)?;
            vfs.push(vf);
        }
        self.autoload(&vfs)
    }

    fn vfio_enables_sriov(&self) -> Result<bool, Errno> {
        let path = std::path::Path::new("/sys/module/vfio_pci/parameters/enable_sriov");
        Ok(self.text(path).map_err(errno_of)?.as_deref() == Some("Y"))
    }

    /// The VF's address is the PF's routing id and `offset + index * stride`, possibly on a later bus.
    fn add_vf(
        &mut self,
        pf: &Function,
        sriov: &SriovFacts,
        index: u16,
        on_vfio: bool,
    ) -> Result<Function, Errno> {
        let distance = index
            .checked_mul(sriov.stride.unwrap_or(1))
            .and_then(|distance| distance.checked_add(sriov.offset.unwrap_or(1)));
        let routing_id = distance
            .and_then(|distance| pf.address.routing_id().checked_add(distance))
            .ok_or(Errno::ENOMEM)?;
        let address = PciAddress::from_routing_id(pf.address.domain, routing_id);
        let device = self.text(&attribute(pf.address, "sriov_vf_device")).map_err(errno_of)?;
        let device = device.and_then(|text| u16::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        let mut vf = Function { address, ..*pf };
        vf.id.device = device.unwrap_or(pf.id.device);

        self.put_function(&vf);
        if on_vfio {
            // VFs of a PF on vfio-pci get its override (`vfio_pci_bus_notifier`).
            self.set(address, "driver_override", "vfio-pci");
        }
        if let Some(node) = self.text(&attribute(pf.address, "numa_node")).map_err(errno_of)? {
            self.set(address, "numa_node", &node);
        }
        self.put_link(attribute(address, "physfn"), device_path(pf.address));
        self.put_link(attribute(pf.address, &format!("virtfn{index}")), device_path(address));
        if self.known(|pci| pci.iommu_group(pf.address))?.is_some() {
            // The kernel will choose a number; until then the group has only this name.
            self.put_in_group(address, IommuGroup::Of(address));
        }
        Ok(vf)
    }

    pub(super) fn remove_vfs(&mut self, pf: PciAddress, count: u16) -> Result<(), Errno> {
        for index in 0..count {
            if let Some(vf) = self.known(|pci| pci.vf(pf, index))? {
                if let Some(driver) = self.known(|pci| pci.driver(vf))? {
                    self.detach(vf, &driver)?;
                }
                self.natives.remove(&vf);
                if let Some(group) = self.known(|pci| pci.iommu_group(vf))? {
                    self.remove(format!("/sys/kernel/iommu_groups/{group}/devices/{vf}"));
                }
                self.remove(device_path(vf));
            }
            self.remove(attribute(pf, &format!("virtfn{index}")));
        }
        if count > 0 {
            self.set(pf, "sriov_numvfs", "0");
        }
        Ok(())
    }
}

/// `kstrtou16` with base 0: decimal, `0x` hexadecimal or octal after a leading zero; a plus sign is taken.
fn parse_u16(text: &str) -> Option<u16> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u16::from_str_radix(digits, radix).ok() } else { None }
}
