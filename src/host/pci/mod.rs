//! The PCI inventory: facts about functions, read from `/sys/bus/pci` only when somebody asks.
//!
//! A document that names addresses causes reads of those functions, their group members, the bridges above them and
//! their PF and VFs, nothing else. [`Pci::scan`] is the only call that touches every function, with one attribute
//! each (`modalias` holds vendor, device, subsystem and class).

mod capabilities;
mod function;
mod identity;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

pub use function::Function;

use super::ReadHost;
use crate::resources::ObserveError;
use crate::types::{DriverName, IommuGroup, PciAddress};

/// The directory of all functions.
pub const DEVICES: &str = "/sys/bus/pci/devices";
/// The directory of all PCI drivers.
pub const DRIVERS: &str = "/sys/bus/pci/drivers";
/// Makes the kernel look for a driver for the function whose address is written.
pub const DRIVERS_PROBE: &str = "/sys/bus/pci/drivers_probe";

/// The directory of one function.
pub fn device_path(address: PciAddress) -> PathBuf {
    Path::new(DEVICES).join(address.to_string())
}

/// An attribute or link of one function.
pub fn attribute(address: PciAddress, name: &str) -> PathBuf {
    device_path(address).join(name)
}

/// The SR-IOV attributes of a PF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SriovFacts {
    /// The highest VF count that the function (or its driver) allows.
    pub total: u16,
    /// VF count now.
    pub current: u16,
    /// Whether new VFs are probed; `None` before Linux 4.12, which always probes them.
    pub autoprobe: Option<bool>,
    /// Distance from the PF's routing id to the first VF's; may change with the count.
    pub offset: Option<u16>,
    /// Distance between VFs; may change with the count.
    pub stride: Option<u16>,
}

/// Every function of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Sorted by address.
    pub functions: Vec<Function>,
    /// Functions whose identity cannot be read, with the problem.
    pub broken: Vec<(PciAddress, String)>,
}

impl Scan {
    /// The function at `address`.
    fn function(&self, address: PciAddress) -> Option<&Function> {
        let at = self.functions.binary_search_by_key(&address, |function| function.address).ok()?;
        self.functions.get(at)
    }
}

/// What one look has found out for the next one of the same run: what a function is does not change while it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Every function, where it was necessary to look at all of them.
    scan: Option<Arc<Scan>>,
    /// The functions whose attributes all say the same.
    checked: Arc<BTreeSet<Function>>,
}

/// The inventory of one round: what was read once is not read again.
pub struct Pci<'h> {
    host: &'h dyn ReadHost,
    functions: RefCell<BTreeMap<PciAddress, Option<Function>>>,
    scan: OnceCell<Arc<Scan>>,
    earlier: Known,
}

impl fmt::Debug for Pci<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pci").field("functions", &self.functions).finish_non_exhaustive()
    }
}

impl<'h> Pci<'h> {
    /// An inventory of `host` in which nothing has been read yet.
    pub fn new(host: &'h dyn ReadHost) -> Self {
        Self { host, functions: RefCell::default(), scan: OnceCell::new(), earlier: Known::default() }
    }

    /// An inventory that takes what functions are, as far as they are still there, from an earlier look of the same run.
    #[must_use]
    pub fn after(mut self, earlier: Known) -> Self {
        self.earlier = earlier;
        self
    }

    /// For the next look: the scan, if one was necessary, and these functions, which were [checked](Self::check_identity).
    pub fn into_known(self, checked: BTreeSet<Function>) -> Known {
        Known { scan: self.scan.into_inner().or(self.earlier.scan), checked: Arc::new(checked) }
    }

    /// The function at `address`; `None` where there is none.
    ///
    /// # Errors
    /// When its attributes cannot be read or make no sense.
    pub fn function(&self, address: PciAddress) -> Result<Option<Function>, ObserveError> {
        if let Some(known) = self.functions.borrow().get(&address) {
            return Ok(*known);
        }
        let found = self.read_function(address)?;
        self.functions.borrow_mut().insert(address, found);
        Ok(found)
    }

