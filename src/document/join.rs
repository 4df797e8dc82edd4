//! One [`Document`] out of one or several files: lists join, what agrees collapses, what disagrees names both places.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::fmt::Display;

use super::claims::{one_consent_each, one_count_each, unify};
use super::error::DocumentError;
use super::raw::{
    RawAcl, RawAllowed, RawBlacklisted, RawBoot, RawDevice, RawDocument, RawKernelArgs, RawModules, RawPf,
    RawPinned, RawQemu, RawSriov, RawVf, RawVfioPci, Version,
};
use super::shape::{At, Named, ShortOrLong};
use super::text::{DeviceNode, IdPin, Mac, Serial, Slot as SlotName};
use super::{Allowed, Blacklisted, DeviceAcl, Document, KernelArgs, ModuleOption, Qemu, Sriov};
use crate::types::{DeviceRef, Entry, KernelArg, ModuleName, PciId, Pin, PinnedDevice, Place, Selector};

pub(super) type Problems = Vec<DocumentError>;

/// What joining makes.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) document: Document,
    /// Where `exact: true` stands.
    pub(super) exact: Option<Place>,
}

/// Joins documents in their order.
pub(super) fn join(raws: Vec<RawDocument>, problems: &mut Problems) -> Joined {
    let mut document = Document::default();
    let mut blacklisted = BlacklistJoin::default();
    let mut flags = BTreeMap::new();
    for raw in raws {
        let RawDocument {
            version: Version,
            kernel_args,
            modules,
            blacklist,
            module_options,
            vfio_pci,
            sriov,
            qemu,
            boot,
            allow,
        } = raw;
        if let Some(raw) = kernel_args {
            add_kernel_args(document.kernel_args.get_or_insert_default(), raw);
        }
        if let Some(raw) = modules {
            let modules = match raw {
                ShortOrLong::Short(modules) => modules,
                ShortOrLong::Long(RawModules { present }) => present.unwrap_or_default(),
            };
            document.modules.get_or_insert_default().extend(modules);
        }
        if let Some(raw) = blacklist {
            let list = document.blacklist.get_or_insert_default();
            raw.into_iter().for_each(|entry| blacklisted.add(list, entry, problems));
        }
        if let Some(Named(raw)) = module_options {
            let options = document.module_options.get_or_insert_default();
            for (module, given) in raw {
                options.entry(module.value).or_default().extend(given.into_vec());
            }
        }
        if let Some(RawVfioPci { ids, devices }) = vfio_pci {
            let vfio = document.vfio_pci.get_or_insert_default();
            if let Some(ids) = ids {
                vfio.ids.get_or_insert_default().extend(ids);
            }
            if let Some(raw) = devices {
                let devices = vfio.devices.get_or_insert_default();
                devices.extend(raw.into_iter().map(|device| device_of(device, problems)));
            }
        }
        if let Some(raw) = sriov {
            let entries = document.sriov.get_or_insert_default();
            entries.extend(raw.into_iter().map(|At(entry)| sriov_of(entry, problems)));
        }
        if let Some(RawQemu { cgroup_device_acl }) = qemu {
            let qemu = document.qemu.get_or_insert_default();
            if let Some(raw) = cgroup_device_acl {
                add_acl(qemu.cgroup_device_acl.get_or_insert_default(), &mut flags, raw, problems);
            }
        }
        if let Some(now) = boot.and_then(|RawBoot { chain }| chain) {
            match &document.boot_chain {
                Some(said) if said.value != now.value => {
                    let (first, second) = ((said.value, &said.place), (now.value, &now.place));
                    problems.push(disagreement("boot.chain", first, second));
                }
                Some(_) => {}
                None => document.boot_chain = Some(now),
            }
        }
        let consents = allow.into_iter().flatten();
        document.allow.extend(consents.map(|At(entry)| allowed_of(entry, problems)));
    }
    collapse(&mut document, problems);
    let exact = flags.remove("exact").and_then(|At(flag)| flag.value.then_some(flag.place));
    Joined { document, exact }
}

fn add_kernel_args(args: &mut KernelArgs, raw: ShortOrLong<Vec<Entry<KernelArg>>, RawKernelArgs>) {
    let RawKernelArgs { present, absent } = match raw {
        ShortOrLong::Short(present) => RawKernelArgs { present: Some(present), absent: None },
        ShortOrLong::Long(long) => long,
    };
    args.present.extend(present.into_iter().flatten());
    args.absent.extend(absent.into_iter().flatten());
}

/// What was said of each blacklisted module so far.
#[derive(Default)]
struct BlacklistJoin {
    index: BTreeMap<ModuleName, usize>,
    alias_off: BTreeMap<ModuleName, At<bool>>,
}

