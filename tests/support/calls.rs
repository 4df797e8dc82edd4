//! The calls of a run that write, found by strace, and strace's words for stopping a run at one of them.

#![allow(clippy::expect_used, clippy::panic, reason = "this is test code, outside of a #[test]")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

/// Calls that change something by themselves, and those that begin another process.
const WRITING: [&str; 26] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "link",
    "linkat",
    "symlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "fchmod",
    "fchmodat",
    "fchown",
    "fsetxattr",
    "fremovexattr",
    "utimensat",
    "fsync",
];

/// Calls that change something if they are told to create.
const CREATE: [&str; 2] = ["openat", "openat2"];

/// Calls that begin another process.
const BEGIN: [&str; 4] = ["clone", "clone3", "fork", "vfork"];

/// One call of a run: the `nth` of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) nth: usize,
    line: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.call, self.nth, self.line)
    }
}

/// What makes strace do `what` at this point.
pub(crate) fn inject(point: &Point, what: &str) -> String {
    format!("--inject={}:{what}:when={}", point.call, point.nth)
}

/// The points of a run that `run` makes under strace, given arguments for it.
pub(crate) fn points(run: impl FnOnce(&[String])) -> Vec<Point> {
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let all: Vec<&str> = WRITING.iter().chain(&CREATE).chain(&BEGIN).copied().collect();
    let arguments = [
        format!("--trace={}", all.join(",")),
        "--signal=none".to_owned(),
        "-s64".to_owned(),
        format!("-o{}", log.path().display()),
    ];
    run(&arguments);
    let trace = fs::read_to_string(log.path()).expect("strace's log");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in trace.lines() {
        // With -f the process stands before the call.
        let text = line.trim_start_matches(|character: char| character.is_ascii_digit() || character == ' ');
        let Some((call, _)) = text.split_once('(') else { continue };
        let nth = counts.entry(call).or_default();
        *nth += 1;
        if !CREATE.contains(&call) || text.contains("O_CREAT") {
            points.push(Point { call: call.to_owned(), nth: *nth, line: text.chars().take(90).collect() });
        }
    }
    assert!(!points.is_empty(), "strace saw nothing that writes: {trace}");
    points
}
