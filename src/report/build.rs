//! From a run's outcome to its report.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use serde::Serialize;

use super::{
    BlockedReport, Cause, ChangeReport, ErrorReport, ExitStatus, FollowupReport, FollowupState, RebootReason,
    RebootReport, RefusedReport, Report, ResourceReport, SCHEMA, StepOutcome, diff,
};
use crate::engine::{ChangeOutcome, FollowupOutcome, MadeChange, Outcome, executable};
use crate::host::{Reach, probe_failure};
use crate::plan::{Blocker, Change, Consented, Disruption, FileState, Objection, Reason, Step, Verdict};

/// What kind of run a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Shown, not made.
    DryRun,
    /// Made.
    Apply,
    /// Made by the unit at boot.
    Boot,
    /// Observed only.
    Status,
}

impl Mode {
    /// Whether what the outcome calls made was only simulated.
    fn simulated(self) -> bool {
        matches!(self, Self::DryRun | Self::Status)
    }
}

/// Builds the report of a run.
pub fn build(mode: Mode, outcome: &Outcome) -> Report {
    let mut report = Report {
        changes: changes(mode, outcome),
        warnings: outcome.last.warnings.clone(),
        followups: followups(mode, outcome),
        ..empty(mode)
    };
    // A consent that lifted a loss in an earlier round has none to lift in the last one.
    let allowed: BTreeSet<&str> = outcome
        .made
        .iter()
        .chain(&outcome.ahead)
        .flat_map(|made| &made.change.allowed)
        .map(|allowed| allowed.at.as_str())
        .collect();
    let lifted = |reason: &Reason| {
        reason.code == "allows-nothing" && reason.at.as_deref().is_some_and(|at| allowed.contains(at))
    };
    report.warnings.retain(|warning| !lifted(&warning.reason));
    report.warnings.sort();
    report.warnings.dedup();
    verdicts(&mut report, outcome);
    failures(&mut report, outcome);
    report.exit_status = exit_status(&report, outcome);
    report.in_sync = report.exit_status == ExitStatus::InSync;
    report.summary = super::text::summary(&report);
    report
}

/// The report of a run that was refused as a whole, before anything was done.
pub fn refusal(resource: &'static str, objection: Objection) -> Report {
    let item = objection.subject.clone();
    let mut report = empty(Mode::Apply);
    report.refused.push(RefusedReport { resource, item, origin: None, objection });
    report.exit_status = ExitStatus::Refused;
    report.summary = super::text::summary(&report);
    report
}

fn empty(mode: Mode) -> Report {
    Report {
        schema: SCHEMA,
        mode,
        in_sync: false,
        exit_status: ExitStatus::InSync,
        summary: String::new(),
        resources: Vec::new(),
        changes: Vec::new(),
        blocked: Vec::new(),
        refused: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        followups: Vec::new(),
        reboot: RebootReport::default(),
    }
}

fn verdicts(report: &mut Report, outcome: &Outcome) {
    for judged in &outcome.last.resources {
        let in_sync = judged.items.iter().filter(|item| item.verdict == Verdict::InSync).count();
        report.resources.push(ResourceReport {
            resource: judged.resource,
            in_sync,
            not_in_sync: judged.items.len() - in_sync,
        });
        if let Some(error) = &judged.error {
            report.errors.push(ErrorReport::new(judged.resource, None, error.clone()));
        }
    }
    for (resource, found) in outcome.last.items() {
        let (item, origin) = (found.item.clone(), found.origin.clone());
        match &found.verdict {
            Verdict::InSync | Verdict::Change(_) => {}
            Verdict::PendingReboot { why } => {
                report.reboot.reasons.push(RebootReason {
                    resource,
                    item,
                    stuck: false,
                    reason: why.clone(),
                });
            }
            Verdict::Stuck { why } => {
                report.reboot.reasons.push(RebootReason { resource, item, stuck: true, reason: why.clone() });
            }
            Verdict::Blocked { on, why } => {
                report.blocked.push(BlockedReport {
                    resource,
                    item,
                    origin,
                    on: on.clone(),
                    reason: why.clone(),
                });
            }
            Verdict::Refused(objection) => {
                report.refused.push(RefusedReport { resource, item, origin, objection: objection.clone() });
            }
        }
    }
    report.reboot.pending = report.reboot.reasons.iter().any(|reason| !reason.stuck);
}

fn failures(report: &mut Report, outcome: &Outcome) {
    for made in &outcome.made {
        let (error, remedy, kernel_log) = match &made.outcome {
            // What it came to shows in what was planned anew, or in what is left.
            ChangeOutcome::Applied | ChangeOutcome::Overtaken { .. } => continue,
            ChangeOutcome::Failed(failure) => {
                (failure.error.clone(), failure.remedy.clone(), failure.kernel_log.clone())
            }
            ChangeOutcome::NoEffect { kernel_log } => {
                let text = "every step was accepted, but a new observation shows no effect";
                let error = format!("{text} ({})", made.change.reason.text);
                match probe_failure(kernel_log) {
                    Some((cause, next)) => {
                        (format!("{error}: {cause}"), Some(next.to_owned()), kernel_log.clone())
                    }
                    None => (error, None, kernel_log.clone()),
                }
            }
        };
        let item = Some(made.item.clone());
        report.errors.push(ErrorReport {
            remedy,
            kernel_log,
            ..ErrorReport::new(made.resource, item, error)
        });
    }
    if report.mode != Mode::Status {
        unsettled(report, outcome);
    }
}

