//! The functions whose group nodes `vfio_groups` asks for.

use crate::document::Document;
use crate::engine::Facts;
use crate::plan::{Blocker, Reason};
use crate::types::{IommuGroup, PciAddress};

/// A function that the document hands to vfio-pci.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// The function.
    pub address: PciAddress,
    /// Its group; an error while the function is absent or about to be recreated.
    pub group: Result<IommuGroup, GroupUnknown>,
    /// Where the document hands it over.
    pub origin: String,
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
pub(super) fn handed(_document: &Document, _facts: &Facts) -> Vec<Handed> {
    Vec::new()
}
