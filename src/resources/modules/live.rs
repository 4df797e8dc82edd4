//! The running half: what is loaded now, and loading.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::host::kernels::{InKernels, Presence};
use crate::host::{HostError, Kernels, ReadHost, kmod};
use crate::plan::{Change, Disruption, Phase, Reason, Step, Subject, Verdict};
use crate::types::{DriverName, ModuleName};

/// Loading a module may wait for its driver's probes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether a module, or all that an alias stands for, is loaded or built into the running kernel.
pub(super) fn is_in_use(
    host: &dyn ReadHost,
    kernels: &Kernels,
    module: &ModuleName,
    found: Option<&InKernels>,
) -> Result<bool, HostError> {
    let running = kernels.running.as_ref().and_then(|release| found?.0.get(release));
    Ok(match running {
        Some(Presence::Builtin) => true,
        Some(Presence::Alias(named)) => {
            let mut all = true;
            for module in named {
                all &= kmod::is_loaded(host, module)?;
            }
            all
        }
        _ => kmod::is_loaded(host, module)?,
    })
}

/// Loads a module now. A plain `modprobe` by name takes no notice of blacklists; a blacklisted module has been refused
/// before. Whether it is loaded is observed afterwards.
pub(super) fn load(module: &ModuleName) -> Verdict {
    let argv = vec!["modprobe".to_owned(), module.to_string()];
    let deadline_ms = u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX);
    let reason = Reason::new("not-loaded", format!("{module} is not loaded"));
    let steps = vec![Step::Run { argv, deadline_ms }];
    let mut change = Change::new(Phase::Live, steps, Disruption::Nothing, reason);
    change.disturbs = disturbed(module);
    Verdict::Change(change)
}

/// The module and the driver that it may bring, whose name can have hyphens.
fn disturbed(module: &ModuleName) -> BTreeSet<Subject> {
    let name = module.as_str();
    let drivers = [name.to_owned(), name.replace('_', "-")];
    let drivers = drivers.iter().filter_map(|name| name.parse::<DriverName>().ok()).map(Subject::Driver);
    drivers.chain([Subject::Module(module.clone())]).collect()
}
