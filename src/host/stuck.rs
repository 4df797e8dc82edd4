//! Writes of attributes that have not returned: those of this run, and those that an earlier run has left behind.
//!
//! The child that writes an attribute notes what it is about to write in a file of its own below `/run/reconcile/writes`,
//! and empties it when the write has returned. So whoever comes next finds what still hangs, even if the run that
//! started it was killed; a reboot takes the notes away with the processes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{ATTRIBUTE_WRITER, HostError, Pci, ReadHost, Users, pci};
use crate::types::PciAddress;

/// One file for each child, by its process id.
pub(super) const NOTES: &str = "/run/reconcile/writes";

/// These are read under the lock of their device (`driver_override_show` before 6.12, `sriov_numvfs_show` in
/// drivers/pci/iov.c), which a write that hangs still holds: whoever reads them hangs, too.
const LOCKED: [&str; 2] = ["driver_override", "sriov_numvfs"];

/// A write that has not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckWrite {
    /// The process that waits in the kernel; `None` where nothing tells which one does.
    pub pid: Option<u32>,
    /// The attribute; one that cannot be read for the write where that is not known.
    pub path: PathBuf,
    /// What is written; only of our own writes that is known.
    pub value: Option<String>,
    /// The function that is locked for it, where it was found by that.
    pub locks: Option<PciAddress>,
}

impl StuckWrite {
    /// The function that it is about: the one that it locks, whose attribute it is, or that is named to a driver.
    pub fn function(&self) -> Option<PciAddress> {
        let named = || self.value.as_deref()?.trim().parse().ok();
        self.locks.or_else(named).or_else(|| owner(&self.path))
    }

    /// That function and what goes with it: its VFs, those on their way out included.
    pub fn functions(&self, host: &dyn ReadHost) -> Vec<PciAddress> {
        self.function().map(|function| Pci::new(host).with_vfs(function)).unwrap_or_default()
    }

    /// What a child notes.
    pub(super) fn note(path: &Path, value: &[u8]) -> String {
        format!("{}\n{}\n", path.display(), String::from_utf8_lossy(value).trim())
    }

    fn read(pid: u32, note: &str) -> Option<Self> {
        let (path, value) = note.trim_end_matches('\n').split_once('\n')?;
        Some(Self { pid: Some(pid), path: path.into(), value: Some(value.to_owned()), locks: None })
    }

    /// Somebody's write that keeps `function` locked, found when `attribute` could not be read for it.
    pub(super) fn of_another(host: &dyn ReadHost, function: PciAddress, attribute: &Path) -> Self {
        let writer = writer(host, function);
        let (pid, path) = writer.map_or((None, attribute.to_path_buf()), |(pid, path)| (Some(pid), path));
        Self { pid, path, value: None, locks: Some(function) }
    }

    /// The write, who makes it, and who is likely to hold up its end.
    pub fn told(&self, host: &dyn ReadHost) -> String {
        let path = self.path.display();
        let mut text = match (self.pid, &self.value) {
            (None, _) => format!("{path} cannot be read: a write holds its lock, and nothing tells whose"),
            (Some(pid), None) => format!("a write to {path} has not returned ({})", waits(pid)),
            (Some(pid), Some(value)) => {
                format!("a write of {value:?} to {path} has not returned ({})", waits(pid))
            }
        };
        let mut users = Users::new(host);
        let uses = self.functions(host).into_iter().flat_map(|function| users.of(function));
        let reasons: BTreeSet<String> =
            uses.flat_map(|found| found.chain).map(|reason| reason.text).collect();
        for reason in reasons {
            text.push_str("; ");
            text.push_str(&reason);
        }
        text
    }
}

/// The function whose attribute this is.
fn owner(path: &Path) -> Option<PciAddress> {
    path.parent()?.file_name()?.to_str()?.parse().ok()
}

/// Attributes of functions and drivers that a write sleeps in.
const SLEPT_IN: [&str; 6] = ["sriov_numvfs", "driver_override", "bind", "unbind", "drivers_probe", "remove"];

/// The process that sleeps in a write to an attribute of `function`, else to any such attribute: that of a driver, or of the PF
/// that a VF has lost its link to.
fn writer(host: &dyn ReadHost, function: PciAddress) -> Option<(u32, PathBuf)> {
    let names = host.list(Path::new("/proc")).ok().flatten().unwrap_or_default();
    let pids = names.iter().filter_map(|name| name.parse().ok());
    let writes: Vec<(u32, PathBuf)> =
        pids.flat_map(|pid| sleeping_writes(host, pid).into_iter().map(move |path| (pid, path))).collect();
    let own = writes.iter().find(|(_, path)| owner(path) == Some(function));
    own.or_else(|| writes.first()).cloned()
}

