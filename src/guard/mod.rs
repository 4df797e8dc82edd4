//! Guards: from a plan and observed facts to objections.
//!
//! A change that takes something away is refused while the host itself or a guest uses it: the kernel does not refuse, it
//! takes the disk or the link away, or waits for ever. What a change takes away is read from its *steps*, which are what is
//! executed, and never from what a resource says about them: a resource that is written tomorrow is guarded without a
//! line of its own. Each way of losing something is a `Way`, one file each.
//!
//! What the document allows (`allow`) is no objection; it stands with the change, as [`Consented`].

mod consent;
mod defined_guests;
mod live;
mod next_boot;
mod scene;
mod stale;

use std::collections::BTreeMap;
use std::fmt;

pub use consent::{Consents, Loss};
pub use defined_guests::{DEFINED_GUEST, warn_of_guests};
pub use stale::stale;

use self::scene::Scene;
use crate::engine::Facts;
use crate::host::pci::described;
use crate::host::{ReadHost, Use, Users};
use crate::plan::{Because, Change, Consented, ItemVerdict, LiftedBy, Objection, Phase, Reason, Verdict};
use crate::resources::kernel_args::KernelArgs;
use crate::resources::{ObserveError, Resource as _};
use crate::types::PciAddress;

/// Every way of losing something. To add one: a file with a type that implements [`Way`], and its line here.
static WAYS: &[&dyn Way] = &[
    &live::Unbinding,
    &live::VfCount,
    &next_boot::ModulesAtBoot,
    &next_boot::IdsAtBoot,
    &next_boot::IommuAtBoot,
];

/// One way of losing something through a change.
trait Way: fmt::Debug + Sync {
    /// What the `change` of an item takes away. Reads nothing where it takes nothing away.
    ///
    /// # Errors
    /// When something that could tell cannot be read.
    fn takings(
        &self,
        item: &str,
        change: &Change,
        scene: &mut Scene<'_>,
    ) -> Result<Vec<Taking>, ObserveError>;
}

/// Something that a change takes away.
#[derive(Debug)]
struct Taking {
    /// The function, module or argument.
    subject: String,
    /// From the change to what is taken.
    link: Vec<Reason>,
    /// What of the host goes with it; empty where nothing uses it.
    losses: Vec<Loss>,
}

impl Loss {
    /// The losses in the uses of functions.
    fn from_uses(uses: Vec<(PciAddress, Use)>) -> Vec<Self> {
        let loss = |(function, Use { because, mut chain }): (PciAddress, Use)| {
            chain.reverse();
            Self { function, because, chain }
        };
        uses.into_iter().map(loss).collect()
    }
}

/// What is refused of a resource whose items share files, by item: the resource leaves these as they stand, and writes
/// the others.
pub type Withheld = BTreeMap<(&'static str, String), Objection>;

/// Turns every change that takes away what is in use into a refusal, unless the document allows it. Reads nothing if no
/// change takes anything away; where it cannot be told whether something is in use, the change is refused as well.
///
/// Returns what is to be withheld: refused items that shared a file with others.
pub fn review<'a>(
    items: impl IntoIterator<Item = (&'static str, &'a mut ItemVerdict)>,
    facts: &Facts,
    host: &dyn ReadHost,
) -> Withheld {
    let mut scene = Scene::new(host, facts);
    let mut withheld = Withheld::new();
    for (resource, item) in items {
        let Verdict::Change(change) = &mut item.verdict else { continue };
        let mut asked = change.reason.clone();
        asked.at = asked.at.or_else(|| item.origin.clone());
        let weighed = match facts.argument_owners.arguments.get(&item.item) {
            Some(objection) if resource == KernelArgs::KEY => Err(Box::new(objection.clone())),
            _ => weigh(&item.item, change, &asked, &mut scene),
        };
        match weighed {
            Ok(allowed) => {
                change.allowed.extend(allowed);
                change.allowed.sort();
                change.allowed.dedup();
            }
            Err(objection) => {
                if change.phase == Phase::Persisted {
                    withheld.insert((resource, item.item.clone()), (*objection).clone());
                }
                item.verdict = Verdict::Refused(*objection);
            }
        }
    }
    withheld
}

/// Weighs everything that one change takes away.
fn weigh(
    item: &str,
    change: &Change,
    asked: &Reason,
    scene: &mut Scene<'_>,
) -> Result<Vec<Consented>, Box<Objection>> {
    let mut allowed = Vec::new();
    for way in WAYS {
        let takings = way.takings(item, change, scene).map_err(|error| unreadable(item, asked, &error))?;
        for taking in takings {
            let link = [vec![asked.clone()], taking.link].concat();
            allowed.extend(scene.consents().weigh(taking.subject, link, &taking.losses)?);
        }
    }
    Ok(allowed)
}

/// Where it cannot be told what a change takes away, it is refused.
fn unreadable(item: &str, asked: &Reason, error: &ObserveError) -> Box<Objection> {
    let text = format!("nothing tells what this takes away: {}", described(error));
    let chain = vec![asked.clone(), Reason::new("losses-unknown", text)];
    let lifted_by = LiftedBy::Operator("seeing to it that this can be read".to_owned());
    Box::new(Objection { because: [Because::Unsure].into(), ..Objection::new(item, chain, lifted_by) })
}

/// What goes with `function` when it is taken from its driver; its VFs' uses are among it.
pub fn losses_of(function: PciAddress, users: &mut Users<'_>) -> Vec<Loss> {
    Loss::from_uses(users.of_family(function))
}

/// Whether something is known to use the function, and not only possible.
pub fn is_certain(loss: &Loss) -> bool {
    loss.because != Because::Unsure
}

#[cfg(test)]
mod tests;
