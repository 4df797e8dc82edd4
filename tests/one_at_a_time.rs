//! Two runs on one host: the second is told who the first is, or waits.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::command::reconcile;
use support::workplace;
use tempfile::TempDir;

/// Another run: it holds the lock for so many seconds.
fn holder(place: &TempDir, seconds: &str) -> Child {
    let directory = place.path().join("host/run/reconcile");
    fs::create_dir_all(&directory).unwrap();
    let lock = directory.join("lock");
    let child = Command::new("flock").arg("--no-fork").arg(&lock).args(["sleep", seconds]).spawn().unwrap();
    let started = Instant::now();
    let is_held =
        || Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap().code() == Some(1);
    while !lock.exists() || !is_held() {
        assert!(started.elapsed() < Duration::from_secs(20), "flock (util-linux) does not lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

#[test]
fn a_second_run_names_the_first_whatever_else_is_wrong() {
    let place = workplace("x520");
    let mut first = holder(&place, "60");
    fs::write(place.path().join("wrong.yaml"), "version: 9\n").unwrap();
    for arguments in [
        "-c host.yaml --yes",
        "-c wrong.yaml --yes",
        "-c missing.yaml --yes -o json",
        "-c host.yaml --yes --wait 1",
        "-c host.yaml --boot --wait 1",
        "--plan missing.json --yes",
    ] {
        let started = Instant::now();
        let outcome =
            reconcile(place.path(), ["--root", "host"].into_iter().chain(arguments.split_whitespace()))
                .expect(75);
        if arguments.contains("--wait") {
            assert!(started.elapsed() >= Duration::from_secs(1), "{arguments}");
        }
        let said = outcome.stderr;
        assert!(said.contains(&format!("(pid {})", first.id())), "{arguments}: {said}");
    }
    // Looking takes no lock.
    reconcile(place.path(), ["--root", "host", "-c", "host.yaml", "--dry-run"]).expect(2);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_run_that_may_wait_begins_when_the_first_has_ended() {
    let place = workplace("x520");
    let mut first = holder(&place, "2");
    let outcome =
        reconcile(place.path(), ["--root", "host", "-c", "host.yaml", "--yes", "--wait", "60"]).expect(3);
    assert!(outcome.stderr.contains("waiting up to 60 s for another run"), "{}", outcome.stderr);
    assert!(first.wait().unwrap().success());
}
