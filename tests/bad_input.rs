//! What bad input gets: a clear error, the right status, and nothing touched.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use support::command::{Outcome, RECONCILE, bare, outcome_of, reconcile};
use support::snapshot::Snapshot;
use support::{repository, workplace};

/// Runs with each of the verbs that read a document, and checks that nothing in the workplace has changed. What they
/// say is the same for all of them; as JSON it is one document on standard output.
#[track_caller]
fn nothing_touched(place: &Path, arguments: &[&str], status: i32) -> Outcome {
    let before = Snapshot::of(place);
    let mut last = None;
    for verb in [&["--yes", "-o", "json"][..], &["--dry-run"], &["--yes"], &["--boot"], &["status"]] {
        let outcome = reconcile(place, ["--root", "host"].iter().chain(arguments).chain(verb));
        let changes = before.differences(&Snapshot::of(place));
        assert!(changes.is_empty(), "{verb:?} {arguments:?} changed {changes:?}");
        let outcome = outcome.expect(status);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        if verb.contains(&"json") {
            assert_eq!(outcome.json()["exit_status"], status, "{}", outcome.stdout);
        }
        last = Some(outcome);
    }
    last.expect("a run")
}

thread_local! {
    /// One for each test: what touches nothing can share a tree.
    static PLACE: tempfile::TempDir = workplace("x520");
}

/// Writes a document, runs, and wants status 65 with all of `fragments` on standard error.
#[track_caller]
fn wrong_document(document: impl AsRef<[u8]>, fragments: &[&str]) {
    PLACE.with(|place| {
        fs::write(place.path().join("host.yaml"), document).expect("a document");
        let outcome = nothing_touched(place.path(), &["-c", "host.yaml"], 65);
        for fragment in fragments {
            assert!(outcome.stderr.contains(fragment), "no {fragment:?} in\n{}", outcome.stderr);
        }
    });
}

#[test]
fn not_yaml() {
    wrong_document("modules: [vfio\nblacklist: }\n", &["host.yaml:"]);
    wrong_document("\tversion: 1\n", &["host.yaml:1"]);
    wrong_document(b"version: 1\nmodules: [\xff\xfe]\n", &["host.yaml"]);
    wrong_document(b"\x7fELF\x02\x01\x01\0\0\0", &["host.yaml"]);
    wrong_document("just a text\n", &["host.yaml:1"]);
    wrong_document("- a\n- list\n", &["host.yaml:1"]);
}

#[test]
fn every_problem_in_one_run() {
    wrong_document(
        "version: 1\nkernel_arg: [quiet]\nvfio_pci:\n  ids: [\"10de:1bf\"]\nmodules: [\"a b\"]\n",
        &["host.yaml:2:1", "kernel_args", "host.yaml:4:9", "10de:1bf", "host.yaml:5:11", "a b"],
    );
}

#[test]
fn unknown_and_duplicate_keys() {
    wrong_document("version: 1\nmoduls: [vfio]\n", &["host.yaml:2:1", "moduls", "modules"]);
    wrong_document("version: 1\nqemu:\n  cgroup_device_acls: []\n", &["host.yaml:3:3", "cgroup_device_acl"]);
    wrong_document("version: 1\nmodules: [vfio]\nmodules: [kvm]\n", &["host.yaml:3:1", "modules"]);
    wrong_document("version: 1\nvfio_pci:\n  ids: []\n  ids: []\n", &["host.yaml:4:3", "ids"]);
}

#[test]
fn versions() {
    wrong_document("modules: [vfio]\n", &["version"]);
    wrong_document("version: 2\n", &["host.yaml:1", "version"]);
    wrong_document("version: one\n", &["host.yaml:1", "version"]);
}

#[test]
fn wrong_types() {
    wrong_document("version: 1\nmodules: vfio\n", &["host.yaml:2:10"]);
    wrong_document("version: 1\nmodules: {vfio: yes}\n", &["host.yaml:2:"]);
    wrong_document("version: 1\nsriov: [{device: \"0000:03:00.0\", vfs: many}]\n", &["host.yaml:2", "many"]);
    wrong_document("version: 1\nsriov: [{device: \"0000:03:00.0\", vfs: -1}]\n", &["host.yaml:2", "-1"]);
    wrong_document(
        "version: 1\nsriov: [{device: \"0000:03:00.0\", vfs: 65536}]\n",
        &["host.yaml:2", "65536"],
    );
    wrong_document("version: 1\nsriov: [{vfs: 4}]\n", &["host.yaml:2", "device"]);
    wrong_document("version: 1\nmodules: [null]\n", &["host.yaml:2:11"]);
}

