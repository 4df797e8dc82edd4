//! Live state goes back as far as it was changed under this boot: VF counts, probing of VFs, overrides, drivers.
//!
//! A function's binding is its override and its driver together. VFs of a PF whose count goes back go with the count;
//! those that come with it get the bindings that were remembered for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::chain::{Touch, first_state};
use super::{Causes, changed_since};
use crate::engine::Memory;
use crate::engine::generations::{Generation, Left, RoundRecord, StepState, rebound};
use crate::host::ReadHost;
use crate::host::pci::{Pci, attribute, device_path};
use crate::plan::{Blocker, Change, Disruption, Phase, Reason, Step, Subject, Verdict};
use crate::resources::bindings::{Bindings, probe, unbind};
use crate::resources::sriov::{SriovCounts, write_count};
use crate::resources::{ObserveError, Resource as _};
use crate::types::{DriverName, PciAddress};

/// What was done to attributes and bindings under this boot.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveUndo {
    counts: BTreeMap<PciAddress, Undone<String>>,
    probing: BTreeMap<PciAddress, Undone<String>>,
    overrides: BTreeMap<PciAddress, Undone<String>>,
    drivers: BTreeMap<PciAddress, Undone<Option<DriverName>>>,
}

/// What was done to one thing, and for whom.
#[derive(Debug, Clone)]
struct Undone<T> {
    touches: Vec<Touch<T>>,
    causes: Causes,
}

impl<T> Default for Undone<T> {
    fn default() -> Self {
        Self { touches: Vec::new(), causes: Causes::default() }
    }
}

impl<T: PartialEq> Undone<T> {
    /// The state before, or which touch somebody else has changed since, and to what.
    fn before<'t>(&'t self, now: &'t T) -> Result<&'t T, (&'t Touch<T>, &'t T)> {
        first_state(&self.touches, now, PartialEq::eq, |stood, touch| *stood == touch.left)
    }
}

/// The function and the name of one of its attributes.
fn function_attribute(path: &Path) -> Option<(PciAddress, &str)> {
    let name = path.file_name()?.to_str()?;
    let function = path.parent()?.file_name()?.to_str()?.parse().ok()?;
    (*path == *attribute(function, name)).then_some((function, name))
}

