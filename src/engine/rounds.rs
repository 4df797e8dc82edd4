//! The loop: observe, derive, plan, execute, until a plan has nothing left to make; then the follow-ups; then one more
//! plan as verification.
//!
//! The same loop runs on the real host and, for a dry run, on a simulated one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::execute::{self, Attempt, Ledger};
use super::followups::{self, FollowupRun};
use super::generations::Entry;
use super::plan::{Plan, Selection, executable, plan};
use super::{Facts, Memory, SavedPlan};
use crate::document::Document;
use crate::guard::DEFINED_GUEST;
use crate::host::pci::{self, Known};
use crate::host::{CachedHost, Host, StepError};
use crate::plan::{
    Blocker, Bytes, Change, FileState, LiftedBy, Objection, Phase, Reason, Step, Subject, Verdict, Warning,
};
use crate::resources::ObserveError;

/// More rounds than the longest chain (VFs, their drivers, their groups, the ACL) needs; a plan that still changes
/// then does not converge.
const MAX_ROUNDS: usize = 12;

/// How often a missing function is looked for while the boot unit waits.
const POLL: Duration = Duration::from_millis(100);

/// Told what the engine is doing; a terminal shows it as it happens.
pub trait Progress {
    /// Step `position` of `total` of this round begins.
    fn step(&mut self, position: usize, total: usize, step: &Step);
    /// A follow-up's command begins.
    fn command(&mut self, argv: &[String]);
    /// A package manager is waited for.
    fn package_manager(&mut self, who: &str);
    /// Waiting for functions that are not there yet.
    fn waiting(&mut self, functions: &[String], remaining: Duration);
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _: usize, _: usize, _: &Step) {}
    fn command(&mut self, _: &[String]) {}
    fn package_manager(&mut self, _: &str) {}
    fn waiting(&mut self, _: &[String], _: Duration) {}
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// Every step was made (on a simulated host: would be).
    Applied,
    /// A step failed; the rest of the change was skipped.
    Failed(Failure),
    /// What a step was planned for has changed meanwhile; it was not made, and planned anew.
    Overtaken {
        /// How many of the change's steps were made before.
        made: usize,
    },
    /// Every step was accepted and a new observation shows that nothing came of it.
    NoEffect {
        /// What the kernel has logged about the function.
        kernel_log: Vec<String>,
    },
}

/// What went wrong with a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The operation and its cause.
    pub error: String,
    /// What the operator can do about it.
    pub remedy: Option<String>,
    /// What the kernel has logged about the function.
    pub kernel_log: Vec<String>,
    /// How many of the change's steps were made before.
    pub made: usize,
    /// Whether the next one was begun at all.
    pub begun: bool,
}

/// A change that was made or tried, with the round it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeChange {
    /// Round, from 1.
    pub round: usize,
    /// The resource.
    pub resource: &'static str,
    /// The item.
    pub item: String,
    /// Where the document asks for it.
    pub origin: Option<String>,
    /// The change.
    pub change: Change,
    /// How it ended.
    pub outcome: ChangeOutcome,
}

/// What a whole run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that was made or tried, in order.
    pub made: Vec<MadeChange>,
    /// Under `--root`: what the machine's own first run would make after that.
    pub ahead: Vec<MadeChange>,
    /// The follow-ups that were run or stay owed.
    pub followups: Vec<FollowupRun>,
    /// The last plan: what is left.
    pub last: Plan,
    /// What is known about the host after it all.
    pub facts: Facts,
}

