//! What is known about the host in one round, gathered once and shared by every `derive`.

use crate::host::Reach;

/// Facts of one round; plain data, so that deriving is pure.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whether this is a running machine or a tree.
    pub reach: Reach,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
}
