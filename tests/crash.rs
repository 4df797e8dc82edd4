//! Killed at every call that writes, and refused at every call that can fail: whatever happens in the middle, every file
//! is the old one or the new one, the next run ends right, and going back restores the start.
//!
//! A first run under strace counts the calls; then each of them is the one at which a run is killed, none left out. All
//! of it: `cargo test --test crash -- --include-ignored --skip full_var --nocapture`, which prints how many points there were.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[cfg(target_arch = "x86_64")]
#[path = "crash/short_writes.rs"]
mod short_writes;
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;

use support::calls::{Point, inject, points};
use support::command::{Outcome, RECONCILE, reconcile};
use support::snapshot::{Content, Entry, Snapshot};

const ARGUMENTS: [&str; 4] = ["--root", "host", "-c", "host.yaml"];

/// Own state is compared by what later runs make of it.
const OWN: [&str; 2] = ["var/lib/reconcile", "run"];

/// An example, as it was and as an apply leaves it.
struct Sweep {
    name: &'static str,
    start: Snapshot,
    applied: Snapshot,
    points: Vec<Point>,
}

impl Sweep {
    fn of(name: &'static str) -> Self {
        let place = Place::example(name);
        let start = place.snapshot();
        let points = points(|strace| {
            let _ = place.traced(strace);
        });
        let applied = place.snapshot();
        assert!(start.changes(&applied).len() > 3, "{name}: an apply that changes little shows little");
        Self { name, start, applied, points }
    }

    /// Calls `check` for every point, on two trees at a time.
    fn each<T: Send>(&self, points: Vec<T>, check: impl Fn(&Self, &Place, &T) + Sync) {
        let queue = Mutex::new(VecDeque::from(points));
        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let place = Place::example(self.name);
                    while let Some(point) = next() {
                        check(self, &place, &point);
                        place.reset(&self.start);
                    }
                });
            }
        });
    }

    /// Every file is the old one or the new one; beside that a temporary file at most, if they are `allowed`.
    fn assert_old_or_new(&self, place: &Place, temporary_files: bool, when: &str) {
        let now = place.snapshot();
        let same = |entry: &Entry, other: Option<&Entry>| {
            other.is_some_and(|other| {
                (&entry.content, entry.mode, entry.owner) == (&other.content, other.mode, other.owner)
            })
        };
        for (path, entry) in &now.0 {
            let known = same(entry, self.start.0.get(path)) || same(entry, self.applied.0.get(path));
            let temporary = temporary_files && is_temporary(path);
            // Of directories that the program makes for itself there is no other state.
            assert!(
                known || temporary || entry.content == Content::Directory,
                "{when}: {} is {entry:?}",
                path.display()
            );
        }
        for path in self.start.0.keys().filter(|path| !now.0.contains_key(*path)) {
            assert!(!self.applied.0.contains_key(path), "{when}: {} is gone", path.display());
        }
    }

    /// The next run makes the rest and leaves nothing else; the one after it does nothing; going back restores the start.
    fn assert_recovers(&self, place: &Place, when: &str) {
        let next = place.run(&["--yes"]);
        assert_eq!(next.status, 3, "{when}\n{}{}", next.stdout, next.stderr);
        let mut changes = self.applied.changes(&place.snapshot());
        // A mount point has the owner and mode of what is mounted.
        changes.remove(Path::new("var"));
        assert_eq!(changes, BTreeMap::new(), "{when}");
        let whole = Snapshot::of(&place.host());
        let left: Vec<&PathBuf> = whole.0.keys().filter(|path| is_temporary(path)).collect();
        assert!(left.is_empty(), "{when}: {left:?}");
        let second = place.run(&["--yes"]);
        assert_eq!(second.status, 3, "{when}\n{}{}", second.stdout, second.stderr);
        assert_eq!(
            whole.differences(&Snapshot::of(&place.host())),
            BTreeMap::new(),
            "{when}: the second run wrote"
        );
        let back = reconcile(place.0.path(), ["--root", "host", "rollback", "1", "--yes"]);
        assert_eq!(back.status, 3, "{when}\n{}{}", back.stdout, back.stderr);
        let mut differences = self.start.differences(&place.snapshot());
        differences.retain(|path, _| !["", "var", "var/lib"].iter().any(|own| path == Path::new(own)));
        assert_eq!(differences, BTreeMap::new(), "{when}\n{}", back.stdout);
    }
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(".reconcile-") && name.ends_with(".tmp")
}

