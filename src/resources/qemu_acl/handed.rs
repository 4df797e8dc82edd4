//! The functions whose group nodes `vfio_groups` asks for.

use std::borrow::Cow;

use crate::document::Document;
use crate::engine::Facts;
use crate::engine::devices::{self, Target};
use crate::plan::{Blocker, Reason, Subject};
use crate::types::IommuGroup;

/// A function that the document hands to vfio-pci.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// The function.
    pub target: Target,
    /// Its group; an error while the function is absent or has none.
    pub group: Result<IommuGroup, GroupUnknown>,
    /// Where the document hands it over.
    pub origin: String,
}

impl Handed {
    /// What must be settled before the group is known: the function, or the PF that it is a VF of.
    pub(super) fn needs(&self) -> Subject {
        match self.target {
            Target::Function(address) => Subject::Function(address),
            Target::Vf { pf, .. } => Subject::Function(pf),
        }
    }
}

/// Why a group is not known, and what brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupUnknown {
    /// What has to come first.
    pub on: Blocker,
    /// Why.
    pub why: Reason,
}

/// The functions that `document` hands to vfio-pci on this host.
pub(super) fn handed(document: &Document, facts: &Facts) -> Vec<Handed> {
    let functions = devices::handed_to_vfio(document, facts).into_iter();
    functions
        .map(|handed| {
            let group = handed.group.ok_or_else(|| match handed.target {
                Target::Vf { pf, .. } => GroupUnknown {
                    on: Blocker::Resource(Cow::Borrowed("sriov")),
                    why: Reason::new("group-unknown", format!("known after the VFs of {pf} exist")),
                },
                Target::Function(address) => {
                    let (on, why) = devices::without_group(document, address);
                    GroupUnknown { on, why }
                }
            });
            Handed { target: handed.target, group, origin: handed.origin }
        })
        .collect()
}
