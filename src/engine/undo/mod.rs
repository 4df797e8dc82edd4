//! Returning to the state before a generation: what this program changed goes back to what it was, where nobody has
//! changed it since.
//!
//! What stands now is followed back through the notes of every generation from the newest to that one. Each has to have
//! left what the next one found; where a link of that chain is broken, somebody else has changed the file or attribute
//! in between, and it is refused. Files go back whole. Live state goes back as far as it was changed under this boot:
//! what earlier boots had is gone with them.

mod chain;
mod files;
mod live;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::execute::{self, Attempt, Ledger};
use super::followups;
use super::generations::{Damaged, Entry, Generation, Kind};
use super::plan::{Judged, Plan, Scope, executable};
use super::rounds::{ChangeOutcome, MadeChange, Outcome, Progress, RunError, no_effect};
use super::{BOOT_ID, Facts, Memory};
use crate::document::Document;
use crate::guard;
use crate::host::{Host, HostError, Reach, ReadHost};
use crate::plan::{
    Change, Disruption, Followup, ItemVerdict, LiftedBy, Objection, Phase, Reason, Step, Verdict,
};
use crate::resources::REGISTRY;
use files::FileUndo;
use live::LiveUndo;

/// A change of counts, then of bindings, and directories one in another: more rounds than those need.
const MAX_ROUNDS: usize = 12;

/// A return to the state before one generation.
#[derive(Debug, Clone)]
pub struct Undo {
    /// The first generation that is undone.
    pub to: u32,
    files: BTreeMap<PathBuf, FileUndo>,
    directories: BTreeSet<PathBuf>,
    live: LiveUndo,
    /// What was remembered before that generation.
    memory: Memory,
}

/// Why there is nothing to return to.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// Nothing was ever changed.
    #[error("there is no generation to undo")]
    Nothing,
    /// It is not there (any more).
    #[error("there is no generation {number}: `reconcile history` lists those that are kept")]
    Unknown {
        /// The number that was asked for.
        number: u32,
    },
    /// One of those that have to be undone cannot be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The host does not answer.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Who asked for a change that is undone, and what that owes.
#[derive(Debug, Clone, Default)]
struct Causes {
    items: BTreeSet<(&'static str, String)>,
    followups: BTreeSet<Followup>,
    disruption: Option<Disruption>,
}

impl Undo {
    /// A return to the state before generation `to`, or before the newest that a person or a program asked for (not the
    /// unit at boot) and that changed something. A rollback that was interrupted is gone on with.
    ///
    /// # Errors
    /// When there is no such generation, or one of those from there on cannot be read.
    pub fn plan_for(
        generations: Vec<Result<Generation, Damaged>>,
        to: Option<u32>,
        host: &dyn ReadHost,
    ) -> Result<Self, UndoError> {
        let to = match to {
            Some(number) => number,
            None => newest(&generations)?,
        };
        let number = |generation: &Result<Generation, Damaged>| match generation {
            Ok(generation) => generation.number,
            Err(damaged) => damaged.number,
        };
        let undone: Vec<Generation> = generations
            .into_iter()
            .filter(|generation| number(generation) >= to)
            .collect::<Result<_, _>>()?;
        let first = undone.first().filter(|first| first.number == to);
        let memory =
            first.map(|first| first.header.memory.clone()).ok_or(UndoError::Unknown { number: to })?;
        let boot_id = host.text(std::path::Path::new(BOOT_ID))?;
        let live = match host.reach() {
            Reach::Machine => LiveUndo::of(&undone, boot_id.as_deref()),
            Reach::Tree => LiveUndo::default(),
        };
        let made = undone.iter().flat_map(|generation| &generation.rounds);
        let directories = made.flat_map(|record| record.round.directories.iter().cloned()).collect();
        Ok(Self { to, files: files::of(&undone, boot_id.as_deref()), directories, live, memory })
    }

