//! One round's plan: every resource judged, what an earlier resource disturbs blocked, what a guard forbids refused.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::facts::Stuck;
use super::{Facts, Memory, execute};
use crate::document::Document;
use crate::guard;
use crate::host::{Reach, ReadHost, STATE_FILE};
use crate::plan::{Blocker, Change, ItemVerdict, Phase, Reason, Subject, Verdict, Warning};
use crate::resources::{AnyResource, AtBoot, Observer, REGISTRY, is_own, section_vanished};
use crate::types::PciAddress;

/// Which half of the host a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Files and live state.
    #[default]
    Full,
    /// What the unit does at boot: live state, and qemu.conf.
    Boot,
}

/// What to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Which half.
    pub scope: Scope,
    /// Only these resources; all where empty.
    pub only: BTreeSet<String>,
}

impl Selection {
    fn includes(&self, resource: &dyn AnyResource) -> bool {
        (self.only.is_empty() || self.only.contains(resource.key()))
            && (self.scope == Scope::Full || resource.at_boot() != AtBoot::Nothing)
    }

    /// Whether this change belongs to the scope.
    fn covers(&self, at_boot: AtBoot, verdict: &Verdict) -> bool {
        if self.scope == Scope::Full || at_boot == AtBoot::Everything {
            return true;
        }
        match verdict {
            Verdict::Change(change) => change.phase == Phase::Live,
            Verdict::PendingReboot { .. } | Verdict::Stuck { .. } => false,
            Verdict::InSync | Verdict::Blocked { .. } | Verdict::Refused(_) => true,
        }
    }
}

/// A resource's verdicts in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The resource.
    pub resource: &'static str,
    /// A verdict per item.
    pub items: Vec<ItemVerdict>,
    /// Why it could not be observed, if it could not; the other resources go on.
    pub error: Option<String>,
}

/// What one round would do, and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The managed resources, in the registry's order.
    pub resources: Vec<Judged>,
    /// Warnings of all of them.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Every item with its resource.
    pub fn items(&self) -> impl Iterator<Item = (&'static str, &ItemVerdict)> {
        self.resources.iter().flat_map(|judged| judged.items.iter().map(|item| (judged.resource, item)))
    }

    pub(super) fn items_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut ItemVerdict)> {
        self.resources
            .iter_mut()
            .flat_map(|judged| judged.items.iter_mut().map(|item| (judged.resource, item)))
    }

    /// Every change with its resource and item.
    pub fn changes(&self) -> impl Iterator<Item = (&'static str, &ItemVerdict, &Change)> {
        self.items().filter_map(|(resource, item)| match &item.verdict {
            Verdict::Change(change) => Some((resource, item, change)),
            _ => None,
        })
    }
}

/// Whether a run on this host can make the change: a tree takes files only.
pub fn executable(change: &Change, reach: Reach) -> bool {
    reach == Reach::Machine || change.phase == Phase::Persisted
}

/// Plans one round. Reads the host and writes nothing: it is given nothing to write with.
pub fn plan(
    document: &Document,
    selection: &Selection,
    host: &dyn ReadHost,
    memory: &Memory,
    facts: &Facts,
) -> Plan {
    let mut plan = judge(document, selection, host, memory, facts);
    let withheld = guard::review(plan.items_mut(), facts, host);
    if !withheld.is_empty() {
        // Items that share a file with a refused one are made without it.
        let facts = Facts { withheld, ..facts.clone() };
        plan = judge(document, selection, host, memory, &facts);
        guard::review(plan.items_mut(), &facts, host);
    }
    let guests = guard::warn_of_guests(plan.items(), &facts.devices, host);
    plan.warnings.extend(guests);
    if *selection == Selection::default() {
        let items: Vec<&ItemVerdict> = plan.items().map(|(_, item)| item).collect();
        plan.warnings.extend(guard::stale(document, &items, &facts.devices));
    }
    plan
}

/// What the resources find, and what has to wait for another one's change.
fn judge(
    document: &Document,
    selection: &Selection,
    host: &dyn ReadHost,
    memory: &Memory,
    facts: &Facts,
) -> Plan {
    let observer = Observer { host, memory, facts };
    let warnings = facts.devices.warnings().iter().chain(&facts.argument_owners.warnings);
    let mut plan = Plan { resources: Vec::new(), warnings: warnings.cloned().collect() };
    for resource in REGISTRY.iter().filter(|resource| selection.includes(**resource)) {
        let (mut items, error) = match resource.judge(document, &observer) {
            Ok(Some(findings)) => {
                plan.warnings.extend(findings.warnings);
                (findings.items, None)
            }
            Ok(None) => {
                plan.warnings.extend(abandoned(*resource, host, memory));
                continue;
            }
            Err(error) => (Vec::new(), Some(crate::report::chain(&error))),
        };
        items.retain(|item| selection.covers(resource.at_boot(), &item.verdict));
        plan.resources.push(Judged { resource: resource.key(), items, error });
    }
    let boot_id = facts.boot_id.as_deref();
    match selection.scope {
        Scope::Boot => memory.boots.refuse(&mut plan, boot_id),
        Scope::Full => plan.warnings.extend(memory.boots.warning(boot_id)),
    }
    block_stuck(&mut plan, &facts.stuck);
    block_disturbed(&mut plan, facts.reach);
    plan
}

