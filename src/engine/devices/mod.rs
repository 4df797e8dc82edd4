//! What is known about the functions that a document concerns: which function each entry means, what those functions
//! are bound to, who shares their IOMMU groups.

mod gather;
mod group;
mod handed;
mod others;
mod pins;
mod viable;

use std::collections::BTreeMap;

pub use group::GroupUnknown;
pub(crate) use handed::several;
pub use handed::{Claim, Handed, Target, claims, handed_to_vfio, refused_ids};

use crate::guard::Consents;
use crate::host::pci::{Function, Known, SriovFacts};
use crate::owners::{self, OwnerReport};
use crate::plan::{Blocker, Consented, Objection, Reason, Verdict, Warning};
use crate::types::{DeviceRef, DriverName, IommuGroup, PciAddress, PinnedDevice, VfioId};

/// Which function an entry of the document means on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// This one.
    One(PciAddress),
    /// None, or none that can be read.
    Missing(Reason),
    /// A filter that has to match one function matches these.
    Several(Vec<PciAddress>),
    /// A VF that its PF does not have now, and could have.
    VfAbsent {
        /// The physical function.
        pf: PciAddress,
        /// Index from 0.
        vf: u16,
    },
}

/// Facts about one function that the document concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionFacts {
    /// Address, ids, class.
    pub function: Function,
    /// The driver that it is bound to.
    pub driver: Option<DriverName>,
    /// What `driver_override` reads; `None` where it is empty.
    pub driver_override: Option<String>,
    /// Its IOMMU group.
    pub group: Option<IommuGroup>,
    /// SR-IOV attributes; `None` where it cannot have VFs.
    pub sriov: Option<SriovFacts>,
    /// Its VFs by index; `None` at an index whose link is missing.
    pub vfs: Vec<Option<PciAddress>>,
    /// Its PF, where it is a VF.
    pub physfn: Option<PciAddress>,
    /// The bridges above it, from the root down.
    pub bridges: Vec<PciAddress>,
}

/// Facts about all functions that the document concerns; plain data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    shown: bool,
    running_args: String,
    resolved: BTreeMap<DeviceRef, Resolved>,
    matched: BTreeMap<VfioId, Vec<PciAddress>>,
    functions: BTreeMap<PciAddress, FunctionFacts>,
    groups: BTreeMap<IommuGroup, Vec<PciAddress>>,
    objections: BTreeMap<PinnedDevice, Objection>,
    in_use: BTreeMap<PciAddress, Objection>,
    /// What other programs set of the functions and PFs that the document binds and counts.
    owners: owners::Judged,
    /// Why the kernel has no IOMMU; looked for only where a function is in no group.
    iommu_off: Option<Reason>,
    /// What the document allows to be lost.
    pub consents: Consents,
    /// Of the losses that the document allows, those that its devices and ids bring.
    allowed: Vec<Consented>,
    warnings: Vec<Warning>,
    /// What the next round need not find out again.
    pub known: Known,
}

impl Devices {
    /// Whether this host shows PCI functions at all; a tree that is an image being built does not.
    pub fn shown(&self) -> bool {
        self.shown
    }

    /// Which function an entry means.
    pub fn resolve(&self, device: &DeviceRef) -> Resolved {
        self.resolved.get(device).cloned().unwrap_or_else(|| {
            Resolved::Missing(Reason::new("not-gathered", format!("{device} has not been looked up")))
        })
    }

    /// The functions that an entry of `vfio_pci.ids` matches, in the order of their addresses.
    pub fn matches(&self, id: &VfioId) -> &[PciAddress] {
        self.matched.get(id).map_or(&[], Vec::as_slice)
    }

    /// Facts about one function; `None` where there is none or where the document does not concern it.
    pub fn function(&self, address: PciAddress) -> Option<&FunctionFacts> {
        self.functions.get(&address)
    }

    /// All functions that the document concerns.
    pub fn functions(&self) -> impl Iterator<Item = &FunctionFacts> {
        self.functions.values()
    }

    /// The functions of a group that a concerned function is in.
    pub fn group_members(&self, group: IommuGroup) -> &[PciAddress] {
        self.groups.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Why an entry is refused: another card than the pinned one sits there.
    pub fn objection(&self, device: &PinnedDevice) -> Option<&Objection> {
        self.objections.get(device)
    }

    /// Why a function cannot go to a guest now, nor at the next boot: the host itself uses it through its native driver.
    pub fn in_use(&self, address: PciAddress) -> Option<&Objection> {
        self.in_use.get(&address)
    }

    /// Why a function is not bound: another program gives it to another driver.
    pub fn contested(&self, address: PciAddress) -> Option<&Objection> {
        self.owners.drivers.get(&address)
    }

    /// Why a PF's VF count stays: another program sets it to another value.
    pub fn contested_count(&self, pf: PciAddress) -> Option<&Objection> {
        self.owners.counts.get(&pf)
    }

    /// What other programs set of what the document binds and counts.
    pub fn owners(&self) -> &[OwnerReport] {
        &self.owners.reports
    }

    /// Of the losses that the document allows, those that giving its devices and ids to guests brings.
    pub fn allowed(&self) -> &[Consented] {
        &self.allowed
    }

    /// What the operator should know about the entries themselves.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// The verdict about an entry whose function is not there. In a tree without an inventory the machine decides when it
/// boots.
pub fn not_there(reason: Reason) -> Verdict {
    let on = if reason.code == "no-inventory" { Blocker::Reboot } else { Blocker::Host };
    Verdict::Blocked { on, why: reason }
}

#[cfg(test)]
mod tests;
