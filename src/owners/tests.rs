use std::cell::Cell;
use std::path::PathBuf;

use super::*;
use crate::document::Allowed;
use crate::guard::Consents;
use crate::host::{EmptyHost, FileKind, Reach, SimulatedHost};
use crate::plan::{Because, FileState};
use crate::types::{DeviceRef, Entry, Pin, PinnedDevice, Place};

const GPU: &str = "0000:05:00.0";

fn gpu() -> PciAddress {
    GPU.parse().unwrap()
}

fn wanted(settled: bool) -> Wanted {
    let desired = Desired { value: DriverName::vfio_pci(), settled, origin: "host.yaml:3:5".to_owned() };
    let function =
        Function { address: gpu(), id: "10de:11bf".parse().unwrap(), subsystem: None, class: 0x03_0000 };
    Wanted {
        drivers: [(gpu(), desired)].into(),
        functions: [(gpu(), (function, None))].into(),
        ..Wanted::default()
    }
}

fn consent() -> Consents {
    let place = Place { file: "host.yaml".into(), line: 9, column: 1 };
    let device = PinnedDevice { device: DeviceRef::Function(GPU.parse().unwrap()), pin: Pin::default() };
    let because = vec![Entry::new(Because::OtherOwner, place.clone())];
    let mut consents = Consents::default();
    consents.add(gpu(), &Entry::new(Allowed { device, because }, place));
    consents
}

#[test]
fn what_is_settled_stays_with_a_warning_and_consent_says_nothing_more() {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    host.put_file(format!("/etc/driverctl.d/pci-{GPU}"), "nouveau\n");
    let outcome = |settled, consents: &Consents| {
        let wanted = wanted(settled);
        let judged = judge(&wanted, &find(&host, &wanted), consents);
        assert_eq!(judged.reports.len(), 1, "{judged:?}");
        (judged.reports[0].outcome, judged.drivers.len(), judged.warnings.len(), judged.allowed.len())
    };
    assert_eq!(outcome(false, &Consents::default()), (Outcome::Refused, 1, 0, 0));
    assert_eq!(outcome(true, &Consents::default()), (Outcome::Warned, 0, 1, 0));
    assert_eq!(outcome(false, &consent()), (Outcome::Allowed, 0, 0, 1));
    assert_eq!(outcome(true, &consent()), (Outcome::Allowed, 0, 0, 1));
}

/// A host on which one file cannot be read, and that counts what it is asked for.
struct Denied<'h> {
    below: &'h SimulatedHost<'h>,
    asked: Cell<usize>,
}

impl ReadHost for Denied<'_> {
    fn reach(&self) -> Reach {
        Reach::Machine
    }
    fn read(&self, path: &std::path::Path) -> Result<Option<Vec<u8>>, HostError> {
        self.asked.set(self.asked.get() + 1);
        if path.starts_with("/etc/driverctl.d") {
            return Err(HostError::new(
                "read",
                path,
                std::io::Error::from(std::io::ErrorKind::PermissionDenied),
            ));
        }
        self.below.read(path)
    }
    fn file_state(&self, path: &std::path::Path) -> Result<FileState, HostError> {
        self.below.file_state(path)
    }
    fn kind(&self, path: &std::path::Path) -> Result<Option<FileKind>, HostError> {
        self.asked.set(self.asked.get() + 1);
        self.below.kind(path)
    }
    fn read_link(&self, path: &std::path::Path) -> Result<Option<PathBuf>, HostError> {
        self.asked.set(self.asked.get() + 1);
        self.below.read_link(path)
    }
    fn list(&self, path: &std::path::Path) -> Result<Option<Vec<String>>, HostError> {
        self.asked.set(self.asked.get() + 1);
        self.below.list(path)
    }
}

#[test]
fn an_owner_that_cannot_be_read_is_a_warning() {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    host.put_file(format!("/etc/driverctl.d/pci-{GPU}"), "nouveau\n");
    let host = Denied { below: &host, asked: Cell::new(0) };
    let wanted = wanted(false);
    let judged = judge(&wanted, &find(&host, &wanted), &Consents::default());
    assert!(judged.drivers.is_empty() && judged.reports.is_empty(), "{judged:?}");
    let [warning] = judged.warnings.as_slice() else { panic!("{judged:?}") };
    assert!(warning.reason.text.contains("nothing tells what driverctl sets"), "{warning:?}");
}

#[test]
fn nobody_is_looked_for_who_could_own_nothing() {
    let empty = SimulatedHost::new(&EmptyHost(Reach::Machine));
    let host = Denied { below: &empty, asked: Cell::new(0) };
    assert!(find(&host, &Wanted::default()).is_empty());
    assert_eq!(host.asked.get(), 0, "nothing is wanted");
    assert!(find(&host, &wanted(false)).is_empty());
    assert!(host.asked.get() < 32, "{} questions for a host without owners", host.asked.get());
}
