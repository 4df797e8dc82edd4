//! What one claim needs: nothing, the override alone, or a rebind.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{State, Wanted};
use crate::engine::devices::{FunctionFacts, Target, not_there};
use crate::host::Reach;
use crate::host::pci::{self, attribute};
use crate::plan::{Blocker, Change, Disruption, OwnedItem, Phase, Reason, Step, Subject, Verdict, Warning};
use crate::types::{DriverName, ModuleName, PciAddress};

/// Unbinding a driver that gives its device up in time, and probing one.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

impl Wanted {
    /// What earlier resources must have settled.
    pub(super) fn needs(&self) -> BTreeSet<Subject> {
        let mut needs = BTreeSet::from([Subject::Driver(self.claim.driver.clone())]);
        let address = self.claim.address().or_else(|| self.claim.written_address());
        needs.extend(address.map(Subject::Function));
        needs.extend(self.pf.map(Subject::Function));
        let module: Option<ModuleName> = self.claim.driver.as_str().parse().ok();
        needs.extend(module.map(Subject::Module));
        needs
    }
}

impl State {
    pub(super) fn judge(&self, wanted: &Wanted) -> Verdict {
        let claim = &wanted.claim;
        if let Some(objection) = &claim.refused {
            return Verdict::Refused(objection.clone());
        }
        let address = match &claim.target {
            Ok(Target::Function(address)) => *address,
            Ok(Target::Vf { .. }) => return wanted.blocked_by_group(),
            Err(reason) => return not_there(reason.clone()),
        };
        let Some(facts) = self.devices.function(address) else { return wanted.blocked_by_group() };
        let bound = facts.driver.as_ref().filter(|driver| satisfies(driver, &claim.driver));
        let overridden = facts.driver_override.as_deref().and_then(|name| name.parse().ok());
        let overridden = overridden.is_some_and(|name| satisfies(&name, &claim.driver));
        if let Some(driver) = bound {
            if overridden {
                return Verdict::InSync;
            }
            let text = format!("{driver} has it, but the next probe could give it to another driver");
            let reason = Reason::new("override-missing", text).at(&claim.origin);
            let mut change = Change::new(
                Phase::Live,
                vec![set_override(facts, driver.as_str())],
                Disruption::Nothing,
                reason,
            );
            change.owns.push(owned_override(facts, driver));
            return Verdict::Change(change);
        }
        if claim.driver.is_vfio() && !matches!(wanted.group, Some(Ok(_))) {
            return wanted.blocked_by_group();
        }
        if let Some(why) = self.no_vfio.as_ref().filter(|_| claim.driver.is_vfio()) {
            return Verdict::Blocked { on: Blocker::Host, why: why.clone().at(&claim.origin) };
        }
        // In a tree nothing is unbound, so that the whole chain can be shown before the module is loaded.
        let to_come = wanted.driver_to_come && self.reach == Reach::Tree;
        if !to_come && !self.drivers.contains(&claim.driver) {
            return wanted.blocked_by_driver();
        }
        let mut change = rebind(wanted, facts);
        let allowed = self.devices.allowed().iter().filter(|allowed| allowed.function == address);
        change.allowed = allowed.cloned().collect();
        Verdict::Change(change)
    }

    /// A group can go to a guest only when no host driver uses a function of it (`drivers/iommu/iommu.c`,
    /// `iommu_device_use_default_domain`; bridges' portdrv and pci-stub do not count).
    pub(super) fn host_drivers_in_group(&self, wanted: &Wanted) -> Vec<Warning> {
        let (true, Some(Ok(group))) =
            (wanted.claim.driver.is_vfio() && wanted.claim.refused.is_none(), &wanted.group)
        else {
            return Vec::new();
        };
        let companions = wanted.companions.iter().filter_map(|address| self.devices.function(*address));
        let in_use = companions.filter_map(|facts| {
            let driver = facts.driver.as_ref()?;
            let harmless = driver.is_vfio() || matches!(driver.as_str(), "pci-stub" | "pcieport");
            (!harmless).then_some((facts.function.address, driver))
        });
        in_use
            .map(|(companion, driver)| {
                let text = format!(
                    "IOMMU group {group} of {} cannot go to a guest while {driver} has {companion} of the same group",
                    wanted.claim.item
                );
                let remedy = format!("add \"{companion}\" to vfio_pci.devices, or move the card to another slot");
                Warning {
                    resource: Cow::Borrowed("bindings"),
                    subject: companion.to_string(),
                    reason: Reason::new("group-not-viable", text).at(&wanted.claim.origin).remedy(remedy),
                }
            })
            .collect()
    }
}

