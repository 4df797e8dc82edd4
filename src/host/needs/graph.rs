//! The walk from a need down to functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::mounts::Mounts;
use super::routes::Routes;
use super::udev::BlockDatabase;
use super::{Gap, Needs, Scope, Unsure, Use, listed, sysfs};
use crate::host::pci::{DEVICES, attribute};
use crate::host::{HostError, Reach, ReadHost};
use crate::plan::{Because, Reason};
use crate::types::{ModuleName, PciAddress};

/// A thing that a need stands on, or that another thing stands on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// Where the walk ends.
    Function(PciAddress),
    /// A block device by its kernel name.
    Block(String),
    /// An NVMe controller by its name and directory.
    Controller(String, PathBuf),
    /// A ZFS pool.
    Pool(String),
    /// A file, for the file system that it lies on.
    File(PathBuf),
    /// A network interface.
    Interface(String),
    /// Another machine.
    Peer(IpAddr),
    /// A device of a class: its name, and its entry in /sys.
    Device(String, PathBuf),
    /// Every device that this virtio driver has.
    VirtioDriver(&'static str),
    /// An IOMMU group by its number.
    Group(String),
}

impl Thing {
    fn scope(&self) -> Scope {
        match self {
            Self::Block(_) | Self::Controller(..) | Self::Pool(_) | Self::File(_) | Self::VirtioDriver(_) => {
                Scope::Storage
            }
            Self::Interface(_) | Self::Peer(_) => Scope::Network,
            Self::Function(_) | Self::Device(..) | Self::Group(_) => Scope::Any,
        }
    }
}

/// One step down.
#[derive(Debug)]
pub(super) struct Step {
    /// What stands on what.
    pub(super) reason: Reason,
    /// The things below; each of them is needed.
    pub(super) to: Vec<Thing>,
    /// Whether it is certain that they are.
    pub(super) sure: bool,
    /// The modules without which the step is not there after a boot.
    pub(super) modules: Vec<Carrier>,
}

/// A kernel module that a need stands on, and how: a file system, a target of the device mapper.
pub(super) type Carrier = (ModuleName, Reason);

/// The modules of these names with what they are for; a name that is none is left out.
pub(super) fn carriers(names: &[&str], what: &str) -> Vec<Carrier> {
    let carrier = |name: &&str| {
        let module: ModuleName = name.parse().ok()?;
        let reason = Reason::new("needs-module", format!("the module {module} is for {what}"));
        Some((module, reason))
    };
    names.iter().filter_map(carrier).collect()
}

impl Step {
    pub(super) fn new(code: &'static str, text: String, to: Vec<Thing>) -> Self {
        Self { reason: Reason::new(code, text), to, sure: true, modules: Vec::new() }
    }

    pub(super) fn by(self, modules: Vec<Carrier>) -> Self {
        Self { modules, ..self }
    }
}

/// A thing that the walk has yet to look at, and the way to it.
struct Visit {
    thing: Thing,
    chain: Vec<Reason>,
    sure: bool,
    modules: Vec<Carrier>,
}

/// The step from a VF to its PF.
pub(super) fn vf_of(vf: PciAddress, pf: PciAddress) -> Reason {
    Reason::new("vf-of", format!("{vf} is a VF of {pf}"))
}

/// The steps down from a thing; none where it stands on nothing that a function carries.
pub(super) type Steps = Result<Vec<Step>, Gap>;

/// What is known while needs are gathered.
pub(super) struct Graph<'h> {
    pub(super) host: &'h dyn ReadHost,
    pub(super) reach: Reach,
    pub(super) mounts: Mounts,
    pub(super) routes: Routes,
    pub(super) udev: BlockDatabase<'h>,
    /// Every thing that a need has led to.
    pub(super) reached: BTreeSet<Thing>,
    needs: Needs,
}

