use super::*;
use crate::host::{EmptyHost, Reach, SimulatedHost};

fn address(text: &str) -> PciAddress {
    text.parse().unwrap()
}

fn host() -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Tree));
    let id = "10de:11bf".parse().unwrap();
    let subsystem = Some("10de:100a".parse().unwrap());
    for at in ["0000:04:00.0", "0000:05:00.0", "10000:01:00.0"] {
        host.put_function(&Function { address: address(at), id, subsystem, class: 0x03_0000 });
    }
    host
}

#[test]
fn falls_back_where_modalias_is_missing() {
    let expected = Pci::new(&host()).function(address("0000:04:00.0")).unwrap().unwrap();
    let mut host = host();
    host.remove("/sys/bus/pci/devices/0000:04:00.0/modalias");
    assert_eq!(Pci::new(&host).function(expected.address).unwrap(), Some(expected));
    for name in ["vendor", "device", "class"] {
        host.remove(attribute(expected.address, name));
    }
    host.put_file(
        attribute(expected.address, "uevent"),
        "PCI_CLASS=30000\nPCI_ID=10DE:11BF\nPCI_SUBSYS_ID=10DE:100A\n",
    );
    assert_eq!(Pci::new(&host).function(expected.address).unwrap(), Some(expected));
}

#[test]
fn a_broken_function_does_not_hide_the_others() {
    let mut host = host();
    host.put_file("/sys/bus/pci/devices/0000:05:00.0/modalias", "pci:v0000");
    host.put_directory("/sys/bus/pci/devices/not-a-function");
    let pci = Pci::new(&host);
    let scan = pci.scan().unwrap();
    let found: Vec<String> = scan.functions.iter().map(|function| function.address.to_string()).collect();
    assert_eq!(found, ["0000:04:00.0", "10000:01:00.0"]);
    assert!(scan.broken[0].1.contains("modalias"), "{scan:?}");
    assert!(pci.function(address("0000:05:00.0")).is_err());
    assert_eq!(pci.function(address("0000:09:00.0")).unwrap(), None);
}

#[test]
fn garbage_is_an_error_of_that_function() {
    let at = address("0000:04:00.0");
    let mut host = host();
    host.put_link(attribute(at, "iommu_group"), "../../../../kernel/iommu_groups/x");
    host.put_link(attribute(at, "driver"), "../../../../bus/pci/drivers/no driver");
    host.put_link(attribute(at, "physfn"), "../garbage");
    host.put_file(attribute(at, "sriov_totalvfs"), "-1\n");
    let pci = Pci::new(&host);
    assert!(pci.iommu_group(at).is_err());
    assert!(pci.driver(at).is_err());
    assert!(pci.physfn(at).is_err());
    assert!(pci.sriov(at).is_err());
}

#[test]
fn empty_overrides_read_alike() {
    let at = address("0000:04:00.0");
    for (text, expected) in [
        ("(null)\n", None),
        ("\n", None),
        ("", None),
        ("vfio-pci\n", Some("vfio-pci")),
        ("none\n", Some("none")),
    ] {
        let mut host = host();
        host.put_file(attribute(at, "driver_override"), text);
        assert_eq!(Pci::new(&host).driver_override(at).unwrap().as_deref(), expected, "{text:?}");
    }
}

#[test]
fn bridges_are_read_from_the_path() {
    let at = address("0000:04:00.0");
    let mut below = SimulatedHost::new(&EmptyHost(Reach::Tree));
    below.put_link(device_path(at), "../../../devices/pci0000:00/0000:00:01.0/0000:02:00.0/0000:04:00.0");
    let bridges = Pci::new(&below).bridges(at).unwrap();
    assert_eq!(bridges, [address("0000:00:01.0"), address("0000:02:00.0")]);
}

#[test]
fn slots_hold_devices_or_buses() {
    let mut host = host();
    host.put_file("/sys/bus/pci/slots/5/address", "0000:04:00\n");
    host.put_file("/sys/bus/pci/slots/6/address", "0000:05\n");
    host.put_file("/sys/bus/pci/slots/7/address", "0000:04:0\n");
    let pci = Pci::new(&host);
    assert_eq!(pci.slots(address("0000:04:00.0")).unwrap(), ["5"]);
    assert_eq!(pci.slots(address("0000:05:00.0")).unwrap(), ["6"]);
}

#[test]
fn a_pf_has_its_vfs_with_it_also_those_that_are_on_their_way_out() {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    let place = |bus: &str, name: &str| format!("../../../devices/pci0000:00/{bus}/{name}");
    // The PF, a VF, one that has lost its links already, one that waits for a driver, another card.
    let functions = [
        ("0000:03:00.0", "0000:00:01.0", "0x8086"),
        ("0000:03:10.0", "0000:00:01.0", "0x8086"),
        ("0000:03:10.2", "0000:00:01.0", "0x8086"),
        ("0000:03:00.1", "0000:00:01.0", "0x10de"),
        ("0000:04:00.0", "0000:00:02.0", "0x8086"),
    ];
    for (name, bus, vendor) in functions {
        host.put_link(device_path(address(name)), place(bus, name));
        host.put_file(attribute(address(name), "vendor"), vendor);
    }
    let pf = address("0000:03:00.0");
    host.put_file(attribute(pf, "sriov_totalvfs"), "7\n");
    host.put_link(attribute(address("0000:03:10.2"), "physfn"), "../0000:03:00.0");
    let with_vfs = |at| Pci::new(&host).with_vfs(address(at));
    assert_eq!(with_vfs("0000:03:00.0"), [pf, address("0000:03:10.0"), address("0000:03:10.2")]);
    assert_eq!(with_vfs("0000:04:00.0"), [address("0000:04:00.0")]);
}