    /// One round: what stands otherwise than before the generation, as changes and refusals.
    fn plan(&self, host: &dyn ReadHost, facts: &Facts) -> Plan {
        let mut found: BTreeMap<&'static str, Vec<ItemVerdict>> = BTreeMap::new();
        for (path, file) in &self.files {
            for (resource, item, verdict) in file.judge(path, self.to, host) {
                found.entry(resource).or_default().push(ItemVerdict::new(item, verdict));
            }
        }
        let mut errors: BTreeMap<&'static str, String> = BTreeMap::new();
        match self.live.judge(self.to, host, &self.memory) {
            Ok(verdicts) => {
                for (resource, item, verdict) in verdicts {
                    found.entry(resource).or_default().push(ItemVerdict::new(item, verdict));
                }
            }
            Err((resource, error)) => drop(errors.insert(resource, crate::report::chain(&error))),
        }
        let settled = !found.values().flatten().any(|item| matches!(item.verdict, Verdict::Change(_)));
        if settled {
            for path in self.directories.iter().rev() {
                if host.list(path).is_ok_and(|names| names.is_some_and(|names| names.is_empty())) {
                    let step = Step::RemoveDirectory { path: path.clone() };
                    let text = format!("generation {} or a later one made it, and it is empty", self.to);
                    let change = Change::new(
                        Phase::Persisted,
                        vec![step],
                        Disruption::Nothing,
                        Reason::new("rolled-back", text),
                    );
                    let item = ItemVerdict::new(path.display().to_string(), Verdict::Change(change));
                    found.entry(DIRECTORIES).or_default().push(item);
                }
            }
        }
        let mut plan = Plan::default();
        for resource in REGISTRY.iter().map(|resource| resource.key()).chain([DIRECTORIES]) {
            let (items, error) = (found.remove(resource), errors.remove(resource));
            if items.is_some() || error.is_some() {
                plan.resources.push(Judged { resource, items: items.unwrap_or_default(), error });
            }
        }
        refuse_what_is_guarded(&mut plan, host, facts);
        plan
    }

