//! What gathering reads: the functions that the document concerns, and one attribute of the others where it has to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reconcile::document::Document;
use reconcile::engine::{Facts, Memory};
use reconcile::host::pci::Function;
use reconcile::host::{FileKind, HostError, Reach, ReadHost, SimulatedHost};
use reconcile::plan::FileState;
use reconcile::resources::bindings::Bindings;
use reconcile::resources::sriov::SriovCounts;
use reconcile::resources::{Observer, Resource};
use reconcile::types::{PciAddress, Pin};

use crate::world::*;

/// Counts the operations on each function's directory.
struct Counting<'a> {
    host: &'a SimulatedHost<'a>,
    operations: RefCell<BTreeMap<PciAddress, usize>>,
}

impl Counting<'_> {
    fn note(&self, path: &Path) {
        // The last address counts: a group's or a bridge's directory leads to a function's.
        let address = path.iter().rev().find_map(|name| name.to_str()?.parse::<PciAddress>().ok());
        if let Some(address) = address {
            *self.operations.borrow_mut().entry(address).or_default() += 1;
        }
    }
}

impl ReadHost for Counting<'_> {
    fn reach(&self) -> Reach {
        self.host.reach()
    }
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.note(path);
        self.host.read(path)
    }
    fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
        self.note(path);
        self.host.file_state(path)
    }
    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
        self.note(path);
        self.host.kind(path)
    }
    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.note(path);
        self.host.read_link(path)
    }
    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        self.note(path);
        self.host.list(path)
    }
}

/// The functions that one round of a plan touches, with the number of operations on each.
fn touched(document: &Document, host: &SimulatedHost<'_>) -> BTreeMap<PciAddress, usize> {
    let counting = Counting { host, operations: RefCell::default() };
    let facts = Facts::gather(document, &counting, None).unwrap();
    let memory = Memory::default();
    let observer = Observer { host: &counting, memory: &memory, facts: &facts };
    if let Some(spec) = SriovCounts::derive(document, &facts) {
        SriovCounts::observe(&spec, &observer).unwrap();
    }
    if let Some(spec) = Bindings::derive(document, &facts) {
        Bindings::observe(&spec, &observer).unwrap();
    }
    counting.operations.into_inner()
}

/// The machine with a bus full of other functions.
fn crowded() -> SimulatedHost<'static> {
    let mut host = machine_with_companion();
    for device in 0..32 {
        for function in 0..8 {
            let address = address(&format!("0001:80:{device:02x}.{function}"));
            host.put_function(&Function {
                address,
                id: "1234:5678".parse().unwrap(),
                subsystem: None,
                class: 0x02_0000,
            });
        }
    }
    host
}

#[test]
fn addresses_touch_no_other_function() {
    let document = both(devices(&[device(GPU), vf(PF, 0)]), sriov(&[(PF, 2, Some("vfio-pci"))]));
    let found: Vec<PciAddress> = touched(&document, &crowded()).into_keys().collect();
    assert_eq!(found, [PF, GPU, AUDIO].map(address));
}

#[test]
fn ids_and_filters_read_one_attribute_of_each_other_function() {
    for document in [
        ids(&["10de:11bf"]),
        devices(&[device("19e5:")]),
        both(ids(&["10de:11bf", "10de:0e0a"]), sriov(&[("::0604", 0, None)])),
    ] {
        let found = touched(&document, &crowded());
        let others = found.iter().filter(|(address, _)| address.domain == 1);
        assert_eq!(others.clone().count(), 256);
        assert!(others.clone().all(|(_, operations)| *operations == 1), "{found:?}");
    }
}

#[test]
fn a_pin_that_holds_reads_no_other_function_unless_it_could_be_a_twins() {
    let mut card = device(GPU);
    card.pin = Pin { slot: Some("5".to_owned()), ..Pin::default() };
    let mut host = crowded();
    host.put_file("/sys/bus/pci/slots/5/address", "0000:04:00\n");
    assert!(touched(&devices(&[card.clone()]), &host).keys().all(|address| address.domain == 0));
    card.pin = Pin { id: Some("10de:11bf".parse().unwrap()), ..Pin::default() };
    assert_eq!(touched(&devices(&[card]), &host).keys().filter(|address| address.domain == 1).count(), 256);
}
