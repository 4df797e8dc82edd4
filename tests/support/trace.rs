//! System calls, whose number does not depend on how busy the machine is.

use std::fs;
use std::process::{Command, Stdio};

const OVERHEAD: [&str; 8] =
    [" brk(", " mmap(", " munmap(", " mremap(", " mprotect(", " madvise(", " futex(", "F_GETFD)"];

/// Every system call that a command and its children make, one line each as strace prints it. Left out are signals and
/// exits, the allocator's calls, which depend on the length of a path, and a debug build's question whether a descriptor
/// that it closes is open.
pub(crate) fn calls(command: &[String]) -> Vec<String> {
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    Command::new("strace")
        .args(["-f", "-qq", "-s", "256", "-e", "signal=none", "-o"])
        .arg(log.path())
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace runs (package strace)");
    let trace = fs::read_to_string(log.path()).expect("strace's log");
    let calls: Vec<String> = trace
        .lines()
        // A call that another process interrupts is two lines; the second has no call in it.
        .filter(|line| line.contains('(') && !line.contains(" resumed>"))
        .filter(|line| !OVERHEAD.iter().any(|call| line.contains(call)))
        .map(str::to_owned)
        .collect();
    assert!(calls.iter().any(|call| call.contains("execve(")), "strace traced nothing: {trace}");
    calls
}