/// Why a run could not go on at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host's facts could not be gathered.
    #[error("cannot gather the host's facts")]
    Facts(#[source] ObserveError),
    /// The state file could not be written; nothing that it would have recorded was begun.
    #[error("cannot record what is about to change")]
    Memory(#[source] StepError),
}

/// One run over one host.
#[allow(missing_debug_implementations)]
pub struct Engine<'a> {
    /// What is desired.
    pub document: &'a Document,
    /// Which part of it.
    pub selection: &'a Selection,
    /// What is remembered; changed as the run goes on.
    pub memory: &'a mut Memory,
    /// What an earlier look at the same host has found out, if there was one.
    pub known: Option<Known>,
    /// Told what happens.
    pub progress: &'a mut dyn Progress,
    /// How long to wait for functions that are not there yet, all of them together.
    pub wait: Duration,
    /// The plan that was agreed to: nothing but its steps is made.
    pub saved: Option<&'a SavedPlan>,
}

/// A change's identity over rounds: what it is about, and what it does, whatever stood there before. A file that a later
/// round wants with another content (somebody else changed it, a group became known) is another change.
type Identity = (&'static str, String, Phase, Vec<(String, Option<Bytes>)>);

fn identity(resource: &'static str, item: &str, change: &Change) -> Identity {
    let act = |step: &Step| {
        let value = match step {
            Step::WriteAttr { value, .. } => Some(value.as_str().into()),
            Step::WriteFile { after, .. } => Some(after.clone()),
            Step::RestoreFile { after: FileState::File { bytes, .. }, .. } => Some(bytes.clone()),
            Step::RestoreFile { .. }
            | Step::RemoveFile { .. }
            | Step::RemoveDirectory { .. }
            | Step::Run { .. } => None,
        };
        (step.target(), value)
    };
    (resource, item.to_owned(), change.phase, change.steps.iter().map(act).collect())
}

/// Whether this is what is left of a change that failed in this run. What failed is not tried twice: a write that
/// hangs would cost its whole deadline again, and leave one more process in the kernel.
fn is_rest_of_failed(identity: &Identity, tried: &BTreeMap<Identity, usize>, made: &[MadeChange]) -> bool {
    let (resource, item, phase, steps) = identity;
    let failed =
        |at: &usize| made.get(*at).is_some_and(|made| matches!(made.outcome, ChangeOutcome::Failed { .. }));
    !steps.is_empty()
        && tried.iter().any(|((other, of, then, all), at)| {
            (other, of, then) == (resource, item, phase) && all.ends_with(steps) && failed(at)
        })
}

/// The outcome of a change of which nothing came, with what the kernel has to say about it.
pub(super) fn no_effect(change: &Change, host: &dyn Host) -> ChangeOutcome {
    let function = change.steps.iter().find_map(execute::function_of);
    ChangeOutcome::NoEffect {
        kernel_log: function.map_or_else(Vec::new, |function| host.kernel_log(function)),
    }
}

impl Engine<'_> {
    /// Runs rounds on `host` until nothing is left that it could make, then the follow-ups.
    ///
    /// # Errors
    /// When facts cannot be gathered or the state file cannot be written; a step's failure is part of the outcome.
    pub fn run(&mut self, host: &mut dyn Host) -> Result<Outcome, RunError> {
        let outcome = self.rounds(host);
        let _unnoted = host.record(&Entry::finished(&outcome));
        outcome
    }

    fn rounds(&mut self, host: &mut dyn Host) -> Result<Outcome, RunError> {
        let mut made: Vec<MadeChange> = Vec::new();
        let mut patience = self.wait;
        let mut tried: BTreeMap<Identity, usize> = BTreeMap::new();
        let (mut last, mut facts) = self.observe(host)?;
        // What is said of a change is said though it is made by the end.
        let mut told: Vec<Warning> = Vec::new();
        let mut round = 0;
        loop {
            let attempts = self.attempts(&last, host, &mut tried, &mut made);
            let interrupted = host.interrupted().is_some();
            if attempts.is_empty() || interrupted || round == MAX_ROUNDS {
                if round < MAX_ROUNDS && !interrupted && self.wait_for_missing(&last, host, &mut patience) {
                    (last, facts) = self.observe(host)?;
                    continue;
                }
                break;
            }
            round += 1;
            if let Some(saved) = self.saved {
                let failed = made.iter().any(|made| matches!(made.outcome, ChangeOutcome::Failed { .. }));
                let deviations = saved.deviations(round, &attempts, failed, host.as_read());
                if !deviations.is_empty() {
                    refuse_rest(&mut last, host, &deviations);
                    break;
                }
            }
            told.extend(last.warnings.iter().filter(|warning| warning.reason.code == DEFINED_GUEST).cloned());
            let mut ledger = Ledger { memory: self.memory, scope: self.selection.scope };
            let outcomes = execute::batch(&attempts, host, &mut ledger, &facts, self.progress)?;
            for (attempt, outcome) in attempts.into_iter().zip(outcomes) {
                tried.insert(identity(attempt.resource, &attempt.item, &attempt.change), made.len());
                let Attempt { resource, item, origin, change } = attempt;
                made.push(MadeChange { round, resource, item, origin, change, outcome });
            }
            (last, facts) = self.observe(host)?;
        }
        let mut ledger = Ledger { memory: self.memory, scope: self.selection.scope };
        let scope = self.selection.scope;
        let followups = followups::run(host, &mut ledger, scope, &facts, self.saved, self.progress)?;
        if followups.iter().any(FollowupRun::ran) {
            (last, facts) = self.observe(host)?;
            self.note_ineffective_followups(&last, &followups, &mut made, round);
        }
        last.warnings.extend(told);
        Ok(Outcome { made, ahead: Vec::new(), followups, last, facts })
    }

    fn observe(&mut self, host: &mut dyn Host) -> Result<(Plan, Facts), RunError> {
        host.look_again();
        let host = CachedHost::new(host.as_read());
        let facts = Facts::gather(self.document, &host, self.known.take()).map_err(RunError::Facts)?;
        self.known = Some(facts.devices.known.clone());
        let plan = plan(self.document, self.selection, &host, self.memory, &facts);
        Ok((plan, facts))
    }

    /// The changes of `plan` that this round makes. One that was made before and is asked for again had no effect.
    fn attempts(
        &self,
        plan: &Plan,
        host: &dyn Host,
        tried: &mut BTreeMap<Identity, usize>,
        made: &mut [MadeChange],
    ) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for (resource, item, change) in
            plan.changes().filter(|(_, _, change)| executable(change, host.reach()))
        {
            let owed = change.followups.iter().all(|followup| self.memory.owed.contains_key(followup));
            if change.steps.is_empty() && change.owns.is_empty() && owed {
                continue;
            }
            let identity = identity(resource, &item.item, change);
            if is_rest_of_failed(&identity, tried, made) {
                continue;
            }
            let overtaken = |at: &usize| {
                made.get(*at).is_some_and(|made| matches!(made.outcome, ChangeOutcome::Overtaken { .. }))
            };
            if let Some(earlier) = tried.get(&identity).filter(|at| !overtaken(at)) {
                if let Some(earlier) =
                    made.get_mut(*earlier).filter(|made| made.outcome == ChangeOutcome::Applied)
                {
                    earlier.outcome = no_effect(change, host);
                }
                continue;
            }
            attempts.push(Attempt {
                resource,
                item: item.item.clone(),
                origin: item.origin.clone(),
                change: change.clone(),
            });
        }
        attempts
    }

    /// What a follow-up that ran should have settled and did not.
    fn note_ineffective_followups(
        &self,
        last: &Plan,
        followups: &[FollowupRun],
        made: &mut Vec<MadeChange>,
        round: usize,
    ) {
        let done = |change: &Change| {
            change
                .followups
                .iter()
                .all(|wanted| followups.iter().any(|run| run.followup == *wanted && run.ran()))
        };
        let unsettled = last.changes().filter(|(_, _, change)| change.steps.is_empty() && done(change));
        made.extend(unsettled.map(|(resource, item, change)| MadeChange {
            round,
            resource,
            item: item.item.clone(),
            origin: item.origin.clone(),
            change: change.clone(),
            outcome: ChangeOutcome::NoEffect { kernel_log: Vec::new() },
        }));
    }

    /// Waits until one of the functions that `plan` misses has appeared; false where none is missing or `patience` is at
    /// its end. Only waiting uses it up: what a slow VF write takes is not taken from those that come late.
    fn wait_for_missing(&mut self, plan: &Plan, host: &dyn Host, patience: &mut Duration) -> bool {
        let missing = missing_functions(plan);
        if missing.is_empty() {
            return false;
        }
        let names: Vec<String> = missing.iter().map(|missing| missing.name.clone()).collect();
        let functions = || host.list(Path::new(pci::DEVICES)).ok().flatten();
        // Only a filter makes it necessary to look at all functions.
        let all = missing.iter().any(|missing| missing.shown_by.is_none()).then(functions);
        let begun = Instant::now();
        while let Some(remaining) = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())
            && host.interrupted().is_none()
        {
            self.progress.waiting(&names, remaining);
            std::thread::sleep(POLL.min(remaining));
            let is_there = |path: &PathBuf| host.exists(path).unwrap_or(false);
            if missing.iter().filter_map(|missing| missing.shown_by.as_ref()).any(is_there)
                || all.as_ref().is_some_and(|before| *before != functions())
            {
                *patience = patience.saturating_sub(begun.elapsed());
                return true;
            }
        }
        *patience = Duration::ZERO;
        false
    }
}

