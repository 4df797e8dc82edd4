//! Guards: from a plan and observed facts to objections.
//!
//! A change that takes a function from its driver, or a PF's VFs away, is refused while the host itself or a guest uses
//! it: the kernel does not refuse, it takes the disk or the link away or waits for ever.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::{ReadHost, UNKNOWN_USE, Use, Users};
use crate::plan::{Change, ItemVerdict, LiftedBy, Objection, Reason, Step, Verdict};
use crate::types::PciAddress;

/// What a step takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Taking {
    /// The function from its driver; a PF's VFs go with it.
    Function(PciAddress),
    /// The VFs of this PF.
    Vfs(PciAddress),
}

impl Taking {
    /// What `step` takes; nothing for most steps.
    fn by(step: &Step) -> Option<Self> {
        let Step::WriteAttr { path, before, value, .. } = step else { return None };
        let value = value.trim();
        match path.file_name()?.to_str()? {
            "unbind" if is_pci_driver(path.parent()?) => {
                let from_path = || path.parent()?.parent()?.file_name()?.to_str()?.parse().ok();
                value.parse().ok().or_else(from_path).map(Self::Function)
            }
            "remove" => path.parent()?.file_name()?.to_str()?.parse().ok().map(Self::Function),
            // Any other count than the present one destroys all VFs first, if there are any.
            "sriov_numvfs" if ![Some("0"), Some(value)].contains(&before.as_deref().map(str::trim)) => {
                path.parent()?.file_name()?.to_str()?.parse().ok().map(Self::Vfs)
            }
            _ => None,
        }
    }

    fn function(self) -> PciAddress {
        match self {
            Self::Function(function) | Self::Vfs(function) => function,
        }
    }

    fn uses(self, users: &mut Users<'_>) -> Vec<Use> {
        match self {
            Self::Function(function) => users.of(function),
            Self::Vfs(pf) => users.of_vfs(pf),
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::Function(function) => {
                Reason::new("takes-function", format!("this change takes {function} from its driver"))
            }
            Self::Vfs(pf) => Reason::new("takes-vfs", format!("this change removes the VFs of {pf}")),
        }
    }
}

impl Taking {
    fn objection(self, users: &mut Users<'_>) -> Option<Objection> {
        let uses = self.uses(users);
        if uses.is_empty() {
            return None;
        }
        let reasons: Vec<Reason> = uses.into_iter().flat_map(|found| found.chain).collect();
        let remedies: BTreeSet<String> = reasons.iter().filter_map(|reason| reason.remedy.clone()).collect();
        let remedies: Vec<String> = remedies.into_iter().collect();
        Some(Objection {
            subject: self.function().to_string(),
            chain: [vec![self.reason()], reasons].concat(),
            lifted_by: LiftedBy::Operator(remedies.join("; ")),
        })
    }
}

fn is_pci_driver(directory: &Path) -> bool {
    directory.ends_with("driver") || directory.parent().is_some_and(|parent| parent.ends_with("pci/drivers"))
}

/// Turns every change that takes away what is in use into a refusal. Reads nothing if no change takes anything away;
/// where it cannot be told whether something is in use, the change is refused as well.
pub fn review<'a>(items: impl IntoIterator<Item = &'a mut ItemVerdict>, host: &dyn ReadHost) {
    let mut users = Users::new(host);
    for item in items {
        if let Verdict::Change(change) = &item.verdict
            && let Some(objection) = objection(change, &mut users)
        {
            item.verdict = Verdict::Refused(objection);
        }
    }
}

fn objection(change: &Change, users: &mut Users<'_>) -> Option<Objection> {
    let takings: BTreeSet<Taking> = change.steps.iter().filter_map(Taking::by).collect();
    takings.into_iter().find_map(|taking| taking.objection(users))
}

/// Why `function` cannot be taken from its driver, if something uses it.
pub fn losing(function: PciAddress, users: &mut Users<'_>) -> Option<Objection> {
    Taking::Function(function).objection(users)
}

/// Whether something is known to use the function, and not only possible.
pub fn is_certain(objection: &Objection) -> bool {
    objection.chain.iter().all(|reason| reason.code != UNKNOWN_USE)
}

#[cfg(test)]
mod tests;
