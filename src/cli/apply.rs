//! The default verb: show the difference, ask, apply, show what is left.

use std::time::Duration;

use super::output::can_ask;
use super::prepare::{Prepared, header, open_host, read_document, selection};
use super::recover::recover;
use super::{ApplyArgs, Common, Output};
use crate::engine::generations::Kind;
use crate::engine::{
    Engine, FollowupOutcome, FollowupRun, Memory, Outcome, RunError, Scope, Selection, Silent,
};
use crate::host::{LockError, Reach, ReadHost as _, RunLock, SimulatedHost};
use crate::report::{Detail, ExitStatus, Mode, Report, build, chain, render};

/// How long the unit at boot waits for functions that are not there yet, all of them together.
const BOOT_WAIT: Duration = Duration::from_secs(30);

pub(super) fn run(common: &Common, args: &ApplyArgs, output: &mut Output) -> ExitStatus {
    if args.wait.is_some() && !args.boot {
        return output.fail(ExitStatus::Usage, "--wait goes with --boot");
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
    let prepared = super::prepare::prepare(common, output)?;
    let selection = selection(common, scope(args));
    let (report, _) = simulate(&prepared, &selection).map_err(|error| fail(&error, output))?;
    output.report(&report, Detail::Everything);
    Ok(report.exit_status)
}

/// What a run would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Nothing,
    /// Forget what is no longer ours; nobody has to be asked about that.
    Bookkeeping,
    /// Steps or commands.
    Changes,
}

impl Work {
    fn of(outcome: &Outcome) -> Self {
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

/// The whole run on a simulated host.
fn simulate(prepared: &Prepared, selection: &Selection) -> Result<(Report, Work), RunError> {
    let mut host = SimulatedHost::new(&prepared.machine);
    let mut memory = prepared.memory.clone();
    let mut engine = Engine {
        document: &prepared.document,
        selection,
        memory: &mut memory,
        progress: &mut Silent,
        wait: Duration::ZERO,
        scan: None,
    };
    let mut outcome = engine.run(&mut host)?;
    let work = Work::of(&outcome);
    look_ahead(&mut outcome, host, prepared, selection, memory)?;
    Ok((with_warnings(Mode::DryRun, outcome, prepared), work))
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
        scan: outcome.facts.devices.scan.clone(),
    };
    let later = engine.run(&mut host)?;
    outcome.ahead = later.made;
    outcome.last = later.last;
    Ok(())
}

fn apply(common: &Common, args: &ApplyArgs, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let read = read_document(common, output)?;
    let mut machine = open_host(common, output)?;
    // Held from before the first look to after the last write.
    let lock = RunLock::acquire(&machine, Duration::ZERO).map_err(|error| {
        let status = match error {
            LockError::Held { .. } => ExitStatus::Locked,
            LockError::Host(_) => ExitStatus::Failed,
        };
        output.fail(status, &chain(&error))
    })?;
    let left_by_others = recover(&mut machine);
    let mut prepared = Prepared::new(read, machine, output)?;
    prepared.warnings.extend(left_by_others);
    let selection = selection(common, scope(args));

    let mut detail = Detail::Everything;
    if !args.boot {
        let (preview, work) = simulate(&prepared, &selection).map_err(|error| fail(&error, output))?;
        if work == Work::Nothing {
            output.report(&Report { mode: Mode::Apply, ..preview.clone() }, Detail::Everything);
            return Ok(preview.exit_status);
        }
        if work == Work::Changes {
            let asks = !args.yes;
            match (output.json(), asks) {
                (false, _) => output.report(&preview, Detail::Everything),
                // Whoever is asked has to see what about; standard output is for the one document.
                (true, true) => output.diagnostic(&render(&preview, Detail::Everything)),
                (true, false) => {}
            }
            if asks && !output.ask("Apply these changes?") {
                if output.json() {
                    output.document(&preview);
                }
                return Ok(preview.exit_status);
            }
            detail = Detail::WhatIsLeft;
        }
    }
    let report = execute(&mut prepared, &selection, args, output)?;
    drop(lock);
    if detail == Detail::WhatIsLeft && !output.json() {
        output.text("\n");
    }
    output.report(&report, detail);
    Ok(report.exit_status)
}

fn execute(
    prepared: &mut Prepared,
    selection: &Selection,
    args: &ApplyArgs,
    output: &Output,
) -> Result<Report, ExitStatus> {
    let mut memory = std::mem::take(&mut prepared.memory);
    let kind = if args.boot { Kind::Boot } else { Kind::Apply };
    prepared.machine.keep_record(header(kind, &prepared.machine, &prepared.sources, &memory));
    let mut progress = output.progress();
    prepared.machine.report_progress(output.long_steps());
    let mut engine = Engine {
        document: &prepared.document,
        selection,
        memory: &mut memory,
        progress: progress.as_mut(),
        wait: if args.boot { args.wait.unwrap_or(BOOT_WAIT) } else { Duration::ZERO },
        scan: None,
    };
    let outcome = engine.run(&mut prepared.machine);
    drop(progress);
    let mut outcome = outcome.map_err(|error| fail(&error, output))?;
    let after = SimulatedHost::new(&prepared.machine);
    look_ahead(&mut outcome, after, prepared, selection, memory).map_err(|error| fail(&error, output))?;
    let mode = if args.boot { Mode::Boot } else { Mode::Apply };
    Ok(with_warnings(mode, outcome, prepared))
}

fn with_warnings(mode: Mode, mut outcome: Outcome, prepared: &Prepared) -> Report {
    outcome.last.warnings.extend(prepared.warnings.iter().cloned());
    build(mode, &outcome)
}

fn fail(error: &RunError, output: &Output) -> ExitStatus {
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
