//! Saved plans: writing one, and holding one against the host.

use std::path::Path;

use serde::Serialize;

use super::apply::{Work, fail, simulate, with_warnings};
use super::prepare::{Prepared, ReadDocument, check_document};
use super::{ApplyArgs, Common, Output};
use crate::engine::{SavedPlan, Selection};
use crate::host::RecordingHost;
use crate::host::documents::{read_saved_plan, write_private};
use crate::plan::{LiftedBy, Objection, Reason};
use crate::report::{Detail, ExitStatus, Mode, Report, chain, refusal};

/// What a run would do, and the plan of it.
pub(super) struct Preview {
    pub(super) report: Report,
    pub(super) work: Work,
    plan: SavedPlan,
}

/// A dry run's JSON: the report, and the plan that `--plan` takes.
#[derive(Serialize)]
struct Planned<'a> {
    #[serde(flatten)]
    report: &'a Report,
    plan: &'a SavedPlan,
}

impl Preview {
    fn document(&self) -> Planned<'_> {
        Planned { report: &self.report, plan: &self.plan }
    }

    pub(super) fn show(&self, output: &Output) {
        if output.json() {
            output.document(&self.document());
        } else {
            output.report(&self.report, Detail::Everything);
        }
    }
}

/// The plan that `--plan` names.
pub(super) fn read(
    common: &Common,
    args: &ApplyArgs,
    output: &Output,
) -> Result<Option<SavedPlan>, ExitStatus> {
    let Some(path) = &args.plan else { return Ok(None) };
    let bytes = read_saved_plan(path, common.root.as_deref())
        .map_err(|error| output.fail(ExitStatus::Document, &error.to_string()))?;
    SavedPlan::parse(&bytes).map(Some).map_err(|error| {
        let hint = "a plan is written by reconcile --dry-run --out FILE";
        output.fail(ExitStatus::Document, &format!("{}:{error} ({hint})", path.display()))
    })
}

/// The documents that a plan was made from.
pub(super) fn documents(saved: &SavedPlan, output: &Output) -> Result<ReadDocument, ExitStatus> {
    check_document(saved.documents(), Vec::new(), output)
}

/// The whole run on a simulated host, with a record of what it was planned from.
pub(super) fn preview(
    prepared: &Prepared,
    selection: &Selection,
    output: &Output,
) -> Result<Preview, ExitStatus> {
    let host = RecordingHost::new(&prepared.machine);
    let (outcome, work) = simulate(prepared, selection, &host).map_err(|error| fail(&error, output))?;
    let plan = SavedPlan::of(&outcome, &prepared.sources, selection, &prepared.machine, host.inputs())
        .map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
    Ok(Preview { report: with_warnings(Mode::DryRun, outcome, prepared), work, plan })
}

/// Refuses a plan that no longer fits, and shows why. One that has nothing left to do fits, whatever else has changed.
pub(super) fn hold(saved: &SavedPlan, now: &Preview, output: &Output) -> Result<(), ExitStatus> {
    let misfits = match saved.stranger(&now.plan) {
        Some(reason) => vec![reason],
        None if now.work == Work::Nothing => Vec::new(),
        None => saved.misfits(&now.plan),
    };
    if misfits.is_empty() {
        return Ok(());
    }
    let chain =
        [vec![Reason::new("plan-misfit", "the saved plan is not for this host as it is now")], misfits]
            .concat();
    let lifted_by = LiftedBy::Operator(SavedPlan::REMEDY.to_owned());
    let report = refusal("plan", Objection::new("the saved plan", chain, lifted_by));
    output.report(&report, Detail::Everything);
    Err(report.exit_status)
}

/// Writes what `--plan` will take.
pub(super) fn save(preview: &Preview, path: &Path, output: &Output) -> Result<(), ExitStatus> {
    let fail = |message: String| output.fail(ExitStatus::Failed, &message);
    let mut bytes = serde_json::to_vec_pretty(&preview.document())
        .map_err(|error| fail(format!("cannot write {}: {error}", path.display())))?;
    bytes.push(b'\n');
    write_private(path, &bytes).map_err(|error| fail(chain(&error)))
}