#[test]
fn addresses_and_ids() {
    // What the unquoted 0000:04:00.0 and 11:22:33 became in some readers.
    for number in ["14400.0", "40953", "240.0"] {
        let document = format!("version: 1\nvfio_pci:\n  devices: [{number}]\n");
        wrong_document(document, &["host.yaml:3:13", number, "quote"]);
    }
    for text in
        ["0000:04:00", "0000:04:20.0", "0000:04:00.8", "0000:104:00.0", "04:00,0", "card one", "::", "10de"]
    {
        wrong_document(
            format!("version: 1\nvfio_pci:\n  devices: [\"{text}\"]\n"),
            &["host.yaml:3:13", text],
        );
    }
    for text in ["10de:1bf", "10de", "10de:11bff", "10dg:11bf", "10de:11bf:8086:1:0:0:0"] {
        wrong_document(format!("version: 1\nvfio_pci:\n  ids: [\"{text}\"]\n"), &["host.yaml:3:9", text]);
    }
}

#[test]
fn one_function_claimed_twice_in_ways_that_disagree() {
    wrong_document(
        "version: 1\nsriov:\n  - {device: \"0000:41:00.0\", vfs: 4}\n  - {device: \"41:00.0\", vfs: 8}\n",
        &["host.yaml:3", "host.yaml:4", "0000:41:00.0"],
    );
    wrong_document(
        "version: 1\nvfio_pci:\n  devices: [\"0000:41:00.0\"]\nsriov:\n  - {device: \"0000:41:00.0\", vfs: 4}\n",
        &["host.yaml:3", "host.yaml:5", "0000:41:00.0"],
    );
    wrong_document(
        "version: 1\nkernel_args: {present: [quiet], absent: [quiet]}\n",
        &["host.yaml:2", "quiet"],
    );
}

#[test]
fn an_exact_list_without_the_nodes_that_every_guest_needs() {
    wrong_document(
        "version: 1\nqemu:\n  cgroup_device_acl: {exact: true, present: [/dev/null]}\n",
        &["host.yaml:3", "/dev/zero"],
    );
}

#[test]
fn empty_files() {
    wrong_document("", &["host.yaml"]);
    wrong_document("# nothing but a comment\n", &["host.yaml"]);
    wrong_document("---\n...\n", &["host.yaml"]);
}

/// YAML allows both (1.2, 5.2 and 5.4): they are read, and places are counted as an editor counts them.
#[test]
fn a_byte_order_mark_and_carriage_returns() {
    wrong_document(
        b"\xef\xbb\xbfversion: 1\nmodules: [vfio]\n",
        &["host.yaml:1:1", "byte-order mark", "sed -i"],
    );
    wrong_document(b"version: 1\r\nmodules: [vfio]\r\n", &["host.yaml:1:11", "carriage return", "sed -i"]);
    // Anywhere else a mark is a character like any other.
    wrong_document("version: 1\nmodules: [\"\u{feff}vfio\"]\n", &["host.yaml:2:12", "FEFF"]);
}

#[test]
fn an_alias_bomb() {
    let mut bomb = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    bomb.push_str("modules: *a11\n");
    wrong_document(bomb, &["host.yaml"]);
    wrong_document(
        format!("version: 1\nmodules: {}{}\n", "[".repeat(20_000), "]".repeat(20_000)),
        &["host.yaml"],
    );
}

#[test]
fn a_file_of_100_megabytes() {
    let mut document = b"version: 1\nmodules: [vfio]\n".to_vec();
    document.resize(100_000_000, b'#');
    wrong_document(document, &["host.yaml"]);
}

#[test]
fn directories_and_files_that_are_not_there() {
    let place = workplace("x520");
    fs::create_dir(place.path().join("empty")).expect("a directory");
    fs::write(place.path().join("empty/notes.txt"), "modules: [vfio]\n").expect("a file");
    let outcome = nothing_touched(place.path(), &["-c", "empty"], 65);
    assert!(outcome.stderr.contains("empty") && outcome.stderr.contains(".yaml"), "{}", outcome.stderr);
    let outcome = nothing_touched(place.path(), &["-c", "missing.yaml"], 65);
    assert!(outcome.stderr.contains("missing.yaml"), "{}", outcome.stderr);
    let outcome = nothing_touched(place.path(), &["-c", "host.yaml/more.yaml"], 65);
    assert!(outcome.stderr.contains("host.yaml/more.yaml"), "{}", outcome.stderr);
}

