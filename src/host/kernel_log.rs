//! What the kernel has logged about a function since a run began: `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg).

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use super::root::Root;
use crate::types::PciAddress;

const DEVICE: &str = "/dev/kmsg";

/// A record has at most so many bytes (`CONSOLE_EXT_LOG_MAX` in include/linux/printk.h).
const RECORD: usize = 8192;

/// So many records are read at a time, and kept of a run.
const MOST_RECORDS: usize = 1000;

/// So many lines are told about one function.
const MOST_LINES: usize = 8;

/// The records since it was opened; a log that cannot be read says nothing.
#[derive(Debug)]
pub(super) struct KernelLog {
    fd: Option<OwnedFd>,
    records: VecDeque<String>,
}

impl KernelLog {
    /// Begins behind the last record that there is now.
    pub(super) fn open(root: &Root) -> Self {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = root.open_at(Path::new(DEVICE), flags).ok();
        let fd = fd.filter(|fd| rustix::fs::seek(fd, SeekFrom::End(0)).is_ok());
        Self { fd, records: VecDeque::new() }
    }

    /// The last lines about `function`.
    pub(super) fn about(&mut self, function: PciAddress) -> Vec<String> {
        self.take_in();
        let name = function.to_string();
        let lines: Vec<String> = self.records.iter().filter_map(|record| line_about(record, &name)).collect();
        let first = lines.len().saturating_sub(MOST_LINES);
        lines.get(first..).unwrap_or_default().to_vec()
    }

    /// Each read gives one record; it never waits.
    fn take_in(&mut self) {
        let Some(fd) = &self.fd else { return };
        let mut buffer = vec![0; RECORD];
        for _ in 0..MOST_RECORDS {
            match rustix::io::read(fd, &mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let record = buffer.get(..count).unwrap_or_default();
                    self.records.push_back(String::from_utf8_lossy(record).into_owned());
                }
                // Records were overwritten before they were read, or a signal came.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(_) => break,
            }
            if self.records.len() > MOST_RECORDS {
                self.records.pop_front();
            }
        }
    }
}

/// The text of a record, if that or its dictionary (` DEVICE=+pci:…`) names the function.
fn line_about(record: &str, function: &str) -> Option<String> {
    if !record.contains(function) {
        return None;
    }
    let first = record.lines().next()?;
    let (_, text) = first.split_once(';')?;
    Some(text.chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_what_is_new_and_about_the_function_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let function: PciAddress = "0000:03:00.0".parse().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert_eq!(KernelLog::open(&root).about(function), [""; 0], "no log says nothing");
        std::fs::create_dir(directory.path().join("dev")).unwrap();
        let path = directory.path().join("dev/kmsg");
        std::fs::write(&path, "6,1,1,-;pci 0000:03:00.0: before the run\n").unwrap();
        let mut log = KernelLog::open(&root);
        let mut append = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        for record in [
            "3,2,2,-;vfio-pci 0000:03:00.0: Cannot bind to PF\u{1b} with SR-IOV enabled\n SUBSYSTEM=pci\n",
            "6,3,3,-;something else\n",
            "3,4,4,-;probe failed with error -16\n SUBSYSTEM=pci\n DEVICE=+pci:0000:03:00.0\n",
        ] {
            append.write_all(record.as_bytes()).unwrap();
            log.take_in();
        }
        assert_eq!(
            log.about(function),
            ["vfio-pci 0000:03:00.0: Cannot bind to PF with SR-IOV enabled", "probe failed with error -16"]
        );
        for number in 0..20 {
            append.write_all(format!("6,5,5,-;0000:03:00.0 {number}\n").as_bytes()).unwrap();
            log.take_in();
        }
        assert_eq!(log.about(function).len(), MOST_LINES);
    }

    /// The real log, where this user may read it: a run that has just begun has heard nothing about a made-up function.
    #[test]
    fn the_real_log_is_read_without_waiting() {
        let mut log = KernelLog::open(&Root::open(Path::new("/")).unwrap());
        assert_eq!(log.about("ffff:ff:1f.7".parse().unwrap()), [""; 0]);
    }
}
