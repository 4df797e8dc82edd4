use super::*;
use crate::document::{Document, Sriov, VfioPci};
use crate::engine::Facts;
use crate::host::Host;
use crate::host::{EmptyHost, Reach, SimulatedHost, pci};
use crate::plan::{LiftedBy, Step};
use crate::types::{Entry, Pin, Place};

fn address(text: &str) -> PciAddress {
    text.parse().unwrap()
}

fn entry<T>(value: T) -> Entry<T> {
    Entry::new(value, Place { file: "host.yaml".into(), line: 3, column: 5 })
}

fn device(text: &str) -> PinnedDevice {
    PinnedDevice { device: DeviceRef::Function(text.parse().unwrap()), pin: Pin::default() }
}

fn vf(pf: &str, vf: u16) -> PinnedDevice {
    PinnedDevice { device: DeviceRef::Vf { pf: pf.parse().unwrap(), vf }, pin: Pin::default() }
}

fn pinned(text: &str, pin: Pin) -> PinnedDevice {
    PinnedDevice { pin, ..device(text) }
}

fn document(devices: &[PinnedDevice], ids: &[&str], sriov: &[(&str, u16, Option<&str>)]) -> Document {
    let vfio = VfioPci {
        ids: Some(ids.iter().map(|id| entry(id.parse().unwrap())).collect()),
        devices: Some(devices.iter().cloned().map(entry).collect()),
    };
    let sriov = sriov.iter().map(|(pf, vfs, driver)| {
        entry(Sriov { device: device(pf), vfs: *vfs, driver: driver.map(|driver| driver.parse().unwrap()) })
    });
    Document { vfio_pci: Some(vfio), sriov: Some(sriov.collect()), ..Document::default() }
}

/// Two twin cards, a NIC with SR-IOV whose VFs follow it, a bridge.
fn host() -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    for (at, id, class, group) in [
        ("0000:00:01.0", "8086:1e10", 0x06_0400, 1),
        ("0000:03:00.0", "19e5:1822", 0x02_0000, 20),
        ("0000:04:00.0", "10de:11bf", 0x03_0000, 45),
        ("0000:05:00.0", "10de:11bf", 0x03_0000, 45),
    ] {
        let function = Function { address: address(at), id: id.parse().unwrap(), subsystem: None, class };
        host.put_function(&function);
        host.put_in_group(function.address, IommuGroup::Number(group));
    }
    let pf = address("0000:03:00.0");
    for (name, text) in [("sriov_totalvfs", "8"), ("sriov_numvfs", "0"), ("sriov_drivers_autoprobe", "1")] {
        host.put_file(pci::attribute(pf, name), format!("{text}\n"));
    }
    host.put_driver(pf, &"hinic".parse().unwrap());
    host.put_file("/proc/net/route", "Iface\n");
    host.put_file("/proc/self/mountinfo", "");
    host
}

fn gather(document: &Document, host: &SimulatedHost<'_>) -> Facts {
    Facts::gather(document, host, None).unwrap()
}

