//! The boot chain as `status` shows it.

use std::fmt;

use super::{Detection, Evidence, detect};
use crate::host::ReadHost;

/// Which boot chain was detected, and by what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// The chain's name; `None` where there is none, or several.
    pub chain: Option<String>,
    /// Whether kernel arguments can be managed through it.
    pub managed: bool,
    /// What was found, `PATH: what it tells`.
    pub evidence: Vec<String>,
}

impl Summary {
    /// Detects the host's boot chain.
    pub fn of(host: &dyn ReadHost) -> Self {
        let lines = |evidence: Vec<Evidence>| evidence.iter().map(ToString::to_string).collect();
        let (chain, managed, evidence) = match detect(host) {
            Ok(Detection::One(chain, evidence)) => (Some(chain.key().to_owned()), true, lines(evidence)),
            Ok(Detection::Unsupported { what, evidence }) => (Some(what.to_owned()), false, lines(evidence)),
            Ok(Detection::Ambiguous(evidence)) => (None, false, lines(evidence)),
            Ok(Detection::None) => (None, false, Vec::new()),
            Err(error) => (None, false, vec![crate::report::chain(&error)]),
        };
        Self { chain, managed, evidence }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.chain.as_deref().unwrap_or("unknown"))?;
        if !self.managed {
            f.write_str(" (kernel arguments are not managed through it)")?;
        }
        if self.evidence.is_empty() { Ok(()) } else { write!(f, ": {}", self.evidence.join("; ")) }
    }
}
