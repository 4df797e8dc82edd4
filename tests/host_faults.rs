//! Replacing files where it fails: full and read-only file systems, immutable files, a kill or a refusal at any call.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, clippy::panic)]

mod host_tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use host_tree::{Tree, host_error, run};
use reconcile::host::{Host as _, Machine, Reach, ReadHost as _};
use reconcile::plan::{Bytes, FileState, Step};

/// Tells a process started by a test on which tree to work.
const TREE_VARIABLE: &str = "RECONCILE_TEST_TREE";

/// Runs the ignored test `scenario` of this file in a mount namespace of its own; its `mount`s end with it.
fn in_mount_namespace(scenario: &str) {
    let this = std::env::current_exe().unwrap();
    let arguments =
        ["-m", "--propagation", "private", this.to_str().unwrap(), "--exact", scenario, "--ignored"];
    let done = Command::new("unshare").args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && told.contains("1 passed"), "{told}");
}

/// Whatever failed, the old content stands, and no temporary file lies beside it.
fn assert_untouched(tree: &Tree, directory: &str, names: &[&str]) {
    assert_eq!(tree.names(directory), names);
    for name in names {
        assert_eq!(tree.read(&format!("{directory}/{name}")).as_deref(), Some("old\n"));
    }
}

#[test]
fn a_full_file_system() {
    in_mount_namespace("full_file_system");
}

#[test]
#[ignore = "mounts: run by a_full_file_system"]
fn full_file_system() {
    let mut tree = Tree::new();
    tree.put("/etc/.keep", "");
    run(
        "mount",
        &["-t", "tmpfs", "-o", "size=64k,nr_inodes=16", "none", tree.real("/etc").to_str().unwrap()],
    );
    tree.put("/etc/a", "old\n");
    let error = host_error(tree.write("/etc/a", &"x".repeat(100_000)));
    assert_eq!((error.to_string().as_str(), error.errno()), ("cannot replace /etc/a", Some(28)));
    assert!(error.remedy().unwrap().contains("free some space"));
    assert_eq!(host_error(tree.write("/etc/b", &"x".repeat(100_000))).errno(), Some(28));
    assert_untouched(&tree, "/etc", &["a"]);
    // No inode left for the temporary file.
    let mut count = 0;
    while fs::write(tree.real(&format!("/etc/filler{count}")), "").is_ok() {
        count += 1;
    }
    assert_eq!(host_error(tree.write("/etc/a", "new\n")).errno(), Some(28));
    assert_eq!(tree.read("/etc/a").as_deref(), Some("old\n"));
}

#[test]
fn a_read_only_file_system_and_a_file_that_is_a_mount_point() {
    in_mount_namespace("read_only_and_mount_point");
}

#[test]
#[ignore = "mounts: run by a_read_only_file_system_and_a_file_that_is_a_mount_point"]
fn read_only_and_mount_point() {
    let mut tree = Tree::new();
    tree.put("/etc/a", "old\n").put("/usr/b", "old\n").put("/srv/other", "old\n");
    let path = |path: &str| tree.real(path).to_str().unwrap().to_owned();
    run("mount", &["--bind", &path("/usr"), &path("/usr")]);
    run("mount", &["-o", "remount,ro,bind", &path("/usr")]);
    run("mount", &["--bind", &path("/srv/other"), &path("/etc/a")]);
    let removal = |path: &str| Step::RemoveFile { path: path.into(), before: tree.state(path) };
    let removals = [removal("/usr/b"), removal("/etc/a")];
    for step in
        [tree.write_step("/usr/b", "new\n"), tree.write_step("/usr/new", "new\n"), removals[0].clone()]
    {
        let error = host_error(tree.machine.execute(&step));
        assert_eq!(error.errno(), Some(30), "{step:?}");
        assert!(error.remedy().unwrap().contains("read-only"));
    }
    for step in [tree.write_step("/etc/a", "new\n"), removals[1].clone()] {
        let error = host_error(tree.machine.execute(&step));
        assert_eq!(error.errno(), Some(16), "{step:?}");
        assert!(error.remedy().unwrap().contains("mount point"));
    }
    assert_untouched(&tree, "/usr", &["b"]);
    assert_untouched(&tree, "/etc", &["a"]);
}

#[test]
fn an_immutable_file_and_an_immutable_directory() {
    let mut tree = Tree::new();
    tree.put("/etc/a", "old\n").put("/usr/b", "old\n");
    let fixed = [tree.real("/etc/a"), tree.real("/usr")].map(|path| path.to_str().unwrap().to_owned());
    run("chattr", &["+i", &fixed[0], &fixed[1]]);
    let errors = [
        tree.write("/etc/a", "new\n"),
        tree.write("/usr/b", "new\n"),
        tree.machine.execute(&Step::RemoveFile { path: "/etc/a".into(), before: tree.state("/etc/a") }),
    ];
    run("chattr", &["-i", &fixed[0], &fixed[1]]);
    for error in errors.map(host_error) {
        assert!(error.remedy().unwrap().contains("chattr -i"), "{error:?}");
    }
    assert_untouched(&tree, "/usr", &["b"]);
    assert_untouched(&tree, "/etc", &["a"]);
}

const REPLACED: [&str; 3] =
    ["/etc/default/grub", "/etc/modprobe.d/zz-reconcile.conf", "/etc/libvirt/qemu.conf"];

