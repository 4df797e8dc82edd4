//! What is written down about a run, before and while it changes something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Moment;
use crate::document::Source;
use crate::engine::execute::Attempt;
use crate::engine::{ChangeOutcome, FollowupOutcome, FollowupRun, MadeChange, Memory, Outcome, RunError};
use crate::host::ReadHost;
use crate::host::pci::{DRIVERS_PROBE, Pci};
use crate::plan::{Disruption, FileState, Followup, Phase, Step};
use crate::types::{DriverName, PciAddress};

/// What a generation begins with; durable before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this format.
    pub schema: u32,
    /// When the run began.
    pub when: Moment,
    /// Who ran it.
    pub who: Who,
    /// `/proc/sys/kernel/random/boot_id` of then; `None` under `--root`.
    pub boot_id: Option<String>,
    /// The program's version.
    pub version: String,
    /// What kind of run.
    pub kind: Kind,
    /// The documents, as they were read.
    pub documents: Vec<DocumentText>,
    /// SHA-256 over the documents' texts, hexadecimal; empty for a rollback.
    pub document_hash: String,
    /// What was remembered before.
    pub memory: Memory,
}

/// The version of the format that this program writes.
pub(super) const SCHEMA: u32 = 1;

impl Header {
    /// The header of a run of this kind that begins now.
    pub fn new(kind: Kind, who: Who, boot_id: Option<String>, documents: &[Source], memory: Memory) -> Self {
        let mut digest = Sha256::new();
        for source in documents {
            digest.update(&source.bytes);
        }
        let hash = || digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let text = |source: &Source| DocumentText {
            name: source.name.to_string(),
            text: String::from_utf8_lossy(&source.bytes).into_owned(),
        };
        Self {
            schema: SCHEMA,
            when: Moment::now(),
            who,
            boot_id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kind,
            document_hash: if documents.is_empty() { String::new() } else { hash() },
            documents: documents.iter().map(text).collect(),
            memory,
        }
    }
}

/// Who ran the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The user that the process belonged to.
    pub uid: u32,
    /// The user that logged in (`/proc/self/loginuid`); `None` for a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loginuid: Option<u32>,
    /// The user that called sudo, as sudo says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
    /// The process.
    pub pid: u32,
}

/// What kind of run made a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// An apply.
    Apply,
    /// The unit at boot.
    Boot,
    /// A return to the state before another generation.
    Rollback {
        /// That generation's number.
        to: u32,
        /// What was left as it is, because somebody had changed it since or a guard forbade it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        kept: BTreeSet<String>,
    },
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentText {
    /// The path as it was named.
    pub name: String,
    /// The content.
    pub text: String,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A round begins.
    Round(Round),
    /// A step of the last round begins.
    Began {
        /// Its index in the round.
        step: usize,
    },
    /// A step of the last round has ended.
    Ended {
        /// Its index in the round.
        step: usize,
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What it left, where that can be looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Left>,
    },
    /// A follow-up's command begins.
    FollowupBegan {
        /// Which.
        followup: Followup,
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// The last follow-up has ended.
    FollowupEnded {
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The run has come to its end.
    Finished {
        /// When.
        when: Moment,
        /// Whether something failed.
        failed: bool,
    },
    /// A later run found that this one had not come to its end.
    Interrupted {
        /// When that was found.
        when: Moment,
    },
}

impl Entry {
    /// The end of a run with this outcome.
    pub(in crate::engine) fn finished(outcome: &Result<Outcome, RunError>) -> Self {
        let applied = |made: &MadeChange| made.outcome == ChangeOutcome::Applied;
        let failed = |run: &FollowupRun| matches!(run.outcome, FollowupOutcome::Failed { .. });
        let whole = outcome
            .as_ref()
            .is_ok_and(|outcome| outcome.made.iter().all(applied) && !outcome.followups.iter().any(failed));
        Self::Finished { when: Moment::now(), failed: !whole }
    }

    /// Whether the entry has to be durable before the run goes on: without it nobody would know what was there before.
    pub fn must_be_durable(&self) -> bool {
        match self {
            Self::Round(_)
            | Self::FollowupBegan { .. }
            | Self::Finished { .. }
            | Self::Interrupted { .. } => true,
            Self::Began { .. } | Self::Ended { .. } | Self::FollowupEnded { .. } => false,
        }
    }
}

/// Everything that a round is about to do, and what it will be undone with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Each step once, in the order of execution, with the full state before it.
    pub steps: Vec<Step>,
    /// The changes that these steps make.
    pub changes: Vec<RecordedChange>,
    /// Directories that are not there yet and that the steps will make, the upper ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<PathBuf>,
    /// The drivers of the functions that the steps unbind or probe.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drivers: BTreeMap<PciAddress, Option<DriverName>>,
}

/// A change of a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedChange {
    /// The resource.
    pub resource: String,
    /// The item.
    pub item: String,
    /// Files or live state.
    pub phase: Phase,
    /// What it interrupts.
    pub disruption: Disruption,
    /// What it owes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub followups: BTreeSet<Followup>,
    /// Indices of its steps in the round.
    pub steps: Vec<usize>,
}

