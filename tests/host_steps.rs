//! Attribute writes and commands on a live host: the child that does the writes, deadlines, what is left behind.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, clippy::panic)]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use reconcile::host::{Host as _, Machine, Reach, ReadHost as _, RunLock, StepError, stuck_writes};
use reconcile::plan::Step;
use tempfile::TempDir;

/// A directory that stands for the running machine.
fn machine() -> (TempDir, Machine) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("sys")).unwrap();
    let machine = Machine::open(directory.path(), Reach::Machine).unwrap();
    (directory, machine.with_attribute_writer(Path::new(env!("CARGO_BIN_EXE_reconcile"))))
}

fn attr(path: &str, value: &str, deadline: Duration) -> Step {
    Step::attr(path, None, value, deadline)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_value_is_written_with_one_newline_and_nothing_is_created_or_truncated() {
    let (directory, mut machine) = machine();
    let file = directory.path().join("sys/attribute");
    for (value, content) in [("4", "4\n"), ("", "\n"), ("vfio-pci\n", "vfio-pci\n")] {
        fs::write(&file, "").unwrap();
        machine.execute(&attr("/sys/attribute", value, LONG)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
    fs::write(&file, "0123456789").unwrap();
    machine.execute(&attr("/sys/attribute", "ab", LONG)).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "ab\n3456789");
    let error = machine.execute(&attr("/sys/missing", "1", LONG)).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /sys/missing");
    assert!(!directory.path().join("sys/missing").exists());
    std::os::unix::fs::symlink("/dev/full", directory.path().join("sys/out")).unwrap();
    assert!(machine.execute(&attr("/sys/out", "1", LONG)).is_err(), "the link leads out of the root");
    let huge = "x".repeat(5000);
    assert!(machine.execute(&attr("/sys/attribute", &huge, LONG)).is_err());
    // After errors the same child goes on.
    machine.execute(&attr("/sys/attribute", "cd", LONG)).unwrap();
}

#[test]
fn the_kernels_refusal_is_told_with_its_stage() {
    let machine = Machine::open(Path::new("/"), Reach::Machine).unwrap();
    let mut machine = machine.with_attribute_writer(Path::new(env!("CARGO_BIN_EXE_reconcile")));
    let error = machine.execute(&attr("/dev/full", "1", LONG)).unwrap_err();
    let StepError::Host(error) = error else { panic!("{error:?}") };
    assert_eq!((error.to_string().as_str(), error.errno()), ("cannot write /dev/full", Some(28)));
}

/// The kernel shows `sriov_numvfs` under a lock, which a write that hangs keeps: whoever waits for it is left behind, and
/// nobody joins.
#[test]
fn an_attribute_that_another_reader_waits_for_is_given_up() {
    let (directory, machine) = machine();
    let function = directory.path().join("sys/bus/pci/devices/0000:03:00.0");
    fs::create_dir_all(&function).unwrap();
    let file = function.join("sriov_numvfs");
    fs::write(&file, "4\n").unwrap();
    let path = Path::new("/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs");
    assert_eq!(machine.text(path).unwrap().as_deref(), Some("4"));
    let missing = Path::new("/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs");
    assert_eq!(machine.text(missing).unwrap(), None);
    assert_eq!(machine.locks_met(), []);

    let other = fs::File::open(&file).unwrap();
    other.lock().unwrap();
    let started = Instant::now();
    assert_eq!(machine.text(path).unwrap(), None);
    assert!(started.elapsed() >= Duration::from_secs(10));
    let [write] = machine.locks_met().try_into().unwrap();
    assert_eq!(write.function(), Some("0000:03:00.0".parse().unwrap()));
    // Known from now on, in this run; in the next one it is looked at anew.
    let started = Instant::now();
    assert_eq!(machine.text(path).unwrap(), None);
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(other);
    let machine = Machine::open(directory.path(), Reach::Machine).unwrap();
    let machine = machine.with_attribute_writer(Path::new(env!("CARGO_BIN_EXE_reconcile")));
    assert_eq!(machine.text(path).unwrap().as_deref(), Some("4"));
}

/// Opening a FIFO that nobody reads blocks, as a write to `unbind` of a function in use does.
#[test]
fn a_stuck_write_is_left_behind_and_the_next_one_gets_a_new_child() {
    let (directory, mut machine) = machine();
    let fifo = directory.path().join("sys/stuck");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::write(directory.path().join("sys/attribute"), "").unwrap();
    let lock = RunLock::acquire(&machine, Duration::ZERO, &mut |_| {}).unwrap();
    let told = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&told);
    machine.report_progress(Box::new(move |step, elapsed| {
        log.borrow_mut().push((step.target(), elapsed.as_secs()));
    }));
    machine.execute(&attr("/sys/attribute", "before", LONG)).unwrap();
    let started = Instant::now();
    let error =
        machine.execute(&attr("/sys/stuck", "0000:03:00.0", Duration::from_millis(1500))).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(error.remedy().unwrap().contains("only a reboot ends it"));
    let StepError::Hung { path, value, seconds: 1, pid, waits } = error else { panic!("{error:?}") };
    assert!(waits.starts_with(&format!("pid {pid} (")) && waits.contains(", state S"), "{waits}");
    let stuck = stuck_writes(&machine).unwrap();
    assert_eq!(stuck, [], "this tree has no /proc to show that the process lives");
    let note = fs::read_to_string(directory.path().join(format!("run/reconcile/writes/{pid}"))).unwrap();
    assert_eq!(note, "/sys/stuck\n0000:03:00.0\n");
    assert_eq!((path, value.as_str()), (PathBuf::from("/sys/stuck"), "0000:03:00.0"));
    assert_eq!(told.borrow().as_slice(), [("/sys/stuck".to_owned(), 1)]);
    machine.execute(&attr("/sys/attribute", "after", LONG)).unwrap();

    // What was left behind holds neither the lock nor anything else of ours.
    let process = PathBuf::from(format!("/proc/{pid}"));
    let fds: Vec<_> =
        fs::read_dir(process.join("fd")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let fds: Vec<_> = fds.iter().map(|fd| fs::read_link(process.join("fd").join(fd)).unwrap()).collect();
    let lock_file = directory.path().join("run/reconcile/lock");
    assert!(!fds.contains(&lock_file), "{fds:?}");
    drop(lock);
    drop(RunLock::acquire(&machine, Duration::ZERO, &mut |_| {}).unwrap());
    drop(machine);

    // Once the kernel lets it go, it ends.
    drop(fs::File::open(&fifo).unwrap());
    let state = || fs::read_to_string(process.join("stat")).unwrap_or_default();
    let started = Instant::now();
    while !state().contains(") Z ") && !state().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", state());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Memory may run out, and the kernel chooses a process to kill.
#[test]
fn a_writer_that_is_killed_fails_its_write_alone_and_leaves_no_zombie() {
    let (directory, mut machine) = machine();
    let fifo = directory.path().join("sys/stuck");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::write(directory.path().join("sys/attribute"), "").unwrap();
    let notes = directory.path().join("run/reconcile/writes");
    let writer = || fs::read_dir(&notes).ok()?.next()?.ok()?.file_name().into_string().ok();
    machine.execute(&attr("/sys/attribute", "before", LONG)).unwrap();
    let pid = writer().unwrap();
    let note = notes.join(&pid);
    let killer = std::thread::spawn(move || {
        while fs::read_to_string(&note).unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        pid
    });
    let error = machine.execute(&attr("/sys/stuck", "0000:03:00.0", LONG)).unwrap_err();
    let pid = killer.join().unwrap();
    assert_eq!(
        error.to_string(),
        "nobody knows whether \"0000:03:00.0\" was written to /sys/stuck: \
         the process that writes attributes is gone (signal: 9 (SIGKILL))"
    );
    assert!(error.remedy().unwrap().starts_with("run again"));
    assert!(!Path::new("/proc").join(&pid).exists(), "a zombie");
    machine.execute(&attr("/sys/attribute", "after", LONG)).unwrap();
    assert_eq!(fs::read_to_string(directory.path().join("sys/attribute")).unwrap(), "after\n\n");
}

#[test]
fn a_writer_that_cannot_serve_is_an_error() {
    let (directory, machine) = machine();
    fs::write(directory.path().join("sys/attribute"), "old").unwrap();
    for program in ["/bin/true", "/no/such/program"] {
        let machine = Machine::open(directory.path(), Reach::Machine).unwrap();
        let mut machine = machine.with_attribute_writer(Path::new(program));
        assert!(machine.execute(&attr("/sys/attribute", "new", LONG)).is_err(), "{program}");
    }
    assert_eq!(fs::read_to_string(directory.path().join("sys/attribute")).unwrap(), "old");
    drop(machine);
}

#[test]
fn commands_run_and_fail_with_their_words() {
    let (_directory, mut machine) = machine();
    let run = |script: &str| Step::Run {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        deadline_ms: 60_000,
    };
    machine.execute(&run("exit 0")).unwrap();
    let error = machine.execute(&run("echo no space left; exit 2")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sh -c echo no space left; exit 2: it ended with exit status 2; it printed: no space left"
    );
}
