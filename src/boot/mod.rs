//! Boot chains: where kernel arguments persist, one file each behind one small trait.
//!
//! To add one: write `boot/NAME.rs` with a type that implements [`BootChain`], add its line to `REGISTRY`, and drop
//! its entry from the foreign evidence in `detect.rs`.

mod detect;
pub mod grub_d;
mod menu_entry;
mod persisted;
mod summary;
mod wanted;

use std::path::PathBuf;

pub use detect::{Detection, Evidence, detect};
pub use menu_entry::{Judged, MenuEntry};
pub use persisted::{Edits, Given, Persisted, Sources, Wish};
pub use summary::Summary;
pub use wanted::{Wanted, is_meant, wanted};

use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason};

/// Every chain that kernel arguments can be managed through.
static REGISTRY: &[&dyn BootChain] = &[&grub_d::GrubD];

/// One way in which kernel arguments persist and reach the kernel.
pub trait BootChain: std::fmt::Debug + Sync {
    /// Its name in reports: `grub`.
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

    /// The command that carries the sources to what is booted.
    fn regenerate(&self) -> Vec<String>;

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
}

fn unknown() -> Reason {
    Reason::new("boot-chain-missing", "no boot loader's configuration was found")
}

/// What the chain's command would write on this host, for the simulated one; nothing where that cannot be told.
pub fn predict_regenerated(host: &dyn ReadHost) -> Vec<(PathBuf, Vec<u8>)> {
    match detect(host) {
        Ok(Detection::One(chain, _)) => chain.predict_regenerated(host).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The command that carries changed kernel arguments to what is booted on this host.
pub fn regenerate_command(host: &dyn ReadHost) -> Means {
    match detect(host) {
        Ok(Detection::One(chain, _)) => Means::Command(chain.regenerate()),
        Ok(other) => Means::Unknown(other.refusal().into_iter().next().unwrap_or_else(unknown)),
        Err(error) => Means::Unknown(Reason::new("unreadable", crate::report::chain(&error))),
    }
}
