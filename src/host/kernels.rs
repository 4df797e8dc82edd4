//! The installed kernels and what each of them has of the modules that a document names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::pci::Function;
use super::{HostError, ReadHost};
use crate::formats::kmod_index;
use crate::types::ModuleName;

const MODULES: &str = "/lib/modules";

/// The kernels of a host; plain data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernels {
    /// The running kernel's release; `None` where /proc does not tell.
    pub running: Option<String>,
    /// The installed kernels: those with a `modules.dep`, ordered by the bytes of their releases.
    pub installed: Vec<Kernel>,
}

/// One installed kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its release, as in `/lib/modules/RELEASE`.
    pub release: String,
    /// Whether vfio-pci is built in: modprobe.d does not reach it then.
    pub vfio_pci_builtin: bool,
}

/// What one kernel has of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A loadable module, at this path below `/lib/modules/RELEASE`.
    Module(String),
    /// Built into the kernel.
    Builtin,
    /// The name is an alias of these modules.
    Alias(BTreeSet<ModuleName>),
    /// Not there.
    Missing,
}

/// What the installed kernels have of one module, by release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InKernels(pub BTreeMap<String, Presence>);

impl InKernels {
    /// The releases that do not have it.
    pub fn missing_in(&self) -> Vec<&str> {
        let missing = self.0.iter().filter(|(_, presence)| **presence == Presence::Missing);
        missing.map(|(release, _)| release.as_str()).collect()
    }

    /// Whether kernels are installed and none of them has it.
    pub fn is_nowhere(&self) -> bool {
        !self.0.is_empty() && self.missing_in().len() == self.0.len()
    }

    /// The releases that have it built in.
    pub fn builtin_in(&self) -> Vec<&str> {
        let builtin = self.0.iter().filter(|(_, presence)| **presence == Presence::Builtin);
        builtin.map(|(release, _)| release.as_str()).collect()
    }

    /// Whether kernels are installed and all of them have it built in.
    pub fn is_builtin_everywhere(&self) -> bool {
        !self.0.is_empty() && self.builtin_in().len() == self.0.len()
    }
}

impl Kernels {
    /// Reads which kernels are installed and which one runs.
    ///
    /// # Errors
    /// When `/lib/modules` cannot be read.
    pub fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let vfio_pci: BTreeSet<ModuleName> = "vfio_pci".parse().into_iter().collect();
        let mut installed = Vec::new();
        for release in host.list(Path::new(MODULES))?.unwrap_or_default() {
            if host.exists(&index(&release, "modules.dep"))? {
                let builtin = host.read(&index(&release, "modules.builtin"))?.unwrap_or_default();
                let vfio_pci_builtin = !kmod_index::find(&builtin, &vfio_pci).is_empty();
                installed.push(Kernel { release, vfio_pci_builtin });
            }
        }
        Ok(Self { running: host.text(Path::new("/proc/sys/kernel/osrelease"))?, installed })
    }

    /// What each installed kernel has of `modules`.
    ///
    /// # Errors
    /// When an index of depmod's cannot be read.
    pub fn find(
        &self,
        host: &dyn ReadHost,
        modules: &BTreeSet<ModuleName>,
    ) -> Result<BTreeMap<ModuleName, InKernels>, HostError> {
        let mut found: BTreeMap<ModuleName, InKernels> =
            modules.iter().map(|module| (module.clone(), InKernels::default())).collect();
        if modules.is_empty() {
            return Ok(found);
        }
        for Kernel { release, .. } in &self.installed {
            let read = |file: &str| host.read(&index(release, file)).map(Option::unwrap_or_default);
            let mut loadable = kmod_index::find(&read("modules.dep")?, modules);
            let builtin = kmod_index::find(&read("modules.builtin")?, modules);
            let mut aliases = None;
            for (module, kernels) in &mut found {
                let presence = match loadable.remove(module) {
                    Some(path) => Presence::Module(path),
                    None if builtin.contains_key(module) => Presence::Builtin,
                    None => {
                        let aliases = match &mut aliases {
                            Some(aliases) => aliases,
                            none => none.insert(read("modules.alias")?),
                        };
                        let named = kmod_index::aliased(aliases, module.as_str());
                        if named.is_empty() { Presence::Missing } else { Presence::Alias(named) }
                    }
                };
                kernels.0.insert(release.clone(), presence);
            }
        }
        Ok(found)
    }

    /// The modules whose aliases fit one of these functions, in any installed kernel.
    ///
    /// # Errors
    /// When an index of depmod's cannot be read.
    pub fn drivers_of(
        &self,
        host: &dyn ReadHost,
        functions: &[Function],
    ) -> Result<BTreeSet<ModuleName>, HostError> {
        let aliases: BTreeSet<String> = functions.iter().map(Function::modalias).collect();
        let mut modules = BTreeSet::new();
        for Kernel { release, .. } in self.installed.iter().filter(|_| !aliases.is_empty()) {
            let table = host.read(&index(release, "modules.alias"))?.unwrap_or_default();
            modules.extend(aliases.iter().flat_map(|alias| kmod_index::aliased(&table, alias)));
        }
        Ok(modules)
    }

    /// Whether vfio-pci is built into one of the installed kernels.
    pub fn vfio_pci_builtin(&self) -> bool {
        self.installed.iter().any(|kernel| kernel.vfio_pci_builtin)
    }
}

/// Where an index of depmod's lies.
pub fn index(release: &str, file: &str) -> PathBuf {
    [MODULES, release, file].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{EmptyHost, Reach, SimulatedHost};

    #[test]
    fn tells_loadable_builtin_alias_and_missing() {
        let empty = EmptyHost(Reach::Tree);
        let mut host = SimulatedHost::new(&empty);
        host.put_file("/lib/modules/6.1/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko.xz: \n");
        host.put_file("/lib/modules/6.1/modules.alias", "alias nvidiafb-x nvidiafb\n");
        host.put_file("/lib/modules/6.8/modules.dep", "");
        host.put_file("/lib/modules/6.8/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n");
        host.put_file("/lib/modules/5.10/modules.order", "");
        let kernels = Kernels::read(&host).unwrap();
        let builtin: Vec<_> =
            kernels.installed.iter().map(|k| (k.release.as_str(), k.vfio_pci_builtin)).collect();
        assert_eq!(builtin, [("6.1", false), ("6.8", true)]);

        let module = |name: &str| name.parse::<ModuleName>().unwrap();
        let found = kernels.find(&host, &["vfio-pci", "gone"].map(module).into()).unwrap();
        let vfio = &found[&module("vfio_pci")];
        assert_eq!(vfio.0["6.1"], Presence::Module("kernel/drivers/vfio/pci/vfio-pci.ko.xz".to_owned()));
        assert_eq!((vfio.builtin_in(), vfio.is_nowhere()), (vec!["6.8"], false));
        assert!(found[&module("gone")].is_nowhere());
    }
}
