//! A file that is wholly ours: header and lines, rendered whole, gone when it has no lines.

use std::path::{Path, PathBuf};

use super::HEADER;
use crate::host::{HostError, ReadHost};
use crate::plan::{Bytes, FileState, LiftedBy, Objection, Reason, Step};

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
    pub(crate) fn read(host: &dyn ReadHost, path: &str) -> Result<Self, HostError> {
        let path = PathBuf::from(path);
        Ok(Self { state: host.file_state(&path)?, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Why the file may not be written: it is somebody else's.
    pub(crate) fn foreign(&self) -> Option<Objection> {
        let bytes = self.state.bytes().filter(|bytes| !bytes.is_empty())?;
        // The header may stand behind a `#!` line.
        let ours = bytes.split_inclusive(|byte| *byte == b'\n').take(2).any(|line| line == HEADER.as_bytes());
        let path = self.path.display().to_string();
        let text = format!("{path} does not begin with reconcile's header, so it is somebody else's");
        (!ours).then(|| Objection {
            chain: vec![Reason::new("foreign-file", text).at(&path)],
            lifted_by: LiftedBy::Operator(format!("move {path} away or give it another name")),
            subject: path,
        })
    }

    /// The lines without comments and blank ones.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(self.state.bytes().unwrap_or_default());
        let said = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        text.lines().filter(said).map(str::to_owned).collect()
    }

    /// The step that makes the file hold exactly these lines; `None` where it does.
    pub(crate) fn step(&self, lines: &[String]) -> Option<Step> {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let wanted = if lines.is_empty() { None } else { Some(format!("{HEADER}{body}")) };
        self.step_to(wanted, 0o644)
    }

    /// The step that makes the file hold exactly this text, or go.
    pub(crate) fn step_to(&self, wanted: Option<String>, mode: u32) -> Option<Step> {
        let (path, before) = (self.path.clone(), self.state.clone());
        match wanted {
            Some(text) if self.state.bytes() == Some(text.as_bytes()) => None,
            None if self.state == FileState::Absent => None,
            Some(text) => Some(Step::WriteFile { path, before, after: Bytes::from(text), mode }),
            None => Some(Step::RemoveFile { path, before }),
        }
    }
}
