//! Ids by which a driver for guests claims functions when it is loaded, whoever writes them: `vfio_pci.ids`, an option in
//! `module_options`, a kernel argument. The twin of a card that is meant has the same id.

use std::collections::BTreeSet;

use super::{News, news};
use crate::guard::{Scene, Taking, Way};
use crate::host::Pci;
use crate::host::pci::Scan;
use crate::plan::{Change, Reason};
use crate::resources::ObserveError;
use crate::types::{PciAddress, VfioId};

/// Claiming functions by their ids.
#[derive(Debug)]
pub(in crate::guard) struct IdsAtBoot;

impl Way for IdsAtBoot {
    fn takings(
        &self,
        item: &str,
        change: &Change,
        scene: &mut Scene<'_>,
    ) -> Result<Vec<Taking>, ObserveError> {
        let mut takings = Vec::new();
        for said in news(item, change, scene) {
            let News::Claimed { ids, by } = said else { continue };
            for id in ids.split(',').filter_map(|id| id.parse::<VfioId>().ok()) {
                takings.extend(matched(&id, scene)?.into_iter().map(|function| Taking {
                    subject: id.to_string(),
                    link: vec![Reason::new(
                        "id-takes",
                        format!("at the next boot {by} gives {function} to a guest's driver, by its id {id}"),
                    )],
                    losses: scene.losses_of(function),
                }));
            }
        }
        Ok(takings)
    }
}

/// The functions of this id that a native driver has.
fn matched(id: &VfioId, scene: &Scene<'_>) -> Result<BTreeSet<PciAddress>, ObserveError> {
    let pci = Pci::new(scene.host).after(scene.devices.known.clone());
    let mut found = BTreeSet::new();
    let Scan { functions, .. } = pci.scan()?;
    for function in
        functions.iter().filter(|function| id.matches(function.id, function.subsystem, function.class))
    {
        let driver = match scene.devices.function(function.address) {
            Some(facts) => facts.driver.clone(),
            None => pci.driver(function.address)?,
        };
        if driver.is_some_and(|driver| !driver.is_vfio()) {
            found.insert(function.address);
        }
    }
    Ok(found)
}
