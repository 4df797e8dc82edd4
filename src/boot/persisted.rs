//! What the files of a boot chain give.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::formats::cmdline;
use crate::plan::{Bytes, FileState, Reason, Step};
use crate::types::KernelArg;

/// The files that arguments come from, in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// Path and state of each.
    pub files: Vec<(PathBuf, FileState)>,
    /// Our own drop-in's path and state, also when it is absent (then it is not among `files`); `None` for a chain in
    /// which arguments are added to files of others, where only the state tells which are ours.
    pub own: Option<(PathBuf, FileState)>,
    /// What an absent file among `files` stands for: its first content begins with that.
    pub seeds: BTreeMap<PathBuf, Bytes>,
    /// Why arguments cannot be managed through them; empty where they can.
    pub refused: Vec<Reason>,
    /// Why what they give cannot be changed from here; empty where it can.
    pub fixed: Vec<Reason>,
}

impl Sources {
    /// Sources that cannot be used, with the reasons.
    pub fn refused(reasons: Vec<Reason>) -> Self {
        Self { refused: reasons, ..Self::default() }
    }
}

/// One argument that the sources give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The argument.
    pub arg: KernelArg,
    /// File and line.
    pub at: String,
    /// Whether it is ours: in our own drop-in, or added by us according to the state.
    pub ours: bool,
    /// Whether the boot loader may pass something else when it runs.
    pub opaque: bool,
}

/// One command line that the sources give, in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// Where it is held, when a chain has several: a path.
    pub held_in: String,
    /// Every argument, also those behind a bare `--`.
    pub given: Vec<Given>,
    /// Bytes of the command line as far as the sources make it.
    pub length: usize,
}

impl Line {
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

/// What the sources give: one command line, or several where each entry, and the template of entries to come, holds
/// its own. Each of them has to give what is wished.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Persisted {
    /// The command lines; the one that later kernels get comes first.
    pub lines: Vec<Line>,
}

impl Persisted {
    /// Every argument of every line.
    pub fn given(&self) -> impl DoubleEndedIterator<Item = &Given> {
        self.lines.iter().flat_map(|line| &line.given)
    }
}

/// What the sources shall give.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Arguments that must be given, in order; the `hugepages=` right after a `hugepagesz=` belongs to it.
    pub present: &'a [KernelArg],
    /// Arguments that must not be: `name=value` exactly, or `name` with any value.
    pub absent: &'a [KernelArg],
    /// Arguments of ours that are not asked for any more: exactly these go.
    pub gone: &'a [KernelArg],
}

/// How the sources come to give what is wished.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// The steps; none where nothing has to change.
    pub steps: Vec<Step>,
    /// The arguments that are ours then and that nobody else gives.
    pub ours: Vec<KernelArg>,
}
