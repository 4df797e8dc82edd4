//! Pins: is the card at this address the one that the document means, and if not, where is that card now?

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Devices, Resolved};
use crate::host::Pci;
use crate::host::pci::{Function, described};
use crate::plan::{LiftedBy, Objection, Reason, Warning};
use crate::resources::ObserveError;
use crate::types::{DeviceRef, DriverName, Entry, PciAddress, Pin, PinnedDevice, Selector};

/// A field of a pin that the function there does not have.
struct Mismatch {
    field: &'static str,
    wanted: String,
    found: String,
}

impl Devices {
    pub(super) fn check_pin(
        &mut self,
        pci: &Pci<'_>,
        entry: &Entry<PinnedDevice>,
    ) -> Result<(), ObserveError> {
        let (device, pin) = (&entry.value, &entry.value.pin);
        if pin.is_empty() {
            return Ok(());
        }
        let Resolved::One(address) = self.resolve(&device.device) else { return Ok(()) };
        let Some(function) = pci.function(address)? else { return Ok(()) };
        let mismatches = match self.mismatches(pci, &function, pin) {
            Ok(mismatches) => mismatches,
            Err(error) => {
                let text = format!("the pin of {address} cannot be checked: {}", described(&error));
                let reason = Reason::new("pin-unreadable", text).at(&entry.place);
                self.resolved.insert(device.device, Resolved::Missing(reason));
                return Ok(());
            }
        };
        let on_vfio = self.function(address).and_then(|facts| facts.driver.as_ref());
        let by_mac_alone = *pin == Pin { mac: pin.mac.clone(), ..Pin::default() };
        if mismatches.is_empty() && by_mac_alone && on_vfio.is_some_and(DriverName::is_vfio) {
            let text = format!(
                "the pin of {address} is not checked: on a vfio driver it has no interface to show a MAC address"
            );
            let reason = Reason::new("pin-unchecked", text).at(&entry.place);
            let reason =
                reason.remedy("add the card's id, serial or slot to the pin; `reconcile devices` prints it");
            self.warnings.push(Warning {
                resource: Cow::Borrowed("bindings"),
                subject: address.to_string(),
                reason,
            });
        }
        if !mismatches.is_empty() {
            let objection = self.explain(pci, &function, entry, &mismatches)?;
            self.objections.insert(device.clone(), objection);
        }
        Ok(())
    }

    fn mismatches(
        &self,
        pci: &Pci<'_>,
        function: &Function,
        pin: &Pin,
    ) -> Result<Vec<Mismatch>, ObserveError> {
        let mut mismatches = Vec::new();
        let mut check = |field, wanted: Option<String>, found: Vec<String>| {
            if let Some(wanted) = wanted.filter(|wanted| !found.contains(wanted)) {
                let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                mismatches.push(Mismatch { field, wanted, found });
            }
        };
        let address = function.address;
        check("id", pin.id.map(|id| id.to_string()), vec![function.id.to_string()]);
        let subsystem = function.subsystem.map(|id| id.to_string()).into_iter().collect();
        check("subsystem", pin.subsystem.map(|id| id.to_string()), subsystem);
        if pin.serial.is_some() {
            check("serial", pin.serial.clone(), pci.serial(address)?.into_iter().collect());
        }
        if pin.slot.is_some() {
            check("slot", pin.slot.clone(), pci.slots(address)?);
        }
        if pin.mac.is_some() {
            let macs = pci.macs(address)?;
            // On a vfio driver a function has no network interface, so that its MAC address cannot be read; nor where it is
            // on its way there, as a run leaves it that is killed between unbinding and probing.
            let is_vfio = |name: &str| name.parse().is_ok_and(|driver: DriverName| driver.is_vfio());
            let for_vfio = self.function(address).is_some_and(|facts| match &facts.driver {
                Some(driver) => driver.is_vfio(),
                None => facts.driver_override.as_deref().is_some_and(is_vfio),
            });
            if !(macs.is_empty() && for_vfio) {
                check("mac", pin.mac.clone(), macs);
            }
        }
        Ok(mismatches)
    }