/// Refuses what `plan` would still change: it is not what was agreed to.
fn refuse_rest(plan: &mut Plan, host: &dyn Host, deviations: &[Reason]) {
    let round = Reason::new("round-differs", "what is to be done now is not what the saved plan foresaw");
    let items = plan.resources.iter_mut().flat_map(|judged| &mut judged.items);
    for item in items {
        let Verdict::Change(change) = &item.verdict else { continue };
        if executable(change, host.reach()) && !change.steps.is_empty() {
            let chain = [std::slice::from_ref(&round), deviations].concat();
            let lifted_by = LiftedBy::Operator(SavedPlan::REMEDY.to_owned());
            item.verdict = Verdict::Refused(Objection::new(&item.item, chain, lifted_by));
        }
    }
}

/// A function whose absence, or whose driver's, blocks an item: at boot a PF's driver may be loaded late.
struct Missing {
    name: String,
    /// The path that will show it; `None` where a filter selects it.
    shown_by: Option<PathBuf>,
}

fn missing_functions(plan: &Plan) -> Vec<Missing> {
    let missing = plan.items().filter_map(|(_, item)| {
        let Verdict::Blocked { on: Blocker::Host, why } = &item.verdict else { return None };
        let shown_by = match why.code.as_ref() {
            "missing-function" => pci::device_path,
            "pf-without-driver" => |pf| pci::attribute(pf, "driver"),
            _ => return None,
        };
        let address = item.needs.iter().find_map(|subject| match subject {
            Subject::Function(address) => Some(*address),
            Subject::Module(_) | Subject::Driver(_) => None,
        });
        let name = address.map_or_else(|| item.item.clone(), |address| address.to_string());
        Some(Missing { name, shown_by: address.map(shown_by) })
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Disruption, Reason};

    #[test]
    fn a_file_with_another_content_is_another_change() {
        let writing = |content: &str, before: &str| {
            let before = FileState::File {
                bytes: before.into(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime_ns: 0,
                xattrs: BTreeMap::new(),
            };
            let step = Step::WriteFile {
                path: "/etc/libvirt/qemu.conf".into(),
                before,
                after: content.into(),
                mode: 0o644,
            };
            let reason = Reason::new("test", "a test");
            identity("qemu_acl", "a", &Change::new(Phase::Persisted, vec![step], Disruption::Nothing, reason))
        };
        assert_eq!(writing("a", "x"), writing("a", "y"), "asked for again, it had no effect");
        assert_ne!(writing("a", "x"), writing("b", "x"));
    }
}
