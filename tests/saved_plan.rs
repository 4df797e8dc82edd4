//! A plan that is saved, and made later: exactly, or not at all.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use support::command::{Outcome, reconcile};
use support::snapshot::Snapshot;
use support::workplace;
use tempfile::TempDir;

const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef\n";

/// The X520 host and a plan for it.
fn planned() -> TempDir {
    let place = workplace("x520");
    fs::write(place.path().join("host/etc/machine-id"), MACHINE_ID).unwrap();
    run(&place, "-c host.yaml --dry-run --out plan.json").expect(2);
    place
}

fn run(place: &TempDir, arguments: &str) -> Outcome {
    reconcile(place.path(), ["--root", "host"].into_iter().chain(arguments.split_whitespace()))
}

/// Makes the plan, which has to be refused with these words, and nothing touched.
#[track_caller]
fn refused(place: &TempDir, status: i32, words: &[&str]) {
    for arguments in
        ["--plan plan.json --yes", "--plan plan.json --yes -o json", "--plan plan.json --dry-run"]
    {
        let before = Snapshot::of(place.path());
        let outcome = run(place, arguments).expect(status);
        let changes = before.differences(&Snapshot::of(place.path()));
        let lock = |path: &Path| path.starts_with("host/run") || path == Path::new("host");
        assert!(changes.keys().all(|path| lock(path)), "{arguments}: {changes:?}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr).replace("\\\"", "\"");
        for word in words {
            assert!(said.contains(word), "{arguments}: nothing about {word:?} in\n{said}");
        }
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        if arguments.contains("-o json") {
            assert_eq!(outcome.json()["exit_status"], status);
        }
    }
}