/// What a step left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// The file.
    File(FileState),
    /// The driver of the function that was unbound or probed.
    Driver(Option<DriverName>),
}

impl Left {
    /// Looks at what `step` has left; `None` where nothing but its own value tells.
    pub(in crate::engine) fn by(step: &Step, host: &dyn ReadHost) -> Option<Self> {
        match step {
            Step::WriteFile { path, .. } | Step::RestoreFile { path, .. } => {
                host.file_state(path).ok().map(Self::File)
            }
            Step::WriteAttr { .. } => {
                let driver = Pci::new(host).driver(rebound(step)?).ok()?;
                Some(Self::Driver(driver))
            }
            Step::RemoveFile { .. } | Step::RemoveDirectory { .. } | Step::Run { .. } => None,
        }
    }
}

/// The function that a step unbinds or has probed.
pub(in crate::engine) fn rebound(step: &Step) -> Option<PciAddress> {
    match step {
        Step::WriteAttr { path, value, .. }
            if path.ends_with("unbind") || path == Path::new(DRIVERS_PROBE) =>
        {
            value.parse().ok()
        }
        _ => None,
    }
}

impl Round {
    /// What these attempts are about to do on `host`.
    pub(in crate::engine) fn of(attempts: &[Attempt], host: &dyn ReadHost) -> Self {
        let mut round = Self::default();
        let mut known: BTreeMap<&Step, usize> = BTreeMap::new();
        for Attempt { resource, item, change, .. } in attempts {
            let mut steps = Vec::new();
            for step in &change.steps {
                let at = *known.entry(step).or_insert_with(|| {
                    round.steps.push(step.clone());
                    round.steps.len() - 1
                });
                steps.push(at);
            }
            round.changes.push(RecordedChange {
                resource: (*resource).to_owned(),
                item: item.clone(),
                phase: change.phase,
                disruption: change.disruption,
                followups: change.followups.clone(),
                steps,
            });
        }
        let missing = round.steps.iter().flat_map(|step| missing_directories(step, host));
        let missing: BTreeSet<PathBuf> = missing.collect();
        round.directories = missing.into_iter().collect();
        let pci = Pci::new(host);
        let rebound = round.steps.iter().filter_map(rebound);
        round.drivers = rebound.filter_map(|function| Some((function, pci.driver(function).ok()?))).collect();
        round
    }
}

/// The directories that a step will make on its way.
fn missing_directories(step: &Step, host: &dyn ReadHost) -> Vec<PathBuf> {
    let makes = matches!(
        step,
        Step::WriteFile { before: FileState::Absent, .. }
            | Step::RestoreFile { before: FileState::Absent, .. }
    );
    let Some(path) = step.path().filter(|_| makes) else { return Vec::new() };
    let missing = |directory: &&Path| matches!(host.kind(directory), Ok(None));
    path.ancestors().skip(1).take_while(missing).map(Path::to_owned).collect()
}
