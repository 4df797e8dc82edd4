//! The udev rules that set the override while functions are enumerated at boot, before a module for them is loaded.
//!
//! A rule sets `driver_override` at once and has vfio-pci loaded when the rules are through; the file's name sorts
//! before `80-drivers.rules`, whose load of the native module therefore comes after both. VFs have no rule: the
//! kernel announces a VF before it probes it, so that a loaded VF driver could win; `sriov_drivers_autoprobe` and the
//! oneshot unit are right for them.
//!
//! Where the initramfs has the native driver, the rules have to be in it too. initramfs-tools copies every rule of
//! `/etc/udev/rules.d` (udev's hook); without vfio-pci in the image the function waits, without a driver, for the same
//! rule in the real root.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::Bindings;
use crate::document::Document;
use crate::engine::devices::{Claim, Devices, Target};
use crate::host::{Pci, pci};
use crate::initramfs::{self, Carries};
use crate::plan::{
    Blocker, Change, Disruption, FileState, Followup, ItemVerdict, LiftedBy, Objection, Phase, Reason, Step, Verdict, Warning,
};
use crate::resources::{HEADER, ObserveError, Observer, Resource as _, is_own, section_vanished};
use crate::types::{DeviceRef, ModuleName, PciAddress, PciId, Selector};

/// The file.
pub const PATH: &str = "/etc/udev/rules.d/10-reconcile-vfio.rules";

/// What has to sit at an address for the rule to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Card {
    id: PciId,
    subsystem: Option<PciId>,
}

/// The rules that the document asks for, by the function's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules(BTreeMap<PciAddress, Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    line: String,
    /// Whether this host has the function, in an IOMMU group or after a reboot in one, or cannot tell. A rule is not
    /// made for any other; one that was made before the function or the IOMMU went stays, for it may come back.
    called_for: bool,
}

impl Rules {
    pub(super) fn of(claims: &[Claim], devices: &Devices, document: &Document) -> Self {
        let rules = claims.iter().filter_map(|claim| {
            let (address, card) = rule(claim, devices)?;
            let called_for = match claim.target {
                Ok(target) => !without_iommu(target, devices, document),
                Err(_) => !devices.shown(),
            };
            Some((address, Rule { line: line(address, card), called_for }))
        });
        Self(rules.collect())
    }

    /// The whole file, given what stands there; empty where no function needs a rule. Without vfio-pci in any kernel a
    /// rule would only keep the native driver from the function: none is made, and one that was made stays.
    fn render(&self, standing: &str, vfio: bool) -> String {
        let wanted =
            |rule: &&Rule| rule.called_for && vfio || standing.lines().any(|line| line == rule.line);
        let lines: Vec<&str> = self.0.values().filter(wanted).map(|rule| rule.line.as_str()).collect();
        if lines.is_empty() { String::new() } else { format!("{HEADER}{}\n", lines.join("\n")) }
    }
}

/// Whether vfio-pci will not take the function at the next boot either (`vfio_register_group_dev`): a rule would only
/// keep its native driver from it.
fn without_iommu(target: Target, devices: &Devices, document: &Document) -> bool {
    matches!(devices.group_of(target, document), Err(unknown) if unknown.on == Blocker::Host)
}

