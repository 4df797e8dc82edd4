//! One round's execution: what is about to change is recorded and synced first, then the steps are made.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::generations::{Entry, Left, Round};
use super::plan::Scope;
use super::rounds::{ChangeOutcome, Failure, Progress, RunError};
use super::{Facts, Memory, Owned, PersistedAt};
use crate::host::{Host, StepError, Users};
use crate::plan::{Change, Followup, Phase, Step};
use crate::types::PciAddress;

/// A change about to be made.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Attempt {
    pub(super) resource: &'static str,
    pub(super) item: String,
    pub(super) origin: Option<String>,
    pub(super) change: Change,
}

/// The memory; every change of it is made durable on the host first.
pub(super) struct Ledger<'a> {
    pub(super) memory: &'a mut Memory,
    /// At boot every boot is noted with the changes that it begins.
    pub(super) scope: Scope,
}

impl Ledger<'_> {
    /// Replaces the memory and makes it durable, if it differs.
    pub(super) fn update(&mut self, memory: Memory, host: &mut dyn Host) -> Result<(), RunError> {
        if memory != *self.memory {
            host.remember(&memory).map_err(RunError::Memory)?;
            *self.memory = memory;
        }
        Ok(())
    }
}

/// Makes the changes of one round, each step once even where several items share it.
pub(super) fn batch(
    attempts: &[Attempt],
    host: &mut dyn Host,
    ledger: &mut Ledger<'_>,
    facts: &Facts,
    progress: &mut dyn Progress,
) -> Result<Vec<ChangeOutcome>, RunError> {
    let before = ledger.memory.clone();
    let boot_id = facts.boot_id.clone().unwrap_or_default();
    let mut announced = before.clone();
    for attempt in attempts {
        announce(&mut announced, attempt, &boot_id);
        let Attempt { resource, item, change, .. } = attempt;
        if ledger.scope == Scope::Boot && change.phase == Phase::Live && !change.steps.is_empty() {
            announced.boots.begin(resource, item, &boot_id);
        }
    }
    hash_inputs(&mut announced, attempts);
    // First what stands there, so that whatever is announced next can be undone.
    let round = Round::of(attempts, host.as_read());
    let total = round.steps.len();
    // Attempts that share a step have the same index for it.
    let numbered: Vec<(&Attempt, Vec<usize>)> =
        attempts.iter().zip(round.changes.iter().map(|change| change.steps.clone())).collect();
    if total > 0 {
        host.record(&Entry::Round(round)).map_err(RunError::Memory)?;
    }
    // Owned before it is written and owed before the step that owes it: a crash in between loses nothing.
    ledger.update(announced.clone(), host)?;

    let mut results = Results::new();
    let mut outcomes = Vec::new();
    for (attempt, indices) in &numbered {
        let mut outcome = ChangeOutcome::Applied;
        for (made, (step, at)) in attempt.change.steps.iter().zip(indices).enumerate() {
            if !results.contains_key(at) {
                if let Some(signal) = host.interrupted() {
                    outcome = ChangeOutcome::Failed(not_begun(signal, made));
                    break;
                }
                progress.step(results.len() + 1, total, step);
                results.insert(*at, recorded(step, *at, host));
            }
            if let Some(Err(error)) = results.get(at) {
                outcome = match error {
                    StepError::Changed { .. } => ChangeOutcome::Overtaken { made },
                    error => ChangeOutcome::Failed(failure(error, step, made, host)),
                };
                break;
            }
        }
        outcomes.push(outcome);
    }

    let mut settled = announced;
    for ((attempt, indices), outcome) in numbered.iter().zip(&outcomes) {
        match outcome {
            ChangeOutcome::Applied => forget_given_up(&mut settled, attempt),
            // Something of it happened: it stays ours, so that it can be taken back.
            _ if left_a_mark(indices, &results) => {}
            _ => unannounce(&mut settled, &before, attempt),
        }
    }
    settled.owned.retain(|_, items| !items.is_empty());
    settled.persisted.retain(|_, items| !items.is_empty());
    drop_debts_never_incurred(&mut settled, &before, &numbered, &results);
    ledger.update(settled, host)?;
    Ok(outcomes)
}

/// Makes a step, with a note before and behind it. A note that cannot be written stops nothing: the round is recorded,
/// and of a step without a note the host itself tells.
fn recorded(step: &Step, at: usize, host: &mut dyn Host) -> Result<(), StepError> {
    let _unnoted = host.record(&Entry::Began { step: at });
    let result = host.execute(step);
    let error = result.as_ref().err().map(|error| crate::report::chain(error));
    let left = if result.is_ok() { Left::by(step, host.as_read()) } else { None };
    let _unnoted = host.record(&Entry::Ended { step: at, error, left });
    result
}

/// The function that a step is about: the one whose attribute is written, or that is named to a driver.
pub(super) fn function_of(step: &Step) -> Option<PciAddress> {
    let Step::WriteAttr { path, value, .. } = step else { return None };
    let owner = || path.parent()?.file_name()?.to_str()?.parse().ok();
    value.trim().parse().ok().or_else(owner)
}

