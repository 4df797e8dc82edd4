//! kdump, as far as it owns a kernel argument: without `crashkernel=` it has no memory to boot its kernel in.
//!
//! Where it writes a dump is a need of the host ([`crate::host::Needs`]). What it gives its own kernel
//! (`KDUMP_COMMANDLINE_APPEND`, `KDUMP_CMDLINE_APPEND`) is no setting of the host's.

use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::host::{HostError, ReadHost, systemd};
use crate::types::KernelArg;

/// Red Hat's unit, and Debian's.
const UNITS: [&str; 2] = ["kdump.service", "kdump-tools.service"];

const ARGUMENT: &str = "crashkernel";

#[derive(Debug)]
pub(super) struct Kdump;

impl Owner for Kdump {
    fn name(&self) -> &'static str {
        "kdump"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        wanted.absent.iter().any(|desired| desired.value.is_named(ARGUMENT))
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let mut found = Found::default();
        let taken = wanted.absent.iter().filter(|desired| desired.value.is_named(ARGUMENT));
        for value in taken.map(|desired| desired.value.value()) {
            for unit in UNITS {
                if systemd::is_enabled(host, unit)? {
                    found.holdings.push(Holding {
                        setting: Setting::Argument(KernelArg::new(ARGUMENT, value.map(str::to_owned))),
                        force: Force::Sets,
                        text: format!("{unit} is enabled and needs {ARGUMENT}="),
                        at: format!("/etc/systemd/system/*.wants/{unit}"),
                        wins: "without it no crash of the next boot leaves a dump",
                        remedy: format!("systemctl disable {unit}"),
                    });
                }
            }
        }
        Ok(found)
    }
}
