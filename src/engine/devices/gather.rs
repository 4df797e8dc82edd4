//! Gathers the facts: only of functions that the document concerns, a full scan only for ids and filters.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use super::{Devices, FunctionFacts, Resolved, several};
use crate::document::Document;
use crate::facts::iommu::Iommu;
use crate::guard::{self, Loss};
use crate::host::pci::{Known, described};
use crate::host::{Pci, Reach, ReadHost, Users};
use crate::plan::{Reason, Warning};
use crate::resources::ObserveError;
use crate::types::{DeviceRef, Entry, PciAddress, PinnedDevice, Selector};

impl Devices {
    /// Looks up every function that `document` names; `earlier` is what an earlier round of the same run found out.
    ///
    /// # Errors
    /// When the host's list of functions cannot be read. A single function that cannot be read is
    /// [`Resolved::Missing`].
    pub fn gather(
        document: &Document,
        host: &dyn ReadHost,
        earlier: Option<Known>,
    ) -> Result<Self, ObserveError> {
        let named = named_devices(document);
        let ids = document.vfio_pci.as_ref().and_then(|vfio| vfio.ids.as_deref()).unwrap_or_default();
        let mut devices = Self::default();
        if named.is_empty() && ids.is_empty() {
            return Ok(devices);
        }
        let pci = Pci::new(host).after(earlier.unwrap_or_default());
        devices.shown = pci.is_present()?;
        // It only explains why a function has no group: where it cannot be read, nothing is explained.
        devices.running_args = host.text(Path::new("/proc/cmdline")).ok().flatten().unwrap_or_default();
        for entry in &named {
            let resolved = devices.look_up(&pci, &entry.value.device)?;
            if let Resolved::One(address) | Resolved::VfAbsent { pf: address, .. } = resolved {
                devices.concern(&pci, address);
            }
            devices.resolved.insert(entry.value.device, resolved);
        }
        for entry in ids {
            let scan = pci.scan()?;
            let matched = scan.functions.iter().filter(|f| entry.value.matches(f.id, f.subsystem, f.class));
            let matched: Vec<PciAddress> = matched.map(|function| function.address).collect();
            for address in &matched {
                devices.concern(&pci, *address);
            }
            devices.matched.insert(entry.value, matched);
            for (address, problem) in &scan.broken {
                devices.warn(*address, problem);
            }
        }
        for entry in document.sriov.iter().flatten() {
            if let Resolved::One(pf) = devices.resolve(&entry.value.device.device) {
                let vfs = devices.function(pf).map(|facts| facts.vfs.clone()).unwrap_or_default();
                for vf in vfs.into_iter().flatten() {
                    devices.concern(&pci, vf);
                }
            }
        }
        for entry in &named {
            devices.check_pin(&pci, entry)?;
        }
        devices.warn_of_twins(&pci, &named)?;
        devices.consent(document);
        devices.find_users(document, host);
        devices.find_owners(document, host);
        devices.judge_groups(document, &pci, host)?;
        if devices.functions.values().any(|facts| facts.group.is_none()) {
            devices.iommu_off = Iommu::read(host)?.is_off_because();
        }
        devices.warnings.sort();
        devices.warnings.dedup();
        devices.known = pci.into_known(devices.functions.values().map(|facts| facts.function).collect());
        Ok(devices)
    }

    /// Looks for users of the functions that `vfio_pci` gives away and that a native driver still has.
    fn find_users(&mut self, document: &Document, host: &dyn ReadHost) {
        let entries = document.vfio_pci.iter().flat_map(|vfio| vfio.devices.iter().flatten());
        let named = entries.filter_map(|entry| match self.resolve(&entry.value.device) {
            Resolved::One(address) => Some(address),
            _ => None,
        });
        let given: BTreeSet<PciAddress> = named.chain(self.matched.values().flatten().copied()).collect();
        let has_native = |address: &PciAddress| {
            let facts = self.functions.get(address);
            facts.and_then(|facts| facts.driver.as_ref()).is_some_and(|driver| !driver.is_vfio())
        };
        // A tree may lack what tells; what is to be made live there is the machine's own decision.
        let counts = |loss: &Loss| host.reach() == Reach::Machine || guard::is_certain(loss);
        let mut users = Users::new(host);
        for address in given.iter().copied().filter(has_native) {
            let mut losses = guard::losses_of(address, &mut users);
            losses.retain(counts);
            let text = format!("{address} would go from its own driver to vfio-pci");
            let link = vec![Reason::new("takes-function", text)];
            match self.consents.weigh(address.to_string(), link, &losses) {
                Ok(allowed) => self.allowed.extend(allowed),
                Err(objection) => {
                    self.in_use.insert(address, *objection);
                }
            }
        }
    }

