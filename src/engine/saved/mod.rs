//! A saved plan: what a dry run would do, written down to be made later exactly so, or not at all.
//!
//! It holds the documents, the answers of the host that it was made from ([`Inputs`]), and every step. It is never
//! executed from the file: a later run plans anew, compares, and makes its own steps where they are the saved ones.

mod rounds;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::followups::FollowupRun;
use super::plan::{Scope, Selection};
use super::rounds::Outcome;
use crate::document::Source;
use crate::host::recording::{Inputs, sha256};
use crate::host::{HostError, Reach, ReadHost};
use crate::plan::{FileState, Followup, Reason, Step};

/// The version of the format that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

/// What this program is called in a plan; another version may plan otherwise.
const PROGRAM: &str = concat!("reconcile ", env!("CARGO_PKG_VERSION"));

const MACHINE_ID: &str = "/etc/machine-id";

/// A plan as it lies in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    version: u32,
    program: String,
    /// Hash of the machine's id, which is not to be told to others (machine-id(5)).
    host: Option<String>,
    reach: Reach,
    scope: Scope,
    only: Vec<String>,
    documents: Vec<SavedDocument>,
    /// Every distinct step; changes name them by their place here.
    steps: Vec<Step>,
    changes: Vec<SavedChange>,
    followups: Vec<SavedFollowup>,
    inputs: Inputs,
    /// Hash of all the rest.
    checksum: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedDocument {
    name: String,
    text: String,
}

/// A change of one item, in the round in which the dry run made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedChange {
    round: usize,
    resource: String,
    item: String,
    steps: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedFollowup {
    followup: Followup,
    argv: Vec<String>,
}

/// Why a file is no saved plan that this program can use; the file alone shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedPlanError {
    /// It is not what a dry run writes.
    #[error("{line}:{column}: {problem}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Another version of the program wrote it.
    #[error("this is a plan of format {found}, and this program knows format {VERSION}")]
    Version {
        /// The format's version.
        found: u32,
    },
    /// Somebody has edited it.
    #[error("it is not what the dry run wrote: its checksum does not fit")]
    Altered,
}

impl SavedPlan {
    /// What to do about a plan that does not fit.
    pub const REMEDY: &str = "look at the difference, then make a new plan: reconcile --dry-run --out FILE";

    /// The plan that `outcome`, a dry run, amounts to.
    ///
    /// # Errors
    /// When the machine's id cannot be read.
    pub fn of(
        outcome: &Outcome,
        documents: &[Source],
        selection: &Selection,
        host: &dyn ReadHost,
        inputs: Inputs,
    ) -> Result<Self, HostError> {
        let mut places: BTreeMap<&Step, usize> = BTreeMap::new();
        let mut steps = Vec::new();
        let mut changes = Vec::new();
        for made in outcome.made.iter().filter(|made| !made.change.steps.is_empty()) {
            let place = |step| {
                *places.entry(step).or_insert_with(|| {
                    steps.push(Step::clone(step));
                    steps.len() - 1
                })
            };
            changes.push(SavedChange {
                round: made.round,
                resource: made.resource.to_owned(),
                item: made.item.clone(),
                steps: made.change.steps.iter().map(place).collect(),
            });
        }
        let ran = outcome.followups.iter().filter(|run| run.ran());
        let mut plan = Self {
            version: VERSION,
            program: PROGRAM.to_owned(),
            host: host_name(host)?,
            reach: host.reach(),
            scope: selection.scope,
            only: selection.only.iter().cloned().collect(),
            documents: documents.iter().map(SavedDocument::of).collect(),
            steps,
            changes,
            followups: ran.map(SavedFollowup::of).collect(),
            inputs,
            checksum: String::new(),
        };
        plan.checksum = plan.sum();
        Ok(plan)
    }

    /// Reads the JSON of a dry run, of which the plan is a part.
    ///
    /// # Errors
    /// When it is none, is of another version, or has been edited.
    pub fn parse(bytes: &[u8]) -> Result<Self, SavedPlanError> {
        #[derive(Deserialize)]
        struct Holder<T> {
            plan: T,
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |error: serde_json::Error| {
            let text = error.to_string();
            let problem =
                text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem).to_owned();
            SavedPlanError::Malformed { line: error.line(), column: error.column(), problem }
        };
        // The version first: the rest of another version may have another shape.
        let Holder { plan: Version { version } } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version != VERSION {
            return Err(SavedPlanError::Version { found: version });
        }
        let Holder { plan } = serde_json::from_slice::<Holder<Self>>(bytes).map_err(malformed)?;
        let complete = plan.changes.iter().flat_map(|change| &change.steps).all(|at| *at < plan.steps.len());
        if !complete || plan.sum() != plan.checksum {
            return Err(SavedPlanError::Altered);
        }
        Ok(plan)
    }

    /// The documents that it was made from.
    pub fn documents(&self) -> Vec<Source> {
        self.documents.iter().map(|saved| Source::new(saved.name.as_str(), saved.text.as_bytes())).collect()
    }

