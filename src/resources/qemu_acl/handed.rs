//! The functions whose group nodes `vfio_groups` asks for.

use crate::document::Document;
use crate::engine::Facts;
use crate::engine::devices::{self, GroupUnknown, Target};
use crate::plan::Subject;
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

/// The functions that `document` hands to vfio-pci on this host.
pub(super) fn handed(document: &Document, facts: &Facts) -> Vec<Handed> {
    let functions = devices::handed_to_vfio(document, facts).into_iter();
    functions.map(|handed| Handed { target: handed.target, group: handed.group, origin: handed.origin }).collect()
}