/// Items that are still ours although their section is gone: named, and left alone.
fn abandoned(resource: &dyn AnyResource, host: &dyn ReadHost, memory: &Memory) -> Option<Warning> {
    let remembered = memory.owned(resource.key()).map(|(item, _)| item.to_owned());
    section_vanished(resource.key(), resource.section(), remembered.chain(own_files(resource, host)))
}

/// The files of a resource that stand there and are ours.
fn own_files(resource: &dyn AnyResource, host: &dyn ReadHost) -> impl Iterator<Item = String> {
    let is_ours = move |path: &&&str| {
        host.read(Path::new(path)).is_ok_and(|found| found.is_some_and(|text| is_own(&text)))
    };
    resource.own_files().iter().filter(is_ours).map(|path| (*path).to_owned())
}

/// Says so where files of ours stand on a host without any memory of them.
pub fn memory_lost(host: &dyn ReadHost, memory: &Memory) -> Option<Warning> {
    if *memory != (Memory { schema: memory.schema, ..Memory::default() }) {
        return None;
    }
    let files: Vec<String> = REGISTRY.iter().flat_map(|resource| own_files(*resource, host)).collect();
    let text = "earlier runs have left these files, and nothing is remembered of those runs: the files are still ours, \
                entries in shared files and live settings count as somebody else's, and what may be owed is not known";
    let remedy = format!(
        "restore {STATE_FILE} from a backup, or look at qemu.conf, VF counts and driver overrides yourself"
    );
    (!files.is_empty()).then(|| Warning {
        resource: Cow::Borrowed("state"),
        subject: files.join(", "),
        reason: Reason::new("state-lost", text).remedy(remedy),
    })
}

/// Blocks what concerns a function of which a write hangs in the kernel: another write would only hang as well, and
/// not everything of it can be read.
fn block_stuck(plan: &mut Plan, stuck: &[Stuck]) {
    for item in plan.resources.iter_mut().flat_map(|judged| &mut judged.items) {
        let concerns = |function: &PciAddress| {
            let writes = match &item.verdict {
                Verdict::Change(change) => {
                    change.steps.iter().any(|step| execute::function_of(step) == Some(*function))
                }
                _ => false,
            };
            writes || item.needs.contains(&Subject::Function(*function)) || item.item == function.to_string()
        };
        let unsettled = !matches!(item.verdict, Verdict::InSync | Verdict::Refused(_));
        let write = stuck.iter().find(|write| write.functions.iter().any(concerns)).filter(|_| unsettled);
        if let Some(Stuck { told, .. }) = write {
            let remedy =
                "shut down the guest or end the process that holds the function, then run again; else reboot";
            let why = Reason::new("write-stuck", told.clone()).remedy(remedy);
            item.verdict = Verdict::Blocked { on: Blocker::Host, why };
        }
    }
}

/// Blocks what an earlier resource's live change of this round makes stale, function by function.
fn block_disturbed(plan: &mut Plan, reach: Reach) {
    // In a tree nothing live happens, so nothing is disturbed.
    if reach == Reach::Tree {
        return;
    }
    let disturbed: Vec<(&'static str, BTreeSet<Subject>)> = plan
        .changes()
        .filter(|(_, _, change)| change.phase == Phase::Live && !change.disturbs.is_empty())
        .map(|(resource, _, change)| (resource, change.disturbs.clone()))
        .collect();
    for judged in &mut plan.resources {
        let after =
            REGISTRY.iter().find(|resource| resource.key() == judged.resource).map_or(&[][..], |r| r.after());
        for item in &mut judged.items {
            if !matches!(item.verdict, Verdict::Change(_)) {
                continue;
            }
            let blocker = disturbed
                .iter()
                .find(|(resource, subjects)| after.contains(resource) && !subjects.is_disjoint(&item.needs));
            if let Some((resource, _)) = blocker {
                let why = Reason::new(
                    "after",
                    format!("{resource} changes first; this is looked at again afterwards"),
                );
                item.verdict = Verdict::Blocked { on: Blocker::Resource(Cow::Borrowed(resource)), why };
            }
        }
    }
}

#[cfg(test)]
mod tests;
