//! A host tree in a temporary directory.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use reconcile::host::{Host as _, HostError, Machine, Reach, ReadHost as _, StepError};
use reconcile::plan::{Bytes, FileState, Step};
use tempfile::TempDir;

pub struct Tree {
    pub directory: TempDir,
    pub machine: Machine,
}

impl Tree {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::open(directory.path(), Reach::Tree).unwrap();
        Self { directory, machine }
    }

    pub fn real(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    pub fn put(&self, path: &str, content: &str) -> &Self {
        let real = self.real(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(real, content).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        let real = self.real(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        symlink(target, real).unwrap();
        self
    }

    pub fn read(&self, path: &str) -> Option<String> {
        self.machine.read(Path::new(path)).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    pub fn state(&self, path: &str) -> FileState {
        self.machine.file_state(Path::new(path)).unwrap()
    }

    /// Plans against what stands there now.
    pub fn write_step(&self, path: &str, after: &str) -> Step {
        Step::WriteFile {
            path: path.into(),
            before: self.state(path),
            after: Bytes::from(after),
            mode: 0o644,
        }
    }

    pub fn write(&mut self, path: &str, after: &str) -> Result<(), StepError> {
        let step = self.write_step(path, after);
        self.machine.execute(&step)
    }

    pub fn names(&self, path: &str) -> Vec<String> {
        self.machine.list(Path::new(path)).unwrap().unwrap()
    }
}

pub fn host_error(result: Result<(), StepError>) -> HostError {
    match result {
        Err(StepError::Host(error)) => error,
        other => panic!("expected a host error, got {other:?}"),
    }
}

pub fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program}: {error}; install the packages attr, acl, e2fsprogs, util-linux, strace")
    });
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
}