/// What went wrong, with all that can be told about it.
fn failure(error: &StepError, step: &Step, made: usize, host: &dyn Host) -> Failure {
    let function = function_of(step);
    let mut told = error.told();
    if let (StepError::Hung { .. }, Some(function)) = (error, function) {
        // Of a function that hangs not everything can be read.
        for user in Users::new(host.as_read()).of(function) {
            for reason in user.chain {
                told.push_str(&format!("; {}", reason.text));
            }
        }
    }
    Failure {
        error: told,
        remedy: error.remedy().map(str::to_owned),
        kernel_log: function.map_or_else(Vec::new, |function| host.kernel_log(function)),
        made,
        begun: true,
    }
}

/// A step that is not begun any more.
fn not_begun(signal: &str, made: usize) -> Failure {
    Failure {
        error: format!("not made: {signal} came"),
        remedy: Some("run again".to_owned()),
        kernel_log: Vec::new(),
        made,
        begun: false,
    }
}

/// What became of each step of a round, by its index.
type Results = BTreeMap<usize, Result<(), StepError>>;

/// Whether one of these steps of an attempt was made, or may be: a write that hangs in the kernel can still go through,
/// and of one whose writer was killed nobody knows.
fn left_a_mark(steps: &[usize], results: &Results) -> bool {
    let may_stand = |at| {
        matches!(results.get(at), Some(Ok(()) | Err(StepError::Hung { .. } | StepError::Unanswered { .. })))
    };
    steps.is_empty() || steps.iter().any(may_stand)
}

/// Records what an attempt will own, owe and persist.
fn announce(memory: &mut Memory, attempt: &Attempt, boot_id: &str) {
    let Attempt { resource, item, change, .. } = attempt;
    for owned in &change.owns {
        let Some(written) = owned.written.clone() else { continue };
        let items = memory.owned.entry((*resource).to_owned()).or_default();
        // What stood there before our first write stays what we would give back.
        let before =
            items.get(&owned.item).map_or_else(|| owned.before.clone(), |known| known.before.clone());
        items.insert(owned.item.clone(), Owned { target: owned.target.clone(), before, written });
    }
    for followup in &change.followups {
        memory.owed.entry(*followup).or_default().because.insert(format!("{resource}: {item}"));
    }
    if change.phase == Phase::Persisted {
        let items = memory.persisted.entry((*resource).to_owned()).or_default();
        items.insert(item.clone(), PersistedAt { boot_id: boot_id.to_owned() });
    }
}

/// Notes what the follow-ups of these attempts will have to take up: a hash over the files that they write.
fn hash_inputs(memory: &mut Memory, attempts: &[Attempt]) {
    for (followup, owed) in &mut memory.owed {
        let causes = attempts.iter().filter(|attempt| attempt.change.followups.contains(followup));
        let steps: BTreeSet<&Step> = causes.flat_map(|attempt| &attempt.change.steps).collect();
        if steps.is_empty() {
            continue;
        }
        // What was owed before is still owed.
        let mut digest = Sha256::new().chain_update(&owed.inputs);
        for step in steps {
            digest.update(step.target());
            match step {
                Step::WriteFile { after, .. } => digest.update(&after.0),
                Step::RestoreFile { after, .. } => digest.update(after.bytes().unwrap_or_default()),
                Step::RemoveFile { .. }
                | Step::RemoveDirectory { .. }
                | Step::WriteAttr { .. }
                | Step::Run { .. } => {}
            }
        }
        owed.inputs = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// Forgets what a successful attempt gave up, and when it was persisted: what comes again has its own chance at a boot.
fn forget_given_up(memory: &mut Memory, attempt: &Attempt) {
    for owned in attempt.change.owns.iter().filter(|owned| owned.written.is_none()) {
        if let Some(items) = memory.owned.get_mut(attempt.resource) {
            items.remove(&owned.item);
        }
        if let Some(items) = memory.persisted.get_mut(attempt.resource) {
            items.remove(&owned.item);
        }
    }
}

/// Takes back what an attempt had announced of which nothing happened.
fn unannounce(memory: &mut Memory, before: &Memory, attempt: &Attempt) {
    let resource = attempt.resource;
    for owned in &attempt.change.owns {
        let known = before.owned_item(resource, &owned.item).cloned();
        put_back(memory.owned.entry(resource.to_owned()).or_default(), &owned.item, known);
    }
    if attempt.change.phase == Phase::Persisted {
        let known = before.persisted.get(resource).and_then(|items| items.get(&attempt.item)).cloned();
        put_back(memory.persisted.entry(resource.to_owned()).or_default(), &attempt.item, known);
    }
}

fn put_back<T>(items: &mut BTreeMap<String, T>, item: &str, known: Option<T>) {
    match known {
        Some(known) => items.insert(item.to_owned(), known),
        None => items.remove(item),
    };
}

/// A follow-up whose every causing change failed before its first step was made is not owed after all.
fn drop_debts_never_incurred(
    memory: &mut Memory,
    before: &Memory,
    attempts: &[(&Attempt, Vec<usize>)],
    results: &Results,
) {
    let incurred: BTreeSet<Followup> = attempts
        .iter()
        .filter(|(_, steps)| left_a_mark(steps, results))
        .flat_map(|(attempt, _)| attempt.change.followups.iter().copied())
        .collect();
    memory.owed.retain(|followup, _| incurred.contains(followup) || before.owed.contains_key(followup));
}

#[cfg(test)]
mod tests;