/// What the kill sweep kills: replaces two files and creates one, together with its directory.
#[test]
#[ignore = "a process to be killed: run by a_kill_at_any_call_leaves_old_or_new"]
fn replace_three_files() {
    let Some(directory) = std::env::var_os(TREE_VARIABLE) else { return };
    let mut machine = Machine::open(Path::new(&directory), Reach::Tree).unwrap();
    for path in REPLACED.map(PathBuf::from) {
        let before = machine.file_state(&path).unwrap();
        machine.execute(&Step::WriteFile { path, before, after: Bytes::from("new\n"), mode: 0o644 }).unwrap();
    }
}

/// The calls that write, or lead to a write.
const CALLS: [&str; 12] = [
    "openat",
    "openat2",
    "mkdirat",
    "write",
    "fchown",
    "fchmod",
    "fsetxattr",
    "fremovexattr",
    "fsync",
    "renameat",
    "renameat2",
    "unlinkat",
];

/// A tree with two old files, one of them with an owner and an attribute to lose.
fn tree_of_old_files() -> Tree {
    let tree = Tree::new();
    tree.put(REPLACED[0], "old\n").put(REPLACED[2], "old\n");
    let real = tree.real(REPLACED[2]);
    run("setfattr", &["-n", "user.note", "-v", "kept", real.to_str().unwrap()]);
    run("chown", &["12:34", real.to_str().unwrap()]);
    tree
}

/// Replaces the three files in a process in which strace injects `what` into the `nth` `call`; whether it got through.
fn replaced_with(tree: &Tree, call: &str, what: &str, nth: usize) -> bool {
    let done = Command::new("strace")
        .args(["-f", "-o", "/dev/null", &format!("--inject={call}:{what}:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "replace_three_files", "--ignored", "--test-threads=1"])
        .env(TREE_VARIABLE, tree.directory.path())
        .output()
        .unwrap();
    done.status.success()
}

/// Every file is the old one or the new one, whole, with its owner and attributes.
fn assert_old_or_new(tree: &Tree, when: &str) {
    for path in REPLACED {
        let old = (path != REPLACED[1]).then_some("old\n");
        let found = tree.read(path);
        assert!(found.as_deref() == old || found.as_deref() == Some("new\n"), "{path} {when}: {found:?}");
    }
    let FileState::File { uid: 12, gid: 34, xattrs, .. } = tree.state(REPLACED[2]) else {
        panic!("the owner is lost {when}");
    };
    assert_eq!(xattrs.get("user.note"), Some(&Bytes::from("kept")), "{when}");
}

/// How many leftovers there were; afterwards the next run must get through.
fn swept_and_converged(tree: &mut Tree) -> usize {
    let directories = REPLACED.map(|path| Path::new(path).parent().unwrap().to_path_buf());
    let swept = tree.machine.sweep_leftovers(&directories).unwrap();
    for path in REPLACED {
        tree.write(path, "new\n").unwrap();
    }
    for directory in &directories {
        assert_eq!(tree.machine.list(directory).unwrap().unwrap().len(), 1);
    }
    swept.len()
}

/// Kills the process with SIGKILL at its first, second, third, … call of each kind, until it gets through.
#[test]
fn a_kill_at_any_call_leaves_old_or_new() {
    let (mut points, mut leftovers) = (0, 0);
    for call in CALLS {
        for nth in 1.. {
            let mut tree = tree_of_old_files();
            let through = replaced_with(&tree, call, "signal=KILL", nth);
            assert_old_or_new(&tree, &format!("after a kill at {call} {nth}"));
            let swept = swept_and_converged(&mut tree);
            assert!(swept <= 1, "{swept} leftovers after a kill at {call} {nth}");
            leftovers += swept;
            if through {
                break;
            }
            points += 1;
        }
    }
    println!("{points} kill points, {leftovers} leftovers swept");
    assert!(points >= 40 && leftovers >= 10, "{points} kill points, {leftovers} leftovers");
}

/// Lets each of these calls fail in turn: the error path itself leaves nothing behind.
#[test]
fn a_failure_of_any_call_leaves_old_or_new_and_no_temporary_file() {
    let mut points = 0;
    for call in ["write", "fchown", "fchmod", "fsetxattr", "fsync", "renameat", "renameat2"] {
        for error in ["EIO", "EDQUOT"] {
            // Beyond the calls of this program there are those of the test harness.
            for nth in 1..=8 {
                let mut tree = tree_of_old_files();
                points += usize::from(!replaced_with(&tree, call, &format!("error={error}"), nth));
                assert_old_or_new(&tree, &format!("after {error} from {call} {nth}"));
                assert_eq!(swept_and_converged(&mut tree), 0, "leftovers after {error} from {call} {nth}");
            }
        }
    }
    assert!(points >= 20, "{points} failures");
}

#[test]
fn interrupted_calls_are_repeated() {
    for call in ["openat2", "write", "fsync"] {
        for nth in 1..=20 {
            let tree = tree_of_old_files();
            assert!(replaced_with(&tree, call, "error=EINTR", nth), "EINTR from {call} {nth}");
            assert_eq!(REPLACED.map(|path| tree.read(path)), [(); 3].map(|()| Some("new\n".to_owned())));
        }
    }
}
