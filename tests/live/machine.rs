//! A machine for one test: the tree in a tmpfs of a private mount namespace, the reacting kernel mounted on its /sys
//! and /proc, recording commands in its PATH, and the real binary run with it as `/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use fuser::{BackgroundSession, Config, ReplyWrite};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::commands;
use super::events::Event;
use super::filesystem::{SharedKernel, SysFs, lock};
use super::kernel::Kernel;

/// Where the binary stands in the machine.
pub const BINARY: &str = "/usr/sbin/reconcile";

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/.live/bin";

/// A machine; dropped, it is switched off and nothing of it is left.
pub struct Machine {
    root: PathBuf,
    kernel: SharedKernel,
    hung: Arc<Mutex<Vec<ReplyWrite>>>,
    session: Option<BackgroundSession>,
    boots: u32,
    _directory: tempfile::TempDir,
}

/// What a run said and did.
pub struct Run {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// What it did, in order.
    pub events: Vec<Event>,
}

impl Run {
    /// The run's words and deeds, for the message of a failing assertion.
    pub fn told(&self) -> String {
        let events: Vec<String> = self.events.iter().map(|event| format!("  {event}\n")).collect();
        format!(
            "status {:?}\n--- stdout\n{}\n--- stderr\n{}\n--- did\n{}",
            self.status,
            self.stdout,
            self.stderr,
            events.concat()
        )
    }
}

impl Machine {
    /// The example NAME as a running machine, with its document in place.
    pub fn example(name: &str) -> Self {
        Self::example_with(name, |_| {})
    }

