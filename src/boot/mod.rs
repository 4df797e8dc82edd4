//! Boot chains: where kernel arguments persist, one file each behind one small trait.
//!
//! To add one: write `boot/NAME.rs` with a type that implements [`BootChain`], and add its line to `REGISTRY`.

mod conform;
mod detect;
mod esp;
pub mod extlinux;
pub mod foreign;
mod grub;
pub mod grub_bls;
pub mod grub_d;
pub mod grub_in_place;
mod kernel_cmdline;
pub mod kernel_install;
mod lines;
pub mod loader_entries;
mod menu_entry;
mod name;
mod persisted;
pub mod proxmox;
pub mod rpm_ostree;
mod sd_boot;
mod shell_files;
mod summary;
pub mod suse;
pub mod u_boot_menu;
mod wanted;
pub mod zipl;

use std::path::PathBuf;

pub use detect::{Detection, Evidence, Found, Weight, detect};
pub use menu_entry::{Judged, MenuEntry};
pub use name::{ChainName, PATTERN};
pub use persisted::{Edits, Given, Line, Persisted, Sources, Wish};
pub use summary::Summary;
pub use wanted::{Wanted, is_meant, wanted};

use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason};
use crate::types::Entry;

/// Every chain; of several that are in charge whatever else is installed, the first one is.
static REGISTRY: &[&dyn BootChain] = &[
    &rpm_ostree::RpmOstree,
    &foreign::NIXOS,
    &proxmox::Proxmox,
    &suse::Suse,
    &foreign::UKI,
    &grub_d::GrubD,
    &grub_in_place::GrubInPlace,
    &grub_bls::GrubBls,
    &kernel_install::KernelInstall,
    &loader_entries::LoaderEntries,
    &u_boot_menu::UBootMenu,
    &extlinux::Extlinux,
    &zipl::Zipl,
];

/// One way in which kernel arguments persist and reach the kernel.
pub trait BootChain: std::fmt::Debug + Sync {
    /// Its name in reports and in documents: `grub`.
    fn key(&self) -> &'static str;

    /// What on this host speaks for the chain; empty where nothing does.
    ///
    /// # Errors
    /// When the host does not answer.
    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError>;

    /// Reads the files that the arguments come from.
    ///
    /// # Errors
    /// When the host does not answer.
    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError>;

    /// The arguments that the sources give, in the order in which the kernel gets them, each with its place. Pure.
    ///
    /// # Errors
    /// The chain of reasons, where they cannot be told with certainty.
    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>>;

    /// The steps after which the sources give what is wished; none where they do. Pure.
    ///
    /// # Errors
    /// When no edit achieves it with certainty.
    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection>;

    /// The argument cannot be passed at all by this chain.
    fn unpassable(&self, arg: &crate::types::KernelArg) -> Option<Reason>;

    /// How the sources are carried to what is booted.
    ///
    /// # Errors
    /// When the host does not answer.
    fn regenerate(&self, host: &dyn ReadHost) -> Result<Means, HostError>;

    /// Every menu entry with what it will really pass; `None` where nothing has been generated yet.
    ///
    /// # Errors
    /// When the host does not answer.
    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError>;

    /// What [`BootChain::regenerate`] would write, for the simulated host.
    ///
    /// # Errors
    /// When the host does not answer.
    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError>;

    /// What a command would write if it is one of this chain's; nothing where it is not.
    ///
    /// # Errors
    /// When the host does not answer.
    fn predict(&self, host: &dyn ReadHost, argv: &[String]) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        match self.regenerate(host)? {
            Means::Command(command) if command == argv => self.predict_regenerated(host),
            _ => Ok(Vec::new()),
        }
    }
}

fn unknown() -> Reason {
    Reason::new("boot-chain-missing", "no boot loader's configuration was found")
}

/// What a command would write on this host if it is the one that carries a chain's sources to what is booted; nothing
/// where it is not, or where that cannot be told.
pub fn predict_command(host: &dyn ReadHost, argv: &[String]) -> Vec<(PathBuf, Vec<u8>)> {
    let there = |chain: &&&dyn BootChain| chain.evidence(host).is_ok_and(|evidence| !evidence.is_empty());
    let predicted = REGISTRY.iter().filter(there).filter_map(|chain| chain.predict(host, argv).ok());
    predicted.into_iter().find(|files| !files.is_empty()).unwrap_or_default()
}

/// How changed kernel arguments are carried to what is booted on this host; `named` is the chain that the document
/// names.
pub fn regenerate_command(host: &dyn ReadHost, named: Option<&Entry<ChainName>>) -> Means {
    let unreadable =
        |error: HostError| Means::Unknown(Reason::new("unreadable", crate::report::chain(&error)));
    match detect(host, named) {
        Ok(Detection::One(chain, _)) => chain.regenerate(host).unwrap_or_else(unreadable),
        Ok(other) => Means::Unknown(other.refusal().into_iter().next().unwrap_or_else(unknown)),
        Err(error) => unreadable(error),
    }
}

#[cfg(test)]
mod tests;
