//! Writes of attributes that have not returned: those of this run, and those that an earlier run has left behind.
//!
//! The child that writes an attribute notes what it is about to write in a file of its own below `/run/reconcile/writes`,
//! and empties it when the write has returned. So whoever comes next finds what still hangs, even if the run that
//! started it was killed; a reboot takes the notes away with the processes.

use std::path::{Path, PathBuf};

use super::{ATTRIBUTE_WRITER, HostError, ReadHost, pci};
use crate::types::PciAddress;

/// One file for each child, by its process id.
pub(super) const NOTES: &str = "/run/reconcile/writes";

/// These are read under the lock of their device (`driver_override_show` before 6.12, `sriov_numvfs_show` in
/// drivers/pci/iov.c), which a write that hangs still holds: whoever reads them hangs, too.
const LOCKED: [&str; 2] = ["driver_override", "sriov_numvfs"];

/// A write that has not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckWrite {
    /// The process that waits in the kernel.
    pub pid: u32,
    /// The attribute.
    pub path: PathBuf,
    /// What is written.
    pub value: String,
}

impl StuckWrite {
    /// The function that it is about: the one whose attribute it is, or that is named to a driver.
    pub fn function(&self) -> Option<PciAddress> {
        let owner = || self.path.parent()?.file_name()?.to_str()?.parse().ok();
        self.value.trim().parse().ok().or_else(owner)
    }

    /// What a child notes.
    pub(super) fn note(path: &Path, value: &[u8]) -> String {
        format!("{}\n{}\n", path.display(), String::from_utf8_lossy(value).trim())
    }

    fn read(pid: u32, note: &str) -> Option<Self> {
        let (path, value) = note.trim_end_matches('\n').split_once('\n')?;
        Some(Self { pid, path: path.into(), value: value.to_owned() })
    }
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

/// The function whose lock a read of this attribute would take.
pub(super) fn locked_by(path: &Path) -> Option<PciAddress> {
    let attribute = path.file_name()?.to_str()?;
    if !path.starts_with("/sys") || !LOCKED.contains(&attribute) {
        return None;
    }
    path.parent()?.file_name()?.to_str()?.parse().ok()
}

/// Whether a read that takes this function's lock would hang: a write to it hangs, or one to the PF that it is a VF of.
pub(super) fn holds_lock(stuck: &[StuckWrite], function: PciAddress, host: &dyn ReadHost) -> bool {
    let functions: Vec<PciAddress> = stuck.iter().filter_map(StuckWrite::function).collect();
    let pf = || host.link_name(&pci::attribute(function, "physfn")).ok()??.parse().ok();
    !functions.is_empty()
        && (functions.contains(&function) || pf().is_some_and(|pf: PciAddress| functions.contains(&pf)))
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
        assert_eq!(stuck, [StuckWrite { pid: 42, path: path.to_owned(), value: "0".to_owned() }]);
        let [pf, vf, other] =
            ["0000:03:00.0", "0000:03:00.1", "0000:04:00.0"].map(|name| name.parse().unwrap());
        host.put_directory(pci::device_path(vf));
        host.put_link(pci::attribute(vf, "physfn"), pci::device_path(pf));
        assert_eq!([pf, vf, other].map(|function| holds_lock(&stuck, function, &host)), [true, true, false]);
    }

    #[test]
    fn the_function_is_the_owner_of_the_attribute_or_the_one_that_is_named() {
        let function = |path: &str, value: &str| {
            StuckWrite { pid: 1, path: path.into(), value: value.to_owned() }
                .function()
                .map(|f| f.to_string())
        };
        let of = |name: &str| Some(name.to_owned());
        assert_eq!(function("/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs", "4"), of("0000:03:00.0"));
        assert_eq!(function("/sys/bus/pci/drivers/igb/unbind", "0000:04:00.0"), of("0000:04:00.0"));
        assert_eq!(function("/sys/module/x/parameters/y", "1"), None);
        assert_eq!(locked_by(Path::new("/sys/bus/pci/devices/0000:03:00.0/vendor")), None);
        let path = Path::new("/sys/bus/pci/devices/0000:03:00.0/driver_override");
        assert_eq!(locked_by(path), Some("0000:03:00.0".parse().unwrap()));
    }
}