/// Changes that the last plan still asks for although a run could make them: rounds ran out, or an owed follow-up did
/// not settle them.
fn unsettled(report: &mut Report, outcome: &Outcome) {
    let reach = if outcome.ahead.is_empty() { outcome.facts.reach } else { Reach::Machine };
    for (resource, item, change) in outcome.last.changes().filter(|(_, _, change)| executable(change, reach))
    {
        let told = report
            .errors
            .iter()
            .any(|error| error.resource == resource && error.item.as_ref() == Some(&item.item));
        let owed = outcome.followups.iter().any(|run| change.followups.contains(&run.followup) && !run.ran());
        if !told && !owed {
            let error = format!("still not as desired after the last round: {}", change.reason.text);
            report.errors.push(ErrorReport::new(resource, Some(item.item.clone()), error));
        }
    }
}

/// Every step once, with all the items that share it, in the order of execution; then what cannot be made here.
fn changes<'a>(mode: Mode, outcome: &'a Outcome) -> Vec<ChangeReport> {
    let mut reports: Vec<ChangeReport> = Vec::new();
    let mut seen: BTreeMap<(usize, &Step), usize> = BTreeMap::new();
    let mut add = |round: usize,
                   resource,
                   item: &str,
                   origin: Option<&String>,
                   change: &'a Change,
                   state: &dyn Fn(usize) -> StepOutcome| {
        for (number, step) in change.steps.iter().enumerate() {
            let at = *seen.entry((round, step)).or_insert(reports.len());
            if let Some(report) = reports.get_mut(at) {
                report.item = format!("{}, {item}", report.item);
                report.origin = None;
                report.allowed.extend(allowed(change, step));
                report.allowed.sort();
                report.allowed.dedup();
                match report.causes.iter_mut().find(|cause| cause.reason == change.reason) {
                    Some(cause) => cause.items.push(item.to_owned()),
                    None => report.causes.push(cause(item, change)),
                }
            } else {
                reports.push(change_report(round, resource, item, origin, change, step, state(number)));
            }
        }
    };
    for MadeChange { round, resource, item, origin, change, outcome } in &outcome.made {
        let state = |number: usize| match outcome {
            ChangeOutcome::Applied if mode.simulated() => StepOutcome::Planned,
            ChangeOutcome::Applied => StepOutcome::Applied,
            ChangeOutcome::Failed(failure) => match number.cmp(&failure.made) {
                Ordering::Less => StepOutcome::Applied,
                Ordering::Equal if failure.begun => StepOutcome::Failed,
                Ordering::Equal => StepOutcome::Skipped,
                Ordering::Greater => StepOutcome::Skipped,
            },
            ChangeOutcome::Overtaken { made } if number < *made => StepOutcome::Applied,
            ChangeOutcome::Overtaken { .. } => StepOutcome::Skipped,
            ChangeOutcome::NoEffect { .. } => StepOutcome::Failed,
        };
        add(*round, *resource, item, origin.as_ref(), change, &state);
    }
    let rounds = outcome.made.last().map_or(0, |made| made.round);
    for MadeChange { round, resource, item, origin, change, .. } in &outcome.ahead {
        add(rounds + round, *resource, item, origin.as_ref(), change, &|_| StepOutcome::Waits);
    }
    if mode == Mode::Status {
        for (resource, item, change) in outcome.last.changes() {
            let executable = executable(change, outcome.facts.reach);
            let state = if executable { StepOutcome::Planned } else { StepOutcome::Waits };
            add(1, resource, &item.item, item.origin.as_ref(), change, &|_| state);
        }
    }
    reports
}

fn change_report(
    round: usize,
    resource: &'static str,
    item: &str,
    origin: Option<&String>,
    change: &Change,
    step: &Step,
    outcome: StepOutcome,
) -> ChangeReport {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let file = |state: &FileState| state.bytes().map(text);
    let target = step.target();
    let (kind, before, after, diff) = match step {
        Step::WriteFile { before, after, .. } => {
            let diff = diff::unified(&target, before.bytes(), Some(&after.0));
            ("write_file", file(before), Some(text(&after.0)), Some(diff))
        }
        Step::RemoveFile { before, .. } => {
            ("remove_file", file(before), None, Some(diff::unified(&target, before.bytes(), None)))
        }
        Step::RestoreFile { before, after, .. } => {
            let diff = diff::restored(&target, before, after);
            ("restore_file", file(before), file(after), Some(diff))
        }
        Step::RemoveDirectory { .. } => ("remove_directory", None, None, None),
        Step::WriteAttr { before, value, .. } => ("write_attr", before.clone(), Some(value.clone()), None),
        Step::Run { .. } => ("run", None, None, None),
    };
    ChangeReport {
        round,
        resource,
        item: item.to_owned(),
        origin: origin.cloned(),
        phase: change.phase,
        step: kind,
        target,
        before,
        after,
        diff,
        disruption: disruption(change, step),
        reason: change.reason.clone(),
        causes: vec![cause(item, change)],
        allowed: allowed(change, step),
        outcome,
    }
}