fn code(resolved: Resolved) -> String {
    match resolved {
        Resolved::Missing(reason) => reason.code.into_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_form_is_resolved() {
    let host = host();
    for (device, expected) in [
        (device("0000:04:00.0"), "One(0000:04:00.0)"),
        (device("0000:09:00.0"), "missing-function"),
        (device("19e5:"), "One(0000:03:00.0)"),
        (device("::0300"), "Several([0000:04:00.0, 0000:05:00.0])"),
        (device("8086:ffff"), "missing-function"),
        (vf("0000:03:00.0", 1), "VfAbsent { pf: 0000:03:00.0, vf: 1 }"),
        (vf("0000:03:00.0", 8), "vf-out-of-range"),
        (vf("0000:04:00.0", 0), "not-a-pf"),
        (vf("0000:09:00.0", 0), "missing-function"),
        (vf("19e5:1822", 0), "VfAbsent { pf: 0000:03:00.0, vf: 0 }"),
    ] {
        let facts = gather(&document(std::slice::from_ref(&device), &[], &[]), &host);
        assert_eq!(code(facts.devices.resolve(&device.device)), expected, "{device}");
    }
    let image = SimulatedHost::new(&EmptyHost(Reach::Tree));
    let card = device("0000:04:00.0");
    let facts = gather(&document(std::slice::from_ref(&card), &[], &[]), &image);
    assert_eq!(code(facts.devices.resolve(&card.device)), "no-inventory");
}

#[test]
fn group_members_come_along() {
    let facts = gather(&document(&[device("0000:04:00.0")], &[], &[]), &host());
    assert_eq!(facts.devices.group_members(IommuGroup::Number(45)).len(), 2);
    assert!(facts.devices.function(address("0000:05:00.0")).is_some());
    assert!(facts.devices.function(address("0000:03:00.0")).is_none(), "nobody asked");
}

#[test]
fn functions_are_handed_from_all_sections_once() {
    let mut host = host();
    let given = document(
        &[device("0000:04:00.0"), vf("0000:03:00.0", 1)],
        &["10de:11bf"],
        &[("0000:03:00.0", 3, Some("vfio-pci"))],
    );
    let shown = |host: &SimulatedHost<'_>| -> Vec<String> {
        let handed = handed_to_vfio(&given, &gather(&given, host));
        handed.iter().map(|handed| format!("{} {:?}", handed.target, handed.group.as_ref().ok())).collect()
    };
    assert_eq!(
        shown(&host),
        [
            "0000:04:00.0 Some(Number(45))",
            "0000:05:00.0 Some(Number(45))",
            "VF 0 of 0000:03:00.0 None",
            "VF 1 of 0000:03:00.0 None",
            "VF 2 of 0000:03:00.0 None",
        ]
    );
    host.execute(&Step::quick_attr("/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs", None, "3")).unwrap();
    assert_eq!(
        shown(&host),
        [
            "0000:03:00.1 Some(Of(0000:03:00.1))",
            "0000:03:00.2 Some(Of(0000:03:00.2))",
            "0000:03:00.3 Some(Of(0000:03:00.3))",
            "0000:04:00.0 Some(Number(45))",
            "0000:05:00.0 Some(Number(45))",
        ]
    );
}

#[test]
fn what_can_never_go_is_refused_and_not_handed() {
    let host = host();
    for (given, code) in [
        (document(&[device("0000:00:01.0")], &[], &[]), "bridge"),
        (document(&[device("0000:03:00.0")], &[], &[("0000:03:00.0", 2, None)]), "pf-with-vfs"),
        (document(&[], &["19e5:1822"], &[("0000:03:00.0", 2, None)]), "pf-with-vfs"),
    ] {
        let facts = gather(&given, &host);
        let claims = claims(&given, &facts);
        let refused = claims[0].refused.as_ref().unwrap();
        assert_eq!(refused.chain[0].code, code);
        assert!(handed_to_vfio(&given, &facts).is_empty());
    }
    let given = document(&[device("0000:03:00.0")], &[], &[("0000:03:00.0", 0, None)]);
    assert_eq!(handed_to_vfio(&given, &gather(&given, &host)).len(), 1, "no VFs: the PF may go");
}

#[test]
fn a_moved_card_is_refused_with_the_entry_to_paste() {
    let mut host = host();
    host.put_file("/sys/bus/pci/devices/0000:05:00.0/config", {
        let mut config = vec![0; 4096];
        config[0x100..0x10c].copy_from_slice(&[3, 0, 1, 0, 0x56, 0x34, 0x12, 0xff, 0xff, 0x4d, 0x15, 0]);
        config
    });
    let serial = Some("00-15-4d-ff-ff-12-34-56".to_owned());
    let id = Some("10de:11bf".parse().unwrap());
    for (pin, paste) in [
        (
            Pin { serial: serial.clone(), id, ..Pin::default() },
            "{address: \"0000:05:00.0\", id: \"10de:11bf\", serial: \"00-15-4d-ff-ff-12-34-56\"}",
        ),
        (
            Pin { id: Some("10de:ffff".parse().unwrap()), ..Pin::default() },
            "{address: \"0000:04:00.0\", id: \"10de:11bf\"}",
        ),
        (
            Pin { id: Some("19e5:1822".parse().unwrap()), ..Pin::default() },
            "{address: \"0000:03:00.0\", id: \"19e5:1822\"}",
        ),
    ] {
        let card = pinned("0000:04:00.0", pin);
        let given = document(std::slice::from_ref(&card), &[], &[]);
        let facts = gather(&given, &host);
        let objection = facts.devices.objection(&card).unwrap();
        assert_eq!(objection.lifted_by, LiftedBy::Document(paste.to_owned()), "{objection:?}");
        assert!(handed_to_vfio(&given, &facts).is_empty());
    }
}

#[test]
fn an_id_alone_cannot_tell_twins() {
    let pin = Pin { id: Some("10de:11bf".parse().unwrap()), ..Pin::default() };
    let card = pinned("0000:04:00.0", pin);
    let facts = gather(&document(std::slice::from_ref(&card), &[], &[]), &host());
    assert_eq!(facts.devices.objection(&card), None);
    assert_eq!(facts.devices.warnings()[0].reason.code, "pin-cannot-tell-twins");
}

#[test]
fn slots_and_macs_are_checked() {
    let mut host = host();
    host.put_file("/sys/bus/pci/slots/5/address", "0000:03:00\n");
    host.put_file("/sys/bus/pci/devices/0000:03:00.0/net/eth0/address", "52:54:00:AB:CD:EF\n");
    for (mac, slot, fits) in [
        (Some("52:54:00:ab:cd:ef"), Some("5"), true),
        (Some("52:54:00:ab:cd:e0"), Some("5"), false),
        (None, Some("6"), false),
    ] {
        let pin = Pin { mac: mac.map(str::to_owned), slot: slot.map(str::to_owned), ..Pin::default() };
        let card = pinned("0000:03:00.0", pin);
        let facts = gather(&document(std::slice::from_ref(&card), &[], &[]), &host);
        assert_eq!(facts.devices.objection(&card).is_none(), fits);
    }
}

#[test]
fn a_broken_function_stops_its_entry_only() {
    let mut host = host();
    host.put_link("/sys/bus/pci/devices/0000:05:00.0/iommu_group", "garbage");
    host.put_file("/sys/bus/pci/devices/0000:03:00.0/modalias", "pci:v");
    let given = document(&[device("0000:03:00.0"), device("0000:04:00.0"), device("0000:05:00.0")], &[], &[]);
    let facts = gather(&given, &host);
    let targets: Vec<String> =
        handed_to_vfio(&given, &facts).iter().map(|handed| handed.target.to_string()).collect();
    assert_eq!(targets, ["0000:04:00.0"]);
    assert_eq!(facts.devices.warnings().len(), 1, "{:?}", facts.devices.warnings());
}
