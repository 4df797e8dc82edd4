//! Reading and replacing files of a host, against the kernel: links, metadata, refusals, leftovers, the cost in calls.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, clippy::panic)]

mod host_tree;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use host_tree::{Tree, host_error, run};
use reconcile::host::{FileKind, Host as _, Machine, Reach, ReadHost as _, SimulatedHost, StepError};
use reconcile::plan::{Bytes, FileState, Step};

/// Set for the process whose calls are counted.
const COUNTED: &str = "RECONCILE_TEST_COUNTED";

/// A dry run reads through the simulated host, and says what the run will say.
#[test]
fn the_null_device_is_no_regular_file_on_a_simulated_host_either() {
    let tree = Tree::new();
    tree.link("/etc/modprobe.d/x.conf", "/dev/null").put("/etc/y", "");
    let mut simulated = SimulatedHost::new(&tree.machine);
    let path = Path::new("/etc/modprobe.d/x.conf");
    for _ in 0..2 {
        assert!(tree.machine.file_state(path).is_err() && simulated.file_state(path).is_err());
        assert_eq!(simulated.read(path).unwrap(), tree.machine.read(path).unwrap());
        simulated.put_file("/etc/z", "now the overlay is asked first");
    }
}

/// The table of ways in which a link inside a tree can point outside.
#[test]
fn links_stay_inside_the_root() {
    let tree = Tree::new();
    tree.put("/usr/lib/x.conf", "inside\n")
        .link("/etc/abs", "/usr/lib/x.conf")
        .link("/etc/rel", "../usr/lib/x.conf")
        .link("/etc/above", "../../../../../../usr/lib/x.conf")
        .link("/etc/esc", "../../../../../../../../etc/hostname")
        .link("/etc/pw", "/etc/passwd")
        .link("/dir", "/usr/lib")
        .link("/out", "/proc")
        .link("/self", "self");
    for path in
        ["/etc/abs", "/etc/rel", "/etc/above", "/dir/x.conf", "/../usr/lib/x.conf", "/dir/../lib/x.conf"]
    {
        assert_eq!(tree.read(path).as_deref(), Some("inside\n"), "{path}");
    }
    for path in ["/etc/esc", "/etc/pw", "/out/version", "/etc/passwd", "/usr/lib/x.conf/y"] {
        assert_eq!(tree.read(path), None, "{path}");
        assert_eq!(tree.state(path), FileState::Absent, "{path}");
    }
    assert!(tree.machine.read(Path::new("/self")).is_err());
    assert_eq!(tree.machine.list(Path::new("/dir")).unwrap().unwrap(), ["x.conf"]);
    assert_eq!(tree.machine.list(Path::new("/out")).unwrap(), None);
    assert_eq!(tree.machine.kind(Path::new("/etc/pw")).unwrap(), Some(FileKind::Link));
    assert_eq!(tree.machine.kind(Path::new("/usr")).unwrap(), Some(FileKind::Directory));
    assert_eq!(tree.machine.read_link(Path::new("/etc/pw")).unwrap(), Some("/etc/passwd".into()));
    assert_eq!(tree.machine.read_link(Path::new("/usr/lib/x.conf")).unwrap(), None);
    assert_eq!(tree.machine.read_link(Path::new("/nowhere")).unwrap(), None);
    assert_eq!(tree.machine.link_name(Path::new("/etc/rel")).unwrap().as_deref(), Some("x.conf"));
}

#[test]
fn a_write_through_an_escaping_link_lands_inside() {
    let mut tree = Tree::new();
    tree.link("/etc/default/grub", "/../../../../srv/grub").put("/srv/keep", "");
    tree.write("/etc/default/grub", "new\n").unwrap();
    assert_eq!(fs::read_to_string(tree.real("/srv/grub")).unwrap(), "new\n");
    assert_eq!(tree.machine.kind(Path::new("/etc/default/grub")).unwrap(), Some(FileKind::Link));
}

#[test]
fn the_target_of_a_chain_of_links_is_replaced() {
    let mut tree = Tree::new();
    tree.put("/boot/real/file", "old\n").link("/one", "/etc/two").link("/etc/two", "../boot/three");
    tree.link("/boot/three", "real/file");
    tree.write("/one", "new\n").unwrap();
    assert_eq!(fs::read_to_string(tree.real("/boot/real/file")).unwrap(), "new\n");
    for link in ["/one", "/etc/two", "/boot/three"] {
        assert_eq!(tree.machine.kind(Path::new(link)).unwrap(), Some(FileKind::Link), "{link}");
    }
    let step = Step::RemoveFile { path: "/one".into(), before: tree.state("/one") };
    tree.machine.execute(&step).unwrap();
    assert_eq!(tree.state("/one"), FileState::Absent);
    assert_eq!(tree.names("/boot/real"), [""; 0]);
}

