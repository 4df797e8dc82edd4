//! `sriov`: how many VFs each PF has, and whether the kernel may probe them.
//!
//! The count is live state only: after a boot the oneshot unit writes it again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::{AtBoot, Findings, ObserveError, Observer, Resource};
use crate::document::Document;
use crate::engine::devices::{self, FunctionFacts, Resolved};
use crate::engine::{Facts, Owned};
use crate::host::pci::{Pci, attribute};
use crate::host::systemd;
use crate::plan::{
    Because, Blocker, Change, Consented, Disruption, ItemVerdict, LiftedBy, Objection, OwnedItem, Phase, Reason, Step, Subject,
    Verdict, Warning,
};
use crate::types::{DriverName, PciAddress};

/// Time that a count may take without any VF: the kernel waits a second when it takes VFs away, drivers reset.
const BASE_DEADLINE: Duration = Duration::from_secs(120);
/// And for each VF, with its driver's probe (127 NVMe VFs: 31 to 70 s).
const DEADLINE_PER_VF: Duration = Duration::from_secs(1);

/// What writes the counts again after a boot.
const UNIT: &str = "reconcile.service";

/// VF counts.
#[derive(Debug)]
pub struct SriovCounts;

/// The desired VF counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    wanted: Vec<Wanted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// The PF, or why this entry stops here.
    pf: Result<PciAddress, Box<Verdict>>,
    item: String,
    /// The PF's address, there or not; `None` where a filter selects nothing.
    address: Option<PciAddress>,
    origin: String,
    vfs: u16,
    /// Whether the document, not the kernel, chooses the VFs' driver.
    chooses_driver: bool,
    /// Why another count is not written: another program sets it.
    contested: Option<Objection>,
    /// What the document allows to be lost with a change of the count.
    allowed: Vec<Consented>,
}

/// What was found.
#[derive(Debug)]
pub struct State {
    pfs: BTreeMap<PciAddress, FunctionFacts>,
    owned: BTreeMap<String, Owned>,
    /// Functions whose binding is ours: giving one back lifts what a vfio driver forbids.
    bound_by_us: Vec<PciAddress>,
    /// Whether the oneshot unit is enabled.
    redone_at_boot: bool,
}

impl Resource for SriovCounts {
    const KEY: &'static str = "sriov";
    const AFTER: &'static [&'static str] = &["modules"];
    const AT_BOOT: AtBoot = AtBoot::LiveHalf;
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
        let claims = devices::claims(document, facts);
        let wanted = document.sriov.as_ref()?.iter().map(|entry| {
            let sriov = &entry.value;
            let blocked = |reason: Reason| Err(Box::new(devices::not_there(reason.at(&entry.place))));
            let pf = match facts.devices.resolve(&sriov.device.device) {
                Resolved::One(pf) => {
                    let is_pf = |target| target == Ok(devices::Target::Function(pf));
                    let claimed = claims.iter().find(|claim| is_pf(claim.target.clone()));
                    let refused = claimed.filter(|_| sriov.vfs > 0).and_then(|claim| claim.refused.clone());
                    match facts.devices.objection(&sriov.device).cloned().or(refused) {
                        Some(objection) => Err(Box::new(Verdict::Refused(objection))),
                        None => Ok(pf),
                    }
                }
                Resolved::Missing(reason) => blocked(reason),
                Resolved::Several(matched) => blocked(devices::several(&sriov.device.to_string(), &matched)),
                Resolved::VfAbsent { .. } => {
                    blocked(Reason::new("not-a-pf", format!("{} is a VF, which has no VFs", sriov.device)))
                }
            };
            let of_pf = |allowed: &&Consented| {
                pf.as_ref() == Ok(&allowed.function) && allowed.because == Because::OtherOwner
            };
            Wanted {
                contested: pf.as_ref().ok().and_then(|pf| facts.devices.contested_count(*pf)).cloned(),
                allowed: facts.devices.allowed().iter().filter(of_pf).cloned().collect(),
                item: pf.as_ref().map_or_else(|_| sriov.device.to_string(), PciAddress::to_string),
                address: pf.as_ref().ok().copied().or_else(|| sriov.device.device.written_address()),
                pf,
                origin: entry.place.to_string(),
                vfs: sriov.vfs,
                chooses_driver: sriov.driver.is_some(),
            }
        });
        Some(Spec { wanted: wanted.collect() })
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let mut pfs = BTreeMap::new();
        for pf in spec.wanted.iter().filter_map(|wanted| wanted.pf.as_ref().ok()) {
            pfs.extend(observer.facts.devices.function(*pf).map(|facts| (*pf, facts.clone())));
        }
        let owned: BTreeMap<String, Owned> =
            observer.memory.owned(Self::KEY).map(|(item, owned)| (item.to_owned(), owned.clone())).collect();
        let pci = Pci::new(observer.host);
        for pf in owned.keys().filter_map(|item| item.parse().ok()) {
            if !pfs.contains_key(&pf) {
                pfs.extend(FunctionFacts::read(&pci, pf)?.map(|facts| (pf, facts)));
            }
        }
        let bound = observer.memory.owned("bindings").filter_map(|(item, _)| item.parse().ok());
        let redone_at_boot = systemd::is_enabled(observer.host, UNIT)?;
        Ok(State { pfs, owned, bound_by_us: bound.collect(), redone_at_boot })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let mut findings = Findings::default();
        for wanted in &spec.wanted {
            let verdict = match &wanted.pf {
                Err(verdict) => verdict.as_ref().clone(),
                Ok(pf) => state.judge(*pf, wanted),
            };
            let pf = wanted.address.map(Subject::Function);
            findings.items.push(ItemVerdict::new(&wanted.item, verdict).origin(&wanted.origin).needs(pf));
        }
        for (item, owned) in &state.owned {
            let named = spec.wanted.iter().any(|wanted| wanted.item == *item);
            // The autoprobe attribute goes with its PF's count.
            if let (false, Ok(pf)) = (named, item.parse()) {
                let verdict = state.take_back(pf, owned);
                findings.items.push(ItemVerdict::new(item, verdict).origin("no longer in the document"));
            }
        }
        if !state.redone_at_boot && spec.wanted.iter().any(|wanted| wanted.vfs > 0) {
            let text =
                "VF counts do not survive a reboot, and nothing on this host writes them again at boot";
            findings.warnings.push(Warning {
                resource: Cow::Borrowed(Self::KEY),
                subject: UNIT.to_owned(),
                reason: Reason::new("not-redone-at-boot", text).remedy(format!("systemctl enable {UNIT}")),
            });
        }
        findings
    }
}

