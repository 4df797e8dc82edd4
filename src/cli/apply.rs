//! The default verb: show the difference, ask, apply, show what is left.

use std::path::Path;
use std::time::Duration;

use super::boot::{raise_alarm, switched_off};
use super::output::can_ask;
use super::prepare::{Prepared, ReadDocument, header, open_host, read_document, selection};
use super::recover::{self, recover};
use super::{ApplyArgs, Common, Output, plan};
use crate::document::Source;
use crate::engine::generations::Kind;
use crate::engine::{
    BOOT_ID, Boots, Engine, FollowupOutcome, FollowupRun, Memory, Outcome, RunError, SavedPlan, Scope,
    Selection, Silent,
};
use crate::host::recording::sha256;
use crate::host::{
    CachedHost, Host as _, LockError, Machine, Reach, ReadHost, RunLock, SimulatedHost, StepError,
};
use crate::report::{Detail, ExitStatus, Mode, Report, build, chain, render};

/// How long the unit at boot waits for functions that are not there yet, all of them together.
const BOOT_WAIT: Duration = Duration::from_secs(30);

pub(super) fn run(common: &Common, args: &ApplyArgs, output: &mut Output) -> ExitStatus {
    if args.wait.is_some() && args.dry_run && !args.boot {
        return output.fail(ExitStatus::Usage, "--wait has nothing to wait for: a dry run takes no lock");
    }
    let unattended = args.yes || args.boot;
    if !args.dry_run && !unattended && !can_ask() {
        let message =
            "there is no terminal to ask on: pass --yes to apply without asking, or --dry-run to look";
        return output.fail(ExitStatus::Usage, message);
    }
    let result = if args.dry_run { dry_run(common, args, output) } else { apply(common, args, output) };
    result.unwrap_or_else(|status| status)
}

fn scope(args: &ApplyArgs) -> Scope {
    if args.boot { Scope::Boot } else { Scope::Full }
}

fn dry_run(common: &Common, args: &ApplyArgs, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let saved = plan::read(common, args, output)?;
    let read = document(common, saved.as_ref(), output)?;
    let mut prepared = Prepared::new(read, open_host(common, output)?, output)?;
    prepared.warnings.extend(recover::look(&prepared.machine));
    let selection = saved.as_ref().map_or_else(|| selection(common, scope(args)), SavedPlan::selection);
    if saved.is_none() && args.out.is_none() && !output.json() {
        let (outcome, _) =
            simulate(&prepared, &selection, &prepared.machine).map_err(|error| fail(&error, output))?;
        let report = with_warnings(Mode::DryRun, outcome, &prepared);
        output.report(&report, Detail::Everything);
        return Ok(report.exit_status);
    }
    let preview = plan::preview(&prepared, &selection, output)?;
    if let Some(saved) = &saved {
        plan::hold(saved, &preview, output)?;
    }
    if let Some(path) = &args.out {
        plan::save(&preview, path, output)?;
    }
    preview.show(output);
    Ok(preview.report.exit_status)
}

/// What a run would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Nothing,
    /// Forget what is no longer ours; nobody has to be asked about that.
    Bookkeeping,
    /// Steps or commands.
    Changes,
}

impl Work {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let changes = outcome.made.iter().any(|made| !made.change.steps.is_empty());
        let runs = outcome.followups.iter().any(FollowupRun::ran);
        let needless = |run: &FollowupRun| matches!(run.outcome, FollowupOutcome::NotNeeded { .. });
        let forgets = !outcome.made.is_empty() || outcome.followups.iter().any(needless);
        match (changes || runs, forgets) {
            (true, _) => Self::Changes,
            (false, true) => Self::Bookkeeping,
            (false, false) => Self::Nothing,
        }
    }
}

/// The whole run on a simulated host over `host`, which is the prepared one.
pub(super) fn simulate(
    prepared: &Prepared,
    selection: &Selection,
    host: &dyn ReadHost,
) -> Result<(Outcome, Work), RunError> {
    let host = CachedHost::new(host);
    let mut host = SimulatedHost::new(&host);
    let mut memory = prepared.memory.clone();
    let mut engine = Engine {
        document: &prepared.document,
        selection,
        memory: &mut memory,
        progress: &mut Silent,
        wait: Duration::ZERO,
        known: None,
        saved: None,
    };
    let mut outcome = engine.run(&mut host)?;
    let work = Work::of(&outcome);
    look_ahead(&mut outcome, host, prepared, selection, memory)?;
    Ok((outcome, work))
}

