//! A described host, documents in one line, and the engine's loop in its smallest form.

use std::collections::BTreeSet;

use reconcile::document::{Document, Sriov, VfioPci};
use reconcile::engine::{Facts, Memory, Owned};
use reconcile::host::pci::{self, Function, Pci};
use reconcile::host::{EmptyHost, Host, Reach, SimulatedHost};
use reconcile::plan::{Change, ItemVerdict, Step, Subject, Verdict, Warning};
use reconcile::resources::bindings::Bindings;
use reconcile::resources::sriov::SriovCounts;
use reconcile::resources::{Observer, Resource};
use reconcile::types::{DeviceRef, Entry, IommuGroup, PciAddress, Pin, PinnedDevice, Place};

/// A NIC with VFs, its twin, two GPUs, one with an audio function in a group of its own, a bridge, a NIC without IOMMU.
pub(crate) const PF: &str = "0000:03:00.0";
pub(crate) const PF_TWIN: &str = "0000:06:00.0";
pub(crate) const GPU: &str = "0000:04:00.0";
pub(crate) const GPU_TWIN: &str = "0000:05:00.0";
pub(crate) const AUDIO: &str = "0000:04:00.1";
pub(crate) const BRIDGE: &str = "0000:00:01.0";
pub(crate) const NO_GROUP: &str = "0000:07:00.0";

pub(crate) fn address(text: &str) -> PciAddress {
    text.parse().unwrap()
}

pub(crate) fn attribute(at: &str, name: &str) -> std::path::PathBuf {
    pci::attribute(address(at), name)
}

pub(crate) fn machine() -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    for (at, id, class, group, driver) in [
        (BRIDGE, "8086:1e10", 0x06_0400, Some(1), "pcieport"),
        (PF, "8086:10c9", 0x02_0000, Some(20), "igb"),
        (GPU, "10de:11bf", 0x03_0000, Some(45), "nouveau"),
        (AUDIO, "10de:0e0a", 0x04_0300, Some(47), "snd_hda_intel"),
        (GPU_TWIN, "10de:11bf", 0x03_0000, Some(46), "nouveau"),
        (PF_TWIN, "8086:10c9", 0x02_0000, Some(21), "igb"),
        (NO_GROUP, "8086:10d3", 0x02_0000, None, "e1000e"),
    ] {
        let function = Function { address: address(at), id: id.parse().unwrap(), subsystem: None, class };
        host.put_function(&function);
        if let Some(group) = group {
            host.put_in_group(function.address, IommuGroup::Number(group));
        }
        host.put_driver(function.address, &driver.parse().unwrap());
    }
    for pf in [PF, PF_TWIN] {
        for (name, text) in [
            ("sriov_totalvfs", "7"),
            ("sriov_numvfs", "0"),
            ("sriov_drivers_autoprobe", "1"),
            ("sriov_offset", "128"),
            ("sriov_stride", "2"),
            ("sriov_vf_device", "10ca"),
        ] {
            host.put_file(attribute(pf, name), format!("{text}\n"));
        }
    }
    host.put_directory("/sys/bus/pci/drivers/vfio-pci");
    host.put_directory("/sys/bus/pci/drivers/igbvf");
    host.put_file("/proc/sys/kernel/osrelease", "6.12.0\n");
    host.put_file("/proc/self/mountinfo", "21 1 0:20 / /proc rw - proc proc rw\n");
    host.put_file("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
    host.put_file("/proc/net/route", "Iface\tDestination\tGateway\tFlags\n");
    host.put_file(
        "/lib/modules/6.12.0/modules.alias",
        "alias pci:v00008086d000010CAsv*sd*bc*sc*i* igbvf\nalias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n",
    );
    host.put_link(
        "/etc/systemd/system/multi-user.target.wants/reconcile.service",
        "/usr/lib/systemd/system/reconcile.service",
    );
    host
}

/// The same with the audio function in the group of its GPU.
pub(crate) fn machine_with_companion() -> SimulatedHost<'static> {
    let mut host = machine();
    host.put_in_group(address(AUDIO), IommuGroup::Number(45));
    host
}

fn entry<T>(value: T) -> Entry<T> {
    Entry::new(value, Place { file: "host.yaml".into(), line: 1, column: 1 })
}

pub(crate) fn device(text: &str) -> PinnedDevice {
    PinnedDevice { device: DeviceRef::Function(text.parse().unwrap()), pin: Pin::default() }
}

pub(crate) fn vf(pf: &str, vf: u16) -> PinnedDevice {
    PinnedDevice { device: DeviceRef::Vf { pf: pf.parse().unwrap(), vf }, pin: Pin::default() }
}

pub(crate) fn devices(devices: &[PinnedDevice]) -> Document {
    let devices = devices.iter().cloned().map(entry).collect();
    let vfio_pci = VfioPci { ids: None, devices: Some(devices) };
    Document { vfio_pci: Some(vfio_pci), ..Document::default() }
}

pub(crate) fn ids(ids: &[&str]) -> Document {
    let ids = ids.iter().map(|id| entry(id.parse().unwrap())).collect();
    Document { vfio_pci: Some(VfioPci { ids: Some(ids), devices: None }), ..Document::default() }
}

pub(crate) fn sriov(counts: &[(&str, u16, Option<&str>)]) -> Document {
    let counts = counts.iter().map(|(pf, vfs, driver)| {
        entry(Sriov { device: device(pf), vfs: *vfs, driver: driver.map(|driver| driver.parse().unwrap()) })
    });
    Document { sriov: Some(counts.collect()), ..Document::default() }
}