    /// An id alone cannot tell one card from another of the same kind: one warning for each kind.
    pub(super) fn warn_of_twins(
        &mut self,
        pci: &Pci<'_>,
        entries: &[Entry<PinnedDevice>],
    ) -> Result<(), ObserveError> {
        let mut kinds: BTreeMap<Pin, Vec<(PciAddress, &Entry<PinnedDevice>)>> = BTreeMap::new();
        for entry in entries {
            let pin = &entry.value.pin;
            let by_id = !pin.is_empty() && pin.serial.is_none() && pin.mac.is_none() && pin.slot.is_none();
            if let (true, Resolved::One(address)) = (by_id, self.resolve(&entry.value.device))
                && self.objection(&entry.value).is_none()
            {
                kinds.entry(pin.clone()).or_default().push((address, entry));
            }
        }
        for (pin, mut pinned) in kinds {
            pinned.dedup_by_key(|(address, _)| *address);
            let scan = pci.scan()?;
            let alike = scan.functions.iter().filter(|function| has_ids(function, &pin));
            let alike: Vec<String> = alike.map(|function| function.address.to_string()).collect();
            let (Some((_, entry)), true) = (pinned.first(), alike.len() > 1) else { continue };
            let pinned: Vec<String> = pinned.iter().map(|(address, _)| address.to_string()).collect();
            let pinned = pinned.join(", ");
            let text = format!("the pin of {pinned} fits {} functions: {}", alike.len(), alike.join(", "));
            let reason = Reason::new("pin-cannot-tell-twins", text).at(&entry.place).remedy(
                "add the card's serial, mac or slot to the pin; `reconcile devices` prints a pin ready to paste",
            );
            self.warnings.push(Warning { resource: Cow::Borrowed("bindings"), subject: pinned, reason });
        }
        Ok(())
    }

    /// Says what sits there instead, where the pinned card is now, and gives the entry that would be right.
    fn explain(
        &self,
        pci: &Pci<'_>,
        function: &Function,
        entry: &Entry<PinnedDevice>,
        mismatches: &[Mismatch],
    ) -> Result<Objection, ObserveError> {
        let (pin, address) = (&entry.value.pin, function.address);
        let wrong = mismatches.iter().map(|mismatch| {
            format!("{} is {} where the pin says {}", mismatch.field, mismatch.found, mismatch.wanted)
        });
        let wrong: Vec<String> = wrong.collect();
        let text =
            format!("another card than the pinned one sits at {address}: its {}", wrong.join(", its "));
        let mut chain = vec![Reason::new("pin-mismatch", text).at(&entry.place)];

        let mut elsewhere: Vec<PciAddress> = Vec::new();
        for candidate in &pci.scan()?.functions {
            // Cheap fields first: serial numbers are read only where the ids already match.
            let ids = has_ids(candidate, pin);
            if ids
                && candidate.address != address
                && self.mismatches(pci, candidate, pin).is_ok_and(|m| m.is_empty())
            {
                elsewhere.push(candidate.address);
            }
        }
        let listed: Vec<String> = elsewhere.iter().map(PciAddress::to_string).collect();
        let (reason, paste) = match listed.as_slice() {
            [] => (
                Reason::new("pinned-card-gone", "no function of this host matches the pin")
                    .remedy("put the card back, or pin the one that is there"),
                render(
                    &entry.value.device,
                    address,
                    &Pin {
                        id: Some(function.id),
                        subsystem: pin.subsystem.and(function.subsystem),
                        serial: if pin.serial.is_some() { pci.serial(address)? } else { None },
                        mac: if pin.mac.is_some() { pci.macs(address)?.into_iter().next() } else { None },
                        slot: if pin.slot.is_some() { pci.slots(address)?.into_iter().next() } else { None },
                    },
                ),
            ),
            [one] => (
                Reason::new("pinned-card-moved", format!("the pinned card is at {one} now")),
                elsewhere.iter().map(|moved| render(&moved_to(*moved), *moved, pin)).collect(),
            ),
            several => (
                Reason::new(
                    "pinned-card-moved",
                    format!("cards that match the pin are at {}", several.join(", ")),
                ),
                elsewhere
                    .iter()
                    .map(|moved| render(&moved_to(*moved), *moved, pin))
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
        };
        chain.push(reason);
        Ok(Objection::new(address.to_string(), chain, LiftedBy::Document(paste)))
    }
}

fn has_ids(function: &Function, pin: &Pin) -> bool {
    pin.id.is_none_or(|id| id == function.id)
        && pin.subsystem.is_none_or(|subsystem| Some(subsystem) == function.subsystem)
}

fn moved_to(address: PciAddress) -> DeviceRef {
    DeviceRef::Function(Selector::Address(address))
}

/// The entry as it is written in a document.
fn render(device: &DeviceRef, address: PciAddress, pin: &Pin) -> String {
    let mut fields = match device {
        DeviceRef::Vf { pf, vf } => vec![format!("pf: \"{pf}\""), format!("vf: {vf}")],
        DeviceRef::Function(Selector::Filter(filter)) => vec![format!("address: \"{filter}\"")],
        DeviceRef::Function(Selector::Address(_)) => vec![format!("address: \"{address}\"")],
    };
    if let Some(id) = pin.id {
        let subsystem = pin.subsystem.map_or(String::new(), |subsystem| format!(":{subsystem}"));
        fields.push(format!("id: \"{id}{subsystem}\""));
    }
    let texts = [("serial", &pin.serial), ("mac", &pin.mac), ("slot", &pin.slot)];
    fields.extend(
        texts.iter().filter_map(|(key, text)| text.as_ref().map(|text| format!("{key}: \"{text}\""))),
    );
    format!("{{{}}}", fields.join(", "))
}
