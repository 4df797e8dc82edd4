//! `reconcile rollback [N]`: show what going back would change, ask, go back.

use std::time::Duration;

use clap::Args;

use super::apply::{Decision, Work, decide, lock_run};
use super::output::can_ask;
use super::prepare::{header, open_host, remembered};
use super::recover::recover;
use super::{Common, Output};
use crate::engine::generations::Kind;
use crate::engine::{Outcome, RunError, Silent, Undo};
use crate::host::{Machine, RunLock, SimulatedHost, generations};
use crate::plan::Warning;
use crate::report::{Detail, ExitStatus, Mode, Report, build, chain};

/// Flags of `rollback`.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// Go back to the state before this generation; without it, before the newest that was not made by the unit at boot.
    #[arg(value_name = "N")]
    number: Option<u32>,
    /// Show what would be done and write nothing, anywhere.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run(common: &Common, args: &RollbackArgs, output: &Output) -> ExitStatus {
    if !common.only.is_empty() {
        return output.fail(ExitStatus::Usage, "a rollback goes back by whole generations: leave out --only");
    }
    if !args.dry_run && !args.yes && !can_ask() {
        let message =
            "there is no terminal to ask on: pass --yes to roll back without asking, or --dry-run to look";
        return output.fail(ExitStatus::Usage, message);
    }
    let result = if args.dry_run { dry_run(common, args, output) } else { roll_back(common, args, output) };
    result.unwrap_or_else(|status| status)
}

fn undo(machine: &Machine, args: &RollbackArgs, output: &Output) -> Result<Undo, ExitStatus> {
    let kept = generations::load(machine).map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
    Undo::plan_for(kept, args.number, machine)
        .map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))
}

fn dry_run(common: &Common, args: &RollbackArgs, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let machine = open_host(common, output)?;
    let undo = undo(&machine, args, output)?;
    let preview = preview(&undo, &machine, output)?;
    let report = build(Mode::DryRun, &preview);
    output.report(&report, Detail::Everything);
    Ok(report.exit_status)
}

/// The whole rollback on a simulated host.
fn preview(undo: &Undo, machine: &Machine, output: &Output) -> Result<Outcome, ExitStatus> {
    let mut memory = remembered(machine, output)?;
    let outcome = undo.run(&mut SimulatedHost::new(machine), &mut memory, &mut Silent);
    outcome.map_err(|error| fail(&error, output))
}

fn roll_back(common: &Common, args: &RollbackArgs, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let mut machine = open_host(common, output)?;
    let lock = lock_run(&machine, Duration::ZERO, output, RunLock::acquire)?;
    let warnings = recover(&mut machine);
    let undo = undo(&machine, args, output)?;
    let preview = preview(&undo, &machine, output)?;
    let shown = with_warnings(build(Mode::DryRun, &preview), &warnings);
    let detail = match decide(&shown, Work::of(&preview), args.yes, "Roll back?", output) {
        Decision::Go(detail) => detail,
        Decision::Stop(status) => return Ok(status),
    };
    let mut memory = remembered(&machine, output)?;
    let kept =
        shown.refused.iter().map(|refused| format!("{}: {}", refused.resource, refused.item)).collect();
    let kind = Kind::Rollback { to: undo.to, kept };
    machine.keep_record(header(kind, &machine, &[], &memory));
    machine.report_progress(output.long_steps());
    let mut progress = output.progress();
    let outcome = undo.run(&mut machine, &mut memory, progress.as_mut());
    drop(progress);
    drop(lock);
    let outcome = outcome.map_err(|error| fail(&error, output))?;
    let report = with_warnings(build(Mode::Apply, &outcome), &warnings);
    if detail == Detail::WhatIsLeft && !output.json() {
        output.text("\n");
    }
    output.report(&report, detail);
    Ok(report.exit_status)
}

fn with_warnings(mut report: Report, warnings: &[Warning]) -> Report {
    report.warnings.extend(warnings.iter().cloned());
    report
}

fn fail(error: &RunError, output: &Output) -> ExitStatus {
    output.fail(ExitStatus::Failed, &chain(error))
}