#[test]
fn a_cyclic_link_is_an_error_with_a_remedy() {
    let mut tree = Tree::new();
    tree.link("/etc/a", "b").link("/etc/b", "a");
    let step = Step::WriteFile {
        path: "/etc/a".into(),
        before: FileState::Absent,
        after: Bytes::from("x"),
        mode: 0o644,
    };
    let error = host_error(tree.machine.execute(&step));
    assert_eq!(error.to_string(), "cannot create /etc/a");
    assert!(error.remedy().unwrap().contains("points back"));
}

#[test]
fn owner_mode_times_and_attributes_are_kept() {
    let mut tree = Tree::new();
    tree.put("/etc/libvirt/qemu.conf", "old\n");
    let real = tree.real("/etc/libvirt/qemu.conf");
    let name = real.to_str().unwrap();
    run("chown", &["1234:2345", name]);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o4640)).unwrap();
    run("setfattr", &["-n", "user.note", "-v", "kept", name]);
    run("setfacl", &["-m", "u:4321:r", name]);
    // A default ACL of the directory would reach the new file, were it not taken away.
    run("setfacl", &["-d", "-m", "u:7777:rwx", tree.real("/etc/libvirt").to_str().unwrap()]);
    let before = tree.state("/etc/libvirt/qemu.conf");
    tree.write("/etc/libvirt/qemu.conf", "new\n").unwrap();
    let (FileState::File { bytes, mode, uid, gid, xattrs, .. }, FileState::File { xattrs: old, .. }) =
        (tree.state("/etc/libvirt/qemu.conf"), before)
    else {
        panic!("the file is gone");
    };
    assert_eq!((&bytes.0[..], mode, uid, gid), (&b"new\n"[..], 0o4640, 1234, 2345));
    assert_eq!(xattrs, old);
    assert_eq!(xattrs.get("user.note"), Some(&Bytes::from("kept")));
    assert!(xattrs.contains_key("system.posix_acl_access"));
}