impl Wanted {
    fn blocked_by_group(&self) -> Verdict {
        match &self.group {
            Some(Err(unknown)) => {
                Verdict::Blocked { on: unknown.on.clone(), why: unknown.why.clone().at(&self.claim.origin) }
            }
            Some(Ok(_)) | None => {
                let why = Reason::new("unreadable-function", format!("{} cannot be read", self.claim.item));
                Verdict::Blocked { on: Blocker::Host, why: why.at(&self.claim.origin) }
            }
        }
    }

    fn blocked_by_driver(&self) -> Verdict {
        let driver = &self.claim.driver;
        let why =
            Reason::new("driver-not-loaded", format!("no driver {driver} is there")).at(&self.claim.origin);
        if self.driver_to_come {
            return Verdict::Blocked { on: Blocker::Resource(Cow::Borrowed("modules")), why };
        }
        let why = why.remedy(format!("add the module that brings {driver} to `modules`"));
        Verdict::Blocked { on: Blocker::Host, why }
    }
}

/// Override first, so that nobody else's probe gives the function back to its native driver in between.
fn rebind(wanted: &Wanted, facts: &FunctionFacts) -> Change {
    let (address, driver) = (facts.function.address, &wanted.claim.driver);
    let overridden = facts.driver_override.as_deref() == Some(driver.as_str());
    let mut steps = Vec::new();
    if !overridden {
        steps.push(set_override(facts, driver.as_str()));
    }
    steps.extend(facts.driver.as_ref().map(|driver| unbind(address, driver)));
    steps.push(probe(address));
    let disruption = match &facts.driver {
        Some(driver) if driver.is_vfio() => Disruption::Guest,
        Some(_) if facts.function.class >> 16 == 0x02 => Disruption::LinkDrop,
        // What the host itself uses is refused by the guards.
        Some(_) | None => Disruption::Nothing,
    };
    let from = facts
        .driver
        .as_ref()
        .map_or_else(|| "no driver has it".to_owned(), |driver| format!("{driver} has it"));
    let reason = Reason::new("rebind", format!("to {driver}: {from}")).at(&wanted.claim.origin);
    let mut change = Change::new(Phase::Live, steps, disruption, reason);
    if !overridden {
        change.owns.push(owned_override(facts, driver));
    }
    let item = driver_item(address);
    let before = facts.driver.as_ref().map(DriverName::to_string);
    let written = Some(driver.to_string());
    change.owns.push(OwnedItem { item, target: attribute(address, "driver"), before, written });
    change.disturbs.insert(Subject::Function(address));
    change
}

fn owned_override(facts: &FunctionFacts, driver: &DriverName) -> OwnedItem {
    let address = facts.function.address;
    OwnedItem {
        item: address.to_string(),
        target: attribute(address, "driver_override"),
        before: facts.driver_override.clone(),
        written: Some(driver.to_string()),
    }
}

/// Any vfio driver will do where vfio-pci is asked for: libvirt's managed mode chooses a variant itself.
fn satisfies(driver: &DriverName, wanted: &DriverName) -> bool {
    driver == wanted || (*wanted == DriverName::vfio_pci() && driver.is_vfio())
}

pub(super) fn set_override(facts: &FunctionFacts, value: &str) -> Step {
    let before = facts.driver_override.clone().unwrap_or_default();
    Step::quick_attr(attribute(facts.function.address, "driver_override"), Some(before), value)
}

/// Takes a function from its driver.
pub(crate) fn unbind(address: PciAddress, driver: &DriverName) -> Step {
    let path = Path::new(pci::DRIVERS).join(driver.as_str()).join("unbind");
    Step::attr(path, None, address.to_string(), DEADLINE)
}

/// Has the kernel look for a function's driver.
pub(crate) fn probe(address: PciAddress) -> Step {
    Step::attr(pci::DRIVERS_PROBE, None, address.to_string(), DEADLINE)
}

/// The owned item that says which driver had the function before us.
pub(super) fn driver_item(address: PciAddress) -> String {
    format!("{address} driver")
}