type Found = (&'static str, String, Verdict);

impl LiveUndo {
    /// What the generations of this boot did.
    pub(super) fn of(generations: &[Generation], boot_id: Option<&str>) -> Self {
        let mut live = Self::default();
        let this_boot = |generation: &&Generation| generation.header.boot_id.as_deref() == boot_id;
        for generation in generations.iter().filter(this_boot) {
            for record in &generation.rounds {
                live.add(generation.number, record);
            }
        }
        live
    }

    fn add(&mut self, generation: u32, record: &RoundRecord) {
        let round = &record.round;
        let mut rebindings: BTreeMap<PciAddress, Touch<Option<DriverName>>> = BTreeMap::new();
        for (at, (step, known)) in round.steps.iter().zip(&record.steps).enumerate() {
            let certain = known.state == StepState::Made;
            if let Some(function) = rebound(step) {
                let Some(before) = round.drivers.get(&function) else { continue };
                self.drivers.entry(function).or_default().causes.add(round, at);
                // Unbinding and probing are one change of the driver.
                let (before, left) = (before.clone(), None);
                let new = Touch { generation, before, left, certain: true };
                let touch = rebindings.entry(function).or_insert(new);
                touch.certain &= certain;
                if let Some(Left::Driver(driver)) = &known.left {
                    touch.left.clone_from(driver);
                }
                continue;
            }
            let Step::WriteAttr { path, before: Some(before), value, .. } = step else { continue };
            let Some((function, name)) = function_attribute(path) else { continue };
            let attributes = match name {
                "sriov_numvfs" => &mut self.counts,
                "sriov_drivers_autoprobe" => &mut self.probing,
                "driver_override" => &mut self.overrides,
                _ => continue,
            };
            let undone = attributes.entry(function).or_default();
            undone.causes.add(round, at);
            let (before, left) = (before.trim().to_owned(), value.trim().to_owned());
            undone.touches.push(Touch { generation, before, left, certain });
        }
        for (function, touch) in rebindings {
            self.drivers.entry(function).or_default().touches.push(touch);
        }
    }

    /// What stands otherwise than before.
    pub(super) fn judge(
        &self,
        to: u32,
        host: &dyn ReadHost,
        memory: &Memory,
    ) -> Result<Vec<Found>, (&'static str, ObserveError)> {
        let pci = Pci::new(host);
        let mut found = Vec::new();
        let mut unsettled = BTreeSet::new();
        for pf in self.counts.keys().chain(self.probing.keys()).collect::<BTreeSet<_>>() {
            let verdict = self.judge_pf(*pf, to, &pci).map_err(|error| (SriovCounts::KEY, error))?;
            let Some(verdict) = verdict else { continue };
            if verdict != Verdict::InSync {
                unsettled.insert(*pf);
            }
            found.push((SriovCounts::KEY, pf.to_string(), verdict));
        }
        let bindings = self.judge_bindings(to, host, &unsettled, memory);
        found.extend(bindings.map_err(|error| (Bindings::KEY, error))?);
        Ok(found)
    }

    /// The VF count of a PF and whether its VFs are probed; `None` where the PF is gone.
    fn judge_pf(&self, pf: PciAddress, to: u32, pci: &Pci<'_>) -> Result<Option<Verdict>, ObserveError> {
        let Some(sriov) = pci.sriov(pf)? else { return Ok(None) };
        let (count, probing) = (self.counts.get(&pf), self.probing.get(&pf));
        let now = sriov.current.to_string();
        let wanted = match count.map(|count| count.before(&now)).transpose() {
            Ok(before) => before.and_then(|before| before.parse().ok()).unwrap_or(sriov.current),
            Err((touch, stood)) => return Ok(Some(refused(pf, "sriov_numvfs", to, touch, stood))),
        };
        let probes = sriov.autoprobe.map(|on| u8::from(on).to_string());
        let probe_step = match (probing, &probes) {
            (Some(probing), Some(now)) => match probing.before(now) {
                Ok(before) if before == now => None,
                Ok(before) => {
                    let path = attribute(pf, "sriov_drivers_autoprobe");
                    Some(Step::quick_attr(path, Some(now.clone()), before))
                }
                Err((touch, stood)) => {
                    return Ok(Some(refused(pf, "sriov_drivers_autoprobe", to, touch, stood)));
                }
            },
            _ => None,
        };
        let driver = pci.driver(pf)?;
        if sriov.current != wanted && wanted > 0 && driver.as_ref().is_none_or(DriverName::is_vfio) {
            let text = format!("{pf} can make VFs only with its own driver");
            let why = Reason::new("pf-without-driver", text);
            return Ok(Some(Verdict::Blocked { on: Blocker::Resource(Bindings::KEY.into()), why }));
        }
        let mut steps = Vec::new();
        if sriov.current != wanted && sriov.current > 0 {
            steps.push(write_count(pf, sriov.current, 0));
        }
        steps.extend(probe_step);
        if sriov.current != wanted && wanted > 0 {
            steps.push(write_count(pf, 0, wanted));
        }
        if steps.is_empty() {
            return Ok(Some(Verdict::InSync));
        }
        let disruption = if sriov.current != wanted && sriov.current > 0 {
            Disruption::Guest
        } else {
            Disruption::LinkDrop
        };
        let causes = [count, probing].into_iter().flatten().map(|undone| &undone.causes);
        Ok(Some(change(steps, disruption, to, causes, pf)))
    }

    fn judge_bindings(
        &self,
        to: u32,
        host: &dyn ReadHost,
        unsettled: &BTreeSet<PciAddress>,
        memory: &Memory,
    ) -> Result<Vec<Found>, ObserveError> {
        let pci = Pci::new(host);
        let mut found = Vec::new();
        for function in self.overrides.keys().chain(self.drivers.keys()).collect::<BTreeSet<_>>() {
            let goes_with_its_pf = pci.physfn(*function)?.is_some_and(|pf| self.counts.contains_key(&pf));
            let has_vfs =
                || Ok::<_, ObserveError>(pci.sriov(*function)?.is_some_and(|sriov| sriov.current > 0));
            if goes_with_its_pf
                || !host.exists(&device_path(*function))?
                || (unsettled.contains(function) && has_vfs()?)
            {
                continue;
            }
            found.push((Bindings::KEY, function.to_string(), self.judge_binding(*function, to, &pci)?));
        }
        for (item, owned) in memory.owned(Bindings::KEY) {
            let Ok(vf) = item.parse::<PciAddress>() else { continue };
            let Some(pf) = pci.physfn(vf)?.filter(|pf| self.counts.contains_key(pf)) else { continue };
            let now = pci.driver_override(vf)?.unwrap_or_default();
            if unsettled.contains(&pf) || now == owned.written {
                continue;
            }
            let steps = rebind(vf, &now, &owned.written, pci.driver(vf)?.as_ref(), true);
            let causes = self.counts.get(&pf).map(|undone| &undone.causes);
            let change = change(steps, Disruption::Nothing, to, causes.into_iter(), vf);
            found.push((Bindings::KEY, item.to_owned(), change));
        }
        Ok(found)
    }

    fn judge_binding(&self, function: PciAddress, to: u32, pci: &Pci<'_>) -> Result<Verdict, ObserveError> {
        let (overrides, drivers) = (self.overrides.get(&function), self.drivers.get(&function));
        let now = pci.driver_override(function)?.unwrap_or_default();
        let wanted = match overrides.map(|overrides| overrides.before(&now)).transpose() {
            Ok(before) => before.cloned().unwrap_or_else(|| now.clone()),
            Err((touch, stood)) => return Ok(refused(function, "driver_override", to, touch, stood)),
        };
        let driver = pci.driver(function)?;
        // Whatever the driver is after a rebinding that did not come to its end: nobody else need have done it.
        let is_left = |stood: &Option<DriverName>, touch: &Touch<Option<DriverName>>| {
            !touch.certain || *stood == touch.left
        };
        let before = drivers.map(|drivers| first_state(&drivers.touches, &driver, PartialEq::eq, is_left));
        let wanted_driver = match before.transpose() {
            Ok(before) => before.unwrap_or(&driver),
            Err((touch, stood)) => {
                let name = |driver: &Option<DriverName>| {
                    driver.as_ref().map_or("no driver".to_owned(), DriverName::to_string)
                };
                let touch = Touch {
                    generation: touch.generation,
                    before: name(&touch.before),
                    left: name(&touch.left),
                    certain: touch.certain,
                };
                return Ok(refused(function, "driver", to, &touch, &name(stood)));
            }
        };
        let steps = if driver == *wanted_driver {
            let path = attribute(function, "driver_override");
            if wanted == now { Vec::new() } else { vec![Step::quick_attr(path, Some(now), wanted)] }
        } else {
            rebind(function, &now, &wanted, driver.as_ref(), wanted_driver.is_some())
        };
        if steps.is_empty() {
            return Ok(Verdict::InSync);
        }
        let guest = driver != *wanted_driver && driver.as_ref().is_some_and(DriverName::is_vfio);
        let recorded = overrides.and_then(|undone| undone.causes.disruption);
        let disruption = if guest { Disruption::Guest } else { recorded.unwrap_or(Disruption::Nothing) };
        let causes = overrides.map(|undone| &undone.causes).into_iter();
        Ok(change(steps, disruption, to, causes.chain(drivers.map(|undone| &undone.causes)), function))
    }
}

/// Override first, so that no other driver gets the function in between.
fn rebind(
    function: PciAddress,
    now: &str,
    wanted: &str,
    driver: Option<&DriverName>,
    probes: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if now != wanted {
        steps.push(Step::quick_attr(attribute(function, "driver_override"), Some(now.to_owned()), wanted));
    }
    steps.extend(driver.map(|driver| unbind(function, driver)));
    if probes {
        steps.push(probe(function));
    }
    steps
}

fn change<'c>(
    steps: Vec<Step>,
    disruption: Disruption,
    to: u32,
    causes: impl Iterator<Item = &'c Causes>,
    function: PciAddress,
) -> Verdict {
    let reason = Reason::new("rolled-back", format!("as it was before generation {to}"));
    let mut change = Change::new(Phase::Live, steps, disruption, reason);
    change.followups.extend(causes.flat_map(|causes| causes.followups.iter().copied()));
    change.disturbs.insert(Subject::Function(function));
    Verdict::Change(change)
}

fn refused(function: PciAddress, name: &str, to: u32, touch: &Touch<String>, stood: &str) -> Verdict {
    let shown = |value: &str| if value.is_empty() { "empty".to_owned() } else { value.to_owned() };
    let text = format!("it left {name} at {} and it is {} now", shown(&touch.left), shown(stood));
    let subject = format!("{name} of {function}");
    let remedy = format!("set {subject} to {} yourself, then roll back again", shown(&touch.left));
    changed_since(&subject, to, touch.generation, Reason::new("difference", text), remedy)
}
