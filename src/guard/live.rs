//! What a step takes away at once: a function from its driver, the VFs of a PF.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Scene, Taking, Way};
use crate::plan::{Change, Reason, Step};
use crate::resources::ObserveError;
use crate::types::PciAddress;

/// Unbinding a function from its driver, or removing it. A PF's VFs go with it.
#[derive(Debug)]
pub(super) struct Unbinding;

impl Way for Unbinding {
    fn takings(&self, _: &str, change: &Change, scene: &mut Scene<'_>) -> Result<Vec<Taking>, ObserveError> {
        let functions: BTreeSet<PciAddress> = change.steps.iter().filter_map(unbound).collect();
        let taking = |function| Taking {
            subject: PciAddress::to_string(&function),
            link: vec![Reason::new(
                "takes-function",
                format!("this change takes {function} from its driver"),
            )],
            losses: scene.losses_of(function),
        };
        Ok(functions.into_iter().map(taking).collect())
    }
}

/// Another VF count: the kernel destroys all VFs first, whoever uses them (`drivers/pci/iov.c`, `sriov_numvfs_store`).
#[derive(Debug)]
pub(super) struct VfCount;

impl Way for VfCount {
    fn takings(&self, _: &str, change: &Change, scene: &mut Scene<'_>) -> Result<Vec<Taking>, ObserveError> {
        let pfs: BTreeSet<PciAddress> = change.steps.iter().filter_map(without_vfs).collect();
        let taking = |pf| Taking {
            subject: PciAddress::to_string(&pf),
            link: vec![Reason::new("takes-vfs", format!("this change removes the VFs of {pf}"))],
            losses: scene.losses_of_vfs(pf),
        };
        Ok(pfs.into_iter().map(taking).collect())
    }
}

/// The function that a step takes from its driver.
fn unbound(step: &Step) -> Option<PciAddress> {
    let Step::WriteAttr { path, value, .. } = step else { return None };
    let directory = path.parent()?;
    match path.file_name()?.to_str()? {
        "unbind" if is_pci_driver(directory) => {
            value.trim().parse().ok().or_else(|| function_of(directory.parent()?))
        }
        "remove" => function_of(directory),
        _ => None,
    }
}

/// The function that a step takes from its driver, with the driver where the step names it.
pub(super) fn unbound_from(step: &Step) -> Option<(PciAddress, &str)> {
    let Step::WriteAttr { path, .. } = step else { return None };
    let driver = path.parent().filter(|directory| is_pci_driver(directory))?.file_name()?.to_str()?;
    Some((unbound(step)?, driver))
}

/// The PF whose VF count a step writes, and the count.
pub(super) fn count_after(step: &Step) -> Option<(PciAddress, u16)> {
    let Step::WriteAttr { path, value, .. } = step else { return None };
    if path.file_name()? != "sriov_numvfs" {
        return None;
    }
    Some((function_of(path.parent()?)?, value.trim().parse().ok()?))
}

/// The PF whose VFs a step takes away: none where there are none, and where the count stays.
fn without_vfs(step: &Step) -> Option<PciAddress> {
    let Step::WriteAttr { path, before, value, .. } = step else { return None };
    let stays = [Some("0"), Some(value.trim())].contains(&before.as_deref().map(str::trim));
    if path.file_name()? != "sriov_numvfs" || stays { None } else { function_of(path.parent()?) }
}

fn function_of(directory: &Path) -> Option<PciAddress> {
    directory.file_name()?.to_str()?.parse().ok()
}

fn is_pci_driver(directory: &Path) -> bool {
    directory.ends_with("driver") || directory.parent().is_some_and(|parent| parent.ends_with("pci/drivers"))
}