impl BlacklistJoin {
    fn add(
        &mut self,
        list: &mut Vec<Entry<Blacklisted>>,
        raw: ShortOrLong<Entry<ModuleName>, RawBlacklisted>,
        problems: &mut Problems,
    ) {
        let RawBlacklisted { module: Entry { value: module, place }, alias_off } = match raw {
            ShortOrLong::Short(module) => RawBlacklisted { module, alias_off: None },
            ShortOrLong::Long(long) => long,
        };
        if let Some(now) = alias_off {
            agree(&mut self.alias_off, module.clone(), now, &format!("alias_off of {module}"), problems);
        }
        let alias_off = self.alias_off.get(&module).is_some_and(|At(said)| said.value);
        match self.index.get(&module).and_then(|index| list.get_mut(*index)) {
            Some(entry) => entry.value.alias_off = alias_off,
            None => {
                self.index.insert(module.clone(), list.len());
                list.push(Entry::new(Blacklisted { module, alias_off }, place));
            }
        }
    }
}

fn add_acl(
    acl: &mut DeviceAcl,
    flags: &mut BTreeMap<&'static str, At<bool>>,
    raw: ShortOrLong<Vec<Entry<DeviceNode>>, RawAcl>,
    problems: &mut Problems,
) {
    let raw = match raw {
        ShortOrLong::Short(present) => {
            RawAcl { vfio_groups: None, exact: None, present: Some(present), absent: None }
        }
        ShortOrLong::Long(long) => long,
    };
    for (name, flag) in [("vfio_groups", raw.vfio_groups), ("exact", raw.exact)] {
        if let Some(flag) = flag {
            agree(flags, name, flag, name, problems);
        }
    }
    let set = |name| flags.get(name).is_some_and(|At(flag)| flag.value);
    (acl.vfio_groups, acl.exact) = (set("vfio_groups"), set("exact"));
    let paths = |nodes: Option<Vec<Entry<DeviceNode>>>| {
        nodes.into_iter().flatten().map(|node| Entry::new(node.value.0, node.place))
    };
    acl.present.extend(paths(raw.present));
    acl.absent.extend(paths(raw.absent));
}

/// Remembers what was said of `key`; a second, different saying is a problem.
fn agree<K: Ord>(
    said: &mut BTreeMap<K, At<bool>>,
    key: K,
    now: At<bool>,
    what: &str,
    problems: &mut Problems,
) {
    match said.entry(key) {
        Slot::Vacant(vacant) => {
            vacant.insert(now);
        }
        Slot::Occupied(earlier) => {
            let (before, now) = (&earlier.get().0, &now.0);
            if before.value != now.value {
                problems.push(disagreement(what, (before.value, &before.place), (now.value, &now.place)));
            }
        }
    }
}

/// Two values for one thing.
pub(super) fn disagreement<V: Display>(what: &str, first: (V, &Place), second: (V, &Place)) -> DocumentError {
    let problem = format!("{what} is {} here and {} at {}", second.0, first.0, first.1);
    DocumentError::new("contradiction", second.1, problem)
        .related(first.1, format!("{what} is {} here", first.0))
        .accepted("one value for one thing")
        .remedy("keep one of the two")
}

fn device_of(
    At(raw): At<ShortOrLong<Entry<Selector>, RawDevice>>,
    problems: &mut Problems,
) -> Entry<PinnedDevice> {
    let device = match raw.value {
        ShortOrLong::Short(selector) => direct(selector.value),
        ShortOrLong::Long(RawDevice::Pinned(pinned)) => pinned_of(pinned, problems),
        ShortOrLong::Long(RawDevice::Vf(RawVf { pf, vf, id, subsystem, serial, mac, slot })) => {
            PinnedDevice {
                device: DeviceRef::Vf { pf: pf.value, vf },
                pin: pin_of(id, subsystem, serial, mac, slot, problems),
            }
        }
    };
    Entry::new(device, raw.place)
}

fn direct(selector: Selector) -> PinnedDevice {
    PinnedDevice { device: DeviceRef::Function(selector), pin: Pin::default() }
}

fn pinned_of(
    RawPinned { address, id, subsystem, serial, mac, slot }: RawPinned,
    problems: &mut Problems,
) -> PinnedDevice {
    let pin = pin_of(id, subsystem, serial, mac, slot, problems);
    PinnedDevice { device: DeviceRef::Function(address.value), pin }
}

fn pin_of(
    id: Option<Entry<IdPin>>,
    subsystem: Option<Entry<PciId>>,
    serial: Option<Entry<Serial>>,
    mac: Option<Entry<Mac>>,
    slot: Option<Entry<SlotName>>,
    problems: &mut Problems,
) -> Pin {
    let within = id.as_ref().and_then(|id| Some(Entry::new(id.value.subsystem?, id.place.clone())));
    if let (Some(within), Some(own)) = (&within, &subsystem)
        && within.value != own.value
    {
        problems.push(disagreement("the subsystem", (within.value, &within.place), (own.value, &own.place)));
    }
    Pin {
        id: id.map(|id| id.value.id),
        subsystem: subsystem.or(within).map(|subsystem| subsystem.value),
        serial: serial.map(|serial| serial.value.0),
        mac: mac.map(|mac| mac.value.0),
        slot: slot.map(|slot| slot.value.0),
    }
}