    /// Takes in what the document allows. An entry whose function is not there, or is another card, allows nothing.
    fn consent(&mut self, document: &Document) {
        for entry in &document.allow {
            let device = &entry.value.device;
            let pinned = self
                .objection(device)
                .map(|_| Reason::new("pin-mismatch", format!("another card sits at {device}")));
            let why = match (self.resolve(&device.device), pinned) {
                (Resolved::One(_), Some(reason)) => reason,
                (Resolved::One(function), None) => {
                    self.consents.add(function, entry);
                    continue;
                }
                // The machine that the tree becomes will know.
                (Resolved::Missing(reason), _) if reason.code == "no-inventory" => continue,
                (Resolved::Missing(reason), _) => reason,
                (Resolved::Several(matched), _) => several(&device.to_string(), &matched),
                // A VF that is to come has nothing to lose yet.
                (Resolved::VfAbsent { .. }, _) => continue,
            };
            let text = format!("it allows nothing: {}", why.text);
            let reason =
                Reason { remedy: why.remedy, ..Reason::new("allows-nothing", text).at(&entry.place) };
            self.warnings.push(Warning {
                resource: Cow::Borrowed("allow"),
                subject: device.to_string(),
                reason,
            });
        }
    }

    fn look_up(&self, pci: &Pci<'_>, device: &DeviceRef) -> Result<Resolved, ObserveError> {
        match device {
            DeviceRef::Function(selector) => self.select(pci, selector),
            DeviceRef::Vf { pf, vf } => {
                let pf = match self.select(pci, pf)? {
                    Resolved::One(pf) => pf,
                    other => return Ok(other),
                };
                Ok(vf_of(pci, pf, *vf).unwrap_or_else(|error| unreadable(pf, &error)))
            }
        }
    }

    fn select(&self, pci: &Pci<'_>, selector: &Selector) -> Result<Resolved, ObserveError> {
        let filter = match selector {
            Selector::Address(address) => {
                return Ok(match pci.function(*address) {
                    Ok(Some(_)) => Resolved::One(*address),
                    Ok(None) if self.shown => Resolved::Missing(
                        Reason::new("missing-function", format!("this host has no function {address}"))
                            .remedy(format!("check the card and its address with `reconcile devices`, then run again; or take {address} out of the document")),
                    ),
                    Ok(None) => Resolved::Missing(no_inventory(selector)),
                    Err(error) => unreadable(*address, &error),
                });
            }
            Selector::Filter(filter) => filter,
        };
        let scan = pci.scan()?;
        if let Some((address, problem)) = scan.broken.first() {
            let text = format!(
                "nobody can tell whether {filter} matches {address}, which cannot be read: {problem}"
            );
            return Ok(Resolved::Missing(Reason::new("unreadable-function", text)));
        }
        let matched = scan.functions.iter().filter(|function| filter.matches(function.id, function.class));
        let matched: Vec<PciAddress> = matched.map(|function| function.address).collect();
        Ok(match matched.as_slice() {
            [one] => Resolved::One(*one),
            [] if self.shown => Resolved::Missing(
                Reason::new(
                    "missing-function",
                    format!("no function of this host matches the filter {filter}"),
                )
                .remedy("compare the filter with `reconcile devices`"),
            ),
            [] => Resolved::Missing(no_inventory(selector)),
            _ => Resolved::Several(matched),
        })
    }

