//! Modules that the next boot does not load: the driver of the root disk, of the uplink, its file system, of anything that it
//! needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{News, drivers, news};
use crate::formats::kmod_index;
use crate::guard::{Loss, Scene, Taking, Way};
use crate::host::kernels::{Kernel, index};
use crate::host::{HostError, Kernels, ReadHost};
use crate::plan::{Change, Reason};
use crate::resources::ObserveError;
use crate::types::ModuleName;

/// Keeping a module from being loaded.
///
/// A blacklist stops what an alias asks for, which is how udev loads drivers, in the initramfs as well; a module that another
/// one depends on is loaded all the same (kmod, `kmod_module_probe_insert_module`). `module_blacklist=` and an `install`
/// line stop both. Nothing stops what is built in. File systems and the levels of arrays are asked for by an alias
/// (`fs-ext4`, `md-level-1`). Targets of the device mapper are asked for by their names, which a blacklist does not stop,
/// but systemd-modules-load and udev go by it for names as well, so that it depends on who comes first.
#[derive(Debug)]
pub(in crate::guard) struct ModulesAtBoot;

impl Way for ModulesAtBoot {
    fn takings(
        &self,
        item: &str,
        change: &Change,
        scene: &mut Scene<'_>,
    ) -> Result<Vec<Taking>, ObserveError> {
        let mut takings = Vec::new();
        for said in news(item, change, scene) {
            let (module, by, with_dependants) = match said {
                News::NoAlias { module, by } => (module, by, false),
                News::NotAtAll { module, by } => (module, by, true),
                News::Claimed { .. } => continue,
            };
            let Ok(module) = module.parse::<ModuleName>() else { continue };
            for driver in drivers(&module, with_dependants, scene.host, scene.kernels)? {
                let text = format!("from the next boot on, {by} keeps {module} from being loaded");
                let mut link = vec![Reason::new("keeps-module-away", text)];
                if driver != module {
                    let text = format!("{driver} depends on {module}");
                    link.push(Reason::new("module-depends", text));
                }
                takings.push(Taking { subject: module.to_string(), link, losses: losses(&driver, scene)? });
            }
        }
        Ok(takings)
    }
}

/// What of the host is on devices that this module drives, or on what else it is for: a file system, a volume.
fn losses(driver: &ModuleName, scene: &mut Scene<'_>) -> Result<Vec<Loss>, HostError> {
    let mut losses = Vec::new();
    for device in drivers::driven_by(scene.host, driver)? {
        let is_display = scene.is_display(device.function);
        for mut loss in scene.losses_of(device.function) {
            if device.is_lost(loss.because, is_display) {
                loss.chain.insert(0, Reason::new("drives", format!("{driver} drives {}", device.function)));
                losses.push(loss);
            }
        }
    }
    losses.extend(scene.losses_by(driver));
    Ok(losses)
}

/// The modules that are not loaded: this one and, if asked, all that depend on it; none that every kernel has built in.
fn drivers(
    module: &ModuleName,
    with_dependants: bool,
    host: &dyn ReadHost,
    kernels: &Kernels,
) -> Result<BTreeSet<ModuleName>, HostError> {
    let mut modules = BTreeSet::from([module.clone()]);
    for Kernel { release, .. } in kernels.installed.iter().filter(|_| with_dependants) {
        let table = host.read(&index(release, "modules.dep"))?.unwrap_or_default();
        // modules.dep lists all dependencies of a module, those of its dependencies as well.
        for (path, needs) in kmod_index::dependencies(&String::from_utf8_lossy(&table)) {
            if needs.into_iter().any(|path| kmod_index::module_of_path(path).as_ref() == Some(module)) {
                modules.extend(kmod_index::module_of_path(path));
            }
        }
    }
    let found: BTreeMap<_, _> = kernels.find(host, &modules)?;
    modules.retain(|module| !found.get(module).is_some_and(|found| found.is_builtin_everywhere()));
    Ok(modules)
}