fn sriov_of(raw: Entry<RawSriov>, problems: &mut Problems) -> Entry<Sriov> {
    let RawSriov { device: At(device), vfs, driver } = raw.value;
    let device = match device.value {
        ShortOrLong::Short(selector) => direct(selector.value),
        ShortOrLong::Long(RawPf(pinned)) => pinned_of(pinned, problems),
    };
    Entry::new(Sriov { device, vfs, driver: driver.map(|driver| driver.value) }, raw.place)
}

fn allowed_of(raw: Entry<RawAllowed>, problems: &mut Problems) -> Entry<Allowed> {
    let RawAllowed { device, because } = raw.value;
    let device = device_of(device, problems).value;
    Entry::new(Allowed { device, because: because.into_vec() }, raw.place)
}

/// Collapses what stands twice and agrees; reports what disagrees.
fn collapse(document: &mut Document, problems: &mut Problems) {
    if let Some(args) = &mut document.kernel_args {
        args.present = unique_args(std::mem::take(&mut args.present), problems);
        unique(&mut args.absent);
    }
    if let Some(modules) = &mut document.modules {
        unique(modules);
    }
    for (module, options) in document.module_options.iter_mut().flatten() {
        one_value_each(module, options, problems);
    }
    if let Some(vfio) = &mut document.vfio_pci {
        vfio.ids.iter_mut().for_each(unique);
        if let Some(devices) = &mut vfio.devices {
            *devices = unify(std::mem::take(devices), problems);
        }
    }
    if let Some(entries) = &mut document.sriov {
        *entries = one_count_each(std::mem::take(entries), problems);
    }
    if let Some(Qemu { cgroup_device_acl: Some(acl) }) = &mut document.qemu {
        unique(&mut acl.present);
        unique(&mut acl.absent);
    }
    document.allow = one_consent_each(std::mem::take(&mut document.allow), problems);
}

/// Keeps the first of equal entries.
pub(super) fn unique<T: Ord + Clone>(entries: &mut Vec<Entry<T>>) {
    let mut seen = BTreeSet::new();
    entries.retain(|entry| seen.insert(entry.value.clone()));
}

fn one_value_each(module: &ModuleName, options: &mut Vec<Entry<ModuleOption>>, problems: &mut Problems) {
    // The kernel takes - and _ in a parameter's name as equal (`kernel/params.c`, parameq).
    let mut seen: BTreeMap<String, Entry<ModuleOption>> = BTreeMap::new();
    options.retain(|option| match seen.entry(option.value.name.replace('-', "_")) {
        Slot::Vacant(vacant) => {
            vacant.insert(option.clone());
            true
        }
        Slot::Occupied(first) => {
            let first = first.get();
            if first.value.value != option.value.value {
                let show = |option: &ModuleOption| {
                    option.value.clone().map_or("a bare flag".to_owned(), |v| format!("{v:?}"))
                };
                let what = format!("{}.{}", module, option.value.name);
                let values = ((show(&first.value), &first.place), (show(&option.value), &option.place));
                problems.push(disagreement(&what, values.0, values.1));
            }
            false
        }
    });
}

/// Keeps the first of equal arguments. `hugepages=` belongs to the `hugepagesz=` before it: the two stay together.
fn unique_args(args: Vec<Entry<KernelArg>>, problems: &mut Problems) -> Vec<Entry<KernelArg>> {
    let mut seen = BTreeSet::new();
    let mut counts: BTreeMap<Option<KernelArg>, Entry<KernelArg>> = BTreeMap::new();
    let mut size: Option<Entry<KernelArg>> = None;
    let mut kept: Vec<Entry<KernelArg>> = Vec::new();
    for arg in args {
        match arg.value.name() {
            "hugepagesz" => {
                kept.extend(size.replace(arg).filter(|size| seen.insert(size.value.clone())));
            }
            "hugepages" => match counts.entry(size.as_ref().map(|size| size.value.clone())) {
                Slot::Vacant(vacant) => {
                    if let Some(size) = &size {
                        seen.insert(size.value.clone());
                        kept.push(size.clone());
                    }
                    kept.push(vacant.insert(arg).clone());
                }
                Slot::Occupied(first) => {
                    let first = first.get();
                    if first.value != arg.value {
                        let what = size
                            .as_ref()
                            .map_or("the default size".to_owned(), |size| size.value.to_string());
                        let what = format!("the count of huge pages of {what}");
                        problems.push(disagreement(
                            &what,
                            (&first.value, &first.place),
                            (&arg.value, &arg.place),
                        ));
                    }
                }
            },
            _ if seen.insert(arg.value.clone()) => kept.push(arg),
            _ => {}
        }
    }
    kept.extend(size.filter(|size| seen.insert(size.value.clone())));
    kept
}
