//! Which functions the document gives to which driver, from all the sections that do.

use std::collections::BTreeMap;
use std::fmt;

use super::{Devices, FunctionFacts, GroupUnknown, Resolved};
use crate::document::Document;
use crate::engine::Facts;
use crate::plan::{LiftedBy, Objection, Reason};
use crate::types::{DriverName, IommuGroup, PciAddress, PinnedDevice, VfioId};

/// A function to bind: one that exists, or a VF that its PF does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The function at this address.
    Function(PciAddress),
    /// The VF with this index, once it exists.
    Vf {
        /// The physical function.
        pf: PciAddress,
        /// Index from 0.
        vf: u16,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(address) => address.fmt(f),
            Self::Vf { pf, vf } => write!(f, "VF {vf} of {pf}"),
        }
    }
}

/// What the document asks for one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The function as a report names it: its address, else as the document writes it.
    pub item: String,
    /// The function, or why there is none.
    pub target: Result<Target, Reason>,
    /// The driver that is to have it.
    pub driver: DriverName,
    /// Where the document says so.
    pub origin: String,
    /// Why the claim is refused, where it is.
    pub refused: Option<Objection>,
    /// The entry of `vfio_pci.devices`, where it is one and not an id or a PF that claims the function.
    pub entry: Option<PinnedDevice>,
}

impl Claim {
    /// The address that the document writes for it, there or not.
    pub fn written_address(&self) -> Option<PciAddress> {
        let by_address = |device: &PinnedDevice| device.device.written_address();
        self.entry.as_ref().and_then(by_address)
    }

    /// The function's address; `None` while it is not there.
    pub fn address(&self) -> Option<PciAddress> {
        match self.target {
            Ok(Target::Function(address)) => Some(address),
            _ => None,
        }
    }
}

/// A function that the document gives to vfio-pci.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Which.
    pub target: Target,
    /// vfio-pci, or the variant that has it already.
    pub driver: DriverName,
    /// Its IOMMU group; an error while it is not there, and where there is no IOMMU.
    pub group: Result<IommuGroup, GroupUnknown>,
    /// Where the document says so.
    pub origin: String,
}

/// The functions that the document gives to vfio-pci and that can go there: `vfio_pci.devices`, functions that
/// `vfio_pci.ids` matches, VFs whose `sriov.driver` is a vfio driver.
pub fn handed_to_vfio(document: &Document, facts: &Facts) -> Vec<Handed> {
    let claims =
        claims(document, facts).into_iter().filter(|claim| claim.driver.is_vfio() && claim.refused.is_none());
    claims
        .filter_map(|claim| {
            let target = claim.target.ok()?;
            let present = match target {
                Target::Function(address) => facts.devices.function(address)?.driver.clone(),
                Target::Vf { .. } => None,
            };
            let driver = present.filter(DriverName::is_vfio).unwrap_or(claim.driver);
            let group = facts.devices.group_of(target, document);
            Some(Handed { target, driver, group, origin: claim.origin })
        })
        .collect()
}

/// Every claim of the document, one for each function; a function that is named itself is not claimed by its id or
/// its PF as well.
pub fn claims(document: &Document, facts: &Facts) -> Vec<Claim> {
    claims_of(document, &facts.devices)
}

/// As [`claims`], while the facts are being gathered.
pub(super) fn claims_of(document: &Document, devices: &Devices) -> Vec<Claim> {
    let mut claims = Claims { devices, document, found: BTreeMap::new(), lost: Vec::new() };
    claims.of_devices();
    claims.of_sriov();
    claims.of_ids();
    claims.found.into_values().chain(claims.lost).collect()
}

struct Claims<'d> {
    devices: &'d Devices,
    document: &'d Document,
    found: BTreeMap<Target, Claim>,
    /// Claims of functions that this host does not have.
    lost: Vec<Claim>,
}

