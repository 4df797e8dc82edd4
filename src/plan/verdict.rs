//! What was found about each item, with the reason as data.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Because, Followup, Step};
use crate::types::{DriverName, ModuleName, PciAddress};

/// Why something is so: a stable code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// Stable kebab-case code, such as `missing-function`.
    pub code: Cow<'static, str>,
    /// One sentence without a final period.
    pub text: String,
    /// The file and line that the reason lies in, if it lies in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What the operator can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Reason {
    /// A reason with its code and sentence.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), text: text.into(), at: None, remedy: None }
    }

    /// Adds the file (and line) that it lies in.
    #[must_use]
    pub fn at(mut self, at: impl ToString) -> Self {
        self.at = Some(at.to_string());
        self
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// A thing that changes disturb and items need; this is how `AFTER` blocks one function and not a whole resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A PCI function: its existence, its driver, its group.
    Function(PciAddress),
    /// A kernel module.
    Module(ModuleName),
    /// A PCI driver.
    Driver(DriverName),
}

/// Which half of the host a change acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Files: what holds after the next boot.
    Persisted,
    /// Attributes and modules: what holds now.
    Live,
}

/// What a change interrupts, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disruption {
    /// Nothing that runs notices.
    Nothing,
    /// Network links of the function go down.
    LinkDrop,
    /// Guests that use the function lose it.
    Guest,
    /// Takes effect at the next boot.
    Reboot,
}

/// An item that becomes ours by a change: what stood before us, what we wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnedItem {
    /// The item's name within its resource.
    pub item: String,
    /// File or attribute.
    pub target: PathBuf,
    /// Value before us; `None` where there was none.
    pub before: Option<String>,
    /// Value that we wrote; `None` gives the item up (it was taken back).
    pub written: Option<String>,
}

/// One change: the steps that make it, in order, and what it brings with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Files or live state.
    pub phase: Phase,
    /// Executed in order; a failed step skips the rest of this change.
    pub steps: Vec<Step>,
    /// What it interrupts.
    pub disruption: Disruption,
    /// Why it is made.
    pub reason: Reason,
    /// What it owes afterwards.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub followups: BTreeSet<Followup>,
    /// Items that become ours (or are given up) when the steps have succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owns: Vec<OwnedItem>,
    /// What later resources must observe again before they plan.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disturbs: BTreeSet<Subject>,
    /// Losses that it brings and that the document allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Consented>,
}

impl Change {
    /// A change of one phase made by these steps.
    pub fn new(phase: Phase, steps: Vec<Step>, disruption: Disruption, reason: Reason) -> Self {
        Self {
            phase,
            steps,
            disruption,
            reason,
            followups: BTreeSet::new(),
            owns: Vec::new(),
            disturbs: BTreeSet::new(),
            allowed: Vec::new(),
        }
    }

    /// A change without steps: only what is remembered changes, as when somebody else undid what was ours.
    pub fn bookkeeping(reason: Reason) -> Self {
        Self::new(Phase::Live, Vec::new(), Disruption::Nothing, reason)
    }
}

/// A loss that the document allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Consented {
    /// The function that is lost.
    pub function: PciAddress,
    /// What of the host goes with it.
    pub because: Because,
    /// Where the document allows it.
    pub at: String,
    /// From the function to the thing that uses it.
    pub chain: Vec<Reason>,
}

/// What a blocked item waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocker {
    /// A change of this resource in an earlier round.
    Resource(Cow<'static, str>),
    /// A reboot brings it.
    Reboot,
    /// Nothing that reconcile or a reboot does will bring it: missing hardware, a value out of range.
    Host,
}

/// What lifts an objection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiftedBy {
    /// An edit of the document: the text to paste.
    Document(String),
    /// Something that the operator does on the host.
    Operator(String),
    /// Nothing: this stays refused.
    Nothing,
}

/// A refusal: what is refused, the whole chain of reasons, what would lift it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Objection {
    /// The function, file or argument that the refused change is about.
    pub subject: String,
    /// The losses that a guard refuses; empty where another rule forbids the change.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub because: BTreeSet<Because>,
    /// From the change to the thing that forbids it; never empty.
    pub chain: Vec<Reason>,
    /// What would lift it.
    pub lifted_by: LiftedBy,
}

impl Objection {
    /// What a rule forbids, whatever would be lost.
    pub fn new(subject: impl Into<String>, chain: Vec<Reason>, lifted_by: LiftedBy) -> Self {
        Self { subject: subject.into(), because: BTreeSet::new(), chain, lifted_by }
    }
}

/// What was found about one item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Running and persisted are as desired.
    InSync,
    /// A run can make this change now.
    Change(Change),
    /// Persisted right, running wrong: the next boot brings it.
    PendingReboot {
        /// What runs instead.
        why: Reason,
    },
    /// Persisted and booted since, and still not in effect.
    Stuck {
        /// The likely cause.
        why: Reason,
    },
    /// Waits for something else.
    Blocked {
        /// For what.
        on: Blocker,
        /// Why.
        why: Reason,
    },
    /// A guard or a certainty rule forbids the change.
    Refused(Objection),
}

/// A verdict and the item that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemVerdict {
    /// The item's name within its resource: an argument, a module, an address, a device node.
    pub item: String,
    /// Where the document asks for it, or which section contributed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What must be settled by earlier resources before this can be judged.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<Subject>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl ItemVerdict {
    /// A verdict about `item`.
    pub fn new(item: impl Into<String>, verdict: Verdict) -> Self {
        Self { item: item.into(), origin: None, needs: BTreeSet::new(), verdict }
    }

    /// Adds where the item comes from.
    #[must_use]
    pub fn origin(mut self, origin: impl ToString) -> Self {
        self.origin = Some(origin.to_string());
        self
    }

    /// Adds what must be settled first.
    #[must_use]
    pub fn needs(mut self, subjects: impl IntoIterator<Item = Subject>) -> Self {
        self.needs.extend(subjects);
        self
    }
}

/// Something that the operator should know and that changes no status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Warning {
    /// The resource or document section that it belongs to.
    pub resource: Cow<'static, str>,
    /// The item, file or place it is about.
    pub subject: String,
    /// What and why, with a remedy.
    pub reason: Reason,
}