#[test]
fn a_plan_is_made_as_it_was_saved_and_a_second_time_finds_nothing_to_do() {
    let place = planned();
    let mode = fs::metadata(place.path().join("plan.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let other = workplace("x520");
    fs::write(other.path().join("host/etc/machine-id"), MACHINE_ID).unwrap();
    run(&other, "-c host.yaml --yes").expect(3);
    // The document is in the plan.
    fs::remove_file(place.path().join("host.yaml")).unwrap();
    run(&place, "--plan plan.json --dry-run").expect(2);
    run(&place, "--plan plan.json --yes").expect(3);
    let written =
        |place: &TempDir| fs::read(place.path().join("host/etc/default/grub.d/zz-reconcile.cfg")).unwrap();
    assert_eq!(written(&place), written(&other));
    let before = Snapshot::of(&place.path().join("host"));
    run(&place, "--plan plan.json --yes").expect(3);
    assert!(before.differences(&Snapshot::of(&place.path().join("host"))).is_empty());
}

#[test]
fn the_json_of_a_dry_run_is_a_plan_and_holds_what_was_selected() {
    let place = workplace("x520");
    let json = run(&place, "-c host.yaml --dry-run --only modules -o json").expect(2).stdout;
    fs::write(place.path().join("plan.json"), &json).unwrap();
    fs::set_permissions(place.path().join("plan.json"), fs::Permissions::from_mode(0o600)).unwrap();
    run(&place, "--plan plan.json --yes").expect(3);
    let host = place.path().join("host/etc");
    assert!(host.join("modules-load.d/reconcile.conf").exists());
    assert!(!host.join("default/grub.d/zz-reconcile.cfg").exists(), "only the modules were planned");
}

#[test]
fn what_has_changed_since_is_shown_and_nothing_is_made() {
    type Drift = fn(&Path);
    let drifts: [(&str, Drift, &[&str]); 7] = [
        (
            "a file that an edit would be made to",
            |host| append(&host.join("etc/default/grub"), "# a comment\n"),
            &["/etc/default/grub has another content now"],
        ),
        (
            "a file that would be created",
            |host| append(&host.join("etc/modules-load.d/reconcile.conf"), "x\n"),
            &["/etc/modules-load.d/reconcile.conf was not there", "modules"],
        ),
        (
            "an attribute",
            |host| fs::write(host.join("sys/bus/pci/devices/0000:41:00.0/driver_override"), "x\n").unwrap(),
            &["0000:41:00.0/driver_override was \"(null)\" and is \"x\" now"],
        ),
        (
            "a driver",
            |host| {
                let link = host.join("sys/bus/pci/devices/0000:41:00.0/driver");
                fs::remove_file(&link).unwrap();
                symlink("../../../../bus/pci/drivers/igb", &link).unwrap();
            },
            &["0000:41:00.0/driver was", "igb"],
        ),
        (
            "the running kernel's arguments",
            |host| fs::write(host.join("proc/cmdline"), "quiet\n").unwrap(),
            &["/proc/cmdline"],
        ),
        (
            "another modprobe.d file",
            |host| append(&host.join("etc/modprobe.d/mine.conf"), "blacklist vfio_pci\n"),
            &["/etc/modprobe.d"],
        ),
        (
            "another machine",
            |host| fs::write(host.join("etc/machine-id"), "ffff\n").unwrap(),
            &["another host", "/etc/machine-id"],
        ),
    ];
    for (what, drift, words) in drifts {
        println!("{what}");
        let place = planned();
        drift(&place.path().join("host"));
        refused(&place, 4, words);
    }
}

fn append(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let before = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, before + text).unwrap();
}

#[test]
fn what_changes_by_itself_is_no_drift() {
    let place = planned();
    let proc = place.path().join("host/proc");
    append(&proc.join("modules"), "dummy 16384 3 - Live 0x0\n");
    fs::write(proc.join("sys/kernel/random/boot_id"), "11111111-1111-4111-8111-111111111111\n").unwrap();
    run(&place, "--plan plan.json --yes").expect(3);
}

/// Replaces text in the plan.
fn edit(place: &TempDir, from: &str, to: &str) {
    let path = place.path().join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_file_that_is_no_plan_of_ours_is_status_65() {
    let altered = "its checksum does not fit";
    for (from, to, words) in [
        ("intel_iommu=on", "intel_iommu=off", altered),
        ("\"step\": \"write_file\"", "\"step\": \"remove_file\"", ""),
        ("\"mode\": 420", "\"mode\": 511", altered),
        ("\"scope\": \"full\"", "\"scope\": \"boot\"", altered),
        ("\"version\": 1,\n    \"program\"", "\"version\": 2,\n    \"program\"", "format 2"),
        ("\"plan\": {", "\"plane\": {", "missing field `plan`"),
        ("\"inputs\": {", "\"inputs\": {{", "plan.json:"),
        ("\"inputs\": {", "\"more\": 1, \"inputs\": {", "unknown field `more`"),
    ] {
        let place = planned();
        edit(&place, from, to);
        let outcome = run(&place, "--plan plan.json --yes").expect(65);
        assert!(outcome.stderr.contains(words), "{from}: {}", outcome.stderr);
    }
    for text in ["", "[]", "{\"plan\": 4}", "not json", "{\"plan\": {\"version\": 1}}", "\u{0}"] {
        let place = planned();
        fs::write(place.path().join("plan.json"), text).unwrap();
        refused(&place, 65, &["plan.json:", "--out FILE"]);
    }
    let place = planned();
    fs::remove_file(place.path().join("plan.json")).unwrap();
    refused(&place, 65, &["plan.json"]);
}

#[test]
fn a_plan_that_others_can_write_is_refused() {
    let place = planned();
    fs::set_permissions(place.path().join("plan.json"), fs::Permissions::from_mode(0o666)).unwrap();
    refused(&place, 65, &["can be written by others"]);
}

#[test]
fn a_plan_for_a_tree_is_none_for_the_machine() {
    let place = planned();
    let outcome = reconcile(place.path(), ["--plan", "plan.json", "--dry-run"]);
    assert!(outcome.status != 0 && outcome.status != 2, "{outcome:?}");
}
