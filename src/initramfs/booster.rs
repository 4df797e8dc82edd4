//! booster (Arch, Fedora): `booster(1)`, `generator/generator.go`, `generator/kmod.go`, `init/main.go`.
//!
//! Its init is a program of its own: it knows no udev rule and reads no modprobe.d. The generator hands it the `options`
//! lines; blacklists and softdeps have no effect in its images, and what is in `modules_force_load` is begun before devices
//! are looked at, but not waited for. A native driver that an image has is therefore sure to come second only where it is
//! taken out. There is one file of configuration and no drop-in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Carries, Generator, Image, ImageFile, Needs, Told, kernel_install, refuse};
use crate::engine::Means;
use crate::formats::booster::{UserConfig, modprobe_options};
use crate::formats::kmod_index;
use crate::host::kernels::{InKernels, index};
use crate::host::{HostError, Kernels, Reach, ReadHost};
use crate::plan::Reason;
use crate::resources::{HEADER, is_own};
use crate::types::ModuleName;

/// booster.
#[derive(Debug, Clone, Copy)]
pub struct Booster;

/// Its configuration. Its package installs an empty one, and it builds nothing where there is none.
pub(super) const CONF: &str = "/etc/booster.yaml";
const REGENERATE: &str = "/usr/lib/booster/regenerate_images";
/// In the order in which it reads them.
const MODPROBE_D: [&str; 3] = ["/lib/modprobe.d", "/etc/modprobe.d", "/run/modprobe.d"];

impl Generator for Booster {
    fn key(&self) -> &'static str {
        "booster"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Option<String>, HostError> {
        // A captured tree need not hold programs.
        let captured = host.reach() == Reach::Tree && host.exists(Path::new(CONF))?;
        let program = "/usr/bin/booster";
        if host.exists(Path::new(program))? {
            Ok(Some(program.to_owned()))
        } else {
            Ok(captured.then(|| CONF.to_owned()))
        }
    }

    fn rebuild(&self, host: &dyn ReadHost) -> Result<Means, HostError> {
        let programs = host.exists(Path::new("/usr/bin/booster"))?;
        if host.exists(Path::new(REGENERATE))? || !programs {
            return Ok(Means::Command(vec![REGENERATE.to_owned()]));
        }
        let by_hand = "rebuild each image: booster build --force --kernel-version RELEASE IMAGE";
        kernel_install(host, self.key(), by_hand)
    }

    /// What an image that cannot be read has follows from the host's hardware; what may be in it counts as in it.
    fn carries(
        &self,
        _host: &dyn ReadHost,
        _kernels: &Kernels,
        modules: &BTreeMap<ModuleName, InKernels>,
    ) -> Result<BTreeMap<ModuleName, Carries>, HostError> {
        Ok(super::may_carry(self.key(), modules, |_| None))
    }

    fn told(&self, host: &dyn ReadHost, needs: Needs) -> Result<Told, HostError> {
        let bytes = host.read(Path::new(CONF))?.unwrap_or_default();
        let file = |content: String| {
            Told::Files(vec![ImageFile { path: PathBuf::from(CONF), content, mode: 0o644 }])
        };
        if bytes.is_empty() || is_own(&bytes) {
            return Ok(match (needs.vfio_pci, bytes.is_empty()) {
                (true, _) => file(format!("{HEADER}modules_force_load: vfio_pci\n")),
                // Without the file it would build nothing any more.
                (false, false) => file(String::new()),
                (false, true) => Told::Files(Vec::new()),
            });
        }
        let problem = match UserConfig::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(config) if !needs.vfio_pci || config.force_load().any(|module| module == "vfio_pci") => {
                return Ok(Told::Files(Vec::new()));
            }
            Ok(_) => "it is the only file that tells booster what to take, it is not reconcile's, and its modules_force_load does not have vfio_pci".to_owned(),
            Err(problem) => format!("it is not reconcile's, and it cannot be read: {problem}"),
        };
        let remedy = "write vfio_pci into the list modules_force_load of /etc/booster.yaml (modules_force_load: vfio_pci)";
        Ok(refuse(CONF, Reason::new("generator-shared-file", problem).at(CONF), remedy))
    }

    fn predict(&self, host: &dyn ReadHost, release: &str, image: &mut Image) -> Result<(), HostError> {
        let text = host.text(Path::new(CONF))?.unwrap_or_default();
        // What cannot be read builds nothing.
        let Ok(config) = UserConfig::parse(&text) else { return Ok(()) };
        let dep = host.text(&index(release, "modules.dep"))?.unwrap_or_default();
        for item in config.modules().chain(config.force_load()) {
            let (item, is_taken) = item.strip_prefix('-').map_or((item, true), |item| (item, false));
            let listed = kmod_index::dependencies(&dep).map(|(path, _)| path);
            for module in listed.filter(|path| is_meant(item, path)).filter_map(kmod_index::module_of_path) {
                if is_taken {
                    image.add_with_dependencies(&module, release, &dep);
                } else {
                    image.remove_module(&module, release);
                }
            }
        }
        let mut files = Vec::new();
        for directory in MODPROBE_D.map(Path::new) {
            for name in host.list(directory)?.unwrap_or_default() {
                files.extend(host.text(&directory.join(name))?);
            }
        }
        image.follow_options(modprobe_options(files.iter().map(String::as_str)));
        Ok(())
    }

    fn beyond_rebuild(&self) -> Option<&'static str> {
        Some(
            "booster's init reads no blacklist, no softdep and no udev rule: take the module out of the images with \
             modules: -MODULE in /etc/booster.yaml",
        )
    }
}

/// Whether an item of `modules` means the module at this path: by its name, its path (the suffix of its compression may be
/// left out), its directory, or all.
fn is_meant(item: &str, path: &str) -> bool {
    let whole = || {
        path == item
            || path.strip_prefix(item).is_some_and(|rest| item.ends_with(".ko") && rest.starts_with('.'))
    };
    let named = || kmod_index::module_of_path(path).is_some_and(|module| module.as_str() == item);
    item == "*" || (item.ends_with('/') && path.starts_with(item)) || whole() || named()
}

#[cfg(test)]
mod tests;
