//! What a boot loader's menu offers.

use crate::types::KernelArg;

/// One kernel that the menu can boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuEntry {
    /// Its title, submenus first.
    pub title: String,
    /// The kernel's path as the boot loader sees it.
    pub kernel: String,
    /// File and line.
    pub at: String,
    /// What it passes to the kernel, in order; what the boot loader only knows when it runs is left out.
    pub args: Vec<KernelArg>,
    /// Whether it has to pass what the document asks for.
    pub judged: Judged,
}

/// Whether an entry has to pass what the document asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It boots this system normally.
    Ours,
    /// It does not, or is not generated from the sources.
    Exempt(&'static str),
}
