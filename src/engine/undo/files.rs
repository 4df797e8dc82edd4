//! Files go back to the state before, whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::chain::{Touch, first_state};
use super::{Causes, changed_since, resource};
use crate::engine::generations::{Generation, Left, Round, StepRecord, StepState};
use crate::host::ReadHost;
use crate::plan::{Change, Disruption, FileState, Followup, Phase, Reason, Step, Verdict};

/// What was done to one file, and for whom.
#[derive(Debug, Clone, Default)]
pub(super) struct FileUndo {
    touches: Vec<Touch<FileState>>,
    /// What this boot began with, where an earlier one has left it.
    booted_with: Option<FileState>,
    causes: Causes,
}

/// Every file that these generations changed.
pub(super) fn of(generations: &[Generation], boot_id: Option<&str>) -> BTreeMap<PathBuf, FileUndo> {
    let mut files: BTreeMap<PathBuf, FileUndo> = BTreeMap::new();
    for generation in generations {
        let booted = generation.header.boot_id.as_deref().is_some_and(|then| Some(then) != boot_id);
        for record in &generation.rounds {
            for (at, (step, known)) in record.round.steps.iter().zip(&record.steps).enumerate() {
                let (Some(path), Some(touch)) = (step.path(), touch(generation.number, step, known)) else {
                    continue;
                };
                let file = files.entry(path.to_owned()).or_default();
                if booted {
                    file.booted_with = Some(touch.left.clone());
                }
                file.touches.push(touch);
                file.causes.add(&record.round, at);
            }
        }
    }
    files
}

fn touch(generation: u32, step: &Step, known: &StepRecord) -> Option<Touch<FileState>> {
    let (before, left) = match step {
        Step::WriteFile { before, after, mode, .. } => {
            let mut left = before.clone();
            match &mut left {
                FileState::File { bytes, .. } => bytes.clone_from(after),
                FileState::Absent => {
                    let (uid, gid, mtime_ns, xattrs) = (0, 0, 0, BTreeMap::new());
                    left = FileState::File { bytes: after.clone(), mode: *mode, uid, gid, mtime_ns, xattrs };
                }
            }
            (before, left)
        }
        Step::RemoveFile { before, .. } => (before, FileState::Absent),
        Step::RestoreFile { before, after, .. } => (before, after.clone()),
        Step::RemoveDirectory { .. } | Step::WriteAttr { .. } | Step::Run { .. } => return None,
    };
    let left = match &known.left {
        Some(Left::File(state)) => state.clone(),
        _ => left,
    };
    let certain = known.state == StepState::Made;
    Some(Touch { generation, before: before.clone(), left, certain })
}

impl Causes {
    /// Adds the changes of `round` that its step at `at` belongs to.
    pub(super) fn add(&mut self, round: &Round, at: usize) {
        for change in round.changes.iter().filter(|change| change.steps.contains(&at)) {
            self.items.insert((resource(&change.resource), change.item.clone()));
            self.followups.extend(change.followups.iter().copied());
            self.disruption = self.disruption.max(Some(change.disruption));
        }
    }
}

impl FileUndo {
    /// What each item that the file was changed for needs.
    pub(super) fn judge(
        &self,
        path: &Path,
        to: u32,
        host: &dyn ReadHost,
    ) -> Vec<(&'static str, String, Verdict)> {
        let verdict = self.verdict(path, to, host);
        self.causes.items.iter().map(|(resource, item)| (*resource, item.clone(), verdict.clone())).collect()
    }

    fn verdict(&self, path: &Path, to: u32, host: &dyn ReadHost) -> Verdict {
        let now = match host.file_state(path) {
            Ok(now) => now,
            Err(error) => {
                let remedy = error.remedy().unwrap_or("see to it that the file can be read").to_owned();
                return changed_since(&path.display().to_string(), to, to, error.reason(), remedy);
            }
        };
        let before = match first_state(&self.touches, &now, FileState::same_but_time, is_left) {
            Ok(before) => before,
            Err((touch, stood)) => return self.changed_since(path, to, touch, stood),
        };
        // A file that holds what it held may still have to get its time back.
        if *before == now || (before.same_but_time(&now) && !self.is_ours(&now)) {
            return self.settled(before);
        }
        let step = match before {
            FileState::Absent => Step::RemoveFile { path: path.to_owned(), before: now.clone() },
            after => Step::RestoreFile { path: path.to_owned(), before: now.clone(), after: after.clone() },
        };
        let reason = Reason::new("rolled-back", format!("as it was before generation {to}"));
        let disruption = self.causes.disruption.unwrap_or(Disruption::Nothing);
        let mut change = Change::new(Phase::Persisted, vec![step], disruption, reason);
        change.followups.clone_from(&self.causes.followups);
        Verdict::Change(change)
    }

    /// Whether the file stands there as we wrote it, its time included.
    fn is_ours(&self, now: &FileState) -> bool {
        self.touches.last().is_some_and(|touch| touch.left == *now)
    }

    /// What stands is right; this boot may have begun with something else.
    fn settled(&self, before: &FileState) -> Verdict {
        let boots = [Followup::BootLoader, Followup::Initramfs];
        let matters = boots.iter().any(|followup| self.causes.followups.contains(followup));
        if !matters || self.booted_with.as_ref().is_none_or(|booted| booted.same_but_time(before)) {
            return Verdict::InSync;
        }
        let text = "this boot has what was undone; the next one is as before";
        Verdict::PendingReboot { why: Reason::new("rolled-back", text) }
    }

    fn changed_since(&self, path: &Path, to: u32, touch: &Touch<FileState>, stood: &FileState) -> Verdict {
        let subject = path.display().to_string();
        let diff = crate::report::restored(&subject, &touch.left, stood);
        let indented = diff.trim_end().replace('\n', "\n      ");
        let difference = Reason::new("difference", format!("what was changed since:\n      {indented}"));
        let remedy = format!("undo that change of {subject} by hand, then roll back again");
        changed_since(&subject, to, touch.generation, difference, remedy)
    }
}

/// Whether a file is what a touch has left. Of a new file without a note nothing but its content and mode is known.
fn is_left(stood: &FileState, touch: &Touch<FileState>) -> bool {
    if let (false, FileState::Absent, FileState::File { bytes, mode, .. }) =
        (touch.certain, &touch.before, &touch.left)
    {
        return matches!(stood, FileState::File { bytes: now, mode: now_mode, .. } if (now, now_mode) == (bytes, mode));
    }
    stood.same_but_time(&touch.left)
}
