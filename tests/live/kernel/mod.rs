//! How a kernel reacts, as far as passing PCI functions through is concerned: which errno a write to an attribute
//! gets and what then stands where. Written from the kernel's sources (drivers/base/bus.c, drivers/base/dd.c,
//! drivers/pci/pci-driver.c, drivers/pci/iov.c, drivers/vfio/pci/*) and from what a real 6.12 answered, and from
//! nothing of the product: it is the oracle that the product's own model is held against.

mod boot;
mod drivers;
mod functions;
mod modules;
mod sriov;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nix::errno::Errno;

use super::events::{Event, FileWatch};
use super::tree::{Ino, Kind, Tree};
pub use drivers::{Driver, is_vfio};

/// What a write was answered.
pub type Answer = Result<(), Errno>;

/// `/sys/bus/pci/devices`.
pub const DEVICES: &str = "/sys/bus/pci/devices";
/// `/sys/bus/pci/drivers`.
pub const DRIVERS: &str = "/sys/bus/pci/drivers";
/// Where the recording commands tell the kernel what they were called for; in no directory listing.
pub const COMMANDS: &str = "/proc/.commands";

/// What happens to a write instead of, or before, the ordinary reaction.
pub enum Reaction {
    /// No answer ever comes, until the machine is switched off.
    Hang,
    /// This errno, and nothing done.
    Refuse(Errno),
    /// Something else happens first; then the ordinary reaction.
    After(Box<dyn FnOnce(&mut Kernel) + Send>),
}

struct Trap {
    path: String,
    value: String,
    reaction: Reaction,
}

/// The running kernel and the hardware below it.
pub struct Kernel {
    /// `/sys` and `/proc`.
    pub tree: Tree,
    /// The tree as the firmware leaves it: no driver bound, no VF, no module loaded.
    hardware: Tree,
    /// The machine's files on the disk.
    root: PathBuf,
    /// Registered drivers of the PCI bus.
    drivers: BTreeMap<String, Driver>,
    /// Every driver that a module of this machine would register.
    known_drivers: BTreeMap<String, Driver>,
    /// Class devices (`net`, `drm`) of functions whose driver is not bound now.
    parked: BTreeMap<String, Vec<Ino>>,
    /// The same, on the hardware as the firmware leaves it.
    parked_at_boot: BTreeMap<String, Vec<Ino>>,
    /// Probes that fail, by function and driver.
    failing_probes: BTreeMap<(String, String), Errno>,
    /// PFs whose driver gives only so many VFs.
    vf_limits: BTreeMap<String, u16>,
    /// The least number of an IOMMU group to come.
    next_group: u32,
    /// Every binding since the machine was switched on, as function and driver.
    bound: Vec<(String, String)>,
    /// systemd units that are active.
    pub active_units: BTreeSet<String>,
    traps: Vec<Trap>,
    events: Vec<Event>,
    watch: FileWatch,
}

/// What the file system does with a write.
pub enum Outcome {
    /// Reply now.
    Answer(Answer),
    /// Do not reply.
    Hang,
}

impl Kernel {
    /// The kernel of a machine whose tree on disk is `root`, running: `/sys` and `/proc` as captured there.
    pub fn new(root: PathBuf) -> Self {
        let mut tree = Tree::new();
        for top in ["sys", "proc"] {
            tree.load(&format!("/{top}"), &root.join(top));
        }
        tree.put_file(COMMANDS, "", 0o200);
        tree.put_link("/proc/self/exe", super::machine::BINARY);
        let watch = FileWatch::new(&root);
        let mut kernel = Self {
            hardware: Tree::new(),
            tree,
            root,
            drivers: BTreeMap::new(),
            known_drivers: BTreeMap::new(),
            parked: BTreeMap::new(),
            parked_at_boot: BTreeMap::new(),
            failing_probes: BTreeMap::new(),
            vf_limits: BTreeMap::new(),
            next_group: 0,
            bound: Vec::new(),
            active_units: BTreeSet::new(),
            traps: Vec::new(),
            events: Vec::new(),
            watch,
        };
        kernel.take_over();
        kernel
    }

    /// Sets what the next write of `value` to an attribute whose path ends in `path` meets; for a command, `path` is
    /// `command` and `value` its program. Once.
    pub fn on_write(&mut self, path: &str, value: &str, reaction: Reaction) {
        self.traps.push(Trap { path: path.to_owned(), value: value.to_owned(), reaction });
    }

    /// From now on `driver` refuses `function`.
    pub fn fail_probe(&mut self, function: &str, driver: &str, errno: Errno) {
        self.failing_probes.insert((function.to_owned(), driver.to_owned()), errno);
    }

    /// From now on the driver of `pf` gives at most so many VFs, and success (its only word is in the kernel log).
    pub fn limit_vfs(&mut self, pf: &str, most: u16) {
        self.vf_limits.insert(pf.to_owned(), most);
    }

    /// From now on, IOMMU groups that come have at least this number.
    pub fn number_groups_from(&mut self, least: u32) {
        self.next_group = least;
    }

