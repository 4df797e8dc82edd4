//! Several claims on one function: those that agree become one, those that do not are a problem.

use std::collections::BTreeMap;

use super::error::DocumentError;
use super::join::{Problems, disagreement, unique};
use super::{Allowed, Sriov};
use crate::types::{DeviceRef, Entry, Pin, PinnedDevice};

/// Joins the claims on each function; claims whose pins differ are a problem.
pub(super) fn unify(devices: Vec<Entry<PinnedDevice>>, problems: &mut Problems) -> Vec<Entry<PinnedDevice>> {
    let mut index: BTreeMap<DeviceRef, usize> = BTreeMap::new();
    let mut unified: Vec<Entry<PinnedDevice>> = Vec::new();
    for entry in devices {
        let known = index.get(&entry.value.device).and_then(|index| unified.get_mut(*index));
        match known {
            Some(first) => match merge_pins(&first.value.pin, &entry.value.pin) {
                Ok(pin) => first.value.pin = pin,
                Err(field) => problems.push(claimed_twice(field, first, &entry)),
            },
            None => {
                index.insert(entry.value.device, unified.len());
                unified.push(entry);
            }
        }
    }
    unified
}

/// A function that is claimed twice with pins that cannot both hold.
pub(super) fn claimed_twice(
    field: &str,
    first: &Entry<PinnedDevice>,
    second: &Entry<PinnedDevice>,
) -> DocumentError {
    let problem = format!("{} is claimed twice with two values of {field}", second.value.device);
    DocumentError::new("contradiction", &second.place, problem)
        .related(&first.place, "it is claimed here first")
        .accepted("one entry for each function")
        .remedy("keep the entry that describes the card in that place")
}

/// Both pins at once.
///
/// # Errors
/// The name of a field in which they differ.
pub(super) fn merge_pins(a: &Pin, b: &Pin) -> Result<Pin, &'static str> {
    fn one<T: Clone + PartialEq>(
        a: &Option<T>,
        b: &Option<T>,
        field: &'static str,
    ) -> Result<Option<T>, &'static str> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => Err(field),
            _ => Ok(a.clone().or_else(|| b.clone())),
        }
    }
    Ok(Pin {
        id: one(&a.id, &b.id, "id")?,
        subsystem: one(&a.subsystem, &b.subsystem, "subsystem")?,
        serial: one(&a.serial, &b.serial, "serial")?,
        mac: one(&a.mac, &b.mac, "mac")?,
        slot: one(&a.slot, &b.slot, "slot")?,
    })
}

pub(super) fn one_count_each(entries: Vec<Entry<Sriov>>, problems: &mut Problems) -> Vec<Entry<Sriov>> {
    let mut index: BTreeMap<DeviceRef, usize> = BTreeMap::new();
    let mut unified: Vec<Entry<Sriov>> = Vec::new();
    for entry in entries {
        let Some(first) = index.get(&entry.value.device.device).and_then(|index| unified.get_mut(*index))
        else {
            index.insert(entry.value.device.device, unified.len());
            unified.push(entry);
            continue;
        };
        let device = entry.value.device.device;
        if first.value.vfs != entry.value.vfs {
            let what = format!("the VF count of {device}");
            problems.push(disagreement(
                &what,
                (first.value.vfs, &first.place),
                (entry.value.vfs, &entry.place),
            ));
        }
        if first.value.driver != entry.value.driver {
            let show = |entry: &Entry<Sriov>| {
                entry.value.driver.as_ref().map_or("the kernel's choice".to_owned(), ToString::to_string)
            };
            let what = format!("the driver of the VFs of {device}");
            problems.push(disagreement(&what, (show(first), &first.place), (show(&entry), &entry.place)));
        }
        match merge_pins(&first.value.device.pin, &entry.value.device.pin) {
            Ok(pin) => first.value.device.pin = pin,
            Err(field) => {
                let claim =
                    |entry: &Entry<Sriov>| Entry::new(entry.value.device.clone(), entry.place.clone());
                problems.push(claimed_twice(field, &claim(first), &claim(&entry)));
            }
        }
    }
    unified
}

/// Joins the consents to losses of each function, every reason once; pins that differ are a problem.
pub(super) fn one_consent_each(entries: Vec<Entry<Allowed>>, problems: &mut Problems) -> Vec<Entry<Allowed>> {
    let mut index: BTreeMap<DeviceRef, usize> = BTreeMap::new();
    let mut unified: Vec<Entry<Allowed>> = Vec::new();
    for mut entry in entries {
        unique(&mut entry.value.because);
        let device = entry.value.device.device;
        let Some(first) = index.get(&device).and_then(|index| unified.get_mut(*index)) else {
            index.insert(device, unified.len());
            unified.push(entry);
            continue;
        };
        match merge_pins(&first.value.device.pin, &entry.value.device.pin) {
            Ok(pin) => {
                first.value.device.pin = pin;
                first.value.because.append(&mut entry.value.because);
                unique(&mut first.value.because);
            }
            Err(field) => {
                let claim =
                    |entry: &Entry<Allowed>| Entry::new(entry.value.device.clone(), entry.place.clone());
                problems.push(claimed_twice(field, &claim(first), &claim(&entry)));
            }
        }
    }
    unified
}