impl Claims<'_> {
    fn of_devices(&mut self) {
        for entry in self.document.vfio_pci.iter().filter_map(|vfio| vfio.devices.as_deref()).flatten() {
            let device = &entry.value;
            let target = match self.devices.resolve(&device.device) {
                Resolved::One(address) => Ok(Target::Function(address)),
                Resolved::VfAbsent { pf, vf } => Ok(Target::Vf { pf, vf }),
                Resolved::Missing(reason) => Err(reason.at(&entry.place)),
                Resolved::Several(matched) => Err(several(&device.to_string(), &matched).at(&entry.place)),
            };
            self.add(Claim {
                item: target.as_ref().map_or_else(|_| device.to_string(), Target::to_string),
                target,
                driver: DriverName::vfio_pci(),
                origin: format!("vfio_pci.devices ({})", entry.place),
                refused: self.devices.objection(device).cloned(),
                entry: Some(device.clone()),
            });
        }
    }

    fn of_sriov(&mut self) {
        for entry in self.document.sriov.iter().flatten() {
            let sriov = &entry.value;
            let (Some(driver), Resolved::One(pf)) =
                (&sriov.driver, self.devices.resolve(&sriov.device.device))
            else {
                continue;
            };
            if self.devices.objection(&sriov.device).is_some() {
                continue;
            }
            let Some(facts) = self.devices.function(pf) else { continue };
            let total = facts.sriov.map_or(0, |facts| facts.total);
            if sriov.vfs > total {
                continue;
            }
            for index in 0..sriov.vfs {
                let present = facts.vfs.get(usize::from(index)).copied().flatten();
                let target = present.map_or(Target::Vf { pf, vf: index }, Target::Function);
                self.add(Claim {
                    item: target.to_string(),
                    target: Ok(target),
                    driver: driver.clone(),
                    origin: format!("sriov.driver of {pf} ({})", entry.place),
                    refused: None,
                    entry: None,
                });
            }
        }
    }

    fn of_ids(&mut self) {
        for entry in self.document.vfio_pci.iter().filter_map(|vfio| vfio.ids.as_deref()).flatten() {
            for address in self.devices.matches(&entry.value) {
                self.add(Claim {
                    item: address.to_string(),
                    target: Ok(Target::Function(*address)),
                    driver: DriverName::vfio_pci(),
                    origin: format!("vfio_pci.ids {} ({})", entry.value, entry.place),
                    refused: None,
                    entry: None,
                });
            }
        }
    }

    /// The first claim of a function stands: names before PFs before ids.
    fn add(&mut self, mut claim: Claim) {
        let Ok(target) = claim.target else {
            self.lost.push(claim);
            return;
        };
        if let Target::Function(address) = target {
            let refusal = self.devices.function(address).and_then(|facts| self.refusal(facts, &claim));
            let in_use = || self.devices.in_use(address).filter(|_| claim.driver.is_vfio()).cloned();
            let mut in_use = claim.refused.is_none().then(in_use).flatten();
            // The chain begins where the document asks for it.
            if let Some(first) = in_use.as_mut().and_then(|objection| objection.chain.first_mut()) {
                first.at = Some(claim.origin.clone());
            }
            let contested = || self.devices.contested(address).cloned();
            claim.refused = claim.refused.take().or(refusal).or(in_use).or_else(contested);
        }
        self.found.entry(target).or_insert(claim);
    }

    /// Functions that can never be handed over as the document stands.
    fn refusal(&self, facts: &FunctionFacts, claim: &Claim) -> Option<Objection> {
        let address = facts.function.address;
        let refuse = |reason: Reason, lifted_by| {
            Some(Objection::new(address.to_string(), vec![reason.at(&claim.origin)], lifted_by))
        };
        if facts.function.is_bridge() {
            let text = format!(
                "{address} is a bridge (class {:06x}), which vfio-pci does not take",
                facts.function.class
            );
            let paste = "name the functions behind the bridge instead".to_owned();
            return refuse(Reason::new("bridge", text), LiftedBy::Operator(paste));
        }
        let wanted = self
            .document
            .sriov
            .iter()
            .flatten()
            .find(|entry| self.devices.resolve(&entry.value.device.device) == Resolved::One(address));
        let present = facts.sriov.map_or(0, |sriov| sriov.current);
        match wanted {
            Some(entry) if entry.value.vfs > 0 => {
                let text = format!(
                    "{address} cannot go to {} and have {} VFs: a PF is passed through whole, or its VFs are",
                    claim.driver, entry.value.vfs
                );
                let reason = Reason::new("pf-with-vfs", text);
                let and = Reason::new("vfs-wanted", format!("sriov asks for {} VFs", entry.value.vfs))
                    .at(&entry.place);
                let mut objection =
                    refuse(reason, LiftedBy::Document(format!("{{device: \"{address}\", vfs: 0}}")))?;
                objection.chain.push(and);
                Some(objection)
            }
            Some(_) => None,
            None if present > 0 => {
                let text =
                    format!("{address} has {present} VFs, and {} does not take a PF with VFs", claim.driver);
                let paste = format!("sriov:\n  - {{device: \"{address}\", vfs: 0}}");
                refuse(Reason::new("pf-with-vfs", text), LiftedBy::Document(paste))
            }
            None => None,
        }
    }
}

/// The ids that would give vfio-pci a function which must not go to it, each with why: at the next boot an id takes every
/// function that it matches.
pub fn refused_ids(document: &Document, facts: &Facts) -> BTreeMap<VfioId, Objection> {
    let claims = claims(document, facts);
    let refused: BTreeMap<PciAddress, &Objection> =
        claims.iter().filter_map(|claim| Some((claim.address()?, claim.refused.as_ref()?))).collect();
    let ids = document.vfio_pci.iter().filter_map(|vfio| vfio.ids.as_deref()).flatten();
    let found = ids.filter_map(|entry| {
        let matched = facts.devices.matches(&entry.value);
        let (address, why) = matched.iter().find_map(|address| Some((address, *refused.get(address)?)))?;
        let text = format!("at the next boot {} takes {address}, which must not go to vfio-pci", entry.value);
        let chain = [vec![Reason::new("id-takes", text).at(&entry.place)], why.chain.clone()].concat();
        Some((entry.value, Objection { subject: entry.value.to_string(), chain, ..why.clone() }))
    });
    found.collect()
}

/// Why a filter that matches several functions means none of them.
pub(crate) fn several(filter: &str, matched: &[PciAddress]) -> Reason {
    let listed: Vec<String> = matched.iter().map(PciAddress::to_string).collect();
    let text =
        format!("{filter} has to match one function and matches {}: {}", listed.len(), listed.join(", "));
    Reason::new("ambiguous-filter", text).remedy("name the one that is meant by its address")
}