impl<'h> Graph<'h> {
    pub(super) fn new(host: &'h dyn ReadHost, reach: Reach) -> Self {
        let mut needs = Needs::default();
        let mut or_unsure = |scope, gap: Gap| {
            needs.unsure.insert(Unsure { scope, chain: vec![gap.reason()] });
        };
        let mounts = Mounts::read(host, reach).unwrap_or_else(|error| {
            or_unsure(Scope::Storage, error.into());
            Mounts::default()
        });
        let routes = Routes::read(host, reach).unwrap_or_else(|error| {
            or_unsure(Scope::Network, error.into());
            Routes::default()
        });
        let udev = BlockDatabase::new(host);
        Self { host, reach, mounts, routes, udev, reached: BTreeSet::new(), needs }
    }

    pub(super) fn into_needs(self) -> Needs {
        let mut needs = self.needs;
        for uses in needs.uses.values_mut() {
            drop_repeated(uses);
        }
        needs
    }

    /// Notes what cannot be told.
    pub(super) fn unsure(&mut self, scope: Scope, chain: Vec<Reason>) {
        self.needs.unsure.insert(Unsure { scope, chain });
    }

    /// Takes what could be read; what could not makes the functions of `scope` unsure.
    pub(super) fn known<T: Default>(&mut self, scope: Scope, read: Result<T, impl Into<Gap>>) -> T {
        read.unwrap_or_else(|gap| {
            self.unsure(scope, vec![gap.into().reason()]);
            T::default()
        })
    }

    /// Walks down from what is needed and notes every function that is reached.
    pub(super) fn need(&mut self, because: Because, head: Reason, on: Vec<Thing>) {
        self.need_by(because, head, on, Vec::new());
    }

    /// As [`Graph::need`], for a need that is not met without these modules.
    pub(super) fn need_by(&mut self, because: Because, head: Reason, on: Vec<Thing>, by: Vec<Carrier>) {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<Visit> = on
            .into_iter()
            .rev()
            .map(|thing| Visit { thing, chain: vec![head.clone()], sure: true, modules: by.clone() })
            .collect();
        while let Some(Visit { thing, chain, sure, modules }) = waiting.pop() {
            if !seen.insert(thing.clone()) {
                continue;
            }
            let is_function = matches!(thing, Thing::Function(_));
            if let Thing::Function(function) = thing {
                let because = if sure { because } else { Because::Unsure };
                self.needs.uses.entry(function).or_default().insert(Use { because, chain: chain.clone() });
                for (module, reason) in &modules {
                    let chain = [chain.as_slice(), std::slice::from_ref(reason)].concat();
                    let carried = self.needs.carried.entry(module.clone()).or_default();
                    carried.insert((function, Use { because, chain }));
                }
            }
            match self.below(&thing) {
                Ok(steps) => {
                    for Step { reason, to, sure: step, modules: more } in steps.into_iter().rev() {
                        let chain = [chain.as_slice(), &[reason]].concat();
                        // A VF's PF is the same loss once more.
                        let modules =
                            if is_function { Vec::new() } else { [modules.as_slice(), &more].concat() };
                        waiting.extend(to.into_iter().rev().map(|thing| Visit {
                            thing,
                            chain: chain.clone(),
                            sure: sure && step,
                            modules: modules.clone(),
                        }));
                    }
                }
                Err(gap) => self.unsure(thing.scope(), [chain.as_slice(), &[gap.reason()]].concat()),
            }
            self.reached.insert(thing);
        }
    }

    fn below(&mut self, thing: &Thing) -> Steps {
        match thing {
            Thing::Function(function) => self.below_function(*function),
            Thing::Block(name) => self.below_block(name),
            Thing::Controller(name, directory) => self.below_controller(name, directory),
            Thing::Pool(name) => self.below_pool(name),
            Thing::File(path) => self.below_file(path),
            Thing::Interface(name) => self.below_interface(name),
            Thing::Peer(address) => self.below_peer(*address),
            Thing::Device(name, entry) => {
                let directory = sysfs::directory(self.host, entry)?;
                Ok(directory.map(|directory| behind(name, &directory)).unwrap_or_default())
            }
            Thing::VirtioDriver(name) => self.below_virtio_driver(name),
            Thing::Group(number) => self.below_group(number),
        }
    }

