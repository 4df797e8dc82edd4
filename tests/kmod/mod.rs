//! What the differential tests of kmod's and systemd's configuration share: a tree, and a program run on it in a
//! private mount namespace.

#![allow(unreachable_pub, missing_debug_implementations)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A host tree with merged /usr.
pub struct Tree {
    directory: tempfile::TempDir,
    kind: &'static str,
}

/// The directories below the tree's root in which drop-in directories lie.
const PARENTS: [&str; 4] = ["etc", "run", "usr/local/lib", "usr/lib"];

impl Tree {
    /// A tree with empty drop-in directories named `kind`.
    pub fn new(kind: &'static str, command_line: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for parent in PARENTS {
            fs::create_dir_all(root.join(parent).join(kind)).unwrap();
        }
        fs::create_dir(root.join("proc")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        fs::write(root.join("proc/cmdline"), command_line).unwrap();
        Self { directory, kind }
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, file: &str) -> PathBuf {
        let (parent, name) = file.split_once(':').unwrap();
        self.root().join(parent).join(self.kind).join(name)
    }

    /// Writes a file named `PARENT:NAME`.
    pub fn put(&self, file: &str, text: &[u8]) {
        fs::write(self.path(file), text).unwrap();
    }

    /// Makes a link named `PARENT:NAME`.
    pub fn link(&self, file: &str, target: &str) {
        symlink(target, self.path(file)).unwrap();
    }

    /// Makes a directory named `PARENT:NAME`.
    pub fn directory(&self, file: &str) {
        fs::create_dir(self.path(file)).unwrap();
    }

    /// Runs a command with the tree's drop-in directories and command line in the place of the machine's, which
    /// nothing outside the command sees.
    pub fn run(&self, command: &str) -> Output {
        let Self { kind, .. } = self;
        let script = format!(
            "set -e; R=$1; for p in etc usr/lib; do mount --bind $R/$p/{kind} /$p/{kind}; done
             mount --bind $R/usr/local /usr/local; mount --bind $R/run /run
             mount --bind $R/proc/cmdline /proc/cmdline
             [ ! -d /usr/lib/modules ] || mount -t tmpfs none /usr/lib/modules
             exec {command}"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(self.root());
        unshare.output().expect("unshare (package util-linux) has to be installed")
    }
}

/// Fails with the package to install where a program is missing.
pub fn require(program: &str, package: &str) {
    assert!(Path::new(program).exists(), "{program} is missing: install the package {package}");
}

/// A small generator of pseudo-random numbers, so that failures can be repeated.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
