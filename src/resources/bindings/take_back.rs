//! Bindings that are ours and that the document no longer names: the native driver gets the function again.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{driver_item, probe, set_override, unbind};
use super::{Bindings, Spec, State};
use crate::engine::Owned;
use crate::engine::devices::FunctionFacts;
use crate::plan::{
    Change, Disruption, ItemVerdict, OwnedItem, Phase, Reason, Step, Subject, Verdict,
};
use crate::resources::{Findings, Resource as _, section_vanished};
use crate::types::{DriverName, PciAddress};

impl State {
    pub(super) fn take_back(&self, spec: &Spec, findings: &mut Findings) {
        let claimed: BTreeSet<&str> = spec.wanted.iter().map(|wanted| wanted.claim.item.as_str()).collect();
        let mut left: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (item, owned) in self.owned.iter().filter(|(item, _)| !claimed.contains(item.as_str())) {
            // The item that tells the former driver goes with its function's.
            let Ok(address) = item.parse::<PciAddress>() else { continue };
            let facts = self.owned_functions.get(&address);
            if let Some(section) = self.vanished(spec, facts) {
                left.entry(section).or_default().push(item.clone());
                continue;
            }
            let change = self.release(address, owned, facts);
            findings.items.push(
                ItemVerdict::new(item, Verdict::Change(change))
                    .origin("no longer in the document")
                    .needs(facts.and_then(|facts| facts.physfn).map(Subject::Function))
                    .needs([Subject::Function(address)]),
            );
        }
        let vanished = left.into_iter().filter_map(|(section, left)| section_vanished(Bindings::KEY, section, left));
        findings.warnings.extend(vanished);
    }

    /// The section that has brought a binding and that the document no longer has. VFs may come from both; they
    /// belong to `sriov` where their PF's count is ours.
    fn vanished(&self, spec: &Spec, facts: Option<&FunctionFacts>) -> Option<&'static str> {
        let pf = facts.and_then(|facts| facts.physfn);
        match pf {
            Some(pf) if !spec.sections.sriov && self.owned_pfs.contains(&pf) => Some("sriov"),
            Some(_) => None,
            None if facts.is_some() && !spec.sections.vfio_pci => Some("vfio_pci"),
            None => None,
        }
    }

    fn release(&self, address: PciAddress, owned: &Owned, facts: Option<&FunctionFacts>) -> Change {
        let former = self.owned.get(&driver_item(address));
        let ours = facts.filter(|facts| facts.driver_override.as_deref() == Some(owned.written.as_str()));
        // Its driver was to get it back, and what had it took long to let it go: that run has ended without a probe.
        let unbound =
            |facts: &&FunctionFacts| facts.driver.is_none() && facts.driver_override == owned.before && former.is_some();
        let live = |steps, disruption, text: String| {
            let mut change = Change::new(Phase::Live, steps, disruption, Reason::new("taken-back", text));
            change.disturbs.insert(Subject::Function(address));
            change
        };
        let mut change = if let Some(facts) = ours {
            let before = owned.before.as_deref().unwrap_or_default();
            let mut steps: Vec<Step> = vec![set_override(facts, before)];
            let moved = facts.driver.as_ref().filter(|driver| was_moved(driver, former));
            let mut disruption = Disruption::Nothing;
            if let Some(driver) = moved {
                steps.extend([unbind(address, driver), probe(address)]);
                disruption = Disruption::Guest;
            }
            live(steps, disruption, format!("the document no longer names {address}: its own driver may have it again"))
        } else if facts.filter(unbound).is_some() {
            let text = format!("no driver has {address} since it was taken back: its own may have it again");
            live(vec![probe(address)], Disruption::Nothing, text)
        } else {
            let text = format!("the override of {address} is no longer what reconcile wrote");
            Change::bookkeeping(Reason::new("given-up", text))
        };
        let given_up = |(item, owned): (String, &Owned)| OwnedItem {
            item,
            target: owned.target.clone(),
            before: owned.before.clone(),
            written: None,
        };
        let items = [(address.to_string(), owned)].into_iter();
        change.owns =
            items.chain(former.map(|former| (driver_item(address), former))).map(given_up).collect();
        change
    }
}

/// Whether the driver that has the function now is the one that it was moved to.
fn was_moved(driver: &DriverName, former: Option<&Owned>) -> bool {
    former.is_some_and(|former| former.written == driver.as_str())
}
