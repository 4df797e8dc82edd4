//! How the kernel's PCI drivers core reacts to a write (`drivers/base/bus.c`, `drivers/base/dd.c`,
//! `drivers/pci/pci-driver.c`, `drivers/vfio/pci/`), with the same error numbers.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{SimulatedHost, failed};
use crate::host::pci::{self, Function, Pci, attribute};
use crate::host::{HostError, ReadHost};
use crate::resources::ObserveError;
use crate::types::{DriverName, PciAddress};

/// Longest value that `driver_override` takes: a page less the newline and the terminating zero.
const OVERRIDE_LIMIT: usize = 4094;

impl SimulatedHost<'_> {
    /// Writes an attribute as the kernel would take it.
    pub(super) fn write_attribute(&mut self, path: &Path, value: &str) -> Result<(), HostError> {
        let canonical = self.canonical(path, true)?;
        let names: Vec<&str> = canonical.iter().filter_map(|name| name.to_str()).collect();
        let outcome = match names.as_slice() {
            ["/", "sys", "bus", "pci", "drivers_probe"] => self.drivers_probe(value),
            ["/", "sys", "bus", "pci", "drivers", driver, action @ ("bind" | "unbind")] => {
                let driver = driver.parse().map_err(|_| Errno::ENODEV);
                match (driver, *action) {
                    (Ok(driver), "bind") => self.bind(&driver, value),
                    (Ok(driver), _) => self.unbind(&driver, value),
                    (Err(errno), _) => Err(errno),
                }
            }
            ["/", "sys", "bus", "pci", "drivers", _, "new_id" | "remove_id"] => Err(Errno::EOPNOTSUPP),
            ["/", "sys", "bus", "pci", "devices", address, name] => match address.parse() {
                Ok(address) => self.write_function_attribute(address, name, value),
                Err(_) => Err(Errno::ENOENT),
            },
            _ => self.store(&canonical, value),
        };
        outcome.map_err(|errno| failed("write", path, errno))
    }

    fn write_function_attribute(
        &mut self,
        address: PciAddress,
        name: &str,
        value: &str,
    ) -> Result<(), Errno> {
        if !self.exists(&attribute(address, name)).map_err(errno_of)? {
            return Err(Errno::ENOENT);
        }
        match name {
            "driver_override" => self.set_override(address, value),
            "sriov_numvfs" => self.set_vf_count(address, value),
            "sriov_drivers_autoprobe" => {
                let on = parse_bool(value).ok_or(Errno::EINVAL)?;
                self.set(address, name, if on { "1" } else { "0" });
                Ok(())
            }
            _ => self.store(&attribute(address, name), value),
        }
    }

    /// An attribute that is not modelled keeps what is written.
    fn store(&mut self, path: &Path, value: &str) -> Result<(), Errno> {
        if !self.exists(path).map_err(errno_of)? {
            return Err(Errno::ENOENT);
        }
        self.put_file(path, format!("{value}\n"));
        Ok(())
    }

    pub(super) fn set(&mut self, address: PciAddress, name: &str, value: &str) {
        self.put_file(attribute(address, name), format!("{value}\n"));
    }

    /// Stores the override; neither unbinds nor probes.
    fn set_override(&mut self, address: PciAddress, value: &str) -> Result<(), Errno> {
        if value.len() > OVERRIDE_LIMIT {
            return Err(Errno::EINVAL);
        }
        let name = value.split('\n').next().unwrap_or_default();
        self.set(address, "driver_override", if name.is_empty() { "(null)" } else { name });
        Ok(())
    }

    /// The function that a write to a bus attribute names; only the full address does.
    fn named(&self, value: &str) -> Result<Function, Errno> {
        let address: PciAddress = value.parse().map_err(|_| Errno::ENODEV)?;
        if address.to_string() != value {
            return Err(Errno::ENODEV);
        }
        self.known(|pci| pci.function(address))?.ok_or(Errno::ENODEV)
    }

    fn unbind(&mut self, driver: &DriverName, value: &str) -> Result<(), Errno> {
        let address = self.named(value)?.address;
        if self.known(|pci| pci.driver(address))?.as_ref() != Some(driver) {
            return Err(Errno::ENODEV);
        }
        self.detach(address, driver)
    }

    fn bind(&mut self, driver: &DriverName, value: &str) -> Result<(), Errno> {
        let function = self.named(value)?;
        if !self.is_driver(driver)? {
            return Err(Errno::ENOENT);
        }
        let matched = match self.known(|pci| pci.driver_override(function.address))? {
            Some(only) => only == driver.as_str(),
            None => self.native_driver(&function)?.as_ref() == Some(driver),
        };
        if !matched {
            return Err(Errno::ENODEV);
        }
        if self.known(|pci| pci.driver(function.address))?.is_some() {
            return Err(Errno::EBUSY);
        }
        self.probe(&function, driver)
    }

    /// Succeeds whether or not a driver was found and took the function.
    fn drivers_probe(&mut self, value: &str) -> Result<(), Errno> {
        let function = self.named(value)?;
        self.find_driver(&function)
    }

    /// Looks for a driver as the kernel does when a function appears or is probed again.
    pub(super) fn find_driver(&mut self, function: &Function) -> Result<(), Errno> {
        let address = function.address;
        if self.known(|pci| pci.driver(address))?.is_some() {
            return Ok(());
        }
        let driver = match self.known(|pci| pci.driver_override(address))? {
            Some(name) => name.parse().ok(),
            None if self.may_probe(address)? => self.native_driver(function)?,
            None => None,
        };
        if let Some(driver) = driver
            && self.is_driver(&driver)?
        {
            // A probe that fails leaves the function without a driver and is not reported.
            let _refused = self.probe(function, &driver);
        }
        Ok(())
    }

    /// VFs of a PF with `sriov_drivers_autoprobe` 0 are probed only with an override (`pci_device_can_probe`).
    fn may_probe(&self, address: PciAddress) -> Result<bool, Errno> {
        let Some(pf) = self.known(|pci| pci.physfn(address))? else { return Ok(true) };
        Ok(self.known(|pci| pci.sriov(pf))?.is_none_or(|sriov| sriov.autoprobe != Some(false)))
    }

    fn probe(&mut self, function: &Function, driver: &DriverName) -> Result<(), Errno> {
        let address = function.address;
        if driver.is_vfio() {
            if self.known(|pci| pci.iommu_group(address))?.is_none() || function.is_bridge() {
                return Err(Errno::EINVAL);
            }
            if self.known(|pci| pci.sriov(address))?.is_some_and(|sriov| sriov.current > 0) {
                return Err(Errno::EBUSY);
            }
        }
        self.put_driver(address, driver);
        Ok(())
    }

    /// Takes the driver away; a PF's VFs go with it (igb, ixgbe, nvme and the others call `pci_disable_sriov`).
    pub(super) fn detach(&mut self, address: PciAddress, driver: &DriverName) -> Result<(), Errno> {
        if let Some(sriov) = self.known(|pci| pci.sriov(address))? {
            self.remove_vfs(address, sriov.current)?;
        }
        if !driver.is_vfio() {
            self.natives.insert(address, driver.clone());
        }
        self.remove(attribute(address, "driver"));
        self.remove(bound_link(driver, address));
        // Interfaces, disks and the like belong to the driver.
        for class in ["net", "nvme", "ata", "drm", "sound", "infiniband", "vfio-dev"] {
            if self.exists(&attribute(address, class)).map_err(errno_of)? {
                self.remove(attribute(address, class));
            }
        }
        Ok(())
    }

    pub(super) fn is_driver(&self, driver: &DriverName) -> Result<bool, Errno> {
        self.exists(&Path::new(pci::DRIVERS).join(driver.as_str())).map_err(errno_of)
    }

    /// Reads a fact of the simulated host; nonsense there is what the kernel would call an I/O error.
    pub(super) fn known<T>(
        &self,
        read: impl FnOnce(&Pci<'_>) -> Result<T, ObserveError>,
    ) -> Result<T, Errno> {
        read(&Pci::new(self)).map_err(errno_of_observation)
    }
}

/// The link to a function in its driver's directory.
fn bound_link(driver: &DriverName, address: PciAddress) -> PathBuf {
    Path::new(pci::DRIVERS).join(driver.as_str()).join(address.to_string())
}

/// `kstrtobool`: the first byte decides, after an `o` the second.
fn parse_bool(text: &str) -> Option<bool> {
    match text.as_bytes() {
        [b'1' | b'y' | b'Y' | b't' | b'T', ..] | [b'o' | b'O', b'n' | b'N', ..] => Some(true),
        [b'0' | b'n' | b'N' | b'f' | b'F', ..] | [b'o' | b'O', b'f' | b'F', ..] => Some(false),
        _ => None,
    }
}

/// The error number of a failed read.
pub(super) fn errno_of(error: HostError) -> Errno {
    error.source.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// The error number of a failed observation; nonsense in a file is what the kernel would call an I/O error.
pub(super) fn errno_of_observation(error: ObserveError) -> Errno {
    match error {
        ObserveError::Host(error) => errno_of(error),
        ObserveError::Malformed { .. } => Errno::EIO,
    }
}
