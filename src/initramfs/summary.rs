//! The initramfs generator as `status` shows it, and its command.

use std::fmt;

use super::{Detected, detect};
use crate::engine::Means;
use crate::host::ReadHost;
use crate::plan::Reason;

/// Which generator builds this host's images, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Its name; `None` where there is none.
    pub generator: Option<String>,
    /// Whether reconcile can run it.
    pub managed: bool,
    /// What shows it.
    pub evidence: Option<String>,
}

impl Summary {
    /// Detects the host's generator.
    pub fn of(host: &dyn ReadHost) -> Self {
        let (generator, managed, evidence) = match detect(host) {
            Ok(Detected::Served(generator, evidence)) => {
                (Some(generator.key().to_owned()), true, Some(evidence))
            }
            Ok(Detected::Unserved(name, evidence)) => (Some(name), false, Some(evidence)),
            Ok(Detected::None) => (None, false, None),
            Err(error) => (None, false, Some(crate::report::chain(&error))),
        };
        Self { generator, managed, evidence }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.generator.as_deref().unwrap_or("none"))?;
        if self.generator.is_some() && !self.managed {
            f.write_str(" (images are not rebuilt through it)")?;
        }
        self.evidence.as_ref().map_or(Ok(()), |evidence| write!(f, ": {evidence}"))
    }
}

/// The command that rebuilds the images of this host.
pub fn rebuild_command(host: &dyn ReadHost) -> Means {
    match detect(host) {
        Ok(Detected::Served(generator, _)) => generator
            .rebuild(host)
            .unwrap_or_else(|error| Means::Unknown(Reason::new("unreadable", crate::report::chain(&error)))),
        Ok(Detected::Unserved(name, evidence)) => Means::Unknown(
            Reason::new("generator-unserved", format!("the images are built by {name} ({evidence})"))
                .remedy("rebuild them by hand"),
        ),
        Ok(Detected::None) => {
            Means::NotNeeded(Reason::new("no-generator", "nothing builds initramfs images here"))
        }
        Err(error) => Means::Unknown(Reason::new("unreadable", crate::report::chain(&error))),
    }
}
