//! Boots in which the unit began a change, and that never reached their target: what keeps a machine from a boot loop.
//!
//! Before the unit makes a live change, the boot is noted with it, durably. A second unit clears the notes once the
//! machine has reached its target. A change with two such boots behind it is not made a third time: it may be what
//! stopped them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::plan::{LiftedBy, Objection, Phase, Reason, Verdict, Warning};

/// The code of what is left out at boot.
pub const SKIPPED_AT_BOOT: &str = "skipped-at-boot";

/// So many boots may end before their target with a change begun.
const MOST: usize = 2;

/// The boots under which the unit has begun each change, as far as no target was reached since.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Boots {
    /// Hash of the documents that these attempts were for.
    documents: String,
    /// Boot ids by `resource: item`.
    begun: BTreeMap<String, BTreeSet<String>>,
}

impl Boots {
    /// Whether no boot is noted.
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Forgets the attempts for other documents than those of this hash: whatever they stopped at may be gone.
    pub fn for_documents(&mut self, hash: String) {
        if self.documents != hash {
            *self = Self { documents: hash, begun: BTreeMap::new() };
        }
    }

    /// Notes that a change begins under this boot.
    pub(super) fn begin(&mut self, resource: &str, item: &str, boot_id: &str) {
        self.begun.entry(key(resource, item)).or_default().insert(boot_id.to_owned());
    }

    /// How many boots before the present one have begun this change without reaching their target.
    fn lost(&self, change: &str, now: Option<&str>) -> usize {
        let boots = self.begun.get(change).into_iter().flatten();
        boots.filter(|boot| Some(boot.as_str()) != now).count()
    }

    /// Refuses the live changes of `plan` that too many boots have begun.
    pub(super) fn refuse(&self, plan: &mut Plan, now: Option<&str>) {
        for judged in &mut plan.resources {
            for item in &mut judged.items {
                let change = key(judged.resource, &item.item);
                let lost = self.lost(&change, now);
                if lost >= MOST
                    && matches!(&item.verdict, Verdict::Change(change) if change.phase == Phase::Live)
                {
                    let lifted_by = LiftedBy::Operator(REMEDY.to_owned());
                    item.verdict =
                        Verdict::Refused(Objection::new(&item.item, vec![reason(lost)], lifted_by));
                }
            }
        }
    }

    /// What the unit leaves out at the next boot, for every other run to say.
    pub fn warning(&self, now: Option<&str>) -> Option<Warning> {
        let skipped: Vec<(&str, usize)> = self
            .begun
            .keys()
            .map(|change| (change.as_str(), self.lost(change, now)))
            .filter(|(_, lost)| *lost >= MOST)
            .collect();
        let most = skipped.iter().map(|(_, lost)| *lost).max()?;
        let changes: Vec<&str> = skipped.iter().map(|(change, _)| *change).collect();
        Some(Warning {
            resource: Cow::Borrowed("boot"),
            subject: changes.join(", "),
            reason: reason(most).remedy(REMEDY),
        })
    }
}

const REMEDY: &str = "look into the journals of those boots (journalctl -b -1), then correct the document, or run reconcile: \
                      once it has succeeded, the unit makes the change again";

fn reason(lost: usize) -> Reason {
    let text = format!(
        "the unit at boot does not make this change: {lost} boots have begun it and none of them reached its target"
    );
    Reason::new(SKIPPED_AT_BOOT, text)
}

fn key(resource: &str, item: &str) -> String {
    format!("{resource}: {item}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Judged;
    use crate::plan::{Change, Disruption, ItemVerdict};

    fn plan(phase: Phase) -> Plan {
        let change = Change::new(phase, Vec::new(), Disruption::Nothing, Reason::new("test", "a test"));
        let items = vec![ItemVerdict::new("0000:03:00.0", Verdict::Change(change))];
        Plan { resources: vec![Judged { resource: "sriov", items, error: None }], warnings: Vec::new() }
    }

    fn is_refused(boots: &Boots, phase: Phase, now: &str) -> bool {
        let mut plan = plan(phase);
        boots.refuse(&mut plan, Some(now));
        matches!(plan.resources[0].items[0].verdict, Verdict::Refused(_))
    }

    #[test]
    fn the_third_boot_leaves_out_what_two_did_not_survive() {
        let mut boots = Boots::default();
        boots.for_documents("one".to_owned());
        for boot in ["a", "a", "b"] {
            assert!(!is_refused(&boots, Phase::Live, boot), "{boot}");
            boots.begin("sriov", "0000:03:00.0", boot);
        }
        assert!(!is_refused(&boots, Phase::Live, "b"), "the unit started twice in one boot");
        assert!(is_refused(&boots, Phase::Live, "c") && !is_refused(&boots, Phase::Persisted, "c"));
        let warning = boots.warning(Some("c")).unwrap();
        assert_eq!(
            (warning.subject.as_str(), warning.reason.code.as_ref()),
            ("sriov: 0000:03:00.0", SKIPPED_AT_BOOT)
        );
        assert_eq!(boots.warning(Some("b")), None);
        boots.for_documents("one".to_owned());
        assert!(is_refused(&boots, Phase::Live, "c"));
        boots.for_documents("another".to_owned());
        assert!(boots.is_empty() && !is_refused(&boots, Phase::Live, "c"));
    }
}
