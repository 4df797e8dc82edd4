//! Where an item stands, layer by layer, from the document to what runs, and the first layer at which it is lost.
//!
//! Nothing is judged here: a resource's verdict says what is wrong, and this places it. What a layer holds besides is looked
//! up where the resources look.

mod places;

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Facts, Plan};
use crate::host::ReadHost;
use crate::plan::{Change, LiftedBy, Phase, Reason, Verdict};
use crate::resources::Resource;
use crate::resources::bindings::Bindings;
use crate::resources::initramfs::Initramfs;
use crate::resources::kernel_args::KernelArgs;
use crate::resources::sriov::SriovCounts;
use crate::resources::vfio_ids::VfioIds;
use crate::types::{KernelArg, ModuleName, PciAddress, VfioId};
use places::Places;

/// A layer, from the document to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The document.
    Desired,
    /// The files that it is kept in.
    Persisted,
    /// What is generated from them: the boot loader's menu.
    Generated,
    /// The initramfs images.
    Image,
    /// What holds now.
    Running,
}

impl Layer {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Persisted => "persisted",
            Self::Generated => "generated",
            Self::Image => "image",
            Self::Running => "running",
        }
    }
}

/// What was found at one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The layer.
    pub layer: Layer,
    /// Whether it is there; `None` where nothing tells, or the layer has no part in it.
    pub holds: Option<bool>,
    /// Where, or what instead.
    pub detail: String,
}

/// One item from the document to what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The resource.
    pub resource: &'static str,
    /// The item.
    pub item: String,
    /// Whether it is in effect.
    pub in_effect: bool,
    /// The layers that have a part in it, in order.
    pub layers: Vec<Standing>,
    /// The first layer at which it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Layer>,
    /// Why it is lost, from the first cause on; for one that is in effect, what is to be known about it.
    pub reasons: Vec<Reason>,
}

/// The trail of every item of a plan, in the plan's order.
pub fn trails(plan: &Plan, host: &dyn ReadHost, facts: &Facts) -> Vec<Trail> {
    let places = Places::read(plan, host, facts);
    let mut seen = BTreeSet::new();
    let items = plan.items().filter(|(resource, found)| seen.insert((*resource, found.item.clone())));
    let items: Vec<_> = items.collect();
    let trail = |(resource, found): (&'static str, &crate::plan::ItemVerdict)| {
        let same = |(other, verdict): &(&'static str, &crate::plan::ItemVerdict)| {
            *other == resource && verdict.item == found.item
        };
        let losses = plan.items().filter(same).filter_map(|(_, found)| lost(resource, &found.verdict));
        let loss = losses.min_by_key(|(layer, _)| *layer);
        let mut trail = places.trail(resource, found, loss);
        let about = plan.warnings.iter().filter(|warning| warning.resource == resource);
        let about = about.filter(|warning| warning.subject == trail.item);
        trail.reasons.extend(about.map(|warning| warning.reason.clone()));
        trail.reasons.dedup();
        trail
    };
    items.into_iter().map(trail).collect()
}

/// At which layer a verdict says that an item is lost, and why.
fn lost(resource: &str, verdict: &Verdict) -> Option<(Layer, Vec<Reason>)> {
    Some(match verdict {
        Verdict::InSync => return None,
        Verdict::Change(change) => (layer_of(resource, change), vec![change.reason.clone()]),
        Verdict::PendingReboot { why } | Verdict::Stuck { why } | Verdict::Blocked { why, .. } => {
            (Layer::Running, vec![why.clone()])
        }
        Verdict::Refused(objection) => {
            let is_live = resource == Bindings::KEY || resource == SriovCounts::KEY;
            let mut chain = objection.chain.clone();
            if let (Some(last), LiftedBy::Document(remedy) | LiftedBy::Operator(remedy)) =
                (chain.last_mut(), &objection.lifted_by)
            {
                last.remedy = Some(remedy.clone());
            }
            (if is_live { Layer::Running } else { Layer::Persisted }, chain)
        }
    })
}

fn layer_of(resource: &str, change: &Change) -> Layer {
    match change.phase {
        Phase::Live => Layer::Running,
        // The files are as desired, and what is made from them is not.
        Phase::Persisted if change.steps.is_empty() && resource == Initramfs::KEY => Layer::Image,
        Phase::Persisted if change.steps.is_empty() => Layer::Generated,
        Phase::Persisted => Layer::Persisted,
    }
}

/// Whether an item is about what somebody asks for: its own name, an argument's or parameter's name, a module, an address.
pub fn is_about(trail: &Trail, subject: &str, facts: &Facts) -> bool {
    let (resource, item) = (trail.resource, trail.item.as_str());
    if item == subject {
        return true;
    }
    if resource == KernelArgs::KEY {
        let name = |text: &str| text.parse::<KernelArg>().ok().map(|arg| arg.name().replace('-', "_"));
        return !subject.contains('=') && name(item) == name(subject);
    }
    if let Ok(address) = subject.parse::<PciAddress>() {
        let id = item.parse::<VfioId>().ok().filter(|_| resource == VfioIds::KEY);
        return item.parse() == Ok(address)
            || id.is_some_and(|id| facts.devices.matches(&id).contains(&address));
    }
    let module = subject.parse::<ModuleName>().ok();
    module.is_some() && module_of(resource, item) == module
}

/// The module that an item is about, where it is about one.
fn module_of(resource: &str, item: &str) -> Option<ModuleName> {
    match resource {
        "modules" | "blacklist" => item.parse().ok(),
        "module_options" => item.split_once('.')?.0.parse().ok(),
        "vfio_ids" => item.strip_prefix("softdep ").unwrap_or("vfio_pci").parse().ok(),
        _ => None,
    }
}