/// Attributes of [`SLEPT_IN`] that a process has open for writing while it does not run. vfio waits for a guest in a sleep that
/// a signal can end, until one has come (`vfio_unregister_group_dev`): both kinds of sleep count.
fn sleeping_writes(host: &dyn ReadHost, pid: u32) -> Vec<PathBuf> {
    let directory = Path::new("/proc").join(pid.to_string());
    let text = |path: PathBuf| host.text(&path).ok().flatten().unwrap_or_default();
    let files = directory.join("fd");
    let open = host.list(&files).ok().flatten().unwrap_or_default();
    let written = |fd: String| {
        let path = host.read_link(&files.join(&fd)).ok().flatten()?;
        let name = path.file_name()?.to_str()?;
        if !path.starts_with("/sys") || !SLEPT_IN.contains(&name) {
            return None;
        }
        // Octal, as open(2) has it; the last two bits are the access mode (proc_pid_fdinfo(5)).
        let info = text(directory.join("fdinfo").join(fd));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        let is_write = u32::from_str_radix(flags, 8).is_ok_and(|flags| flags & 3 != 0);
        let sleeps = || matches!(state(&text(directory.join("stat"))), Some('D' | 'S'));
        (is_write && sleeps()).then_some(path)
    };
    open.into_iter().filter_map(written).collect()
}

/// The state letter of /proc/PID/stat, behind a name that may hold anything (proc_pid_stat(5)).
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The writes that hang now; none on most hosts, which takes one look at one directory.
///
/// # Errors
/// When the notes are there and cannot be read.
pub fn stuck_writes(host: &dyn ReadHost) -> Result<Vec<StuckWrite>, HostError> {
    let mut stuck = Vec::new();
    for name in host.list(Path::new(NOTES))?.unwrap_or_default() {
        let Ok(pid) = name.parse() else { continue };
        // A note without its process is a leftover: that was killed, or its number went to another.
        let program = host.read(&Path::new("/proc").join(&name).join("cmdline"))?.unwrap_or_default();
        if !program.split(|byte| *byte == 0).any(|word| word == ATTRIBUTE_WRITER.as_bytes()) {
            continue;
        }
        let note = host.text(&Path::new(NOTES).join(&name))?.unwrap_or_default();
        stuck.extend(StuckWrite::read(pid, &note));
    }
    Ok(stuck)
}

/// The function whose lock a read of this attribute takes.
pub(super) fn shown_under_lock(path: &Path) -> Option<PciAddress> {
    let attribute = path.file_name()?.to_str()?;
    if !path.starts_with("/sys") || !LOCKED.contains(&attribute) {
        return None;
    }
    owner(path)
}

/// Whether a read that takes this function's lock would hang: a write to it hangs, or one to the PF that it is a VF of.
pub(super) fn holds_lock(stuck: &[StuckWrite], function: PciAddress, host: &dyn ReadHost) -> bool {
    let functions: Vec<PciAddress> = stuck.iter().filter_map(StuckWrite::function).collect();
    let pf = || host.link_name(&pci::attribute(function, "physfn")).ok()??.parse().ok();
    !functions.is_empty()
        && (functions.contains(&function) || pf().is_some_and(|pf: PciAddress| functions.contains(&pf)))
}

