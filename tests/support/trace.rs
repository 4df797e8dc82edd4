//! Counts that do not depend on how busy the machine is: system calls (strace) and instructions (valgrind).

use std::fs;
use std::process::{Command, Stdio};

/// Every system call that a command and its children make, one line each as strace prints it. Signals and exits are
/// not among them.
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
        .map(str::to_owned)
        .collect();
    assert!(calls.iter().any(|call| call.contains("execve(")), "strace traced nothing: {trace}");
    calls
}

/// How many instructions a command executes in user space.
pub(crate) fn instructions(command: &[String]) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .expect("valgrind runs (package valgrind)");
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    collected
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("valgrind counted nothing: {text}"))
}
