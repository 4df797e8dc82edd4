//! The boot chain as `status` shows it.

use std::fmt;

use super::{ChainName, Detection, Evidence, detect};
use crate::host::ReadHost;
use crate::types::Entry;

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
    /// Detects the host's boot chain; `named` is the one that the document names.
    pub fn of(host: &dyn ReadHost, named: Option<&Entry<ChainName>>) -> Self {
        let lines = |evidence: Vec<Evidence>| evidence.iter().map(ToString::to_string).collect();
        let (chain, managed, evidence) = match detect(host, named) {
            Ok(Detection::One(chain, evidence)) => {
                let is_free =
                    |sources: super::Sources| sources.refused.is_empty() && sources.fixed.is_empty();
                let managed = chain.sources(host).is_ok_and(is_free);
                (Some(chain.key().to_owned()), managed, lines(evidence))
            }
            Ok(Detection::Ambiguous(found) | Detection::Unfounded { found, .. }) => {
                let told = found.into_iter().flat_map(|(chain, evidence)| {
                    evidence.into_iter().map(move |found| format!("{found} (for {})", chain.key()))
                });
                (None, false, told.collect())
            }
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
