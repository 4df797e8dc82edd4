//! Other programs that set what the document sets: the driver of a function, the VF count of a PF, a kernel argument.
//!
//! They are known by their files; nothing is run. Each owner is one file: which files it has, what they say about what
//! the document wants, and who wins at boot. Only that counts: an owner of something else is no objection, and one that
//! wants what the document wants is a warning at most. What comes of it is decided in one place (`judge`), whoever the
//! owner is: the change is refused until the owner lets go, or until the document consents (`because: other-owner`).
//! A kernel argument has no device to consent for: the owner has to let go of it.
//!
//! To add one: `owners/NAME.rs` with a type that implements `Owner`, and its line in `OWNERS`.

mod driverctl;
mod judge;
mod kdump;
mod matching;
mod modprobe;
mod network_manager;
mod shell_writes;
mod sriov_operator;
mod systemd_network;
mod tuned;
mod udev_rules;
mod vfio_bind;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub use judge::{Judged, judge};

use crate::host::pci::Function;
use crate::host::{HostError, ReadHost};
use crate::plan::Reason;
use crate::types::{DriverName, KernelArg, PciAddress};

static OWNERS: &[&dyn Owner] = &[
    &driverctl::Driverctl,
    &vfio_bind::VfioBind,
    &udev_rules::UdevRules,
    &modprobe::Modprobe,
    &sriov_operator::SriovOperator,
    &network_manager::NetworkManager,
    &systemd_network::SystemdNetwork,
    &tuned::Tuned,
    &kdump::Kdump,
];

/// One program that may own what the document wants.
trait Owner: fmt::Debug + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Whether it could own any of this; else it is not looked for.
    fn can_own(&self, wanted: &Wanted) -> bool;

    /// What it holds of this.
    ///
    /// # Errors
    /// When a file of it is there and cannot be read.
    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError>;
}

/// A thing that the document wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired<T> {
    /// What it is to be.
    pub value: T,
    /// Whether it is that already.
    pub settled: bool,
    /// Where the document says so.
    pub origin: String,
}

/// What the document wants and others could set as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The driver of each function that it binds.
    pub drivers: BTreeMap<PciAddress, Desired<DriverName>>,
    /// The VF count of each PF that it names.
    pub counts: BTreeMap<PciAddress, Desired<u16>>,
    /// Kernel arguments that are to be there.
    pub present: Vec<Desired<KernelArg>>,
    /// Kernel arguments that are not to be there.
    pub absent: Vec<Desired<KernelArg>>,
    /// What these functions are, with the driver that each has now.
    pub functions: BTreeMap<PciAddress, (Function, Option<DriverName>)>,
    /// Whether `vfio_pci.ids` is managed: it judges other settings of `ids=` itself.
    pub manages_ids: bool,
}

/// What an owner sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// The driver of a function, by its name; `None` where the text does not tell which one.
    Driver(PciAddress, Option<String>),
    /// The VF count of a PF; `None` where the text does not tell it.
    VfCount(PciAddress, Option<u16>),
    /// A kernel argument.
    Argument(KernelArg),
}

/// What of it the owner really does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Force {
    /// Nothing by itself, or not for certain, or reconcile wins whatever happens: a warning, if it wants something else.
    Weak,
    /// It sets it.
    Sets,
    /// It sets it in a way that stands against the document even where both want the same.
    Meddles,
}

/// One thing that an owner holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holding {
    /// What it sets.
    pub setting: Setting,
    /// What of it the owner really does.
    pub force: Force,
    /// A sentence: who sets what.
    pub text: String,
    /// File and line.
    pub at: String,
    /// Who wins at boot.
    pub wins: &'static str,
    /// How it lets go.
    pub remedy: String,
}

/// What was found of an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What it holds.
    pub holdings: Vec<Holding>,
    /// Faults of its own, and what else the operator should know of it.
    pub notes: Vec<Reason>,
}

/// What comes of a holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The change is refused.
    Refused,
    /// The document consents.
    Allowed,
    /// Both want the same.
    Same,
    /// It is left, with a warning.
    Warned,
}

/// A holding as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OwnerReport {
    /// The owner.
    pub owner: &'static str,
    /// The function, or the argument.
    pub item: String,
    /// What comes of it.
    pub outcome: Outcome,
    /// Who sets what, where, and how it lets go.
    #[serde(flatten)]
    pub reason: Reason,
    /// Who wins at boot.
    pub wins: &'static str,
}

/// What every owner holds of what is wanted; a warning in place of an owner that cannot be read.
pub fn find(host: &dyn ReadHost, wanted: &Wanted) -> Vec<(&'static str, Found)> {
    let owners = OWNERS.iter().filter(|owner| owner.can_own(wanted));
    let found = owners.map(|owner| {
        let found = owner.look(host, wanted).unwrap_or_else(|error| {
            let cause = error.reason();
            let text = format!("nothing tells what {} sets: {}", owner.name(), cause.text);
            Found { notes: vec![Reason { text, ..cause }], ..Found::default() }
        });
        (owner.name(), found)
    });
    found.filter(|(_, found)| *found != Found::default()).collect()
}

impl Wanted {
    /// Whether nothing is wanted that others could set.
    pub fn is_empty(&self) -> bool {
        self.drivers.is_empty() && self.counts.is_empty() && self.present.is_empty() && self.absent.is_empty()
    }

    /// Whether this function's driver or VF count is wanted.
    fn concerns(&self, function: PciAddress) -> bool {
        self.drivers.contains_key(&function) || self.counts.contains_key(&function)
    }
}

#[cfg(test)]
mod tests;
