//! The command under test, run as a user would, with nothing of this environment.

use std::path::Path;
use std::process::{Command, Stdio};

/// What a run printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Fails the test unless the run ended with `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "wanted status {status}, got {}\n--- stdout\n{}--- stderr\n{}",
            self.status, self.stdout, self.stderr
        );
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("standard output is not one JSON document: {error}\n{}{}", self.stdout, self.stderr)
        })
    }
}

/// `program` without terminal and environment, in `directory`.
pub(crate) fn bare(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn outcome_of(command: &mut Command) -> Outcome {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output in UTF-8");
    Outcome {
        // A signal has no status: a number that nobody expects.
        status: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The binary under test.
pub(crate) const RECONCILE: &str = env!("CARGO_BIN_EXE_reconcile");

/// Runs `reconcile` with these arguments in `directory`.
pub(crate) fn reconcile<I: AsRef<std::ffi::OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = I>,
) -> Outcome {
    outcome_of(bare(RECONCILE, directory).args(arguments))
}
