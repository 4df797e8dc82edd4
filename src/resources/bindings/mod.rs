//! `bindings`: which driver has each function that the document gives away.
//!
//! Live, that is `driver_override`, an unbind and a probe; `new_id` is never written, because it takes every function
//! with the same id. For the next boot it is a udev rule, which sets the override before the native driver's module
//! loads; VFs and everything else are bound by the oneshot unit.

mod judge;
mod rules;
mod take_back;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{AtBoot, Findings, ObserveError, Observer, Resource};
use crate::document::Document;
use crate::engine::devices::{Claim, Devices, FunctionFacts, GroupUnknown, Target, claims};
use crate::engine::{Facts, Owned};
use crate::facts::Check as _;
use crate::facts::vfio_modules::VfioModules;
use crate::host::Reach;
use crate::host::pci::{self, Pci};
use crate::plan::{ItemVerdict, Reason};
use crate::types::{DriverName, IommuGroup, ModuleName, PciAddress};
pub use rules::PATH as RULES;
pub(crate) use judge::{probe, unbind};
use rules::Rules;

/// Bindings of functions to drivers.
#[derive(Debug)]
pub struct Bindings;

/// The desired bindings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    wanted: Vec<Wanted>,
    /// The udev rules; `None` where `vfio_pci.devices` is not managed.
    rules: Option<Rules>,
    sections: Sections,
}

/// One claim and what must be known to judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    claim: Claim,
    /// `None` for a function that this host does not have.
    group: Option<Result<IommuGroup, GroupUnknown>>,
    /// The VF's PF.
    pf: Option<PciAddress>,
    /// Functions of the group that stay with the host.
    companions: Vec<PciAddress>,
    /// Whether a module that this document loads brings the driver.
    driver_to_come: bool,
}

/// Which sections are there: what a section that vanished has brought stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sections {
    vfio_pci: bool,
    sriov: bool,
}

/// What was found.
#[derive(Debug)]
pub struct State {
    reach: Reach,
    devices: Devices,
    /// Of the drivers that are asked for, those that are there.
    drivers: BTreeSet<DriverName>,
    /// Why no vfio driver will be there either; looked for only where one that is asked for is not.
    no_vfio: Option<Reason>,
    /// What is ours by item, with the function's facts while it is there.
    owned: BTreeMap<String, Owned>,
    owned_functions: BTreeMap<PciAddress, FunctionFacts>,
    /// PFs whose VF count is ours.
    owned_pfs: BTreeSet<PciAddress>,
    rules: rules::File,
}

impl Resource for Bindings {
    const KEY: &'static str = "bindings";
    const SECTION: &'static str = "vfio_pci.devices";
    const AFTER: &'static [&'static str] = &["modules", "vfio_ids", "sriov"];
    const OWN_FILES: &'static [&'static str] = &[rules::PATH];
    const AT_BOOT: AtBoot = AtBoot::LiveHalf;
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
        let sections = Sections { vfio_pci: document.vfio_pci.is_some(), sriov: document.sriov.is_some() };
        if !sections.vfio_pci && !sections.sriov {
            return None;
        }
        let claims = claims(document, facts);
        let devices = &facts.devices;
        let claimed: BTreeSet<PciAddress> = claims.iter().filter_map(Claim::address).collect();
        let managed = document.vfio_pci.as_ref().is_some_and(|vfio| vfio.devices.is_some());
        let rules = managed.then(|| Rules::of(&claims, devices, document));
        let wanted = claims.into_iter().map(|claim| {
            let target = claim.target.as_ref().ok().copied();
            let group = target.map(|target| devices.group_of(target, document));
            let members = group.iter().flatten().flat_map(|group| devices.group_members(*group));
            Wanted {
                companions: members.copied().filter(|member| !claimed.contains(member)).collect(),
                pf: match target {
                    Some(Target::Vf { pf, .. }) => Some(pf),
                    Some(Target::Function(address)) => {
                        devices.function(address).and_then(|facts| facts.physfn)
                    }
                    None => None,
                },
                driver_to_come: claim.driver.is_vfio() || names_module_of(document, &claim.driver),
                group,
                claim,
            }
        });
        Some(Spec { wanted: wanted.collect(), rules, sections })
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let host = observer.host;
        let mut drivers = BTreeSet::new();
        for driver in spec.wanted.iter().map(|wanted| &wanted.claim.driver) {
            if !drivers.contains(driver) && host.exists(&Path::new(pci::DRIVERS).join(driver.as_str()))? {
                drivers.insert(driver.clone());
            }
        }
        let lacking = |wanted: &Wanted| wanted.claim.driver.is_vfio() && !drivers.contains(&wanted.claim.driver);
        let no_vfio = match spec.wanted.iter().any(lacking) {
            true => VfioModules::read(host, &observer.facts.kernels)?.nowhere_because(),
            false => None,
        };
        let pci = Pci::new(host);
        let owned: BTreeMap<String, Owned> =
            observer.memory.owned(Self::KEY).map(|(item, owned)| (item.to_owned(), owned.clone())).collect();
        let mut owned_functions = BTreeMap::new();
        for address in owned.keys().filter_map(|item| item.parse().ok()) {
            owned_functions.extend(FunctionFacts::read(&pci, address)?.map(|facts| (address, facts)));
        }
        Ok(State {
            reach: observer.facts.reach,
            devices: observer.facts.devices.clone(),
            drivers,
            rules: rules::File::read(spec.rules.as_ref(), no_vfio.is_none(), observer)?,
            no_vfio,
            owned,
            owned_functions,
            owned_pfs: observer.memory.owned("sriov").filter_map(|(item, _)| item.parse().ok()).collect(),
        })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let mut findings = Findings::default();
        match &spec.rules {
            Some(rules) => findings.items.extend(state.rules.judge(rules)),
            None => findings.warnings.extend(state.rules.left_behind()),
        }
        for wanted in &spec.wanted {
            let verdict = ItemVerdict::new(&wanted.claim.item, state.judge(wanted));
            findings.items.push(verdict.origin(&wanted.claim.origin).needs(wanted.needs()));
            findings.warnings.extend(state.host_drivers_in_group(wanted));
        }
        state.take_back(spec, &mut findings);
        findings
    }
}

/// Whether `modules` names a module of the driver's name.
fn names_module_of(document: &Document, driver: &DriverName) -> bool {
    let module: Option<ModuleName> = driver.as_str().parse().ok();
    module.is_some_and(|module| document.modules.iter().flatten().any(|entry| entry.value == module))
}