pub(crate) fn both(first: Document, second: Document) -> Document {
    Document {
        vfio_pci: first.vfio_pci.or(second.vfio_pci),
        sriov: first.sriov.or(second.sriov),
        kernel_args: first.kernel_args.or(second.kernel_args),
        ..Document::default()
    }
}

/// What both resources find, in the order in which they are planned.
pub(crate) fn find(
    document: &Document,
    host: &SimulatedHost<'_>,
    memory: &Memory,
) -> (Vec<ItemVerdict>, Vec<Warning>) {
    let facts = Facts::gather(document, host, None).unwrap();
    let observer = Observer { host, memory, facts: &facts };
    let (mut items, mut warnings) = (Vec::new(), Vec::new());
    if let Some(spec) = SriovCounts::derive(document, &facts) {
        let found = SriovCounts::diff(&spec, &SriovCounts::observe(&spec, &observer).unwrap());
        items.extend(found.items.into_iter().map(|mut item| {
            item.item = format!("sriov {}", item.item);
            item
        }));
        warnings.extend(found.warnings);
    }
    if let Some(spec) = Bindings::derive(document, &facts) {
        let found = Bindings::diff(&spec, &Bindings::observe(&spec, &observer).unwrap());
        items.extend(found.items.into_iter().map(|mut item| {
            item.item = format!("bindings {}", item.item);
            item
        }));
        warnings.extend(found.warnings);
    }
    (items, warnings)
}

/// The verdict about one item, in one line: `change: a=b; c=d`, `blocked on …: code`, `refused: code`.
pub(crate) fn verdict(document: &Document, host: &SimulatedHost<'_>, item: &str) -> String {
    let (items, _) = find(document, host, &Memory::default());
    let found: Vec<&ItemVerdict> = items.iter().filter(|found| found.item == item).collect();
    match found.as_slice() {
        [one] => shown(&one.verdict),
        _ => panic!("{item}: {items:#?}"),
    }
}

pub(crate) fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::InSync => "in sync".to_owned(),
        Verdict::Change(change) => format!("change: {}", steps(change).join("; ")),
        Verdict::Blocked { on, why } => format!("blocked on {on:?}: {}", why.code),
        Verdict::Refused(objection) => format!("refused: {}", objection.chain[0].code),
        other => format!("{other:?}"),
    }
}

/// Each step as `FILE=value`, with the last part of its path.
pub(crate) fn steps(change: &Change) -> Vec<String> {
    change.steps.iter().map(step).collect()
}

fn step(step: &Step) -> String {
    let path = step.path().map(|path| path.display().to_string()).unwrap_or_default();
    let name = path.strip_prefix("/sys/bus/pci/").unwrap_or(&path);
    let name = name.strip_prefix("devices/").or_else(|| name.strip_prefix("drivers/")).unwrap_or(name);
    match step {
        Step::WriteAttr { value, .. } => format!("{name}={value}"),
        other => {
            format!("{} {name}", if matches!(other, Step::WriteFile { .. }) { "write" } else { "remove" })
        }
    }
}

/// A machine that keeps what a run leaves behind.
pub(crate) struct World {
    pub(crate) host: SimulatedHost<'static>,
    pub(crate) memory: Memory,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { host: machine(), memory: Memory::default() }
    }

    /// Observes, plans and executes until a plan has no change; gives the steps of every round.
    pub(crate) fn apply(&mut self, document: &Document) -> Vec<Vec<String>> {
        let mut rounds = Vec::new();
        loop {
            let (items, _) = find(document, &self.host, &self.memory);
            let mut disturbed: BTreeSet<Subject> = BTreeSet::new();
            let mut round = Vec::new();
            let mut changed = false;
            for item in items {
                let Verdict::Change(change) = item.verdict else { continue };
                if item.needs.intersection(&disturbed).next().is_some() {
                    continue;
                }
                changed = true;
                for step in &change.steps {
                    self.host.execute(step).unwrap();
                }
                round.extend(steps(&change));
                if item.item.starts_with("sriov") {
                    disturbed.extend(change.disturbs.iter().cloned());
                }
                self.remember(item.item.split(' ').next().unwrap(), &change);
            }
            if !changed {
                return rounds;
            }
            rounds.push(round);
            assert!(rounds.len() < 10, "does not settle: {rounds:#?}");
        }
    }

    fn remember(&mut self, resource: &str, change: &Change) {
        let owned = self.memory.owned.entry(resource.to_owned()).or_default();
        for item in &change.owns {
            match &item.written {
                Some(written) => {
                    // What stood there before the first write is kept, as the engine does.
                    let known = owned.get(&item.item).map(|known| known.before.clone());
                    let (target, before) = (item.target.clone(), known.unwrap_or(item.before.clone()));
                    owned.insert(item.item.clone(), Owned { target, before, written: written.clone() });
                }
                None => {
                    owned.remove(&item.item);
                }
            }
        }
    }

    pub(crate) fn owned(&self) -> Vec<String> {
        let items = self
            .memory
            .owned
            .iter()
            .flat_map(|(resource, items)| items.keys().map(move |item| (resource, item)));
        items.map(|(resource, item)| format!("{resource} {item}")).collect()
    }

    /// Every function with its driver, as `ADDRESS DRIVER`.
    pub(crate) fn bound(&self) -> Vec<String> {
        let pci = Pci::new(&self.host);
        let functions = &pci.scan().unwrap().functions;
        let shown = functions.iter().map(|function| {
            let driver = pci.driver(function.address).unwrap();
            format!("{} {}", function.address, driver.map_or("-".to_owned(), |driver| driver.to_string()))
        });
        shown.collect()
    }

    pub(crate) fn driver(&self, at: &str) -> Option<String> {
        Pci::new(&self.host).driver(address(at)).unwrap().map(|driver| driver.to_string())
    }
}