impl State {
    fn judge(&self, pf: PciAddress, wanted: &Wanted) -> Verdict {
        let blocked = |reason: Reason| Verdict::Blocked { on: Blocker::Host, why: reason.at(&wanted.origin) };
        let Some(facts) = self.pfs.get(&pf) else {
            return blocked(Reason::new("unreadable-function", format!("{pf} cannot be read")));
        };
        let Some(sriov) = facts.sriov else {
            let text =
                format!("{pf} cannot have VFs: it has no SR-IOV capability, or its firmware turns it off");
            return blocked(Reason::new("not-a-pf", text));
        };
        if wanted.vfs > sriov.total {
            let text = format!("{pf} can have {} VFs (sriov_totalvfs), not {}", sriov.total, wanted.vfs);
            let remedy = "ask for fewer, or raise the limit in the card's firmware";
            return blocked(Reason::new("too-many-vfs", text).remedy(remedy));
        }
        let settled = sriov.current == wanted.vfs;
        let probing = match wanted.chooses_driver {
            // A count that stands causes no write: the attribute only matters when VFs are made.
            true if settled => None,
            true => probing_off(pf, facts),
            false => self.probing_restored(pf, facts),
        };
        if settled && probing.is_none() {
            return Verdict::InSync;
        }
        if let (false, Some(verdict)) = (settled, self.obstacle(pf, facts.driver.as_ref(), &wanted.origin)) {
            return verdict;
        }
        if let Some(objection) = wanted.contested.as_ref().filter(|_| !settled) {
            return Verdict::Refused(objection.clone());
        }
        let reason = if settled {
            Reason::new("probing", "the document leaves the VFs' driver to the kernel again")
        } else {
            Reason::new(
                "vf-count",
                format!("sriov asks for {}, there are {}", count(wanted.vfs), sriov.current),
            )
        };
        let (step, owned) = probing.unzip();
        let mut change = count_change(pf, facts, wanted.vfs, step, reason.at(&wanted.origin));
        if !settled {
            change.allowed.clone_from(&wanted.allowed);
            change.owns.push(OwnedItem {
                item: pf.to_string(),
                target: attribute(pf, "sriov_numvfs"),
                before: Some(sriov.current.to_string()),
                written: Some(wanted.vfs.to_string()),
            });
        }
        change.owns.extend(owned);
        Verdict::Change(change)
    }

    /// Why the PF's driver cannot change the count now.
    fn obstacle(&self, pf: PciAddress, driver: Option<&DriverName>, origin: &str) -> Option<Verdict> {
        match driver {
            None => {
                let text = format!("{pf} has no driver, and only a PF's driver can make VFs");
                let remedy = format!("load its module (`lspci -ks {pf}` names it), then run again");
                let why = Reason::new("pf-without-driver", text).at(origin).remedy(remedy);
                Some(Verdict::Blocked { on: Blocker::Host, why })
            }
            Some(driver) if driver.is_vfio() => {
                let text = format!("{pf} is on {driver}: a PF that a guest may have makes no VFs");
                let why = Reason::new("pf-on-vfio", text).at(origin);
                if self.bound_by_us.contains(&pf) {
                    return Some(Verdict::Blocked { on: Blocker::Resource(Cow::Borrowed("bindings")), why });
                }
                let lifted_by = LiftedBy::Operator(format!(
                    "give {pf} back to its own driver: clear its driver_override, unbind it, write {pf} to /sys/bus/pci/drivers_probe"
                ));
                Some(Verdict::Refused(Objection::new(pf.to_string(), vec![why], lifted_by)))
            }
            Some(_) => None,
        }
    }

