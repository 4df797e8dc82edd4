#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::document::{Allowed, Document};
use crate::host::{FileKind, HostError, Reach};
use crate::plan::{Disruption, FileState, LiftedBy, Phase, Step};
use crate::types::{DeviceRef, Entry, Pin, PinnedDevice, Place};

/// A host of links and texts that remembers what it was asked for.
#[derive(Default)]
struct Facts {
    texts: BTreeMap<&'static str, &'static str>,
    links: BTreeMap<&'static str, &'static str>,
    lists: BTreeMap<&'static str, &'static [&'static str]>,
    unreadable: Option<&'static str>,
    asked: RefCell<usize>,
}

impl Facts {
    fn get<T>(&self, path: &Path, answer: impl FnOnce(&str) -> T) -> Result<T, HostError> {
        *self.asked.borrow_mut() += 1;
        let path = path.to_str().unwrap();
        if self.unreadable == Some(path) {
            let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            return Err(HostError::new("list", path, denied));
        }
        Ok(answer(path))
    }
}

impl ReadHost for Facts {
    fn reach(&self) -> Reach {
        Reach::Machine
    }
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.get(path, |path| self.texts.get(path).map(|text| text.as_bytes().to_vec()))
    }
    fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
        self.get(path, |_| FileState::Absent)
    }
    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
        self.get(path, |path| self.lists.contains_key(path).then_some(FileKind::Directory))
    }
    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.get(path, |path| self.links.get(path).map(PathBuf::from))
    }
    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        self.get(path, |path| {
            self.lists.get(path).map(|names| names.iter().map(|&name| name.to_owned()).collect())
        })
    }
}

/// PF 0000:04:00.0 with the VF 0000:04:00.1 in group 45, which pid 123 has open.
fn guest() -> Facts {
    Facts {
        texts: [("/proc/123/comm", "qemu\n"), ("/proc/self/mountinfo", ""), ("/proc/net/route", "")].into(),
        links: [
            ("/sys/bus/pci/devices/0000:04:00.0/virtfn0", "../0000:04:00.1"),
            ("/sys/bus/pci/devices/0000:04:00.1/iommu_group", "../../kernel/iommu_groups/45"),
            ("/sys/bus/pci/devices/0000:04:00.1/physfn", "../0000:04:00.0"),
            ("/proc/123/fd/7", "/dev/vfio/45"),
        ]
        .into(),
        lists: [
            ("/sys/bus/pci/devices/0000:04:00.0", &["virtfn0"][..]),
            ("/sys/kernel/iommu_groups/45/devices", &["0000:04:00.1"]),
            ("/proc", &["123", "self"]),
            ("/proc/123/fd", &["7"]),
        ]
        .into(),
        ..Facts::default()
    }
}

/// What a run knows of this host, read without counting.
fn known(facts: &Facts) -> crate::engine::Facts {
    let asked = *facts.asked.borrow();
    let known = crate::engine::Facts::gather(&Document::default(), facts, None).unwrap();
    *facts.asked.borrow_mut() = asked;
    known
}

fn reviewed(step: Step, facts: &Facts) -> Verdict {
    reviewed_with(step, &Consents::default(), facts)
}

fn reviewed_with(step: Step, consents: &Consents, facts: &Facts) -> Verdict {
    let change =
        Change::new(Phase::Live, vec![step], Disruption::Guest, Reason::new("test", "because of the test"));
    let item = ItemVerdict::new("item", Verdict::Change(change));
    let mut item = item;
    let mut known = known(facts);
    known.devices.consents = consents.clone();
    review([("bindings", &mut item)], &known, facts);
    item.verdict
}

fn attr(path: &str, before: Option<&str>, value: &str) -> Step {
    Step::attr(path, before.map(str::to_owned), value, Duration::from_secs(1))
}