    /// Makes it so on `host`, then runs what that owes; `memory` becomes what it was, but for what was left as it is.
    ///
    /// # Errors
    /// When facts cannot be gathered or what is about to change cannot be recorded.
    pub fn run(
        &self,
        host: &mut dyn Host,
        memory: &mut Memory,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, RunError> {
        let outcome = self.rounds(host, memory, progress);
        let _unnoted = host.record(&Entry::finished(&outcome));
        outcome
    }

    fn rounds(
        &self,
        host: &mut dyn Host,
        memory: &mut Memory,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, RunError> {
        let facts = Facts::gather(&Document::default(), host.as_read(), None).map_err(RunError::Facts)?;
        let mut made: Vec<MadeChange> = Vec::new();
        let mut last = self.plan(host.as_read(), &facts);
        for round in 1..=MAX_ROUNDS {
            let attempts = untried(&last, &made, host.as_read());
            if attempts.is_empty() {
                break;
            }
            let mut ledger = Ledger { memory, scope: Scope::Full };
            let outcomes = execute::batch(&attempts, host, &mut ledger, &facts, progress)?;
            for (attempt, outcome) in attempts.into_iter().zip(outcomes) {
                let Attempt { resource, item, origin, change } = attempt;
                made.push(MadeChange { round, resource, item, origin, change, outcome });
            }
            last = self.plan(host.as_read(), &facts);
        }
        note_ineffective(&last, &mut made, host);
        let kept = kept(&last, &made);
        let settled = memory::settled(memory, &self.memory, &kept, facts.boot_id.as_deref());
        let mut ledger = Ledger { memory, scope: Scope::Full };
        ledger.update(settled, host)?;
        let followups = followups::run(host, &mut ledger, Scope::Full, &facts, None, progress)?;
        Ok(Outcome { made, ahead: Vec::new(), followups, last, facts })
    }
}

/// What is no resource's: directories that were made on the way to a file.
const DIRECTORIES: &str = "directories";

/// Refuses what a guard forbids, and every item that a file of it is shared with: a file goes back whole.
fn refuse_what_is_guarded(plan: &mut Plan, host: &dyn ReadHost, facts: &Facts) {
    let paths = |change: &Change| -> BTreeSet<PathBuf> {
        change.steps.iter().filter_map(|step| step.path().map(PathBuf::from)).collect()
    };
    let wanted: Vec<_> = plan
        .changes()
        .map(|(resource, item, change)| ((resource, item.item.clone()), paths(change)))
        .collect();
    let withheld = guard::review(plan.items_mut(), facts, host);
    for (_, item) in plan.items_mut() {
        let Verdict::Change(change) = &item.verdict else { continue };
        let shared = paths(change);
        let forbidden = wanted.iter().find_map(|(of, paths)| {
            withheld.get(of).filter(|_| change.phase == Phase::Persisted && !paths.is_disjoint(&shared))
        });
        if let Some(objection) = forbidden {
            item.verdict = Verdict::Refused(objection.clone());
        }
    }
}

/// The generation that is meant where none is named.
fn newest(generations: &[Result<Generation, Damaged>]) -> Result<u32, UndoError> {
    let mut changed = Vec::new();
    for generation in generations.iter().rev() {
        match generation {
            Ok(generation) if generation.steps().next().is_some() => changed.push(generation),
            Ok(_) => {}
            Err(damaged) => return Err(damaged.clone().into()),
        }
        if changed.last().is_some_and(|generation| generation.header.kind != Kind::Boot) {
            break;
        }
    }
    let asked_for = changed.iter().find(|generation| generation.header.kind != Kind::Boot);
    let newest = asked_for.or(changed.first()).ok_or(UndoError::Nothing)?;
    Ok(match newest.header.kind {
        Kind::Rollback { to, .. } if newest.finished.is_none() => to,
        _ => newest.number,
    })
}

/// The resource of this name, as reports know it.
fn resource(name: &str) -> &'static str {
    REGISTRY.iter().map(|resource| resource.key()).find(|key| *key == name).unwrap_or(DIRECTORIES)
}

/// The changes of a plan that were not made before.
fn untried(plan: &Plan, made: &[MadeChange], host: &dyn ReadHost) -> Vec<Attempt> {
    let tried = |item: &str, change: &Change| {
        made.iter().any(|made| made.item == item && made.change.steps == change.steps)
    };
    let open = plan
        .changes()
        .filter(|(_, item, change)| executable(change, host.reach()) && !tried(&item.item, change));
    open.map(|(resource, item, change)| Attempt {
        resource,
        item: item.item.clone(),
        origin: None,
        change: change.clone(),
    })
    .collect()
}

/// Marks what was made and is asked for again: nothing came of it.
fn note_ineffective(last: &Plan, made: &mut [MadeChange], host: &dyn Host) {
    for (_, item, change) in last.changes() {
        let again =
            made.iter_mut().filter(|made| made.item == item.item && made.change.steps == change.steps);
        for made in again.filter(|made| made.outcome == ChangeOutcome::Applied) {
            made.outcome = no_effect(&made.change, host);
        }
    }
}

/// The items that were left as they are.
fn kept(last: &Plan, made: &[MadeChange]) -> BTreeSet<(&'static str, String)> {
    let refused = last.items().filter(|(_, item)| {
        matches!(item.verdict, Verdict::Refused(_) | Verdict::Blocked { .. } | Verdict::Change(_))
    });
    let failed = made.iter().filter(|made| made.outcome != ChangeOutcome::Applied);
    refused
        .map(|(resource, item)| (resource, item.item.clone()))
        .chain(failed.map(|made| (made.resource, made.item.clone())))
        .collect()
}

/// A refusal because somebody has changed `subject` since `generation` left it.
fn changed_since(subject: &str, to: u32, generation: u32, difference: Reason, remedy: String) -> Verdict {
    let why = format!(
        "generation {to} is to be undone, and {subject} has changed since generation {generation} left it"
    );
    let chain = vec![Reason::new("changed-since", why), difference];
    Verdict::Refused(Objection::new(subject, chain, LiftedBy::Operator(remedy)))
}