    /// What was done since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.note_file_changes();
        std::mem::take(&mut self.events)
    }

    fn note_file_changes(&mut self) {
        let changes = self.watch.drain();
        self.events.extend(changes);
    }

    /// A write to the attribute `ino`, as the file system sees it.
    pub fn write(&mut self, ino: Ino, data: &[u8]) -> Outcome {
        if self.tree.node(ino).is_none() {
            return Outcome::Answer(Err(Errno::ENODEV));
        }
        let path = self.tree.path(ino);
        if path == COMMANDS {
            return self.command(data);
        }
        let text = String::from_utf8_lossy(data).into_owned();
        let value = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        self.note_file_changes();
        let (hang, answer) = match self.spring(&path, &value) {
            Some(Reaction::Hang) => (true, None),
            Some(Reaction::Refuse(errno)) => (false, Some(Err(errno))),
            Some(Reaction::After(first)) => {
                first(self);
                (false, None)
            }
            None => (false, None),
        };
        let answer = if hang { None } else { Some(answer.unwrap_or_else(|| self.react(ino, &path, &value))) };
        self.events.push(Event::Attribute { path, value, answer });
        answer.map_or(Outcome::Hang, Outcome::Answer)
    }

    fn spring(&mut self, path: &str, value: &str) -> Option<Reaction> {
        let hit = |trap: &Trap| path.ends_with(&trap.path) && trap.value == value;
        let at = self.traps.iter().position(hit)?;
        Some(self.traps.remove(at).reaction)
    }

    fn react(&mut self, ino: Ino, path: &str, value: &str) -> Answer {
        // What `first` of a trap did may have taken the attribute away under the open file.
        if self.tree.node(ino).is_none() {
            return Err(Errno::ENODEV);
        }
        let (directory, attribute) = path.rsplit_once('/').unwrap_or_default();
        let (above, name) = directory.rsplit_once('/').unwrap_or_default();
        match (above, attribute) {
            (DRIVERS, "bind") => return self.bind(name, value),
            (DRIVERS, "unbind") => return self.unbind(name, value),
            (DRIVERS, "new_id") => return self.new_id(name, value),
            (DRIVERS, "remove_id") => return self.remove_id(name, value),
            ("/sys/bus", "drivers_probe") => return self.drivers_probe(value),
            _ => {}
        }
        if self.function_at(directory).is_some() {
            match attribute {
                "driver_override" => return self.override_driver(path, value),
                "sriov_numvfs" => return self.set_numvfs(name, value),
                "sriov_drivers_autoprobe" => return self.set_autoprobe(path, value),
                _ => {}
            }
        }
        self.tree.put_file(path, format!("{value}\n"), 0o644);
        Ok(())
    }

    /// A recording command begins, and ends as the answer says; or it has done its work.
    fn command(&mut self, data: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(data);
        let mut words = text.split_terminator('\0').map(str::to_owned);
        if words.next().as_deref() == Some("end") {
            // What a command wrote is its effect, not another of the run that called it.
            drop(self.watch.drain());
            return Outcome::Answer(Ok(()));
        }
        let argv: Vec<String> = words.collect();
        let program = argv.first().cloned().unwrap_or_default();
        self.note_file_changes();
        let answer = match self.spring("command", &program) {
            Some(Reaction::Hang) => None,
            Some(Reaction::Refuse(errno)) => Some(Err(errno)),
            Some(Reaction::After(first)) => {
                first(self);
                Some(self.run(&argv))
            }
            None => Some(self.run(&argv)),
        };
        let success = answer.is_some_and(|answer| answer.is_ok());
        if !is_question(&argv) {
            self.events.push(Event::Command { argv, success });
        }
        answer.map_or(Outcome::Hang, Outcome::Answer)
    }

    fn run(&mut self, argv: &[String]) -> Answer {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["modprobe", names @ ..] => {
                let names = names.iter().filter(|name| !name.starts_with('-'));
                names.copied().try_for_each(|name| self.modprobe(name))
            }
            ["systemctl", "is-active", rest @ ..] => {
                let active = rest.iter().any(|unit| self.active_units.contains(*unit));
                if active { Ok(()) } else { Err(Errno::ESRCH) }
            }
            _ => Ok(()),
        }
    }

    /// Opening an attribute: the mode counts for root, too (`KERNFS_ROOT_EXTRA_OPEN_PERM_CHECK`).
    pub fn open(&self, ino: Ino, read: bool, write: bool) -> Answer {
        let node = self.tree.node(ino).ok_or(Errno::ENODEV)?;
        let Kind::File { mode, .. } = node.kind else { return Ok(()) };
        let allowed = (!read || mode & 0o444 != 0) && (!write || mode & 0o222 != 0);
        if allowed { Ok(()) } else { Err(Errno::EACCES) }
    }
}

/// Commands that only ask are no effect.
fn is_question(argv: &[String]) -> bool {
    matches!(argv, [program, verb, ..] if program == "systemctl" && matches!(verb.as_str(), "is-active" | "is-enabled" | "show" | "is-system-running"))
}