    /// Lets the kernel probe VFs again, where it did before us.
    fn probing_restored(&self, pf: PciAddress, facts: &FunctionFacts) -> Option<(Step, OwnedItem)> {
        let owned = self.owned.get(&autoprobe_item(pf))?;
        facts.sriov?.autoprobe.filter(|on| !on)?;
        let before = owned.before.clone()?;
        Some(autoprobe(pf, "0", &before, Some(before.clone()), None))
    }

    /// Returns to the count that stood before us, if ours still stands.
    fn take_back(&self, pf: PciAddress, owned: &Owned) -> Verdict {
        let give_up = |(item, owned): (String, &Owned)| OwnedItem {
            item,
            target: owned.target.clone(),
            before: owned.before.clone(),
            written: None,
        };
        let autoprobe = self.owned.get(&autoprobe_item(pf)).map(|owned| (autoprobe_item(pf), owned));
        let gives_up = [(pf.to_string(), owned)].into_iter().chain(autoprobe).map(give_up).collect();
        let facts = self.pfs.get(&pf);
        let sriov = facts.and_then(|facts| facts.sriov);
        let before: u16 = owned.before.as_deref().and_then(|before| before.parse().ok()).unwrap_or(0);
        let mut change = match (facts, sriov) {
            (Some(facts), Some(sriov))
                if sriov.current.to_string() == owned.written && sriov.current != before =>
            {
                if let Some(verdict) = self.obstacle(pf, facts.driver.as_ref(), "no longer in the document") {
                    return verdict;
                }
                let restored = self.probing_restored(pf, facts).map(|(step, _)| step);
                let text =
                    format!("sriov no longer names {pf}: back to {} as before reconcile", count(before));
                count_change(pf, facts, before, restored, Reason::new("taken-back", text))
            }
            (Some(facts), _) if self.probing_restored(pf, facts).is_some() => {
                // A run that was killed between the two writes leaves the attribute without the count.
                let steps = self.probing_restored(pf, facts).map(|(step, _)| step).into_iter().collect();
                let text = format!("sriov no longer names {pf}: its VFs may be probed again as before reconcile");
                Change::new(Phase::Live, steps, Disruption::Nothing, Reason::new("taken-back", text))
            }
            _ => {
                let text = format!("the VF count of {pf} is no longer what reconcile wrote");
                Change::bookkeeping(Reason::new("given-up", text))
            }
        };
        change.owns = gives_up;
        Verdict::Change(change)
    }
}

/// Goes to `vfs` through 0, as the kernel demands, and writes `probing` before any VF is made.
fn count_change(
    pf: PciAddress,
    facts: &FunctionFacts,
    vfs: u16,
    probing: Option<Step>,
    reason: Reason,
) -> Change {
    let current = facts.sriov.map_or(0, |sriov| sriov.current);
    let mut steps: Vec<Step> = probing.into_iter().collect();
    if current != vfs {
        if current > 0 {
            steps.push(write_count(pf, current, 0));
        }
        if vfs > 0 {
            steps.push(write_count(pf, 0, vfs));
        }
    }
    let disruption = match current {
        _ if current == vfs => Disruption::Nothing,
        0 => Disruption::LinkDrop,
        _ => Disruption::Guest,
    };
    let mut change = Change::new(Phase::Live, steps, disruption, reason);
    if current != vfs {
        change.disturbs.insert(Subject::Function(pf));
        change.disturbs.extend(facts.vfs.iter().flatten().map(|vf| Subject::Function(*vf)));
    }
    change
}

/// Writes another count; the kernel takes one of them to be 0.
pub(crate) fn write_count(pf: PciAddress, before: u16, value: u16) -> Step {
    let deadline = BASE_DEADLINE + DEADLINE_PER_VF * u32::from(before.max(value));
    Step::attr(attribute(pf, "sriov_numvfs"), Some(before.to_string()), value.to_string(), deadline)
}

/// Keeps the kernel from probing the VFs to come, where it would.
fn probing_off(pf: PciAddress, facts: &FunctionFacts) -> Option<(Step, OwnedItem)> {
    facts.sriov?.autoprobe.filter(|on| *on)?;
    Some(autoprobe(pf, "1", "0", Some("1".to_owned()), Some("0".to_owned())))
}

/// A write of `sriov_drivers_autoprobe` and what it makes ours.
fn autoprobe(
    pf: PciAddress,
    now: &str,
    value: &str,
    before: Option<String>,
    written: Option<String>,
) -> (Step, OwnedItem) {
    let target = attribute(pf, "sriov_drivers_autoprobe");
    let step = Step::quick_attr(target.clone(), Some(now.to_owned()), value);
    (step, OwnedItem { item: autoprobe_item(pf), target, before, written })
}

fn autoprobe_item(pf: PciAddress) -> String {
    format!("{pf} sriov_drivers_autoprobe")
}

fn count(vfs: u16) -> String {
    match vfs {
        0 => "no VFs".to_owned(),
        1 => "1 VF".to_owned(),
        more => format!("{more} VFs"),
    }
}