    /// All functions, in the order of their addresses.
    ///
    /// # Errors
    /// When the directory cannot be read; a function that cannot be read is in [`Scan::broken`].
    pub fn scan(&self) -> Result<&Scan, ObserveError> {
        if let Some(scan) = self.scan.get() {
            return Ok(scan);
        }
        let names = self.host.list(Path::new(DEVICES))?.unwrap_or_default();
        let mut scan = Scan { functions: Vec::with_capacity(names.len()), broken: Vec::new() };
        for address in names.iter().filter_map(|name| name.parse().ok()) {
            if let Some(known) = self.earlier.scan.as_ref().and_then(|scan| scan.function(address)) {
                scan.functions.push(*known);
                continue;
            }
            match self.read_function(address) {
                Ok(function) => scan.functions.extend(function),
                Err(error) => scan.broken.push((address, described(&error))),
            }
        }
        scan.functions.sort_unstable();
        scan.broken.sort_unstable();
        Ok(self.scan.get_or_init(|| Arc::new(scan)))
    }

    /// Whether this host shows PCI functions at all; a tree that is an image being built does not.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn is_present(&self) -> Result<bool, ObserveError> {
        Ok(self.host.exists(Path::new(DEVICES))?)
    }

    /// The driver that the function is bound to.
    ///
    /// # Errors
    /// When the link cannot be read or names no driver.
    pub fn driver(&self, address: PciAddress) -> Result<Option<DriverName>, ObserveError> {
        let path = attribute(address, "driver");
        let name = self.host.link_name(&path)?;
        name.map(|name| name.parse().map_err(|error: crate::types::Invalid| malformed(&path, error.problem)))
            .transpose()
    }

    /// The driver that alone may bind the function; `None` where any may.
    ///
    /// # Errors
    /// When the attribute cannot be read.
    pub fn driver_override(&self, address: PciAddress) -> Result<Option<String>, ObserveError> {
        let text = self.host.text(&attribute(address, "driver_override"))?;
        // The kernel prints a null pointer where nothing is set.
        Ok(text.filter(|text| !text.is_empty() && text != "(null)"))
    }

    /// The function's IOMMU group; `None` where it is in none, as without an IOMMU.
    ///
    /// # Errors
    /// When the link cannot be read or names no group.
    pub fn iommu_group(&self, address: PciAddress) -> Result<Option<IommuGroup>, ObserveError> {
        let path = attribute(address, "iommu_group");
        let Some(name) = self.host.link_name(&path)? else { return Ok(None) };
        match IommuGroup::from_link_name(&name) {
            Some(group) => Ok(Some(group)),
            None => Err(malformed(&path, format!("\"{name}\" is not a group's number"))),
        }
    }

    /// The PCI functions of a group, in the order of their addresses.
    ///
    /// # Errors
    /// When the group's directory cannot be read.
    pub fn group_members(&self, group: IommuGroup) -> Result<Vec<PciAddress>, ObserveError> {
        let number = match group {
            IommuGroup::Number(number) => number,
            IommuGroup::Of(function) => return Ok(vec![function]),
        };
        let path = PathBuf::from(format!("/sys/kernel/iommu_groups/{number}/devices"));
        let names = self.host.list(&path)?.unwrap_or_default();
        // Groups also hold devices of other buses.
        let mut members: Vec<PciAddress> = names.iter().filter_map(|name| name.parse().ok()).collect();
        members.sort_unstable();
        Ok(members)
    }

    /// The SR-IOV attributes; `None` where the function cannot have VFs.
    ///
    /// # Errors
    /// When an attribute cannot be read or is no number.
    pub fn sriov(&self, address: PciAddress) -> Result<Option<SriovFacts>, ObserveError> {
        let Some(total) = self.number(address, "sriov_totalvfs")? else { return Ok(None) };
        let path = attribute(address, "sriov_drivers_autoprobe");
        let autoprobe = match self.host.text(&path)?.as_deref() {
            None => None,
            Some("1" | "Y") => Some(true),
            Some("0" | "N") => Some(false),
            Some(text) => return Err(malformed(&path, format!("\"{text}\" is neither 0 nor 1"))),
        };
        Ok(Some(SriovFacts {
            total,
            current: self.number(address, "sriov_numvfs")?.unwrap_or(0),
            autoprobe,
            offset: self.number(address, "sriov_offset")?,
            stride: self.number(address, "sriov_stride")?,
        }))
    }

    /// The VFs of a PF by index; `None` at an index whose link is missing.
    ///
    /// # Errors
    /// When a link cannot be read or names no function.
    pub fn vfs(&self, pf: PciAddress, count: u16) -> Result<Vec<Option<PciAddress>>, ObserveError> {
        (0..count).map(|vf| self.vf(pf, vf)).collect()
    }

    /// The function and, of a PF, its VFs; also those that are being removed, which lose the links to their PF and their
    /// driver before that has let go of them (`pci_iov_remove_virtfn` in drivers/pci/iov.c): they still sit beside their PF
    /// and have its vendor. What cannot be read is left out.
    pub fn with_vfs(&self, function: PciAddress) -> Vec<PciAddress> {
        let there = |address, name| self.host.exists(&attribute(address, name)).is_ok_and(|there| there);
        let mut functions = vec![function];
        if !there(function, "sriov_totalvfs") {
            return functions;
        }
        let beside =
            |address| Some(self.host.read_link(&device_path(address)).ok()??.parent()?.to_path_buf());
        let vendor = |address| self.host.text(&attribute(address, "vendor")).ok().flatten();
        let belongs = |other: &PciAddress| match self.physfn(*other) {
            Ok(Some(pf)) => pf == function,
            _ => {
                *other != function
                    && beside(*other).is_some_and(|place| beside(function) == Some(place))
                    && !there(*other, "driver")
                    && vendor(*other) == vendor(function)
            }
        };
        let names = self.host.list(Path::new(DEVICES)).ok().flatten().unwrap_or_default();
        functions.extend(names.iter().filter_map(|name| name.parse().ok()).filter(belongs));
        functions
    }

    /// The VF with index `vf` of `pf`; `None` while it does not exist.
    ///
    /// # Errors
    /// When the link cannot be read or names no function.
    pub fn vf(&self, pf: PciAddress, vf: u16) -> Result<Option<PciAddress>, ObserveError> {
        self.address_link(pf, &format!("virtfn{vf}"))
    }

    /// The PF of a VF; `None` for any other function.
    ///
    /// # Errors
    /// When the link cannot be read or names no function.
    pub fn physfn(&self, address: PciAddress) -> Result<Option<PciAddress>, ObserveError> {
        self.address_link(address, "physfn")
    }

    /// The bridges above the function, from the root down; empty where the tree does not tell.
    ///
    /// # Errors
    /// When the link cannot be read.
    pub fn bridges(&self, address: PciAddress) -> Result<Vec<PciAddress>, ObserveError> {
        let Some(target) = self.host.read_link(&device_path(address))? else { return Ok(Vec::new()) };
        let above = target.parent().unwrap_or(Path::new(""));
        Ok(above.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    /// The NUMA node; `None` where the firmware names none (`-1`).
    ///
    /// # Errors
    /// When the attribute cannot be read.
    pub fn numa_node(&self, address: PciAddress) -> Result<Option<u32>, ObserveError> {
        let text = self.host.text(&attribute(address, "numa_node"))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    fn read_function(&self, address: PciAddress) -> Result<Option<Function>, ObserveError> {
        let path = attribute(address, "modalias");
        if let Some(text) = self.host.text(&path)? {
            let function = Function::from_modalias(address, &text);
            return function.map(Some).ok_or_else(|| malformed(&path, format!("\"{text}\" is no PCI alias")));
        }
        let path = attribute(address, "uevent");
        if let Some(function) = self.host.text(&path)?.and_then(|text| Function::from_uevent(address, &text))
        {
            return Ok(Some(function));
        }
        let Some(vendor) = self.hex_field(address, "vendor")? else {
            // A directory without any of these is a function that cannot be judged, not a missing one.
            return if self.host.exists(&device_path(address))? {
                Err(malformed(&device_path(address), "none of modalias, uevent and vendor can be read"))
            } else {
                Ok(None)
            };
        };
        let required = |name: &str| {
            let value = self.hex_field(address, name)?;
            value.ok_or_else(|| malformed(&attribute(address, name), "is missing"))
        };
        let (device, class) = (required("device")?, required("class")?);
        let subvendor = self.hex_field(address, "subsystem_vendor")?.unwrap_or(0);
        let subdevice = self.hex_field(address, "subsystem_device")?.unwrap_or(0);
        let wide = || malformed(&device_path(address), "an id does not fit 16 bits");
        Ok(Some(Function {
            address,
            id: function::id(vendor, device).ok_or_else(wide)?,
            subsystem: function::subsystem(subvendor, subdevice).ok_or_else(wide)?,
            class,
        }))
    }

    /// Checks that a function's separate attributes say what its `modalias` says; a tree may hold the latter alone.
    /// Read only for functions that something is to be done with.
    ///
    /// # Errors
    /// When one of them is missing, cannot be read or says something else: the tree is half written.
    pub fn check_identity(&self, function: &Function) -> Result<(), ObserveError> {
        if self.earlier.checked.contains(function) {
            return Ok(());
        }
        let address = function.address;
        let fields = [
            ("vendor", u32::from(function.id.vendor)),
            ("device", u32::from(function.id.device)),
            ("class", function.class),
        ];
        let mut read = Vec::new();
        for (name, expected) in fields {
            read.push((name, expected, self.hex_field(address, name)?));
        }
        if read.iter().all(|(_, _, found)| found.is_none()) {
            return Ok(());
        }
        match read.into_iter().find(|(_, expected, found)| *found != Some(*expected)) {
            Some((name, _, None)) => Err(malformed(&attribute(address, name), "is missing")),
            Some((name, expected, Some(found))) => Err(malformed(
                &attribute(address, name),
                format!("says {found:#06x} where modalias says {expected:#06x}"),
            )),
            None => Ok(()),
        }
    }

    fn hex_field(&self, address: PciAddress, name: &str) -> Result<Option<u32>, ObserveError> {
        let path = attribute(address, name);
        let Some(text) = self.host.text(&path)? else { return Ok(None) };
        let value = text.strip_prefix("0x").and_then(function::hex);
        value.map(Some).ok_or_else(|| malformed(&path, format!("\"{text}\" is no hexadecimal number")))
    }

    fn number<T: FromStr>(&self, address: PciAddress, name: &str) -> Result<Option<T>, ObserveError> {
        let path = attribute(address, name);
        let Some(text) = self.host.text(&path)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| malformed(&path, format!("\"{text}\" is no number in range")))
    }

    fn address_link(&self, address: PciAddress, name: &str) -> Result<Option<PciAddress>, ObserveError> {
        let path = attribute(address, name);
        let Some(target) = self.host.link_name(&path)? else { return Ok(None) };
        target
            .parse()
            .map(Some)
            .map_err(|_| malformed(&path, format!("\"{target}\" is not the address of a function")))
    }
}

/// An error and its causes in one line.
pub(crate) fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn malformed(path: &Path, problem: impl Into<String>) -> ObserveError {
    ObserveError::Malformed { subject: path.display().to_string(), problem: problem.into() }
}

#[cfg(test)]
mod tests;
