//! What the files of a boot chain give.

use std::path::PathBuf;

use crate::formats::cmdline;
use crate::plan::{FileState, Step};
use crate::types::KernelArg;

/// The files that arguments come from, in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// Path and state of each.
    pub files: Vec<(PathBuf, FileState)>,
    /// Our own drop-in's path and state, also when it is absent (then it is not among `files`).
    pub own: Option<(PathBuf, FileState)>,
}

/// One argument that the sources give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The argument.
    pub arg: KernelArg,
    /// File and line.
    pub at: String,
    /// Whether our own drop-in gives it.
    pub ours: bool,
    /// Whether the boot loader may pass something else when it runs.
    pub opaque: bool,
}

/// What the sources give, in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Persisted {
    /// Every argument, also those behind a bare `--`.
    pub given: Vec<Given>,
    /// Bytes of the command line as far as the sources make it.
    pub length: usize,
}

impl Persisted {
    /// Those that the kernel takes: before a bare `--`, and certain.
    pub fn kernel(&self) -> impl Iterator<Item = &Given> {
        let before =
            self.given.iter().take_while(|given| given.opaque || !cmdline::is_terminator(&given.arg));
        before.filter(|given| !given.opaque)
    }

    /// The arguments that the kernel takes.
    pub fn args(&self) -> Vec<&KernelArg> {
        self.kernel().map(|given| &given.arg).collect()
    }
}

/// What the sources shall give.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Arguments that must be given, in order; the `hugepages=` right after a `hugepagesz=` belongs to it.
    pub present: &'a [KernelArg],
    /// Arguments that must not be: `name=value` exactly, or `name` with any value.
    pub absent: &'a [KernelArg],
}

/// How the sources come to give what is wished.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// The steps; none where nothing has to change.
    pub steps: Vec<Step>,
    /// The arguments that our own drop-in gives then.
    pub ours: Vec<KernelArg>,
}