/// How the process waits, as /proc of this machine has it: its state, where in the kernel, and how it got there.
#[allow(clippy::disallowed_methods)] // Of this machine, whatever tree is worked on.
pub(super) fn waits(pid: u32) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let name = read("comm");
    let mut words = vec![match name.trim() {
        "" => format!("pid {pid}"),
        name => format!("pid {pid} ({name})"),
    }];
    words.extend(state(&read("stat")).map(|state| format!("state {state}")));
    let place = read("wchan");
    if !place.is_empty() && place != "0" {
        words.push(format!("in {place}"));
    }
    let stack = read("stack");
    let calls: Vec<&str> =
        stack.lines().filter_map(|line| line.split_whitespace().nth(1)?.split('+').next()).take(4).collect();
    if !calls.is_empty() {
        words.push(format!("called by {}", calls.join(" < ")));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{EmptyHost, Reach, SimulatedHost};

    #[test]
    fn a_note_counts_while_its_process_lives() {
        let empty = EmptyHost(Reach::Machine);
        let mut host = SimulatedHost::new(&empty);
        assert_eq!(stuck_writes(&host).unwrap(), []);
        let path = Path::new("/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs");
        for pid in ["41", "42", "43", "44"] {
            host.put_file(Path::new(NOTES).join(pid), StuckWrite::note(path, b"0\n"));
        }
        host.put_file("/proc/42/cmdline", format!("reconcile\0{ATTRIBUTE_WRITER}\0/\0"));
        host.put_file("/proc/43/cmdline", "sleep\x0060\0");
        host.put_file("/proc/44/cmdline", format!("reconcile\0{ATTRIBUTE_WRITER}\0/\0"));
        // The write has returned.
        host.put_file(Path::new(NOTES).join("44"), "");
        let stuck = stuck_writes(&host).unwrap();
        assert_eq!(
            stuck,
            [StuckWrite { pid: Some(42), path: path.to_owned(), value: Some("0".to_owned()), locks: None }]
        );
        let [pf, vf, other] =
            ["0000:03:00.0", "0000:03:00.1", "0000:04:00.0"].map(|name| name.parse().unwrap());
        host.put_directory(pci::device_path(vf));
        host.put_link(pci::attribute(vf, "physfn"), pci::device_path(pf));
        assert_eq!([pf, vf, other].map(|function| holds_lock(&stuck, function, &host)), [true, true, false]);
    }

    #[test]
    fn a_lock_is_told_with_the_process_that_sleeps_in_a_write() {
        let empty = EmptyHost(Reach::Machine);
        let mut host = SimulatedHost::new(&empty);
        let (pf, other) = ("0000:03:00.0".parse().unwrap(), "0000:04:00.0".parse().unwrap());
        let numvfs = "/sys/devices/pci0000:00/0000:00:01.0/0000:03:00.0/sriov_numvfs";
        let shown = pci::attribute(pf, "sriov_numvfs");
        let none = StuckWrite { pid: None, path: shown.clone(), value: None, locks: Some(pf) };
        assert_eq!(StuckWrite::of_another(&host, pf, &shown), none);
        // A reader, a process that does not sleep, a writer of what no write sleeps in, a writer to a driver, and the writer.
        let processes = [
            (41, "D", numvfs, "0100000"),
            (42, "R", numvfs, "0100001"),
            (43, "D", "/sys/devices/pci0000:00/0000:00:01.0/0000:03:00.0/config", "0100002"),
            (44, "S", "/sys/bus/pci/drivers/igb/unbind", "0100001"),
            (45, "D", numvfs, "0101001"),
        ];
        for (pid, state, path, flags) in processes {
            let directory = format!("/proc/{pid}");
            host.put_file(format!("{directory}/stat"), format!("{pid} (a) b) {state} 1 1"));
            host.put_link(format!("{directory}/fd/1"), path);
            host.put_file(format!("{directory}/fdinfo/1"), format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t2\n"));
        }
        let by = |function| {
            let write = StuckWrite::of_another(&host, function, &shown);
            assert_eq!(write.function(), Some(function));
            write.pid
        };
        assert_eq!(by(pf), Some(45));
        // A VF that is on its way out has lost its PF: any write to PCI may be the one.
        assert_eq!(by(other), Some(44));
    }

    #[test]
    fn the_function_is_the_owner_of_the_attribute_or_the_one_that_is_named() {
        let function = |path: &str, value: &str| {
            StuckWrite { pid: Some(1), path: path.into(), value: Some(value.to_owned()), locks: None }
                .function()
                .map(|f| f.to_string())
        };
        let of = |name: &str| Some(name.to_owned());
        assert_eq!(function("/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs", "4"), of("0000:03:00.0"));
        assert_eq!(function("/sys/bus/pci/drivers/igb/unbind", "0000:04:00.0"), of("0000:04:00.0"));
        assert_eq!(function("/sys/module/x/parameters/y", "1"), None);
        assert_eq!(shown_under_lock(Path::new("/sys/bus/pci/devices/0000:03:00.0/vendor")), None);
        let path = Path::new("/sys/bus/pci/devices/0000:03:00.0/driver_override");
        assert_eq!(shown_under_lock(path), Some("0000:03:00.0".parse().unwrap()));
    }
}