/// Under `--root`: adds what the machine that the tree becomes would make at its own first run, on `host`, where the
/// files are already as this run leaves them.
fn look_ahead(
    outcome: &mut Outcome,
    mut host: SimulatedHost<'_>,
    prepared: &Prepared,
    selection: &Selection,
    mut memory: Memory,
) -> Result<(), RunError> {
    if prepared.machine.reach() == Reach::Machine {
        return Ok(());
    }
    host.become_machine();
    let mut engine = Engine {
        document: &prepared.document,
        selection,
        memory: &mut memory,
        progress: &mut Silent,
        wait: Duration::ZERO,
        known: Some(outcome.facts.devices.known.clone()),
        saved: None,
    };
    let later = engine.run(&mut host)?;
    outcome.ahead = later.made;
    outcome.last = later.last;
    Ok(())
}

fn apply(common: &Common, args: &ApplyArgs, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let mut machine = open_host(common, output)?;
    if args.boot {
        let switch =
            switched_off(&machine).map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
        if let Some(why) = switch {
            output.text(&format!("switched off: {why}; nothing was done\n"));
            return Ok(ExitStatus::InSync);
        }
    }
    // Held from before the first look to after the last write. A lock file that is there already is locked before the
    // document is read; none is made for a document that is at fault.
    let wait = args.wait.unwrap_or(if args.boot { BOOT_WAIT } else { Duration::ZERO });
    let present = lock_run(&machine, wait, output, RunLock::acquire_present)?;
    let saved = plan::read(common, args, output)?;
    let read = document(common, saved.as_ref(), output)?;
    let lock = match present {
        Some(lock) => lock,
        None => lock_run(&machine, wait, output, RunLock::acquire)?,
    };
    let left_by_others = recover(&mut machine);
    let mut prepared = Prepared::new(read, machine, output)?;
    prepared.warnings.extend(left_by_others);
    let selection = saved.as_ref().map_or_else(|| selection(common, scope(args)), SavedPlan::selection);

    let mut detail = Detail::Everything;
    if !args.boot {
        let (preview, work) = match &saved {
            Some(saved) => {
                let preview = plan::preview(&prepared, &selection, output)?;
                plan::hold(saved, &preview, output)?;
                (preview.report, preview.work)
            }
            None => {
                let (outcome, work) = simulate(&prepared, &selection, &prepared.machine)
                    .map_err(|error| fail(&error, output))?;
                (with_warnings(Mode::DryRun, outcome, &prepared), work)
            }
        };
        match decide(&preview, work, args.yes, "Apply these changes?", output) {
            Decision::Go(shown) => detail = shown,
            Decision::Stop(status) => {
                if work == Work::Nothing {
                    let memory = std::mem::take(&mut prepared.memory);
                    forgive_boots(&mut prepared.machine, memory, status)
                        .map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
                }
                return Ok(status);
            }
        }
    }
    let report = execute(&mut prepared, &selection, args, saved.as_ref(), output)?;
    drop(lock);
    if detail == Detail::WhatIsLeft && !output.json() {
        output.text("\n");
    }
    output.report(&report, detail);
    if args.boot {
        raise_alarm(&report, output);
    }
    Ok(report.exit_status)
}

/// Whether a run goes on after its preview.
pub(super) enum Decision {
    /// It does, and shows so much of its own report.
    Go(Detail),
    /// It ends with this status; everything is told.
    Stop(ExitStatus),
}

/// Shows what would be done and asks, as far as there is something to be asked about.
pub(super) fn decide(preview: &Report, work: Work, yes: bool, question: &str, output: &Output) -> Decision {
    match work {
        Work::Nothing => {
            output.report(&Report { mode: Mode::Apply, ..preview.clone() }, Detail::Everything);
            return Decision::Stop(preview.exit_status);
        }
        Work::Bookkeeping => return Decision::Go(Detail::Everything),
        Work::Changes => {}
    }
    match (output.json(), yes) {
        (false, _) => output.report(preview, Detail::Everything),
        // Whoever is asked has to see what about; standard output is for the one document.
        (true, false) => output.diagnostic(&render(preview, Detail::Everything)),
        (true, true) => {}
    }
    if !yes && !output.ask(question) {
        if output.json() {
            output.document(preview);
        }
        return Decision::Stop(preview.exit_status);
    }
    Decision::Go(Detail::WhatIsLeft)
}