    /// A VF is there as long as its PF is.
    fn below_function(&mut self, function: PciAddress) -> Steps {
        let Some(pf) = self.host.link_name(&attribute(function, "physfn"))? else { return Ok(Vec::new()) };
        let Ok(pf) = pf.parse::<PciAddress>() else { return Ok(Vec::new()) };
        self.needs.pfs.insert(function, pf);
        let vf_of = vf_of(function, pf);
        Ok(vec![Step { reason: vf_of, to: vec![Thing::Function(pf)], sure: true, modules: Vec::new() }])
    }

    fn below_group(&self, number: &str) -> Steps {
        let directory = format!("/sys/kernel/iommu_groups/{number}/devices");
        let names = match self.host.list(Path::new(&directory))? {
            Some(names) => names,
            None => self.in_group_by_their_links(number)?,
        };
        let members: Vec<PciAddress> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let step = |member: &PciAddress| {
            let text = format!("{member} is in IOMMU group {number}");
            Step::new("in-group", text, vec![Thing::Function(*member)])
        };
        Ok(members.iter().map(step).collect())
    }

    /// A captured tree may have the functions' links alone.
    fn in_group_by_their_links(&self, number: &str) -> Result<Vec<String>, HostError> {
        let mut members = Vec::new();
        for name in self.host.list(Path::new(DEVICES))?.unwrap_or_default() {
            let link = Path::new(DEVICES).join(&name).join("iommu_group");
            if self.host.link_name(&link)?.as_deref() == Some(number) {
                members.push(name);
            }
        }
        Ok(members)
    }

    fn below_virtio_driver(&self, driver: &str) -> Steps {
        let directory = Path::new("/sys/bus/virtio/drivers").join(driver);
        let names = self.host.list(&directory)?.unwrap_or_default();
        let mut steps = Vec::new();
        for name in names.iter().filter(|name| name.starts_with("virtio")) {
            let entry = directory.join(name);
            if let Some(place) = sysfs::directory(self.host, &entry)? {
                steps.extend(behind(name, &place));
            }
        }
        Ok(steps)
    }

    /// A thing of which nothing tells what it stands on: a fact of a tree, a gap on a machine.
    pub(super) fn dead_end(&self, text: String) -> Steps {
        match self.reach {
            Reach::Tree => Ok(Vec::new()),
            Reach::Machine => Err(Gap::Unknown(text)),
        }
    }
}

/// The functions in a directory's path: what is there is behind every one of them.
pub(super) fn behind(name: &str, directory: &Path) -> Vec<Step> {
    let functions = sysfs::functions_in(directory).into_iter();
    let step = |function| {
        Step::new("behind", format!("{name} is behind {function}"), vec![Thing::Function(function)])
    };
    functions.map(step).collect()
}

/// The step to all the parts of a thing.
pub(super) fn made_of(name: &str, parts: Vec<Thing>, names: &[String]) -> Step {
    Step::new("made-of", format!("{name} is made of {}", listed(names)), parts)
}

/// Leaves out what only repeats another use: a file system in a file of one that is mounted itself, and the same need
/// by another way.
fn drop_repeated(uses: &mut BTreeSet<Use>) {
    let in_a_file = |found: &Use| found.chain.iter().any(|reason| reason.code == "lies-on");
    let storage = |found: &Use| matches!(found.because, Because::RootDisk | Because::Storage);
    if uses.iter().any(|found| storage(found) && !in_a_file(found)) {
        uses.retain(|found| found.because != Because::Storage || !in_a_file(found));
    }
    let mut shortest: BTreeMap<(Because, Option<Reason>), Use> = BTreeMap::new();
    for found in std::mem::take(uses) {
        let need = (found.because, found.chain.first().cloned());
        if shortest.get(&need).is_none_or(|kept| found.chain.len() < kept.chain.len()) {
            shortest.insert(need, found);
        }
    }
    uses.extend(shortest.into_values());
}
