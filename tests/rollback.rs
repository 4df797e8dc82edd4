//! Going back under `--root`: every managed file as it was, unless somebody has changed it since.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use support::command::{Outcome, reconcile};
use support::snapshot::{Content, Difference, Snapshot};

const EXAMPLES: [&str; 3] = ["grid-k2", "hi1822", "x520"];

/// Changes a file that is shared, and makes some of ours.
const SHARED: &str = "version: 1\nblacklist: [floppy]\nkernel_args: [iommu=pt]\n\
                      qemu: {cgroup_device_acl: [/dev/net/tun]}\n";

/// A workplace with an example in it.
struct Place(tempfile::TempDir);

impl Place {
    fn example(name: &str) -> Self {
        Self(support::workplace(name))
    }

    fn run(&self, arguments: &str) -> Outcome {
        let common = ["--root", "host", "-c", "host.yaml"];
        reconcile(self.0.path(), common.into_iter().chain(arguments.split_whitespace()))
    }

    /// Verbs take no document.
    fn verb(&self, arguments: &str) -> Outcome {
        reconcile(self.0.path(), ["--root", "host"].into_iter().chain(arguments.split_whitespace()))
    }

    fn host(&self, path: &str) -> PathBuf {
        self.0.path().join("host").join(path)
    }

    fn document(&self, text: &str) {
        fs::write(self.0.path().join("host.yaml"), text).unwrap();
    }

    /// What is there beside our own state, with inodes and directories' times left out of account.
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&self.host("")).without(&["var/lib/reconcile", "run"]);
        snapshot.0.remove(std::path::Path::new(""));
        for entry in snapshot.0.values_mut() {
            entry.stamp.inode = 0;
            entry.stamp.ctime = (0, 0);
            if entry.content == Content::Directory {
                entry.stamp.mtime = (0, 0);
            }
        }
        snapshot
    }

    fn attributes(&self) -> BTreeMap<PathBuf, String> {
        let mut command = Command::new("getfattr");
        command.args(["-R", "-d", "-m", "-", "--absolute-names"]).arg(self.host("etc"));
        let output = command.output().expect("getfattr runs (package attr)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let files = text.split("\n\n").filter_map(|part| part.split_once('\n'));
        files.map(|(name, attributes)| (PathBuf::from(name), attributes.to_owned())).collect()
    }
}

/// Directories that the first run makes for its own state.
fn but_for_own_directories(differences: BTreeMap<PathBuf, Difference>) -> Vec<PathBuf> {
    differences.into_keys().filter(|path| !["var", "var/lib"].iter().any(|own| path.ends_with(own))).collect()
}

fn tool(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).status();
    assert!(done.unwrap_or_else(|error| panic!("{program}: {error}")).success(), "{program} {arguments:?}");
}

#[test]
fn an_apply_that_is_rolled_back_leaves_every_file_as_it_was() {
    for (name, shared) in EXAMPLES.map(|name| (name, false)).into_iter().chain([("grid-k2", true)]) {
        let place = Place::example(name);
        if shared {
            place.document(SHARED);
            // What a plain copy would lose.
            let conf = place.host("etc/libvirt/qemu.conf");
            let conf = conf.to_str().unwrap();
            tool("chown", &["1234:2345", conf]);
            tool("setfattr", &["-n", "user.note", "-v", "kept", conf]);
            tool("setfacl", &["-m", "u:4321:r", conf]);
            tool("setfattr", &["-n", "security.selinux", "-v", "system_u:object_r:virt_etc_t:s0", conf]);
            tool("touch", &["-d", "2001-02-03 04:05:06.123456789", conf]);
        }
        let (before, attributes) = (place.snapshot(), place.attributes());
        place.run("--yes").expect(3);
        assert!(before != place.snapshot());
        let looked = place.snapshot();
        place.verb("rollback --dry-run").expect(2);
        assert_eq!(looked.differences(&place.snapshot()), BTreeMap::new());
        let went = place.verb("rollback --yes");
        assert_eq!(
            but_for_own_directories(before.differences(&place.snapshot())),
            Vec::<PathBuf>::new(),
            "{name}\n{}{}",
            went.stdout,
            went.stderr
        );
        assert_eq!(attributes, place.attributes(), "{name}");
        went.expect(3);
    }
}