fn line(address: PciAddress, card: Option<Card>) -> String {
    let mut condition = String::new();
    for (name, value) in card.map(Card::attributes).unwrap_or_default() {
        let _infallible = write!(condition, "ATTR{{{name}}}==\"{value:#06x}\", ");
    }
    format!(
        "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"{address}\", {condition}ATTR{{driver_override}}=\"vfio-pci\", RUN{{builtin}}+=\"kmod load vfio-pci\""
    )
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
        // Of a function that cannot be read nobody knows what it is.
        Err(ref reason) if reason.code == "unreadable-function" => None,
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

/// The file as it stands, and the images that have a copy of it.
#[derive(Debug)]
pub(super) struct File {
    state: FileState,
    /// Native drivers in the initramfs of functions whose rule changes: the copy there has to change as well.
    in_image: Vec<ModuleName>,
    /// Whether a kernel can have vfio-pci.
    vfio: bool,
}

impl File {
    /// Reads the file, and what the images carry if it has to be written. `rules` is `None` where it is not managed,
    /// `vfio` whether a kernel can have vfio-pci.
    pub(super) fn read(
        rules: Option<&Rules>,
        vfio: bool,
        observer: &Observer<'_>,
    ) -> Result<Self, ObserveError> {
        let state = observer.host.file_state(Path::new(PATH))?;
        let standing = String::from_utf8_lossy(state.bytes().unwrap_or_default());
        let wanted = rules.map(|rules| rules.render(&standing, vfio));
        let Some(wanted) = wanted.filter(|wanted| *wanted != standing) else {
            return Ok(Self { state, in_image: Vec::new(), vfio });
        };
        let in_image = in_image(&changed(&standing, &wanted), observer)?;
        Ok(Self { state, in_image, vfio })
    }

    /// What has to be done; `None` where there is no file and none is needed.
    pub(super) fn judge(&self, rules: &Rules) -> Option<ItemVerdict> {
        let wanted = rules.render(&String::from_utf8_lossy(self.state.bytes().unwrap_or_default()), self.vfio);
        let ours = |standing: &[u8]| standing.is_empty() || is_own(standing);
        let verdict = match self.state.bytes() {
            None if wanted.is_empty() => return None,
            Some(standing) if standing == wanted.as_bytes() => Verdict::InSync,
            Some(standing) if !ours(standing) && wanted.is_empty() => return None,
            Some(standing) if !ours(standing) => Verdict::Refused(not_ours()),
            _ => Verdict::Change(self.change(&wanted)),
        };
        Some(ItemVerdict::new(PATH, verdict).origin("vfio_pci.devices"))
    }

    /// The rules stay where `vfio_pci.devices` is no longer in the document.
    pub(super) fn left_behind(&self) -> Option<Warning> {
        let ours = self.state.bytes().filter(|content| is_own(content)).map(|_| PATH.to_owned());
        section_vanished(Bindings::KEY, Bindings::SECTION, ours)
    }

    fn change(&self, wanted: &str) -> Change {
        let (path, before) = (PATH.into(), self.state.clone());
        let (step, mut reason) = if wanted.is_empty() {
            (Step::RemoveFile { path, before }, Reason::new("no-rule", "no function needs a rule any longer"))
        } else {
            let text = "at boot the native driver must not get these functions first";
            (Step::WriteFile { path, before, after: wanted.into(), mode: 0o644 }, Reason::new("udev-rules", text))
        };
        if !self.in_image.is_empty() {
            let names: Vec<&str> = self.in_image.iter().map(ModuleName::as_str).collect();
            let text = format!("{}; the initramfs, which has {}, gets a copy", reason.text, names.join(", "));
            reason.text = text;
        }
        let mut change = Change::new(Phase::Persisted, vec![step], Disruption::Nothing, reason);
        change.followups.extend((!self.in_image.is_empty()).then_some(Followup::Initramfs));
        change
    }
}

/// The functions whose rule one text has and the other has not.
fn changed(before: &str, after: &str) -> Vec<PciAddress> {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), after.lines().collect());
    let address = |line: &&str| line.split_once("KERNEL==\"")?.1.split('"').next()?.parse().ok();
    before.symmetric_difference(&after).filter_map(address).collect()
}

/// The native drivers of these functions that an image carries. udev's hook copies the rules of `/etc` into it.
fn in_image(addresses: &[PciAddress], observer: &Observer<'_>) -> Result<Vec<ModuleName>, ObserveError> {
    let (host, kernels) = (observer.host, &observer.facts.kernels);
    let inventory = Pci::new(host);
    // One that is gone or cannot be read has a verdict of its own.
    let functions = addresses.iter().filter_map(|address| inventory.function(*address).ok().flatten());
    let functions: Vec<pci::Function> = functions.collect();
    let natives = kernels.find(host, &kernels.drivers_of(host, &functions)?)?;
    let carried = initramfs::carried(host, kernels, &natives)?;
    let carried = carried.into_iter().filter(|(_, carries)| matches!(carries, Carries::Yes(_)));
    Ok(carried.map(|(module, _)| module).collect())
}

fn not_ours() -> Objection {
    let text = format!("{PATH} does not begin with reconcile's header, so it is somebody else's");
    let lifted_by = LiftedBy::Operator(format!("move {PATH} away or give it another name"));
    Objection::new(PATH, vec![Reason::new("foreign-file", text).at(PATH)], lifted_by)
}