    /// The same with what `add` puts below its directory.
    pub fn example_with(name: &str, add: impl FnOnce(&Path)) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        let machine = Self::start(|root| {
            copy_tree(&example.join("host"), root);
            add(root);
        });
        let document = fs::read(example.join("host.yaml")).unwrap();
        machine.write("etc/reconcile/host.yaml", document);
        drop(machine.kernel().take_events());
        machine
    }

    /// A machine whose files `fill` puts below the directory that it is given.
    pub fn start(fill: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        private_namespace();
        let none = None::<&str>;
        mount(Some("live"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .expect("a tmpfs (this test needs root)");
        let top = directory.path();
        let (root, kernel_mount) = (top.join("root"), top.join("kernel"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&kernel_mount).unwrap();
        fill(&root);
        let kernel = Arc::new(Mutex::new(Kernel::new(root.clone())));
        let hung = Arc::new(Mutex::new(Vec::new()));
        let filesystem = SysFs::new(Arc::clone(&kernel), Arc::clone(&hung));
        let session = fuser::spawn_mount(filesystem, &kernel_mount, &Config::default())
            .expect("FUSE (this test needs root and /dev/fuse: modprobe fuse)");
        for name in ["sys", "proc"] {
            fs::create_dir_all(root.join(name)).unwrap();
            mount(Some(&kernel_mount.join(name)), &root.join(name), none, MsFlags::MS_BIND, none).unwrap();
        }
        for name in ["run", "tmp", "dev", "var/lib", "usr/sbin"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("dev/null"), "").unwrap();
        mount(Some("/dev/null"), &root.join("dev/null"), none, MsFlags::MS_BIND, none).unwrap();
        bring(Path::new(env!("CARGO_BIN_EXE_reconcile")), &root.join(&BINARY[1..]));
        bring_libraries(&root, Path::new(env!("CARGO_BIN_EXE_reconcile")));
        commands::install(&root);
        drop(lock(&kernel).take_events());
        Self { root, kernel, hung, session: Some(session), boots: 1, _directory: directory }
    }

    /// The machine's kernel; the machine stands still while it is held.
    pub fn kernel(&self) -> MutexGuard<'_, Kernel> {
        lock(&self.kernel)
    }

    /// A path of the machine's disk as this process sees it.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// A file of the machine, `None` where there is none.
    pub fn read(&self, inside: &str) -> Option<String> {
        fs::read(self.path(inside)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts a file into the machine.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A command that runs in the machine, with its tree as `/`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Run {
        drop(self.kernel().take_events());
        let output = self.command(BINARY).args(arguments).output().expect("chroot");
        self.ended(&output)
    }

    /// Runs a line of shell in the machine, as a root user at its console would.
    pub fn shell(&self, line: &str) -> Run {
        drop(self.kernel().take_events());
        let output = self.command("/.live/bin/sh").args(["-c", line]).output().expect("chroot");
        self.ended(&output)
    }

    fn ended(&self, output: &Output) -> Run {
        Run {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            events: self.kernel().take_events(),
        }
    }

    /// Off and on again, up to the point where the oneshot unit would start.
    pub fn reboot(&mut self) {
        // The processes that hang in the kernel go with it.
        self.hung.lock().unwrap().clear();
        for volatile in ["run", "tmp", "dev/vfio"] {
            let _ = fs::remove_dir_all(self.path(volatile));
        }
        fs::create_dir_all(self.path("run")).unwrap();
        fs::create_dir_all(self.path("tmp")).unwrap();
        self.boots += 1;
        let boot_id = format!("{:08x}-0000-4000-8000-000000000000", self.boots);
        self.kernel().reboot(&boot_id);
    }

    /// Every file of the machine's disk; not /sys, /proc, /dev, /run.
    pub fn disk(&self) -> Disk {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.root).unwrap().flatten() {
            let name = entry.file_name();
            if !["sys", "proc", "run", "tmp", "dev", ".live"].iter().any(|skipped| name == *skipped) {
                describe(&entry.path(), &self.root, &mut files);
            }
        }
        Disk(files)
    }
}

/// Files with their content, kind, mode, owner and modification time.
#[derive(Clone, Debug)]
pub struct Disk(BTreeMap<String, (String, Vec<u8>)>);

impl Disk {
    /// The files of which `later` has another state, or which only one of them has.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let paths: BTreeSet<&String> = self.0.keys().chain(later.0.keys()).collect();
        paths.into_iter().filter(|path| self.0.get(*path) != later.0.get(*path)).cloned().collect()
    }

    /// The same, by content and mode alone.
    pub fn content_changes(&self, later: &Self) -> Vec<String> {
        let content = |disk: &Self, path: &String| {
            disk.0.get(path).map(|(facts, bytes)| (facts.split(' ').next().map(str::to_owned), bytes.clone()))
        };
        let changed = self.changes(later);
        changed.into_iter().filter(|path| content(self, path) != content(later, path)).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Answered with an error, whoever still waits in a write can end.
        self.hung.lock().unwrap().clear();
        for name in ["sys", "proc", "dev/null"] {
            let _ = umount2(&self.root.join(name), MntFlags::MNT_DETACH);
        }
        drop(self.session.take());
        let _ = umount2(self.root.parent().unwrap(), MntFlags::MNT_DETACH);
    }
}

/// This thread and what it starts leave the mounts of everybody else; they go when the last of them ends.
fn private_namespace() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (this test needs root)");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

/// Binds a file of this system into the machine, in the place of what stands there.
pub fn bring(from: &Path, to: &Path) {
    let none = None::<&str>;
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let _ = fs::remove_file(to);
    fs::write(to, "").unwrap();
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
        .unwrap_or_else(|error| panic!("{} (is its package installed?): {error}", from.display()));
}

/// The dynamic loader and the libraries of a program, none for a static one.
pub(super) fn bring_libraries(root: &Path, program: &Path) {
    let output = Command::new("ldd").arg(program).output().expect("ldd (libc-bin)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for library in text.split_whitespace().filter(|word| word.starts_with('/') && word.contains(".so")) {
        let inside = root.join(&library[1..]);
        if !inside.exists() {
            bring(Path::new(library), &inside);
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else if kind.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_tree(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

fn describe(path: &Path, root: &Path, files: &mut BTreeMap<String, (String, Vec<u8>)>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            describe(&entry.path(), root, files);
        }
        return;
    }
    let content = match fs::read_link(path) {
        Ok(target) => target.into_os_string().into_vec(),
        Err(_) => fs::read(path).unwrap(),
    };
    let facts = format!(
        "{:o} {}:{} {}.{:09}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    files.insert(format!("/{}", path.strip_prefix(root).unwrap().display()), (facts, content));
}
