//! What passing functions through rests on: firmware, IOMMU, kernel, KVM.
//!
//! Each fact is one file: what it reads, and a pure judgement over that, with a reason and a remedy where it is not as
//! a host for passing functions through needs it. Facts change no exit status: a document may need none of them. Where
//! one of them keeps a function from being handed over, the function's own verdict has the same reason.
//!
//! `virt-host-validate` looks at some of the same things; what it does not tell is why.
//!
//! To add one: write `facts/NAME.rs` with a type that implements [`Check`], and its line in the `checks!` list below.

mod platform;

use serde::Serialize;

use crate::host::{HostError, Kernels, ReadHost};
use crate::plan::Reason;

pub use platform::{Processor, Table};

/// How a fact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As passing functions through needs it.
    Good,
    /// It works, and there is something to know about it.
    Note,
    /// It keeps functions, or guests, from working.
    Fails,
    /// Nothing here tells.
    Unknown,
}

/// One fact, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Which: the check's stable name.
    pub fact: &'static str,
    /// How it stands.
    pub state: Standing,
    /// What was found: its own code, a sentence, where that is to be seen, and what to do about it.
    #[serde(flatten)]
    pub reason: Reason,
}

/// What a check makes of what it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// How it stands.
    pub state: Standing,
    /// What was found.
    pub reason: Reason,
}

impl Judgement {
    fn new(state: Standing, code: &'static str, text: impl Into<String>, at: &str) -> Self {
        Self { state, reason: Reason::new(code, text).at(at) }
    }

    fn good(code: &'static str, text: impl Into<String>, at: &str) -> Self {
        Self::new(Standing::Good, code, text, at)
    }

    fn note(code: &'static str, text: impl Into<String>, at: &str) -> Self {
        Self::new(Standing::Note, code, text, at)
    }

    fn fails(code: &'static str, text: impl Into<String>, at: &str, remedy: impl Into<String>) -> Self {
        Self::new(Standing::Fails, code, text, at).remedy(remedy)
    }

    fn unknown(text: impl Into<String>, at: &str) -> Self {
        Self::new(Standing::Unknown, "not-shown", text, at)
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { reason: self.reason.remedy(remedy), ..self }
    }
}

/// One thing that is looked at.
pub trait Check {
    /// Its stable name.
    const NAME: &'static str;

    /// Reads what the judgement needs.
    ///
    /// # Errors
    /// When the host cannot be read; a missing file is no error.
    fn read(host: &dyn ReadHost, kernels: &Kernels) -> Result<Self, HostError>
    where
        Self: Sized;

    /// What that means. Pure.
    fn judge(&self) -> Judgement;
}

type Look = fn(&dyn ReadHost, &Kernels) -> Fact;

fn look<C: Check>(host: &dyn ReadHost, kernels: &Kernels) -> Fact {
    let judged = C::read(host, kernels).map(|found| found.judge());
    let Judgement { state, reason } = judged.unwrap_or_else(|error| Judgement {
        state: Standing::Unknown,
        reason: error.reason().at(error.path.display()),
    });
    Fact { fact: C::NAME, state, reason }
}

/// Declares the module of every check and builds the registry, in the order in which they are shown.
macro_rules! checks {
    ($($module:ident::$name:ident),* $(,)?) => {
        $(pub mod $module;)*

        const REGISTRY: &[Look] = &[$(look::<$module::$name>),*];
    };
}

checks! {
    iommu_table::IommuTable,
    iommu::Iommu,
    domain_type::DomainType,
    interrupt_remapping::InterruptRemapping,
    secure_boot::SecureBoot,
    lockdown::Lockdown,
    vfio_modules::VfioModules,
    kvm::Kvm,
    nested::Nested,
    cgroup::Cgroup,
}

/// Looks at everything.
pub fn all(host: &dyn ReadHost, kernels: &Kernels) -> Vec<Fact> {
    REGISTRY.iter().map(|look| look(host, kernels)).collect()
}

#[cfg(test)]
mod tests;