    /// Reads the facts of a function, of those in its group, of its PF and of its VFs.
    fn concern(&mut self, pci: &Pci<'_>, address: PciAddress) {
        let Some(facts) = self.add(pci, address) else { return };
        let (group, near) =
            (facts.group, facts.physfn.into_iter().chain(facts.vfs.iter().flatten().copied()));
        let mut near: Vec<PciAddress> = near.collect();
        if let Some(group) = group.filter(|group| !self.groups.contains_key(group)) {
            match pci.group_members(group) {
                Ok(members) => {
                    near.extend(&members);
                    self.groups.insert(group, members);
                }
                Err(error) => self.warn(address, &described(&error)),
            }
        }
        for other in near {
            self.add(pci, other);
        }
    }

    fn add(&mut self, pci: &Pci<'_>, address: PciAddress) -> Option<&FunctionFacts> {
        let known = self.functions.contains_key(&address);
        match if known { Ok(None) } else { FunctionFacts::read(pci, address) } {
            Ok(None) => {}
            Ok(Some(facts)) => {
                self.functions.insert(address, facts);
            }
            Err(error) => self.warn(address, &described(&error)),
        }
        self.functions.get(&address)
    }

    fn warn(&mut self, address: PciAddress, problem: &str) {
        self.warnings.push(Warning {
            resource: Cow::Borrowed("bindings"),
            subject: address.to_string(),
            reason: Reason::new("unreadable-function", format!("{address} is left out: {problem}")),
        });
    }
}

/// Every entry that names a function.
fn named_devices(document: &Document) -> Vec<Entry<PinnedDevice>> {
    let devices = document.vfio_pci.iter().filter_map(|vfio| vfio.devices.as_deref()).flatten().cloned();
    let sriov = document.sriov.iter().flatten();
    let pfs = sriov.map(|entry| Entry::new(entry.value.device.clone(), entry.place.clone()));
    let consents = document.allow.iter();
    let consents = consents.map(|entry| Entry::new(entry.value.device.clone(), entry.place.clone()));
    devices.chain(pfs).chain(consents).collect()
}

fn vf_of(pci: &Pci<'_>, pf: PciAddress, vf: u16) -> Result<Resolved, ObserveError> {
    let Some(sriov) = pci.sriov(pf)? else {
        let text = format!("{pf} cannot have VFs: it has no SR-IOV capability, or its firmware turns it off");
        return Ok(Resolved::Missing(Reason::new("not-a-pf", text)));
    };
    if vf >= sriov.total {
        let text = format!("{pf} can have {} VFs, so there is no VF {vf} (they count from 0)", sriov.total);
        return Ok(Resolved::Missing(Reason::new("vf-out-of-range", text)));
    }
    Ok(pci.vf(pf, vf)?.map_or(Resolved::VfAbsent { pf, vf }, Resolved::One))
}

impl FunctionFacts {
    /// Reads the facts of one function; `None` where there is none.
    ///
    /// # Errors
    /// When one of them cannot be read or makes no sense.
    pub fn read(pci: &Pci<'_>, address: PciAddress) -> Result<Option<Self>, ObserveError> {
        let Some(function) = pci.function(address)? else { return Ok(None) };
        pci.check_identity(&function)?;
        let sriov = pci.sriov(address)?;
        Ok(Some(Self {
            function,
            driver: pci.driver(address)?,
            driver_override: pci.driver_override(address)?,
            group: pci.iommu_group(address)?,
            sriov,
            vfs: pci.vfs(address, sriov.map_or(0, |sriov| sriov.current))?,
            physfn: pci.physfn(address)?,
            bridges: pci.bridges(address)?,
        }))
    }
}

fn unreadable(address: PciAddress, error: &ObserveError) -> Resolved {
    let text = format!("{address} cannot be read: {}", described(error));
    Resolved::Missing(Reason::new("unreadable-function", text))
}

fn no_inventory(selector: &Selector) -> Reason {
    let text = format!("this tree has no /sys/bus/pci/devices, so {selector} is looked up when it runs");
    Reason::new("no-inventory", text)
}