#[test]
fn a_new_file_gets_its_mode_and_its_directories() {
    let mut tree = Tree::new();
    tree.write("/etc/default/grub.d/zz-reconcile.cfg", "# ours\n").unwrap();
    let file = fs::metadata(tree.real("/etc/default/grub.d/zz-reconcile.cfg")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.uid()), (0o644, nix::unistd::geteuid().as_raw()));
    assert_eq!(fs::metadata(tree.real("/etc/default/grub.d")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(tree.names("/etc/default/grub.d"), ["zz-reconcile.cfg"]);
}

#[test]
fn what_changed_since_it_was_read_is_left_alone() {
    let mut tree = Tree::new();
    tree.put("/etc/a", "planned against\n");
    let write = tree.write_step("/etc/a", "new\n");
    let remove = Step::RemoveFile { path: "/etc/a".into(), before: tree.state("/etc/a") };
    let create = tree.write_step("/etc/b", "new\n");
    tree.put("/etc/a", "edited meanwhile\n").put("/etc/b", "appeared\n");
    for step in [&write, &remove, &create] {
        assert!(matches!(tree.machine.execute(step), Err(StepError::Changed { .. })), "{step:?}");
    }
    fs::remove_file(tree.real("/etc/a")).unwrap();
    for step in [&write, &remove] {
        assert!(matches!(tree.machine.execute(step), Err(StepError::Changed { .. })), "{step:?}");
    }
    assert_eq!(tree.names("/etc"), ["b"]);
    assert_eq!(tree.read("/etc/b").as_deref(), Some("appeared\n"));
}

#[test]
fn reading_neither_blocks_nor_opens_devices() {
    let mut tree = Tree::new();
    tree.put("/etc/x", "").put("/sys/x", "");
    for path in ["/etc/fifo", "/sys/fifo"] {
        run("mkfifo", &[tree.real(path).to_str().unwrap()]);
    }
    run("mknod", &[tree.real("/etc/zero").to_str().unwrap(), "c", "1", "5"]);
    run("mknod", &[tree.real("/etc/null").to_str().unwrap(), "c", "1", "3"]);
    for path in ["/etc/fifo", "/etc/zero", "/etc", "/sys"] {
        assert!(tree.machine.read(Path::new(path)).is_err(), "{path}");
        assert!(tree.machine.file_state(Path::new(path)).is_err(), "{path}");
        let step = Step::WriteFile {
            path: path.into(),
            before: FileState::Absent,
            after: Bytes::from("x"),
            mode: 0o644,
        };
        assert!(tree.machine.execute(&step).is_err(), "{path}");
    }
    tree.machine.read(Path::new("/sys/fifo")).unwrap();
    // A drop-in that is masked by a link to the null device reads as empty, as its consumers see it.
    tree.link("/etc/masked", "/dev/null").link("/etc/masked-too", "../dev/null");
    for path in ["/etc/null", "/etc/masked", "/etc/masked-too"] {
        assert_eq!(tree.read(path).as_deref(), Some(""), "{path}");
        assert!(tree.machine.file_state(Path::new(path)).is_err(), "{path}");
    }
    assert_eq!(tree.names("/etc"), ["fifo", "masked", "masked-too", "null", "x", "zero"]);
}

#[test]
fn large_files_are_read_whole_and_huge_ones_refused() {
    let tree = Tree::new();
    let large = "0123456789abcdef".repeat(10_000);
    tree.put("/etc/large", &large).put("/sys/large", &large).put("/etc/huge", "");
    fs::File::options().write(true).open(tree.real("/etc/huge")).unwrap().set_len(65 << 20).unwrap();
    for path in ["/etc/large", "/sys/large"] {
        assert_eq!(tree.read(path).as_ref(), Some(&large), "{path}");
    }
    let error = tree.machine.read(Path::new("/etc/huge")).unwrap_err();
    assert!(error.source.to_string().contains("64 MiB"), "{error:?}");
}

#[test]
fn the_running_machine_is_read_as_it_is() {
    let machine = Machine::open(Path::new("/"), Reach::Machine).unwrap();
    // /proc hands its files out a page at a time, so that a short read is not their end.
    let mounts = machine.text(Path::new("/proc/self/mountinfo")).unwrap().unwrap();
    assert_eq!(mounts, fs::read_to_string("/proc/self/mountinfo").unwrap().trim_end());
    let symbols = machine.read(Path::new("/proc/kallsyms")).unwrap().unwrap();
    assert_eq!(symbols.len(), fs::read("/proc/kallsyms").unwrap().len());
    assert_eq!(machine.text(Path::new("/sys/kernel/mm/nowhere")).unwrap(), None);
    assert!(machine.exists(Path::new("/proc/self/fd")).unwrap());
    assert!(machine.list(Path::new("/sys/bus")).unwrap().unwrap().contains(&"cpu".to_owned()));
}

#[test]
fn leftovers_are_swept_and_nothing_else() {
    let mut tree = Tree::new();
    for name in [".reconcile-0000002a00000001.tmp", ".reconcile-notes.tmp", "a.conf", ".b.tmp"] {
        tree.put(&format!("/etc/modprobe.d/{name}"), "");
    }
    let swept = tree.machine.sweep_leftovers(&["/etc/modprobe.d".into(), "/missing".into()]).unwrap();
    assert_eq!(swept, [PathBuf::from("/etc/modprobe.d/.reconcile-0000002a00000001.tmp")]);
    assert_eq!(tree.names("/etc/modprobe.d"), [".b.tmp", ".reconcile-notes.tmp", "a.conf"]);
}

#[test]
fn a_tree_takes_neither_attributes_nor_commands() {
    let mut tree = Tree::new();
    tree.put("/sys/attribute", "old\n");
    for step in [
        Step::quick_attr("/sys/attribute", None, "new"),
        Step::Run { argv: vec!["touch".into(), tree.real("/made").display().to_string()], deadline_ms: 1000 },
    ] {
        assert!(matches!(tree.machine.execute(&step), Err(StepError::Unsupported(_))), "{step:?}");
    }
    assert_eq!(tree.read("/sys/attribute").as_deref(), Some("old\n"));
    assert_eq!(tree.read("/made"), None);
}

/// The calls that reading costs, counted by strace; on a host with thousands of functions they are the run time.
#[test]
fn reading_is_thrifty() {
    let this = std::env::current_exe().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let done = Command::new("strace")
        .args(["-f", "-o", log.path().to_str().unwrap()])
        .arg(&this)
        .args(["--exact", "read_one_of_each", "--ignored", "--test-threads=1"])
        .env(COUNTED, "yes")
        .status()
        .unwrap();
    assert!(done.success());
    let log = fs::read_to_string(log.path()).unwrap();
    let between = |mark: &str| {
        // The standard library checks a descriptor before closing it, in debug builds only.
        let lines = log.lines().filter(|line| !line.contains("F_GETFD"));
        let marks: Vec<_> = lines.enumerate().filter(|(_, line)| line.contains(mark)).collect();
        let [first, last] = marks.as_slice() else { panic!("{mark}: {marks:?}") };
        last.0 - first.0 - 1
    };
    assert_eq!(between("/mark/attribute"), 3, "open, read, close");
    assert_eq!(between("/mark/list"), 4, "open, getdents twice, close");
    assert_eq!(between("/mark/link"), 1, "readlink");
    assert_eq!(between("/mark/kind"), 1, "stat");
}

#[test]
#[ignore = "counted by reading_is_thrifty"]
fn read_one_of_each() {
    if std::env::var_os(COUNTED).is_none() {
        return;
    }
    let machine = Machine::open(Path::new("/"), Reach::Machine).unwrap();
    let marked = |mark: &str, read: &dyn Fn()| {
        let _ = fs::symlink_metadata(mark);
        read();
        let _ = fs::symlink_metadata(mark);
    };
    marked("/mark/attribute", &|| {
        machine.read(Path::new("/sys/kernel/mm/transparent_hugepage/enabled")).unwrap().unwrap();
    });
    marked("/mark/list", &|| {
        machine.list(Path::new("/sys/bus")).unwrap().unwrap();
    });
    marked("/mark/link", &|| {
        machine.read_link(Path::new("/proc/self")).unwrap().unwrap();
    });
    marked("/mark/kind", &|| {
        machine.kind(Path::new("/sys/bus")).unwrap().unwrap();
    });
}
