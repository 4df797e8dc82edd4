//! Consents that lift nothing: one that is left behind would hide a loss that nobody meant.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::document::Document;
use crate::engine::devices::{Devices, FunctionFacts, Resolved};
use crate::plan::{Because, Blocker, ItemVerdict, Reason, Subject, Verdict, Warning};
use crate::types::{DriverName, ModuleName, PciAddress};

/// A warning for each entry of `allow` that lifts nothing in this plan. Where the loss has happened as it was allowed, and
/// while something else stands in its way, nothing is said.
pub fn stale(document: &Document, items: &[&ItemVerdict], devices: &Devices) -> Vec<Warning> {
    let refused = |item: &&ItemVerdict| matches!(&item.verdict, Verdict::Refused(objection) if !objection.because.is_empty());
    if document.allow.is_empty() || items.iter().any(refused) {
        return Vec::new();
    }
    let changes = items.iter().filter_map(|item| match &item.verdict {
        Verdict::Change(change) => Some(&change.allowed),
        _ => None,
    });
    let used = changes.flatten().chain(devices.allowed());
    let used: BTreeSet<(PciAddress, Because)> =
        used.map(|allowed| (allowed.function, allowed.because)).collect();
    let waits = |function: PciAddress| {
        items.iter().any(|item| {
            matches!(&item.verdict, Verdict::Blocked { on: Blocker::Resource(_) | Blocker::Reboot, .. })
                && item.needs.contains(&Subject::Function(function))
        })
    };
    let mut warnings = Vec::new();
    for entry in &document.allow {
        let device = &entry.value.device;
        let Resolved::One(function) = devices.resolve(&device.device) else { continue };
        let happened = devices.function(function).is_none_or(|facts| is_lost(facts, document));
        if happened || waits(function) || devices.objection(device).is_some() {
            continue;
        }
        for because in entry.value.because.iter().filter(|because| !used.contains(&(function, because.value)))
        {
            let text =
                format!("nothing in this document takes {} from the host through {function}", because.value);
            let remedy = "remove it: left there, it would allow that loss one day when nobody means it";
            let reason = Reason::new("allows-nothing", text).at(&because.place).remedy(remedy);
            warnings.push(Warning { resource: Cow::Borrowed("allow"), subject: device.to_string(), reason });
        }
    }
    warnings
}

/// Whether the host has lost the function already: a vfio driver has it, or the document keeps its driver's module away.
fn is_lost(facts: &FunctionFacts, document: &Document) -> bool {
    let Some(driver) = &facts.driver else { return true };
    let module: Option<ModuleName> = driver.as_str().parse().ok();
    let blacklisted =
        || document.blacklist.iter().flatten().any(|entry| Some(&entry.value.module) == module.as_ref());
    DriverName::is_vfio(driver) || blacklisted()
}