struct Place(tempfile::TempDir);

impl Place {
    fn example(name: &str) -> Self {
        Self(support::workplace(name))
    }

    fn host(&self) -> PathBuf {
        self.0.path().join("host")
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        reconcile(self.0.path(), ARGUMENTS.iter().chain(arguments))
    }

    /// Applies under strace with these arguments of its own.
    fn traced(&self, strace: &[String]) -> ExitStatus {
        let mut command = support::command::bare("strace", self.0.path());
        command.args(["-f", "--seccomp-bpf", "-qq"]).args(strace).arg(RECONCILE).args(ARGUMENTS).arg("--yes");
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("strace runs (package strace)")
    }

    /// Files beside our own state, without inodes, and without times of directories.
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&self.host()).without(&OWN);
        for entry in snapshot.0.values_mut() {
            entry.stamp.inode = 0;
            entry.stamp.ctime = (0, 0);
            if entry.content == Content::Directory {
                entry.stamp.mtime = (0, 0);
            }
        }
        snapshot
    }

    /// As if no run had ever been; files are as at the start already.
    fn reset(&self, start: &Snapshot) {
        for own in ["var/lib/reconcile", "run/reconcile"] {
            let _ = fs::remove_dir_all(self.host().join(own));
        }
        for made in ["var/lib", "var", "run"] {
            if !start.0.contains_key(Path::new(made)) {
                let _ = fs::remove_dir(self.host().join(made));
            }
        }
    }
}

fn killed(status: ExitStatus) -> bool {
    status.signal() == Some(9) || status.code() == Some(137)
}

fn kill_sweep(name: &'static str) {
    let sweep = Sweep::of(name);
    let count = sweep.points.len();
    sweep.each(sweep.points.clone(), |sweep, place, point| {
        let when = format!("{name}, killed at {point}");
        assert!(killed(place.traced(&[inject(point, "signal=KILL")])), "{when}: it got past");
        sweep.assert_old_or_new(place, true, &when);
        sweep.assert_recovers(place, &when);
    });
    println!("{name}: killed at each of {count} writing calls");
    assert!(count >= 60, "{count} points");
}

#[test]
fn grid_k2_killed_at_every_writing_call() {
    kill_sweep("grid-k2");
}

#[test]
fn hi1822_killed_at_every_writing_call() {
    kill_sweep("hi1822");
}

#[test]
fn x520_killed_at_every_writing_call() {
    kill_sweep("x520");
}

/// What each of the calls can answer on a disk that is full, broken or read-only.
fn errors(call: &str) -> &'static [&'static str] {
    match call {
        "write" => &["ENOSPC", "EIO", "EDQUOT", "EINTR"],
        "fsync" => &["ENOSPC", "EIO", "EDQUOT", "EINTR"],
        "openat" | "openat2" => &["ENOSPC", "EIO", "EROFS", "EDQUOT", "EINTR"],
        "mkdirat" | "renameat" | "renameat2" => &["ENOSPC", "EIO", "EROFS", "EDQUOT"],
        _ => &["EIO", "EROFS"],
    }
}

