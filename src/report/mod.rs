//! The one struct that text and JSON render.

mod build;
mod diff;
mod facts;
mod owners;
mod status;
mod text;

use std::error::Error;

use serde::Serialize;

use crate::plan::{Blocker, Consented, Disruption, Followup, Objection, Phase, Reason, Warning};

pub use build::{Mode, build, refusal};
pub(crate) use diff::restored;
pub use diff::unified;
pub use facts::facts_as_text;
pub use owners::owners_as_text;
pub use status::ExitStatus;
pub use text::{Detail, render};

/// Version of the JSON document.
pub const SCHEMA: u32 = 1;

/// What a run found, made and left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this document's shape.
    pub schema: u32,
    /// What kind of run this was.
    pub mode: Mode,
    /// Whether the host is as desired, now and after a reboot.
    pub in_sync: bool,
    /// The exit status.
    pub exit_status: ExitStatus,
    /// One sentence.
    pub summary: String,
    /// Every managed resource with the count of its verdicts.
    pub resources: Vec<ResourceReport>,
    /// Every step, made or to be made, in order.
    pub changes: Vec<ChangeReport>,
    /// What waits for something.
    pub blocked: Vec<BlockedReport>,
    /// What no rule or guard lets pass.
    pub refused: Vec<RefusedReport>,
    /// Resources that could not be observed, and changes that failed.
    pub errors: Vec<ErrorReport>,
    /// Warnings; they change no status.
    pub warnings: Vec<Warning>,
    /// Commands that changes owe.
    pub followups: Vec<FollowupReport>,
    /// What waits for a reboot.
    pub reboot: RebootReport,
}

/// A resource and how its items stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceReport {
    /// The resource.
    pub resource: &'static str,
    /// Items that are as desired.
    pub in_sync: usize,
    /// Items that are not.
    pub not_in_sync: usize,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// A run would make it.
    Planned,
    /// It was made.
    Applied,
    /// It failed, or nothing came of it.
    Failed,
    /// It was not made: an earlier step of its change failed, something else changed meanwhile, or a signal came.
    Skipped,
    /// It cannot be made here (a live step under `--root`).
    Waits,
}

/// One step with what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeReport {
    /// Round, from 1.
    pub round: usize,
    /// The resource.
    pub resource: &'static str,
    /// The item, or the items that share this step.
    pub item: String,
    /// Where the document asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Files or live state.
    pub phase: Phase,
    /// Kind of step: `write_file`, `remove_file`, `restore_file`, `remove_directory`, `write_attr`, `run`.
    pub step: &'static str,
    /// Path or command line.
    pub target: String,
    /// Value before; a file's text.
    pub before: Option<String>,
    /// Value after; a file's text.
    pub after: Option<String>,
    /// Unified diff of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// What it interrupts.
    pub disruption: Disruption,
    /// Why; of several items the first one's.
    pub reason: Reason,
    /// Every item that needs this step, by reason; left out of JSON where `item` and `reason` say it all.
    #[serde(skip_serializing_if = "is_told_already")]
    pub causes: Vec<Cause>,
    /// Losses that it brings and that the document allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Consented>,
    /// What became of it.
    pub outcome: StepOutcome,
}

fn is_told_already(causes: &[Cause]) -> bool {
    matches!(causes, [only] if only.items.len() == 1)
}

/// Items that need a step for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The items.
    pub items: Vec<String>,
    /// Why.
    pub reason: Reason,
}

/// An item that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockedReport {
    /// The resource.
    pub resource: &'static str,
    /// The item.
    pub item: String,
    /// Where the document asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// For what.
    pub on: Blocker,
    /// Why.
    pub reason: Reason,
}

/// A refused item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedReport {
    /// The resource.
    pub resource: &'static str,
    /// The item.
    pub item: String,
    /// Where the document asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The objection.
    #[serde(flatten)]
    pub objection: Objection,
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorReport {
    /// The resource.
    pub resource: &'static str,
    /// The item, if the failure is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Operation, path and cause.
    pub error: String,
    /// What the operator can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What the kernel has logged about the function since the run began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_log: Vec<String>,
}

impl ErrorReport {
    /// An error about which nothing more is known.
    pub fn new(resource: &'static str, item: Option<String>, error: String) -> Self {
        Self { resource, item, error, remedy: None, kernel_log: Vec::new() }
    }
}

/// Where a follow-up stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowupState {
    /// A run would run it.
    Planned,
    /// It ran.
    Done,
    /// It failed and stays owed.
    Failed,
    /// It is owed and was not run here.
    Owed,
    /// It is owed, and nobody can tell how to carry it out.
    NoMeans,
    /// There is nothing to regenerate or restart.
    NotNeeded,
}

/// A command that changes owe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FollowupReport {
    /// Which.
    pub followup: Followup,
    /// Program and arguments; empty where none is known.
    pub argv: Vec<String>,
    /// The changes that owe it: `resource: item`.
    pub because: Vec<String>,
    /// Where it stands.
    pub state: FollowupState,
    /// Why it was not run, or how it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why one item waits for a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebootReason {
    /// The resource.
    pub resource: &'static str,
    /// The item.
    pub item: String,
    /// Whether it has been persisted under an earlier boot and still is not in effect.
    pub stuck: bool,
    /// What runs instead, or why it is stuck.
    pub reason: Reason,
}

/// What waits for a reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RebootReport {
    /// Whether a reboot brings something.
    pub pending: bool,
    /// What.
    pub reasons: Vec<RebootReason>,
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
