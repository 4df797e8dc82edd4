//! The kernel's lockdown level (kernel_lockdown(7)).

use std::path::Path;

use super::{Check, Judgement};
use crate::host::{HostError, Kernels, ReadHost};

const LEVEL: &str = "/sys/kernel/security/lockdown";

/// The level; `None` where the kernel has none, or securityfs is not mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lockdown(Option<String>);

impl Check for Lockdown {
    const NAME: &'static str = "lockdown";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        let text = host.text(Path::new(LEVEL))?;
        // `none [integrity] confidentiality`
        let level = text.and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()));
        Ok(Self(level))
    }

    fn judge(&self) -> Judgement {
        match self.0.as_deref() {
            None => Judgement::unknown("the kernel shows no lockdown level", LEVEL),
            Some("none") => Judgement::good("lockdown", "none", LEVEL),
            // Nothing in drivers/vfio, bind, unbind, driver_override or sriov_numvfs asks for the level.
            Some(level) => {
                let text = format!(
                    "{level}: functions can be handed over, but unsigned modules are not loaded and programs cannot write PCI configuration space"
                );
                let remedy = "sign modules that are built here (DKMS); do without tools such as setpci";
                Judgement::note("lockdown", text, LEVEL).remedy(remedy)
            }
        }
    }
}
