//! The udev rules that set the override while functions are enumerated at boot, before a module for them is loaded.
//!
//! A rule sets `driver_override` at once and has vfio-pci loaded when the rules are through; the file's name sorts
//! before `80-drivers.rules`, whose load of the native module therefore comes after both. VFs have no rule: the
//! kernel announces a VF before it probes it, so that a loaded VF driver could win; `sriov_drivers_autoprobe` and the
//! oneshot unit are right for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::engine::devices::{Claim, Devices, Target};
use crate::plan::{
    Change, Disruption, FileState, ItemVerdict, LiftedBy, Objection, Phase, Reason, Step, Verdict,
};
use crate::resources::HEADER;
use crate::types::{DeviceRef, PciAddress, PciId, Selector};

/// The file.
pub(super) const PATH: &str = "/etc/udev/rules.d/10-reconcile-vfio.rules";

/// What has to sit at an address for the rule to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Card {
    id: PciId,
    subsystem: Option<PciId>,
}

/// The whole file; empty where no function needs a rule.
pub(super) fn render(claims: &[Claim], devices: &Devices) -> String {
    let rules: BTreeMap<PciAddress, Option<Card>> =
        claims.iter().filter_map(|claim| rule(claim, devices)).collect();
    if rules.is_empty() {
        return String::new();
    }
    let mut text = HEADER.to_owned();
    for (address, card) in rules {
        let mut condition = String::new();
        for (name, value) in card.map(Card::attributes).unwrap_or_default() {
            let _infallible = write!(condition, "ATTR{{{name}}}==\"{value:#06x}\", ");
        }
        let _infallible = writeln!(
            text,
            "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"{address}\", {condition}ATTR{{driver_override}}=\"vfio-pci\", RUN{{builtin}}+=\"kmod load vfio-pci\""
        );
    }
    text
}

/// The rule for a claim; `None` for VFs, for what is not named itself, and where a pin cannot be put into a rule.
fn rule(claim: &Claim, devices: &Devices) -> Option<(PciAddress, Option<Card>)> {
    let entry = claim.entry.as_ref().filter(|_| claim.refused.is_none())?;
    let written = match entry.device {
        DeviceRef::Function(Selector::Address(address)) => Some(address),
        DeviceRef::Function(Selector::Filter(_)) => None,
        DeviceRef::Vf { .. } => return None,
    };
    // A card that was found by a filter or is pinned may move: the rule then holds for that kind of card only.
    let by_address_alone = written.is_some() && entry.pin.is_empty();
    match claim.target {
        Ok(Target::Function(address)) => {
            let facts = devices.function(address)?;
            if facts.physfn.is_some() {
                return None;
            }
            let card = Card { id: facts.function.id, subsystem: entry.pin.subsystem };
            Some((address, (!by_address_alone).then_some(card)))
        }
        Ok(Target::Vf { .. }) => None,
        Err(_) if by_address_alone => Some((written?, None)),
        Err(_) => Some((written?, Some(Card { id: entry.pin.id?, subsystem: entry.pin.subsystem }))),
    }
}

impl Card {
    fn attributes(self) -> Vec<(&'static str, u16)> {
        let mut attributes = vec![("vendor", self.id.vendor), ("device", self.id.device)];
        if let Some(subsystem) = self.subsystem {
            attributes
                .extend([("subsystem_vendor", subsystem.vendor), ("subsystem_device", subsystem.device)]);
        }
        attributes
    }
}

/// What has to be done about the file; `None` where there is none and none is needed.
pub(super) fn judge(text: &str, state: &FileState) -> Option<ItemVerdict> {
    let standing = state.bytes();
    if text.is_empty() && standing.is_none() {
        return None;
    }
    let verdict = match standing {
        Some(standing) if standing == text.as_bytes() => Verdict::InSync,
        Some(standing) if !standing.starts_with(HEADER.trim_end().as_bytes()) => Verdict::Refused(not_ours()),
        _ => Verdict::Change(change(text, state)),
    };
    Some(ItemVerdict::new(PATH, verdict).origin("vfio_pci.devices"))
}

fn change(text: &str, state: &FileState) -> Change {
    let (step, reason) = if text.is_empty() {
        let step = Step::RemoveFile { path: PATH.into(), before: state.clone() };
        (step, Reason::new("no-rule", "no function needs a rule any longer"))
    } else {
        let step =
            Step::WriteFile { path: PATH.into(), before: state.clone(), after: text.into(), mode: 0o644 };
        (step, Reason::new("udev-rules", "at boot the native driver must not get these functions first"))
    };
    Change::new(Phase::Persisted, vec![step], Disruption::Nothing, reason)
}

fn not_ours() -> Objection {
    let text = format!("{PATH} was not written by reconcile: its first line is not reconcile's");
    Objection {
        subject: Path::new(PATH).display().to_string(),
        chain: vec![Reason::new("foreign-file", text).at(PATH)],
        lifted_by: LiftedBy::Operator(format!("move {PATH} away")),
    }
}