#[test]
fn a_file_that_nobody_may_read() {
    let place = workplace("x520");
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    open(place.path(), 0o755);
    open(&place.path().join("host.yaml"), 0o000);
    let binary = place.path().join("reconcile");
    fs::copy(RECONCILE, &binary).expect("the binary");
    // Root reads everything; a user namespace without a mapping has no power over root's files.
    let mut command = bare("unshare", place.path());
    command.args(["--user", "--"]).arg(&binary).args(["--root", "host", "-c", "host.yaml", "--dry-run"]);
    let outcome = outcome_of(&mut command).expect(65);
    assert!(
        outcome.stderr.contains("host.yaml") && outcome.stderr.contains("may not be read"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_document_that_others_may_write() {
    let place = workplace("x520");
    for mode in [0o646, 0o666, 0o777] {
        let path = place.path().join("host.yaml");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let outcome = nothing_touched(place.path(), &["-c", "host.yaml"], 65);
        assert!(outcome.stderr.contains("chmod"), "no remedy in\n{}", outcome.stderr);
    }
}

#[test]
fn disagreeing_files_name_both_places() {
    let place = workplace("x520");
    fs::write(place.path().join("a.yaml"), "version: 1\nmodule_options: {nouveau: [modeset=0]}\n")
        .expect("a");
    fs::write(place.path().join("b.yaml"), "version: 1\nmodule_options: {nouveau: [modeset=1]}\n")
        .expect("b");
    let outcome = nothing_touched(place.path(), &["-c", "a.yaml", "-c", "b.yaml"], 65);
    assert!(outcome.stderr.contains("a.yaml:2") && outcome.stderr.contains("b.yaml:2"), "{}", outcome.stderr);
}

#[test]
fn usage() {
    let place = workplace("x520");
    let before = Snapshot::of(place.path());
    for arguments in [
        "--no-such-flag",
        "--root host -c host.yaml --only no_such_resource --dry-run",
        "--root host -c host.yaml --wait 3",
        "--root host -c host.yaml --dry-run --wait 3",
        "--root host -c host.yaml --yes --out plan.json",
        "--root host -c host.yaml --yes --plan plan.json",
        "--root host --boot --plan plan.json",
        "--root host --only sriov --yes --plan plan.json",
        "--root host status --plan plan.json",
        "--root host -c host.yaml --boot --wait soon",
        // Nobody can be asked here.
        "--root host -c host.yaml",
        "--root missing -c host.yaml --dry-run",
        "--root host.yaml -c host.yaml --dry-run",
        "--root host -c host.yaml -o xml --dry-run",
        "--root host -c host.yaml --dry-run status",
        "--root host devices nonsense",
        "--root host devices 0000:41:00",
        "no-such-verb",
        "--dry-run --yes --root",
    ] {
        let outcome = reconcile(place.path(), arguments.split_whitespace()).expect(64);
        assert!(outcome.stderr.lines().count() > 0 && outcome.stdout.is_empty(), "{arguments}: {outcome:?}");
    }
    assert_eq!(before.differences(&Snapshot::of(place.path())).into_keys().count(), 0);
}

/// A dry run of this document on the X520 host after `damage`, as JSON.
#[track_caller]
fn dry_run(document: &str, damage: impl FnOnce(&Path), status: i32) -> serde_json::Value {
    let place = workplace("x520");
    damage(&place.path().join("host"));
    fs::write(place.path().join("host.yaml"), document).expect("a document");
    let arguments = ["--root", "host", "-c", "host.yaml", "--dry-run", "-o", "json"];
    let before = Snapshot::of(place.path());
    let outcome = reconcile(place.path(), arguments).expect(status);
    assert!(before.differences(&Snapshot::of(place.path())).is_empty());
    outcome.json()
}

/// The resources for which the report has changes.
fn changed(report: &serde_json::Value) -> Vec<&str> {
    let changes = report["changes"].as_array().expect("changes");
    changes.iter().filter_map(|change| change["resource"].as_str()).collect()
}

#[test]
fn a_verdict_that_depends_on_the_host_stops_its_entry_only() {
    let rest = "version: 1\nmodules: [vfio_pci]\nblacklist: [nouveau]\n";
    for (entry, code) in [
        ("vfio_pci: {devices: [\"0000:77:00.0\", \"0000:41:00.0\"]}", "missing-function"),
        ("vfio_pci: {devices: [\"8086:154d\"]}", "ambiguous"),
        ("vfio_pci: {devices: [\"abcd:ef01\"]}", "missing-function"),
        ("vfio_pci: {devices: [{pf: \"0000:41:00.1\", vf: 3}]}", "vf"),
        ("sriov: [{device: \"0000:77:00.0\", vfs: 4}]", "missing-function"),
        ("sriov: [{device: \"0000:41:00.1\", vfs: 60000}]", "vfs"),
        ("sriov: [{device: \"0000:00:1f.2\", vfs: 1}]", "sriov"),
    ] {
        let report = dry_run(&format!("{rest}{entry}\n"), |_| {}, 1);
        let found = serde_json::to_string(&report["blocked"]).expect("JSON");
        assert!(found.contains(code), "{entry}: no {code} in {found}");
        let changed = changed(&report);
        assert!(changed.contains(&"modules") && changed.contains(&"blacklist"), "{entry}: {changed:?}");
        if entry.contains("0000:41:00.0") {
            assert!(
                changed.contains(&"bindings"),
                "the function that is there waits for one that is not: {report}"
            );
        }
    }
}

#[test]
fn a_broken_sysfs_stops_what_needs_it_only() {
    let document =
        "version: 1\nmodules: [vfio_pci]\nblacklist: [nouveau]\nvfio_pci: {devices: [\"0000:41:00.0\"]}\n";
    let by_filter = document.replace("\"0000:41:00.0\"", "\"8086:154d:0200\"");
    let function = "sys/bus/pci/devices/0000:41:00.0";
    let replace_by_directory = |path: &Path| {
        fs::remove_file(path).expect("an attribute");
        fs::create_dir(path).expect("a directory");
    };
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let breakages: [(&str, Damage<'_>); 8] = [
        (
            "an attribute that cannot be read",
            Box::new(|host| replace_by_directory(&host.join(function).join("vendor"))),
        ),
        (
            "an attribute that is half written",
            Box::new(|host| fs::write(host.join(function).join("vendor"), "0x").unwrap()),
        ),
        ("an empty attribute", Box::new(|host| fs::write(host.join(function).join("class"), "").unwrap())),
        (
            "an attribute that is missing",
            Box::new(|host| fs::remove_file(host.join(function).join("device")).unwrap()),
        ),
        (
            "bytes that are no text",
            Box::new(|host| fs::write(host.join(function).join("device"), b"\xff\x00\xfe").unwrap()),
        ),
        (
            "a function that is a link to itself",
            Box::new(|host| {
                fs::remove_file(host.join(function)).unwrap();
                symlink("0000:41:00.0", host.join(function)).unwrap();
            }),
        ),
        (
            "links in a circle",
            Box::new(|host| {
                fs::remove_file(host.join(function)).unwrap();
                symlink("0000:41:00.a", host.join(function)).unwrap();
                symlink("0000:41:00.0", host.join("sys/bus/pci/devices/0000:41:00.a")).unwrap();
            }),
        ),
        (
            "a file in the place of the devices",
            Box::new(|host| {
                fs::remove_dir_all(host.join("sys/bus/pci/devices")).unwrap();
                fs::write(host.join("sys/bus/pci/devices"), "").unwrap();
            }),
        ),
    ];
    for (what, damage) in &breakages {
        for document in [document, &by_filter] {
            let report = dry_run(document, |host| damage(host), 1);
            let errors = report["errors"].as_array().expect("errors").len();
            let blocked = report["blocked"].as_array().expect("blocked").len();
            assert!(errors + blocked > 0, "{what}: nothing is said about it in {report}");
            let changed = changed(&report);
            assert!(changed.contains(&"modules") && changed.contains(&"blacklist"), "{what}: {changed:?}");
        }
    }
}

#[test]
fn a_report_that_cannot_be_printed_is_no_silent_success() {
    for (arguments, stdout, said) in [
        (["schema", "--color=never"], "/dev/full", "cannot write to standard output"),
        (["schema", "--color=never"], "/dev/null", ""),
        (["schema", "-ojson"], "/dev/full", "cannot write to standard output"),
    ] {
        let full = fs::OpenOptions::new().write(true).open(stdout).unwrap();
        let output = bare(RECONCILE, repository()).args(arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(said) && (stderr.is_empty() == said.is_empty()), "{arguments:?}: {stderr}");
    }
}
