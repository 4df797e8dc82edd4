//! The state file: what is remembered between runs, at `/var/lib/reconcile/state.json`.

use std::path::Path;

use rustix::fs::Mode;
use serde::Deserialize;

use super::root::Root;
use super::{HostError, Machine, ReadHost, StepError, replace};
use crate::engine::Memory;

/// Where the state lies, as seen from the host's root.
pub const STATE_FILE: &str = "/var/lib/reconcile/state.json";
const DIRECTORY: &str = "/var/lib/reconcile";

/// The version of the format that this program writes.
const SCHEMA: u32 = 1;

/// Why the state could not be read; it is never silently taken for empty, because what is ours would then be taken
/// for somebody else's.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file could not be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A newer version of the program wrote it.
    #[error("{STATE_FILE} was written by a newer reconcile (format {found}; this one knows up to {SCHEMA})")]
    Newer {
        /// The format's version.
        found: u32,
    },
    /// It is not what this program writes.
    #[error("{STATE_FILE} is damaged: {problem}")]
    Damaged {
        /// What is wrong, with line and column.
        problem: String,
    },
}

impl StateError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Host(error) => error.remedy(),
            Self::Newer { .. } => Some("run that newer version"),
            Self::Damaged { .. } => Some(
                "restore it from a backup, or move it away: own files are then still known by their first line, but \
                 entries in shared files and live settings count as somebody else's",
            ),
        }
    }
}

/// Reads what earlier runs remembered; nothing, if there was none.
///
/// # Errors
/// When the file exists and cannot be read, is damaged, or was written by a newer version.
pub fn load_memory(host: &dyn ReadHost) -> Result<Memory, StateError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let Some(bytes) = host.read(Path::new(STATE_FILE))? else {
        return Ok(Memory { schema: SCHEMA, ..Memory::default() });
    };
    let damaged = |error: serde_json::Error| StateError::Damaged { problem: error.to_string() };
    // The version first: the rest of a newer file may have another shape.
    let Version { schema } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if schema > SCHEMA {
        return Err(StateError::Newer { found: schema });
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// Makes the directory of all that is remembered, for its owner only.
pub(super) fn ensure_directory(root: &Root) -> Result<(), HostError> {
    let directory = root.ensure_directory(Path::new(DIRECTORY), Mode::from_raw_mode(0o700));
    directory.map(drop).map_err(|errno| HostError::new("create the directory", DIRECTORY, errno))
}

/// Replaces the state file, readable by its owner only. On return it is durable.
///
/// # Errors
/// When it cannot be written; the old one then still stands.
pub(super) fn save_memory(machine: &mut Machine, memory: &Memory) -> Result<(), StepError> {
    let path = Path::new(STATE_FILE);
    let fail = |error: std::io::Error| StepError::Host(HostError::new("write", path, error));
    ensure_directory(machine.root())?;
    let memory = Memory { schema: SCHEMA, ..memory.clone() };
    let mut bytes = serde_json::to_vec_pretty(&memory).map_err(|error| fail(error.into()))?;
    bytes.push(b'\n');
    let before = machine.file_state(path)?;
    replace::write(machine.root(), path, &before, &bytes, 0o600)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::engine::Owned;
    use crate::host::Reach;

    fn machine() -> (tempfile::TempDir, Machine) {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::open(directory.path(), Reach::Tree).unwrap();
        (directory, machine)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (directory, mut machine) = machine();
        let mut memory = load_memory(&machine).unwrap();
        assert!(memory.owned.is_empty());
        let owned = Owned { target: "/etc/x".into(), before: None, written: "iommu=pt".to_owned() };
        memory.owned.entry("kernel_args".to_owned()).or_default().insert("iommu".to_owned(), owned);
        for _ in 0..2 {
            save_memory(&mut machine, &memory).unwrap();
            assert_eq!(load_memory(&machine).unwrap(), memory);
        }
        for (path, mode) in
            [("var/lib", 0o755), ("var/lib/reconcile", 0o700), ("var/lib/reconcile/state.json", 0o600)]
        {
            let found = std::fs::metadata(directory.path().join(path)).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, mode, "{path}");
        }
    }

    #[test]
    fn a_bad_state_is_never_taken_for_none() {
        let (directory, machine) = machine();
        std::fs::create_dir_all(directory.path().join("var/lib/reconcile")).unwrap();
        for (content, part) in [
            ("", "is damaged: EOF"),
            ("{\"schema\": 1, \"owned\": [", "is damaged"),
            ("{\"owned\": {}}", "missing field `schema`"),
            ("{\"schema\": 1, \"owned\": 4}", "is damaged: invalid type"),
            ("{\"schema\": 2, \"owned\": 4}", "newer reconcile (format 2"),
        ] {
            std::fs::write(directory.path().join("var/lib/reconcile/state.json"), content).unwrap();
            let error = load_memory(&machine).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.remedy().is_some());
        }
    }
}