/// Every error at every such call, or at each `nth` pair of them: nothing half made, nothing left lying, the next run ends
/// right.
fn fault_sweep(name: &'static str, nth: usize) {
    let sweep = Sweep::of(name);
    let all = sweep
        .points
        .iter()
        .flat_map(|point| errors(&point.call).iter().map(move |error| (point.clone(), *error)));
    let chosen: Vec<(Point, &str)> = all.step_by(nth).collect();
    let count = chosen.len();
    sweep.each(chosen, |sweep, place, (point, error)| {
        let when = format!("{name}, {error} from {point}");
        let status = place.traced(&[inject(point, &format!("error={error}"))]);
        let wanted: &[i32] = if *error == "EINTR" { &[3] } else { &[1, 3] };
        assert!(status.code().is_some_and(|code| wanted.contains(&code)), "{when}: {status}");
        // Where even unlink fails, a temporary file stays until the next run.
        sweep.assert_old_or_new(place, ["EIO", "EROFS"].contains(error), &when);
        sweep.assert_recovers(place, &when);
    });
    println!("{name}: {count} errors at {} writing calls", sweep.points.len());
}

#[test]
fn x520_refused_at_writing_calls() {
    fault_sweep("x520", 7);
}

#[test]
#[ignore = "minutes: part of the whole sweep"]
fn x520_refused_at_every_writing_call() {
    fault_sweep("x520", 1);
}

#[test]
#[ignore = "minutes: part of the whole sweep"]
fn grid_k2_refused_at_every_writing_call() {
    fault_sweep("grid-k2", 1);
}

#[test]
#[ignore = "minutes: part of the whole sweep"]
fn hi1822_refused_at_every_writing_call() {
    fault_sweep("hi1822", 1);
}

/// A /var that is full: with true short writes and without inodes, at every size from nothing to enough.
#[test]
fn a_full_var_stops_a_run_before_it_has_changed_anything_or_leaves_it_whole() {
    let this = std::env::current_exe().unwrap();
    let done = Command::new("unshare")
        .args([
            "-m",
            "--propagation",
            "private",
            this.to_str().unwrap(),
            "--exact",
            "full_var",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .expect("unshare runs (package util-linux)");
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
#[ignore = "mounts: run by a_full_var_stops_a_run_before_it_has_changed_anything_or_leaves_it_whole"]
fn full_var() {
    let sweep = Sweep::of("grid-k2");
    let (mut refused, mut made) = (0, 0);
    let sizes = (1..=8).map(|pages| format!("size={}k", 4 * pages));
    let inodes = (2..=14).map(|inodes| format!("size=1m,nr_inodes={inodes}"));
    for size in sizes.chain(inodes) {
        let place = Place::example("grid-k2");
        let var = place.host().join("var");
        fs::create_dir_all(&var).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&var).status().unwrap();
        assert!(mounted.success());
        let run = place.run(&["--yes"]);
        let when = format!("{size} for /var");
        sweep.assert_old_or_new(&place, false, &when);
        if run.status == 1 {
            assert!(
                run.stderr.contains("free some space") || run.stderr.contains("No space left"),
                "{when}: {}",
                run.stderr
            );
            refused += 1;
        } else {
            assert_eq!(run.status, 3, "{when}: {}", run.stderr);
            made += 1;
        }
        let grown =
            Command::new("mount").args(["-o", "remount,size=64m,nr_inodes=1k"]).arg(&var).status().unwrap();
        assert!(grown.success());
        sweep.assert_recovers(&place, &when);
        assert!(Command::new("umount").arg(&var).status().unwrap().success());
    }
    println!("refused with {refused} sizes, made with {made}");
    assert!(refused >= 5 && made >= 5, "{refused} refused, {made} made");
}

#[test]
fn without_a_place_for_the_lock_nothing_is_touched() {
    let place = Place::example("x520");
    fs::write(place.host().join("run"), "").unwrap();
    let before = Snapshot::of(&place.host());
    let run = place.run(&["--yes"]).expect(1);
    assert!(run.stderr.contains("/run/reconcile"), "{}", run.stderr);
    assert_eq!(before.differences(&Snapshot::of(&place.host())), BTreeMap::new());
}