fn execute(
    prepared: &mut Prepared,
    selection: &Selection,
    args: &ApplyArgs,
    saved: Option<&SavedPlan>,
    output: &Output,
) -> Result<Report, ExitStatus> {
    let mut memory = std::mem::take(&mut prepared.memory);
    let kind = if args.boot { Kind::Boot } else { Kind::Apply };
    memory.boots.for_documents(documents_hash(&prepared.sources));
    prepared.machine.keep_record(header(kind, &prepared.machine, &prepared.sources, &memory));
    let mut progress = output.progress();
    prepared.machine.report_progress(output.long_steps());
    prepared.machine.watch_signals().map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
    let mut engine = Engine {
        document: &prepared.document,
        selection,
        memory: &mut memory,
        progress: progress.as_mut(),
        wait: if args.boot { args.wait.unwrap_or(BOOT_WAIT) } else { Duration::ZERO },
        known: None,
        saved,
    };
    let outcome = engine.run(&mut prepared.machine);
    drop(progress);
    let mut outcome = outcome.map_err(|error| fail(&error, output))?;
    let after = CachedHost::new(&prepared.machine);
    let after = SimulatedHost::new(&after);
    look_ahead(&mut outcome, after, prepared, selection, memory.clone())
        .map_err(|error| fail(&error, output))?;
    let mode = if args.boot { Mode::Boot } else { Mode::Apply };
    let report = with_warnings(mode, outcome, prepared);
    if !args.boot {
        forgive_boots(&mut prepared.machine, memory, report.exit_status)
            .map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
    }
    Ok(report)
}

/// A run by hand that has succeeded settles what boots have stopped at: the unit makes it again.
fn forgive_boots(machine: &mut Machine, mut memory: Memory, status: ExitStatus) -> Result<(), StepError> {
    let boot_id = machine.text(Path::new(BOOT_ID))?;
    let skips = memory.boots.warning(boot_id.as_deref()).is_some();
    if !skips || !matches!(status, ExitStatus::InSync | ExitStatus::RebootPending) {
        return Ok(());
    }
    memory.boots = Boots::default();
    machine.remember(&memory)
}

fn documents_hash(sources: &[Source]) -> String {
    sha256(&sources.iter().flat_map(|source| source.bytes.iter().copied().chain([0])).collect::<Vec<u8>>())
}

/// The documents of the command line, or of the saved plan.
fn document(common: &Common, saved: Option<&SavedPlan>, output: &Output) -> Result<ReadDocument, ExitStatus> {
    saved.map_or_else(|| read_document(common, output), |saved| plan::documents(saved, output))
}

/// Takes the run's lock by `acquire`, which waits so long.
pub(super) fn lock_run<T>(
    machine: &Machine,
    wait: Duration,
    output: &Output,
    acquire: impl FnOnce(&Machine, Duration, &mut dyn FnMut(Option<u32>)) -> Result<T, LockError>,
) -> Result<T, ExitStatus> {
    let mut waiting = |pid| output.waiting_for_run(pid, wait);
    acquire(machine, wait, &mut waiting).map_err(|error| {
        let status = match error {
            LockError::Held { .. } => ExitStatus::Locked,
            LockError::Host(_) => ExitStatus::Failed,
        };
        output.fail(status, &chain(&error))
    })
}

pub(super) fn with_warnings(mode: Mode, mut outcome: Outcome, prepared: &Prepared) -> Report {
    outcome.last.warnings.extend(prepared.warnings.iter().cloned());
    build(mode, &outcome)
}

pub(super) fn fail(error: &RunError, output: &Output) -> ExitStatus {
    output.fail(ExitStatus::Failed, &chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::engine::{ChangeOutcome, Facts, MadeChange, Plan};
    use crate::host::EmptyHost;
    use crate::plan::{Change, Disruption, Followup, Phase, Reason, Step};

    #[test]
    fn only_what_somebody_could_object_to_is_asked_about() {
        let reason = || Reason::new("test", "a test");
        let made = |steps: Vec<Step>| MadeChange {
            round: 1,
            resource: "sriov",
            item: "0000:03:00.0".to_owned(),
            origin: None,
            change: Change::new(Phase::Live, steps, Disruption::Nothing, reason()),
            outcome: ChangeOutcome::Applied,
        };
        let run = |outcome| {
            let (argv, because) = (Vec::new(), ["a".to_owned()].into());
            FollowupRun { followup: Followup::BootLoader, argv, because, outcome }
        };
        let work = |made: Vec<MadeChange>, followups: Vec<FollowupRun>| {
            let facts = Facts::gather(&Document::default(), &EmptyHost(Reach::Machine), None).unwrap();
            Work::of(&Outcome { made, ahead: Vec::new(), followups, last: Plan::default(), facts })
        };
        let step = Step::quick_attr("/sys/x", None, "1");
        assert_eq!(work(vec![], vec![]), Work::Nothing);
        assert_eq!(work(vec![], vec![run(FollowupOutcome::Owed { why: reason() })]), Work::Nothing);
        assert_eq!(work(vec![made(vec![])], vec![]), Work::Bookkeeping);
        assert_eq!(work(vec![], vec![run(FollowupOutcome::NotNeeded { why: reason() })]), Work::Bookkeeping);
        assert_eq!(work(vec![], vec![run(FollowupOutcome::Done)]), Work::Changes);
        assert_eq!(work(vec![made(vec![]), made(vec![step])], vec![]), Work::Changes);
    }
}
