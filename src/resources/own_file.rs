//! A file that is wholly ours: header and lines, rendered whole, gone when it has no lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{HEADER, is_own};
use crate::formats::modprobe::Config;
use crate::host::{HostError, ReadHost};
use crate::plan::{
    Bytes, Change, Disruption, FileState, Followup, ItemVerdict, LiftedBy, Objection, OwnedItem, Phase,
    Reason, Step, Verdict,
};

/// What stands at the path of a file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnFile {
    path: PathBuf,
    state: FileState,
}

impl OwnFile {
    /// Reads the file.
    ///
    /// # Errors
    /// When something other than a regular file stands there, or it cannot be read.
    pub(crate) fn read(host: &dyn ReadHost, path: impl Into<PathBuf>) -> Result<Self, HostError> {
        let path = path.into();
        Ok(Self { state: host.file_state(&path)?, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody else's file stands there: one without our header.
    fn is_foreign(&self) -> bool {
        let bytes = self.state.bytes().unwrap_or_default();
        !bytes.is_empty() && !is_own(bytes)
    }

    /// The lines without comments and blank ones; none where the file is somebody else's.
    pub(crate) fn lines(&self) -> Vec<String> {
        let ours = if self.is_foreign() { &[] } else { self.state.bytes().unwrap_or_default() };
        let said = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        String::from_utf8_lossy(ours).lines().filter(said).map(str::to_owned).collect()
    }

    /// The configuration without what this file says, where it is ours.
    pub(crate) fn others(&self, config: &Config) -> Config {
        if self.is_foreign() { config.clone() } else { config.without(&self.path) }
    }

    /// The step that makes the file hold exactly this text, or go; `None` where it does.
    pub(crate) fn step(&self, wanted: Option<String>, mode: u32) -> Option<Step> {
        let (path, before) = (self.path.clone(), self.state.clone());
        match wanted {
            Some(text) if self.state.bytes() == Some(text.as_bytes()) => None,
            Some(text) => Some(Step::WriteFile { path, before, after: Bytes::from(text), mode }),
            // An empty file is nobody's: a package may have put it there.
            None if !self.state.bytes().is_some_and(is_own) => None,
            None => Some(Step::RemoveFile { path, before }),
        }
    }

    /// The lines that the file has about an item now.
    pub(crate) fn standing(&self, item: &str, item_of: fn(&str) -> Vec<ItemLine>) -> Vec<ItemLine> {
        let lines = self.lines();
        lines.iter().flat_map(|line| item_of(line)).filter(|(about, _)| about == item).collect()
    }

    /// The change that `step` makes, or why it must not be made: somebody else's file stands there.
    pub(crate) fn change(&self, step: &Step, reason: Reason) -> Verdict {
        if !self.is_foreign() {
            let steps = vec![step.clone()];
            return Verdict::Change(Change::new(Phase::Persisted, steps, Disruption::Nothing, reason));
        }
        let path = self.path.display().to_string();
        let text = format!("{path} does not begin with reconcile's header, so it is somebody else's");
        let chain = vec![reason, Reason::new("foreign-file", text).at(&path)];
        let lifted_by = LiftedBy::Operator(format!("move {path} away or give it another name"));
        Verdict::Refused(Objection::new(path, chain, lifted_by))
    }
}

/// A line of a file of ours, and the item that it is about.
pub(crate) type ItemLine = (String, String);

/// The one rewrite of a file of ours that all its items share.
#[derive(Debug)]
pub(crate) struct Rewrite<'a> {
    file: &'a OwnFile,
    step: Option<Step>,
    before: BTreeMap<String, Vec<String>>,
    after: BTreeMap<String, Vec<String>>,
}

impl<'a> Rewrite<'a> {
    /// A rewrite of `file` so that it holds exactly these lines.
    pub(crate) fn new(file: &'a OwnFile, lines: &[ItemLine], item_of: fn(&str) -> Vec<ItemLine>) -> Self {
        let mut text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        // Several items may stand on one line.
        text.dedup();
        let body: String = text.iter().map(|line| format!("{line}\n")).collect();
        let wanted = if text.is_empty() { None } else { Some(format!("{HEADER}{body}")) };
        let by_item = |lines: Vec<ItemLine>| {
            let mut items: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (item, line) in lines {
                items.entry(item).or_default().push(line);
            }
            items
        };
        let said = |lines: &[String]| by_item(lines.iter().flat_map(|line| item_of(line)).collect());
        let after: Vec<String> = text.into_iter().map(str::to_owned).collect();
        Self { step: file.step(wanted, 0o644), before: said(&file.lines()), after: said(&after), file }
    }

    /// Whether the file will have something about `item`.
    pub(crate) fn has(&self, item: &str) -> bool {
        self.after.contains_key(item)
    }

    /// Whether the file changes in what it says about `item`.
    pub(crate) fn changes(&self, item: &str) -> bool {
        self.step.is_some() && self.before.get(item) != self.after.get(item)
    }

    /// The verdict about one item: in sync, or the shared change.
    pub(crate) fn verdict(&self, item: &str, reason: Reason, followups: &BTreeSet<Followup>) -> Verdict {
        let Some(step) = self.step.as_ref().filter(|_| self.changes(item)) else { return Verdict::InSync };
        let mut verdict = self.file.change(step, reason);
        if let Verdict::Change(change) = &mut verdict {
            change.followups.clone_from(followups);
            change.owns.push(OwnedItem {
                item: item.to_owned(),
                target: self.file.path().to_owned(),
                before: None,
                written: self.after.get(item).map(|lines| lines.join("\n")),
            });
        }
        verdict
    }

    /// The items that the file has and will no longer have, those in `known` left out.
    pub(crate) fn dropped<'s>(&'s self, known: &'s BTreeSet<String>) -> impl Iterator<Item = &'s str> {
        let gone = |item: &&String| !self.after.contains_key(*item) && !known.contains(*item);
        self.before.keys().filter(gone).map(String::as_str)
    }

    /// A rewrite that changes no item: comments or order were edited.
    pub(crate) fn edited(&self) -> Option<ItemVerdict> {
        let step = self.step.as_ref().filter(|_| self.before == self.after)?;
        let path = self.file.path().display().to_string();
        let reason = Reason::new("edited", format!("{path} was edited, and is rendered whole"));
        Some(ItemVerdict::new(path, self.file.change(step, reason)))
    }
}