fn cause(item: &str, change: &Change) -> Cause {
    Cause { items: vec![item.to_owned()], reason: change.reason.clone() }
}

/// What one step of a change interrupts.
fn disruption(change: &Change, step: &Step) -> Disruption {
    if may_take_away(step) { change.disruption } else { Disruption::Nothing }
}

/// The losses that the document allows, with the steps of the change that bring them.
fn allowed(change: &Change, step: &Step) -> Vec<Consented> {
    if may_take_away(step) { change.allowed.clone() } else { Vec::new() }
}

/// Whether a step can take something away: of writes to attributes only few.
fn may_take_away(step: &Step) -> bool {
    let name = step.path().and_then(Path::file_name).and_then(OsStr::to_str);
    !matches!(step, Step::WriteAttr { .. }) || matches!(name, Some("unbind" | "remove" | "sriov_numvfs"))
}

fn followups(mode: Mode, outcome: &Outcome) -> Vec<FollowupReport> {
    let told = |why: &Reason| match &why.remedy {
        Some(remedy) => format!("{}: {remedy}", why.text),
        None => why.text.clone(),
    };
    let report = |run: &crate::engine::FollowupRun| {
        let (state, detail) = match &run.outcome {
            FollowupOutcome::Done if mode.simulated() => (FollowupState::Planned, None),
            FollowupOutcome::Done => (FollowupState::Done, None),
            FollowupOutcome::Failed { error } => (FollowupState::Failed, Some(error.clone())),
            FollowupOutcome::Owed { why } => (FollowupState::Owed, Some(told(why))),
            FollowupOutcome::NoMeans { why } => (FollowupState::NoMeans, Some(told(why))),
            FollowupOutcome::NotNeeded { why } => (FollowupState::NotNeeded, Some(told(why))),
        };
        FollowupReport {
            followup: run.followup,
            argv: run.argv.clone(),
            because: run.because.iter().cloned().collect(),
            state,
            detail,
        }
    };
    outcome.followups.iter().map(report).collect()
}

/// The first that holds of 1, 4, 5, 2, 3, 0.
fn exit_status(report: &Report, outcome: &Outcome) -> ExitStatus {
    let tree = outcome.facts.reach == Reach::Tree;
    let state = |wanted: FollowupState| report.followups.iter().any(|followup| followup.state == wanted);
    let waits = |blocked: &BlockedReport| match &blocked.on {
        Blocker::Reboot => true,
        Blocker::Host => false,
        Blocker::Resource(resource) => waits_on_resource(report, outcome, resource),
    };
    let failed = !report.errors.is_empty()
        || state(FollowupState::Failed)
        || (state(FollowupState::NoMeans) && !tree)
        || report.blocked.iter().any(|blocked| !waits(blocked));
    let unmade = |outcome: StepOutcome| report.changes.iter().any(|change| change.outcome == outcome);
    let stuck = report.reboot.reasons.iter().any(|reason| reason.stuck);
    let live_waits = unmade(StepOutcome::Waits)
        || !report.blocked.is_empty()
        || (tree && (state(FollowupState::Owed) || state(FollowupState::NoMeans)));
    if failed {
        ExitStatus::Failed
    } else if !report.refused.is_empty() {
        ExitStatus::Refused
    } else if stuck {
        ExitStatus::Stuck
    } else if unmade(StepOutcome::Planned) || state(FollowupState::Planned) {
        ExitStatus::ChangesPending
    } else if report.reboot.pending || live_waits {
        ExitStatus::RebootPending
    } else {
        ExitStatus::InSync
    }
}

/// Whether an item that is blocked on `resource` will be settled by a run or a reboot, or is accounted for there.
fn waits_on_resource(report: &Report, outcome: &Outcome, resource: &str) -> bool {
    let changes = outcome.last.changes().any(|(key, _, _)| key == resource);
    let rebooting = report.reboot.reasons.iter().any(|reason| reason.resource == resource);
    let refused: BTreeSet<&str> = report.refused.iter().map(|refused| refused.resource).collect();
    let blocked = report.blocked.iter().any(|blocked| {
        blocked.resource == resource && !matches!(&blocked.on, Blocker::Resource(other) if other == resource)
    });
    changes || rebooting || refused.contains(resource) || blocked
}

#[cfg(test)]
mod tests;
