//! A host on which nothing stands: what a described host is laid over.

use std::path::{Path, PathBuf};

use super::{FileKind, HostError, Reach, ReadHost};
use crate::plan::FileState;

/// A host without a single file.
#[derive(Debug, Clone, Copy)]
pub struct EmptyHost(pub Reach);

impl ReadHost for EmptyHost {
    fn reach(&self) -> Reach {
        self.0
    }

    fn read(&self, _: &Path) -> Result<Option<Vec<u8>>, HostError> {
        Ok(None)
    }

    fn file_state(&self, _: &Path) -> Result<FileState, HostError> {
        Ok(FileState::Absent)
    }

    fn kind(&self, _: &Path) -> Result<Option<FileKind>, HostError> {
        Ok(None)
    }

    fn read_link(&self, _: &Path) -> Result<Option<PathBuf>, HostError> {
        Ok(None)
    }

    fn list(&self, _: &Path) -> Result<Option<Vec<String>>, HostError> {
        Ok(None)
    }
}
