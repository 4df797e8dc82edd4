//! What the document alone proves wrong once its files are joined: claims that cannot hold together.

use std::collections::BTreeMap;

use super::claims::{claimed_twice, merge_pins};
use super::error::DocumentError;
use super::join::Joined;
use super::{DeviceAcl, Document, KernelArgs, Sriov};
use crate::formats::cmdline::{Repetition, repetition};
use crate::types::{DeviceRef, Entry, KernelArg, PinnedDevice, Place, Selector};

/// The nodes that an exact list has to have: every QEMU process opens them (libvirt's `defaultDeviceACL`).
const BASE_NODES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"];

/// `ids=` is a 1024-byte string with its terminating zero (`drivers/vfio/pci/vfio_pci.c`).
const MOST_IDS: usize = 1023;

/// Checks what was joined.
pub(super) fn check(joined: &Joined, problems: &mut Vec<DocumentError>) {
    let document = &joined.document;
    let sound = problems.is_empty();
    if let Some(args) = &document.kernel_args {
        args_present_and_absent(args, problems);
        args_with_two_values(args, problems);
    }
    modules_that_cannot_load(document, problems);
    too_many_ids(document, problems);
    functions(document, problems);
    // Where a word is at fault, the entry lacks it for that reason.
    for entry in document.allow.iter().filter(|entry| sound && entry.value.because.is_empty()) {
        let problem = format!("the entry allows no loss of {}", entry.value.device);
        let error = DocumentError::new("nothing-allowed", &entry.place, problem);
        problems.push(error.accepted("what may be lost, as the refusal names it").remedy("remove the entry"));
    }
    if let Some(acl) = document.qemu.as_ref().and_then(|qemu| qemu.cgroup_device_acl.as_ref()) {
        wanted_and_unwanted_nodes(acl, problems);
        // Where a node is at fault, the list lacks it for that reason.
        if let Some(place) = joined.exact.as_ref().filter(|_| sound) {
            exact_acl(acl, place, problems);
        }
    }
}

fn contradiction(at: &Place, problem: String, other: &Place, note: &str) -> DocumentError {
    DocumentError::new("contradiction", at, problem).related(other, note)
}

/// The name as the kernel compares it (`kernel/params.c`, `parameq`).
fn name_of(arg: &KernelArg) -> String {
    arg.name().replace('-', "_")
}

fn args_present_and_absent(args: &KernelArgs, problems: &mut Vec<DocumentError>) {
    let mut absent: BTreeMap<String, Vec<&Entry<KernelArg>>> = BTreeMap::new();
    for entry in &args.absent {
        absent.entry(name_of(&entry.value)).or_default().push(entry);
    }
    for entry in &args.present {
        let rules = absent.get(&name_of(&entry.value)).into_iter().flatten();
        let covers = |rule: &&&Entry<KernelArg>| {
            rule.value.value().is_none() || rule.value.value() == entry.value.value()
        };
        if let Some(rule) = rules.into_iter().find(covers) {
            let problem = format!("{} is wanted here and unwanted at {}", entry.value, rule.place);
            let error = contradiction(&entry.place, problem, &rule.place, "it is unwanted here");
            problems.push(error.text(entry.value.to_string()).remedy("remove one of the two"));
        }
    }
}

fn args_with_two_values(args: &KernelArgs, problems: &mut Vec<DocumentError>) {
    let mut seen: BTreeMap<String, &Entry<KernelArg>> = BTreeMap::new();
    for entry in &args.present {
        let name = name_of(&entry.value);
        if repetition(&name) != Repetition::LastWins {
            continue;
        }
        let first = seen.entry(name).or_insert(entry);
        if first.value.value() != entry.value.value() {
            let problem = format!("{} stands here and {} at {}", entry.value, first.value, first.place);
            let error = contradiction(&entry.place, problem, &first.place, "the other value stands here");
            let error = error.text(entry.value.to_string()).accepted("one value: the kernel keeps the last");
            problems.push(error.remedy("keep one of the two"));
        }
    }
}

fn modules_that_cannot_load(document: &Document, problems: &mut Vec<DocumentError>) {
    let blacklist: BTreeMap<_, _> =
        document.blacklist.iter().flatten().map(|entry| (&entry.value.module, &entry.place)).collect();
    for entry in document.modules.iter().flatten() {
        if let Some(place) = blacklist.get(&entry.value) {
            let problem =
                format!("the module {} is to be loaded at boot and blacklisted at {place}", entry.value);
            let error = contradiction(&entry.place, problem, place, "it is blacklisted here");
            // systemd-modules-load probes with KMOD_PROBE_APPLY_BLACKLIST.
            let error = error
                .accepted("a module in one of the two: systemd-modules-load leaves out what is blacklisted");
            problems.push(error.remedy("remove one of the two"));
        }
    }
}

