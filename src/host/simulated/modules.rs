//! What loading a module changes, and which driver a function has by nature.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::SimulatedHost;
use super::kernel::{errno_of, errno_of_observation};
use super::overlay::Node;
use crate::formats::kmod_index;
use crate::host::pci::{self, Function};
use crate::host::{ReadHost, StepError, udev};
use crate::types::{DriverName, ModuleName, PciAddress};

impl SimulatedHost<'_> {
    /// Loads the named modules and what they depend on.
    pub(super) fn modprobe(&mut self, argv: &[String]) -> Result<(), StepError> {
        for argument in argv.iter().skip(1).filter(|argument| !argument.starts_with('-')) {
            let loaded = argument.parse().map_err(|_| Errno::ENOENT).and_then(|module| self.load(&module));
            if let Err(errno) = loaded {
                return Err(StepError::Command {
                    command: argv.join(" "),
                    outcome: "exit status 1".to_owned(),
                    output: format!("modprobe: FATAL: Module {argument} cannot be loaded: {}", errno.desc()),
                });
            }
        }
        Ok(())
    }

    fn load(&mut self, module: &ModuleName) -> Result<(), Errno> {
        let directory = Path::new("/sys/module").join(module.as_str());
        if self.exists(&directory).map_err(errno_of)? {
            return Ok(());
        }
        let needed = self.dependencies(module)?;
        for dependency in needed.iter().filter(|dependency| *dependency != module) {
            self.show(dependency)?;
        }
        self.show(module)
    }

    /// udev loads the module of functions that have appeared; its driver then takes those that nothing keeps from it.
    pub(super) fn autoload(&mut self, alike: &[Function]) -> Result<(), Errno> {
        let Some(first) = alike.first() else { return Ok(()) };
        for module in udev::modules_for(self, first).map_err(errno_of_observation)? {
            // A module that cannot be loaded is udev's to log.
            let _refused = self.load(&module);
        }
        for function in alike {
            self.find_driver(function)?;
        }
        Ok(())
    }

    /// A loaded module shows in `/sys/module` and `/proc/modules`, its driver in `/sys/bus/pci/drivers`.
    fn show(&mut self, module: &ModuleName) -> Result<(), Errno> {
        let directory = Path::new("/sys/module").join(module.as_str());
        if self.exists(&directory).map_err(errno_of)? {
            return Ok(());
        }
        self.put_directory(&directory);
        self.put_file(directory.join("initstate"), "live\n");
        let list = Path::new("/proc/modules");
        let mut text = self.read(list).map_err(errno_of)?.unwrap_or_default();
        text.extend(format!("{module} 16384 0 - Live 0x0000000000000000\n").bytes());
        self.put_file(list, text);
        if let Some(driver) = self.driver_of_module(module)? {
            self.register(&driver)?;
        }
        Ok(())
    }

    /// A new driver is offered the functions without one. Only those whose override this simulation has set are
    /// looked at: the others are not known here without reading every function of the host.
    fn register(&mut self, driver: &DriverName) -> Result<(), Errno> {
        if self.is_driver(driver)? {
            return Ok(());
        }
        let directory = Path::new(pci::DRIVERS).join(driver.as_str());
        self.put_directory(&directory);
        for name in ["bind", "unbind", "new_id", "remove_id"] {
            self.put_file(directory.join(name), "");
        }
        let waiting: Vec<PciAddress> = self
            .overlay
            .files_named("driver_override")
            .filter_map(|path| path.parent()?.file_name()?.to_str()?.parse().ok())
            .collect();
        for address in waiting {
            let wants = self.known(|pci| pci.driver_override(address))?.as_deref() == Some(driver.as_str());
            if let (true, Some(function)) = (wants, self.known(|pci| pci.function(address))?) {
                self.find_driver(&function)?;
            }
        }
        Ok(())
    }

    /// The PCI driver that a module brings; `None` where it is no PCI driver as far as is known.
    fn driver_of_module(&self, module: &ModuleName) -> Result<Option<DriverName>, Errno> {
        let name = match module.as_str() {
            // Drivers whose name is not their module's (`drivers/vfio/pci/`, `drivers/pci/pci-stub.c`).
            "vfio_pci" => "vfio-pci",
            "xe_vfio_pci" => "xe-vfio-pci",
            "pci_stub" => "pci-stub",
            other if other.ends_with("_vfio_pci") => other,
            other => {
                let aliases = self.of_running_kernel("modules.alias")?.unwrap_or_default();
                let of_module =
                    |line: &str| line.strip_prefix("alias pci:")?.rsplit_once(' ')?.1.parse().ok();
                if !aliases.lines().filter_map(of_module).any(|named: ModuleName| named == *module) {
                    return Ok(None);
                }
                other
            }
        };
        Ok(name.parse().ok())
    }

    /// The driver that takes a function without an override: the one it had, else the one of a loaded module whose
    /// alias matches.
    pub(super) fn native_driver(&self, function: &Function) -> Result<Option<DriverName>, Errno> {
        if let Some(driver) = self.natives.get(&function.address)
            && self.is_driver(driver)?
        {
            return Ok(Some(driver.clone()));
        }
        let aliases = self.of_running_kernel("modules.alias")?.unwrap_or_default();
        for module in kmod_index::aliased(aliases.as_bytes(), &function.modalias()) {
            let named = self
                .list(&Path::new("/sys/module").join(module.as_str()).join("drivers"))
                .map_err(errno_of)?;
            let named = named.into_iter().flatten();
            let named = named.filter_map(|name| name.strip_prefix("pci:").map(str::to_owned));
            let spelt = [module.to_string(), module.as_str().replace('_', "-")];
            for driver in named.chain(spelt).filter_map(|name| name.parse().ok()) {
                if self.is_driver(&driver)? {
                    return Ok(Some(driver));
                }
            }
        }
        Ok(None)
    }

    fn of_running_kernel(&self, file: &str) -> Result<Option<String>, Errno> {
        let release = self.text(Path::new("/proc/sys/kernel/osrelease")).map_err(errno_of)?;
        let Some(release) = release else { return Ok(None) };
        let path: PathBuf = ["/lib/modules", &release, file].iter().collect();
        self.text(&path).map_err(errno_of)
    }

    /// The module and all that it needs; where no `modules.dep` tells, the module alone.
    fn dependencies(&self, module: &ModuleName) -> Result<BTreeSet<ModuleName>, Errno> {
        let Some(text) = self.of_running_kernel("modules.dep")? else {
            return Ok(BTreeSet::from([module.clone()]));
        };
        for (path, needs) in kmod_index::dependencies(&text) {
            if kmod_index::module_of_path(path).as_ref() == Some(module) {
                return Ok(needs.filter_map(kmod_index::module_of_path).collect());
            }
        }
        let builtin = self.of_running_kernel("modules.builtin")?.unwrap_or_default();
        let wanted = BTreeSet::from([module.clone()]);
        if kmod_index::find(builtin.as_bytes(), &wanted).is_empty() {
            Err(Errno::ENOENT)
        } else {
            Ok(BTreeSet::new())
        }
    }
}

impl super::Overlay {
    /// The paths of all files with this name.
    fn files_named<'o>(&'o self, name: &'o str) -> impl Iterator<Item = &'o Path> {
        self.nodes()
            .filter(move |(path, node)| path.ends_with(name) && matches!(node, Node::File(_)))
            .map(|(path, _)| path)
    }
}
