//! Work that a change owes: regenerating or restarting what reads the changed file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A follow-up; several changes that owe the same one cause one run. The order of the variants is the order in
/// which they run: the boot loader's menu names initramfs images, so those come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Followup {
    /// Rebuild the initramfs images.
    Initramfs,
    /// Regenerate the boot loader's configuration.
    BootLoader,
    /// Restart libvirt's QEMU daemon, if it runs.
    LibvirtRestart,
}

impl fmt::Display for Followup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initramfs => "initramfs rebuild",
            Self::BootLoader => "boot loader configuration",
            Self::LibvirtRestart => "libvirt daemon restart",
        })
    }
}