#[test]
fn a_rollback_can_be_rolled_back() {
    let place = Place::example("grid-k2");
    place.run("--yes").expect(3);
    let applied = place.snapshot().changes(&place.snapshot());
    let there = place.snapshot();
    place.verb("rollback --yes").expect(3);
    place.verb("rollback --yes").expect(3);
    assert_eq!(there.changes(&place.snapshot()), applied);
    let history = place.verb("history -o json").expect(0).json();
    let states: Vec<String> = history["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|generation| format!("{} {}", generation["number"], generation["state"]))
        .collect();
    assert_eq!(states, ["1 \"done\"", "2 \"rolled_back\"", "3 \"done\""]);
    // What was owned is owned again: nothing is left to do, nothing is lost.
    let after = place.run("--yes").expect(3);
    assert!(!after.stdout.contains("change made"), "{}", after.stdout);
}

#[test]
fn the_document_of_before_finds_nothing_to_do() {
    let place = Place::example("grid-k2");
    let second = fs::read_to_string(place.0.path().join("host.yaml")).unwrap();
    let first = "version: 1\nmodules: [vfio, vfio_pci]\nblacklist: [floppy]\nkernel_args: [quiet]\n";
    place.document(first);
    assert!(place.run("--yes").stdout.contains("made"));
    let before = place.snapshot();
    place.document(&second);
    assert!(place.run("--yes").stdout.contains("made"));
    place.document("version: 1\nblacklist: [floppy, parport]\n");
    assert!(place.run("--yes").stdout.contains("made"));
    place.verb("rollback 2 --yes").expect(3);
    assert_eq!(before.changes(&place.snapshot()), BTreeMap::new());
    place.document(first);
    let looked = place.run("--dry-run -o json");
    let report = looked.json();
    let changes = report["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["outcome"] == "waits"), "{changes:#?}");
    assert_eq!(looked.status, 3);
}

#[test]
fn what_somebody_has_changed_since_is_named_and_left_alone() {
    let place = Place::example("grid-k2");
    place.document(SHARED);
    place.run("--yes").expect(3);
    let (edited, moded) =
        (place.host("etc/libvirt/qemu.conf"), place.host("etc/modprobe.d/zz-reconcile-blacklist.conf"));
    let text = fs::read_to_string(&edited).unwrap();
    fs::write(&edited, format!("{text}max_files = 4096\n")).unwrap();
    fs::set_permissions(&moded, fs::Permissions::from_mode(0o600)).unwrap();
    let went = place.verb("rollback --yes").expect(4);
    for words in
        ["+max_files = 4096", "(mode 0644 -> 0600)", "/etc/libvirt/qemu.conf has changed since generation 1"]
    {
        assert!(went.stdout.contains(words), "{words}\n{}", went.stdout);
    }
    assert!(fs::read_to_string(&edited).unwrap().ends_with("max_files = 4096\n"));
    assert_eq!(fs::metadata(&moded).unwrap().mode() & 0o7777, 0o600);
    assert!(!place.host("etc/default/grub.d/zz-reconcile.cfg").exists(), "the others go on");
    let history = place.verb("history").expect(0);
    assert!(history.stdout.contains("rolled back in part by 2"), "{}", history.stdout);
    // What was left is still ours: an empty section takes it back.
    let owned = fs::read_to_string(place.host("var/lib/reconcile/state.json")).unwrap();
    assert!(owned.contains("qemu_acl") && !owned.contains("\"kernel_args\""), "{owned}");
}

#[test]
fn directories_that_were_made_go_while_they_are_empty() {
    let place = Place::example("x520");
    fs::remove_dir_all(place.host("etc/modules-load.d")).unwrap_or_default();
    fs::remove_dir_all(place.host("etc/udev")).unwrap_or_default();
    let before = place.snapshot();
    place.run("--yes").expect(3);
    fs::write(place.host("etc/udev/rules.d/90-mine.rules"), "").unwrap();
    place.verb("rollback --yes").expect(3);
    assert!(!place.host("etc/modules-load.d").exists());
    assert!(place.host("etc/udev/rules.d/90-mine.rules").exists());
    fs::remove_dir_all(place.host("etc/udev")).unwrap();
    assert_eq!(but_for_own_directories(before.changes(&place.snapshot())), Vec::<PathBuf>::new());
}

#[test]
fn what_cannot_be_undone_is_told() {
    let place = Place::example("x520");
    let nothing = place.verb("rollback --yes").expect(1);
    assert!(nothing.stderr.contains("there is no generation to undo"), "{}", nothing.stderr);
    place.run("--yes").expect(3);
    assert!(place.verb("rollback 7 --yes").expect(1).stderr.contains("there is no generation 7"));
    assert!(place.verb("rollback").expect(64).stderr.contains("no terminal"));
    place.verb("--only sriov rollback --yes").expect(64);
    fs::write(place.host("var/lib/reconcile/generations/1/generation.json"), "{").unwrap();
    assert!(place.verb("rollback --yes").expect(1).stderr.contains("generation 1 is damaged"));
    assert!(place.verb("history").expect(0).stdout.contains("damaged"));
}
