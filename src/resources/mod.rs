//! The resources: what a host is made of, each in one file of the same shape.
//!
//! A resource *derives* its spec from the document and the host's facts (pure), *observes* its state (running and
//! persisted) through a [`ReadHost`], and *diffs* the two into verdicts (pure). It never applies: changes are
//! [`Step`](crate::plan::Step)s that the engine executes.
//!
//! To add one: write `resources/NAME.rs` with a type that implements [`Resource`], and add its line to `REGISTRY`.

mod own_file;
mod precedence;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use crate::document::Document;
use crate::engine::{Facts, Memory};
use crate::host::{HostError, ReadHost};
use crate::plan::{ItemVerdict, Reason, Warning};

/// What a resource may look at: the host, what was remembered, the facts of this round.
#[derive(Clone, Copy)]
pub struct Observer<'a> {
    /// Read access to the host.
    pub host: &'a dyn ReadHost,
    /// What earlier runs recorded.
    pub memory: &'a Memory,
    /// What is known about the host in this round.
    pub facts: &'a Facts,
}

impl fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("facts", self.facts).finish_non_exhaustive()
    }
}

/// An observation that could not be made; the resource is skipped and the others go on.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The host did not answer.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The host answered something that makes no sense.
    #[error("{subject}: {problem}")]
    Malformed {
        /// The path or function.
        subject: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a diff found: a verdict for each item, and what the operator should know besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// One verdict per item, in a stable order.
    pub items: Vec<ItemVerdict>,
    /// Warnings; they change no status.
    pub warnings: Vec<Warning>,
}

/// First line of every file that is wholly ours; at column 0, because kmod refuses an indented comment.
pub const HEADER: &str = "# Managed by reconcile: changes here are overwritten.\n";

/// Whether a file is wholly ours. The header may stand behind a `#!` line.
pub(crate) fn is_own(content: &[u8]) -> bool {
    content.split_inclusive(|byte| *byte == b'\n').take(2).any(|line| line == HEADER.as_bytes())
}

/// What a section that is no longer in the document has left behind; `None` where it has left nothing.
pub(crate) fn section_vanished(
    resource: &'static str,
    section: &str,
    left: impl IntoIterator<Item = String>,
) -> Option<Warning> {
    let left: BTreeSet<String> = left.into_iter().collect();
    let text = format!("{section} is no longer in the document; what it had put there stays");
    let remedy = format!("keep {section} and leave it empty, to take everything back");
    (!left.is_empty()).then(|| Warning {
        resource: Cow::Borrowed(resource),
        subject: left.into_iter().collect::<Vec<_>>().join(", "),
        reason: Reason::new("section-vanished", text).remedy(remedy),
    })
}

/// How much of a resource `--boot` makes: the live half only, whatever would need a boot file or an initramfs is
/// left to a full run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtBoot {
    /// Not even observed.
    Nothing,
    /// Its live changes.
    LiveHalf,
    /// Its files too (qemu.conf: IOMMU groups are numbered anew at every boot).
    Everything,
}

/// One kind of thing that a host is made of.
pub trait Resource {
    /// Its name in documents, reports and `--only`.
    const KEY: &'static str;
    /// The section of the document that asks for it, as an operator writes it.
    const SECTION: &'static str = Self::KEY;
    /// Resources whose changes can make this one's observation stale.
    const AFTER: &'static [&'static str];
    /// Files that are wholly ours (they start with [`HEADER`]); known without any memory of having written them.
    const OWN_FILES: &'static [&'static str] = &[];
    /// What the unit at boot does about it.
    const AT_BOOT: AtBoot = AtBoot::Nothing;
    /// What is desired, with origins.
    type Spec: fmt::Debug;
    /// What was observed, running and persisted.
    type State: fmt::Debug;

    /// What the document, together with other sections' contributions, asks of this resource; `None` where it is not
    /// managed. Pure.
    fn derive(document: &Document, facts: &Facts) -> Option<Self::Spec>;

    /// Reads the facts that [`Resource::diff`] needs.
    ///
    /// # Errors
    /// When the host cannot be read or answers nonsense; a missing file is no error.
    fn observe(spec: &Self::Spec, observer: &Observer<'_>) -> Result<Self::State, ObserveError>;

    /// The one definition of "the same". Pure.
    fn diff(spec: &Self::Spec, state: &Self::State) -> Findings;
}

/// A [`Resource`] with its types erased, as the registry holds it.
pub trait AnyResource: Sync {
    /// [`Resource::KEY`].
    fn key(&self) -> &'static str;
    /// [`Resource::SECTION`].
    fn section(&self) -> &'static str;
    /// [`Resource::AFTER`].
    fn after(&self) -> &'static [&'static str];
    /// [`Resource::OWN_FILES`].
    fn own_files(&self) -> &'static [&'static str];
    /// [`Resource::AT_BOOT`].
    fn at_boot(&self) -> AtBoot;
    /// Derives, observes and diffs; `None` where the document does not manage it.
    ///
    /// # Errors
    /// As [`Resource::observe`].
    fn judge(&self, document: &Document, observer: &Observer<'_>) -> Result<Option<Findings>, ObserveError>;
}

struct Erased<R>(std::marker::PhantomData<fn() -> R>);

impl<R: Resource> AnyResource for Erased<R> {
    fn key(&self) -> &'static str {
        R::KEY
    }

    fn section(&self) -> &'static str {
        R::SECTION
    }

    fn after(&self) -> &'static [&'static str] {
        R::AFTER
    }

    fn own_files(&self) -> &'static [&'static str] {
        R::OWN_FILES
    }

    fn at_boot(&self) -> AtBoot {
        R::AT_BOOT
    }

    fn judge(&self, document: &Document, observer: &Observer<'_>) -> Result<Option<Findings>, ObserveError> {
        let Some(spec) = R::derive(document, observer.facts) else { return Ok(None) };
        let state = R::observe(&spec, observer)?;
        Ok(Some(R::diff(&spec, &state)))
    }
}

/// Declares the module of every resource, in the order in which they are planned, and builds the registry.
macro_rules! resources {
    ($($module:ident::$name:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// Every resource, in the order in which they are planned and executed within a round.
        pub const REGISTRY: &[&dyn AnyResource] = &[$(&Erased::<$module::$name>(std::marker::PhantomData)),*];
    };
}

resources! {
    kernel_args::KernelArgs,
    blacklist::Blacklist,
    module_options::ModuleOptions,
    vfio_ids::VfioIds,
    modules::Modules,
    sriov::SriovCounts,
    bindings::Bindings,
    initramfs::Initramfs,
    qemu_acl::QemuAcl,
}