fn too_many_ids(document: &Document, problems: &mut Vec<DocumentError>) {
    let mut length = 0;
    for entry in document.vfio_pci.iter().flat_map(|vfio| vfio.ids.iter().flatten()) {
        let before = length;
        length += entry.value.to_string().len() + usize::from(before > 0);
        if length > MOST_IDS && before <= MOST_IDS {
            let problem =
                format!("with this id the list is longer than the {MOST_IDS} characters that vfio-pci takes");
            let error = DocumentError::new("too-many-ids", &entry.place, problem);
            problems.push(error.remedy("name the functions under devices instead"));
        }
    }
}

/// Everything that is claimed about one function, in several sections.
fn functions(document: &Document, problems: &mut Vec<DocumentError>) {
    let devices: Vec<&Entry<PinnedDevice>> =
        document.vfio_pci.iter().flat_map(|vfio| vfio.devices.iter().flatten()).collect();
    let mut pfs: BTreeMap<Selector, &Entry<Sriov>> = BTreeMap::new();
    for entry in document.sriov.iter().flatten() {
        if let DeviceRef::Function(pf) = entry.value.device.device {
            pfs.insert(pf, entry);
        }
    }
    for device in devices {
        match device.value.device {
            DeviceRef::Function(function) => {
                if let Some(pf) = pfs.get(&function) {
                    pf_in_devices(device, pf, problems);
                }
            }
            DeviceRef::Vf { pf, vf } => {
                if let Some(pf) = pfs.get(&pf).filter(|pf| vf >= pf.value.vfs) {
                    let problem = format!(
                        "{} has {} VFs, so there is no VF {vf} (they count from 0)",
                        pf.value.device, pf.value.vfs
                    );
                    let error =
                        contradiction(&device.place, problem, &pf.place, "the VF count is given here");
                    problems.push(error.remedy("raise vfs, or remove the entry"));
                }
            }
        }
    }
}

fn pf_in_devices(device: &Entry<PinnedDevice>, pf: &Entry<Sriov>, problems: &mut Vec<DocumentError>) {
    if pf.value.vfs > 0 {
        let problem = format!(
            "{} is handed to a guest here, and its {} VFs are made on the host at {}",
            device.value.device, pf.value.vfs, pf.place
        );
        let error = contradiction(&device.place, problem, &pf.place, "the VFs are made here");
        let error = error.accepted("a PF that stays on the host, or one with vfs: 0");
        problems.push(error.remedy("name the VFs as {pf, vf}, or set vfs: 0"));
    } else if let Err(field) = merge_pins(&device.value.pin, &pf.value.device.pin) {
        let claim = Entry::new(pf.value.device.clone(), pf.place.clone());
        let (first, second) = if claim.place <= device.place { (&claim, device) } else { (device, &claim) };
        problems.push(claimed_twice(field, first, second));
    }
}

fn wanted_and_unwanted_nodes(acl: &DeviceAcl, problems: &mut Vec<DocumentError>) {
    let absent: BTreeMap<&str, &Place> =
        acl.absent.iter().map(|entry| (entry.value.as_str(), &entry.place)).collect();
    for entry in &acl.present {
        if let Some(place) = absent.get(entry.value.as_str()) {
            let problem = format!("{} is wanted here and unwanted at {place}", entry.value);
            let error = contradiction(&entry.place, problem, place, "it is unwanted here");
            problems.push(error.text(entry.value.clone()).remedy("remove one of the two"));
        }
    }
}

fn exact_acl(acl: &DeviceAcl, exact: &Place, problems: &mut Vec<DocumentError>) {
    if let Some(first) = acl.absent.first() {
        let problem = "an exact list has no absent nodes: what is not present is absent".to_owned();
        let error = contradiction(&first.place, problem, exact, "the list is exact here");
        problems.push(error.remedy("remove absent, or exact: true"));
    }
    let missing: Vec<&str> =
        BASE_NODES.into_iter().filter(|node| !acl.present.iter().any(|entry| entry.value == *node)).collect();
    if !missing.is_empty() {
        let problem = format!("the exact list lacks {}, without which no guest starts", missing.join(" "));
        let error = DocumentError::new("unusable-acl", exact, problem);
        problems.push(error.accepted(BASE_NODES.join(" ")).remedy("add them to present, or leave exact out"));
    }
}