    /// What it was made for.
    pub fn selection(&self) -> Selection {
        Selection { scope: self.scope, only: self.only.iter().cloned().collect() }
    }

    /// Why it is none of this host or program, for which `now` is the plan.
    pub fn stranger(&self, now: &Self) -> Option<Reason> {
        if self.program != now.program {
            let text = format!("it was made by {}, and this is {}", self.program, now.program);
            return Some(Reason::new("other-program", text));
        }
        if self.reach != now.reach {
            let text =
                "it was made for a running machine, and this is a tree (--root), or the other way round";
            return Some(Reason::new("foreign-host", text));
        }
        (self.host != now.host).then(|| {
            Reason::new("foreign-host", format!("it was made for another host: {MACHINE_ID} differs"))
        })
    }

    /// What has changed since it was made, for a host for which `now` is the plan; empty where it may be made.
    pub fn misfits(&self, now: &Self) -> Vec<Reason> {
        let mut reasons = self.inputs.changed(&now.inputs);
        reasons.extend(self.differing_changes(now));
        reasons.extend(self.differing_followups(now));
        reasons
    }

    fn differing_changes(&self, now: &Self) -> Vec<Reason> {
        let (saved, fresh) = (self.by_item(), now.by_item());
        let mut reasons = Vec::new();
        for ((round, resource, item), steps) in &saved {
            let what = format!("round {round}, {resource}: {item}");
            match fresh.get(&(*round, resource, item)) {
                None => {
                    reasons.push(Reason::new("change-gone", format!("{what}: is not to be made any more")));
                }
                Some(others) if steps != others => {
                    reasons.push(Reason::new("change-differs", format!("{what}: takes other steps now")));
                }
                Some(_) => {}
            }
        }
        for (round, resource, item) in fresh.keys().filter(|key| !saved.contains_key(*key)) {
            let text =
                format!("round {round}, {resource}: {item}: would be changed now and is not in the plan");
            reasons.push(Reason::new("change-new", text));
        }
        reasons
    }

    /// The steps by round, resource and item, without times.
    fn by_item(&self) -> BTreeMap<(usize, &str, &str), Vec<Step>> {
        let timeless = |step: &Step| match step.clone() {
            Step::WriteFile { path, before, after, mode } => {
                Step::WriteFile { path, before: without_time(before), after, mode }
            }
            Step::RemoveFile { path, before } => Step::RemoveFile { path, before: without_time(before) },
            other => other,
        };
        let steps = |change: &SavedChange| self.steps_of(change).map(timeless).collect();
        self.changes
            .iter()
            .map(|change| ((change.round, change.resource.as_str(), change.item.as_str()), steps(change)))
            .collect()
    }

    fn steps_of<'a>(&'a self, change: &'a SavedChange) -> impl Iterator<Item = &'a Step> {
        change.steps.iter().filter_map(|at| self.steps.get(*at))
    }

    fn differing_followups(&self, now: &Self) -> Vec<Reason> {
        let of = |command: &SavedFollowup, how: &str| {
            let text = format!("the command {} {how}", command.argv.join(" "));
            Reason::new("followup-differs", text)
        };
        let gone = self.followups.iter().filter(|command| !now.followups.contains(command));
        let new = now.followups.iter().filter(|command| !self.followups.contains(command));
        gone.map(|command| of(command, "is not owed any more"))
            .chain(new.map(|command| of(command, "would be run now and is not in the plan")))
            .collect()
    }

    /// Whether it has this command run.
    pub(super) fn runs(&self, followup: Followup, argv: &[String]) -> bool {
        self.followups.iter().any(|saved| saved.followup == followup && saved.argv == argv)
    }

    fn sum(&self) -> String {
        let plan = Self { checksum: String::new(), ..self.clone() };
        // Plain data with text as keys cannot fail to be written.
        sha256(&serde_json::to_vec(&plan).unwrap_or_default())
    }
}

impl SavedDocument {
    fn of(source: &Source) -> Self {
        // A document at fault makes no plan, and all others are UTF-8.
        let text = String::from_utf8_lossy(&source.bytes).into_owned();
        Self { name: source.name.to_string(), text }
    }
}

impl SavedFollowup {
    fn of(run: &FollowupRun) -> Self {
        Self { followup: run.followup, argv: run.argv.clone() }
    }
}

fn without_time(state: FileState) -> FileState {
    match state {
        FileState::File { bytes, mode, uid, gid, xattrs, .. } => {
            FileState::File { bytes, mode, uid, gid, mtime_ns: 0, xattrs }
        }
        FileState::Absent => FileState::Absent,
    }
}

/// What a plan calls its host.
fn host_name(host: &dyn ReadHost) -> Result<Option<String>, HostError> {
    let id = host.text(std::path::Path::new(MACHINE_ID))?;
    Ok(id.map(|id| sha256(format!("a saved plan of reconcile for {}", id.trim()).as_bytes())))
}

#[cfg(test)]
mod tests;