#[test]
fn what_takes_a_used_function_away_is_refused() {
    for (step, subject) in [
        (attr("/sys/bus/pci/devices/0000:04:00.1/driver/unbind", None, "0000:04:00.1"), "0000:04:00.1"),
        (attr("/sys/bus/pci/drivers/vfio-pci/unbind", None, "0000:04:00.1\n"), "0000:04:00.1"),
        (attr("/sys/bus/pci/devices/0000:04:00.0/driver/unbind", None, "0000:04:00.0"), "0000:04:00.0"),
        (attr("/sys/bus/pci/devices/0000:04:00.1/remove", None, "1"), "0000:04:00.1"),
        (attr("/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs", Some("1"), "0"), "0000:04:00.0"),
        (attr("/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs", Some("1"), "4"), "0000:04:00.0"),
        (attr("/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs", None, "4"), "0000:04:00.0"),
    ] {
        let Verdict::Refused(objection) = reviewed(step.clone(), &guest()) else { panic!("{step:?}") };
        assert_eq!(objection.subject, subject, "{step:?}");
        let codes: Vec<_> = objection.chain.iter().map(|reason| reason.code.as_ref()).collect();
        let of_vf = if subject == "0000:04:00.0" { &["vf-of", "in-group"][..] } else { &["in-group"] };
        assert_eq!(codes[..1], ["test"], "{step:?}");
        assert_eq!(codes[2..], [of_vf, &["open-vfio-node"]].concat(), "{step:?}");
        assert_eq!(objection.because, [Because::Guest].into());
        let paste = "allow: [{device: \"0000:04:00.1\", because: guest}]";
        assert_eq!(objection.lifted_by, LiftedBy::Document(paste.to_owned()));
    }
}

#[test]
fn what_takes_nothing_away_is_made_and_nothing_is_read_for_it() {
    for step in [
        attr("/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs", Some("0"), "4"),
        attr("/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs", Some("4\n"), "4"),
        attr("/sys/bus/pci/devices/0000:04:00.1/driver_override", Some(""), "vfio-pci"),
        attr("/sys/bus/pci/drivers_probe", None, "0000:04:00.1"),
        attr("/sys/bus/usb/drivers/usb/unbind", None, "1-1"),
        Step::Run { argv: vec!["modprobe".to_owned(), "vfio-pci".to_owned()], deadline_ms: 1 },
    ] {
        let facts = guest();
        assert!(matches!(reviewed(step.clone(), &facts), Verdict::Change(_)), "{step:?}");
        assert_eq!(*facts.asked.borrow(), 0, "{step:?}");
    }
    let unused = attr("/sys/bus/pci/devices/0000:05:00.0/driver/unbind", None, "0000:05:00.0");
    assert!(matches!(reviewed(unused, &guest()), Verdict::Change(_)));
}

#[test]
fn what_cannot_be_told_is_refused() {
    let facts = Facts { unreadable: Some("/proc/123/fd"), ..guest() };
    let step = attr("/sys/bus/pci/devices/0000:04:00.1/driver/unbind", None, "0000:04:00.1");
    let Verdict::Refused(objection) = reviewed(step, &facts) else { panic!("not refused") };
    assert_eq!(objection.chain[2].code, "users-unknown");
    assert!(objection.chain[2].text.contains("cannot list /proc/123/fd"), "{objection:?}");
}

#[test]
fn what_the_document_allows_is_made_and_said() {
    let place = Place { file: "host.yaml".into(), line: 12, column: 5 };
    let consents = |function: &str, because| {
        let device =
            PinnedDevice { device: DeviceRef::Function(function.parse().unwrap()), pin: Pin::default() };
        let because = vec![Entry::new(because, place.clone())];
        let mut consents = Consents::default();
        consents.add(function.parse().unwrap(), &Entry::new(Allowed { device, because }, place.clone()));
        consents
    };
    let unbind = || attr("/sys/bus/pci/devices/0000:04:00.0/driver/unbind", None, "0000:04:00.0");
    let made = reviewed_with(unbind(), &consents("0000:04:00.1", Because::Guest), &guest());
    let Verdict::Change(change) = made else { panic!("{made:?}") };
    let allowed: Vec<_> =
        change.allowed.iter().map(|allowed| (allowed.at.as_str(), allowed.because)).collect();
    assert_eq!(allowed, [("host.yaml:12:5", Because::Guest)]);
    for other in [consents("0000:04:00.0", Because::Guest), consents("0000:04:00.1", Because::Console)] {
        assert!(matches!(reviewed_with(unbind(), &other, &guest()), Verdict::Refused(_)), "{other:?}");
    }
}
