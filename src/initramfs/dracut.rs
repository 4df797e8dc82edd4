//! dracut (Fedora, RHEL, openSUSE, openEuler; Debian and Arch where it is chosen): `dracut(8)`, `dracut.conf(5)`.
//!
//! It copies `/usr/lib/modprobe.d` into every image, and `/etc/modprobe.d` and rules of `/etc/udev` into host-only ones
//! alone (`modules.d/90kernel-modules`, `inst_rules`); Debian's images are generic. vfio-pci is in none. A drop-in names
//! these files and forces vfio-pci, which is loaded before udev starts (`rd.driver.pre`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Carries, Generator, Image, ImageFile, Needs, Told, conf_d, may_carry};
use crate::engine::Means;
use crate::formats::glob;
use crate::host::kernels::{InKernels, index};
use crate::host::{HostError, Kernels, Reach, ReadHost};
use crate::resources::HEADER;
use crate::resources::bindings::RULES;
use crate::types::ModuleName;

/// dracut.
#[derive(Debug, Clone, Copy)]
pub struct Dracut;

/// Our drop-in; its name sorts behind others, and a later assignment adds to theirs.
pub(super) const DROP_IN: &str = "/etc/dracut.conf.d/zz-reconcile.conf";

/// Expanded by dracut: what other files of modprobe.d say counts in the image as it does outside.
const MODPROBE: &str = "/etc/modprobe.d/*.conf";

const CONF: &str = "/etc/dracut.conf";
const CONF_D: [&str; 2] = ["/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d"];

impl Generator for Dracut {
    fn key(&self) -> &'static str {
        "dracut"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Option<String>, HostError> {
        for path in ["/usr/bin/dracut", "/usr/sbin/dracut"] {
            if host.exists(Path::new(path))? {
                return Ok(Some(path.to_owned()));
            }
        }
        // A captured tree need not hold programs.
        let captured = host.reach() == Reach::Tree && host.exists(Path::new(CONF))?;
        Ok(captured.then(|| CONF.to_owned()))
    }

    fn rebuild(&self, _host: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::Command(["dracut", "--force", "--regenerate-all"].map(str::to_owned).to_vec()))
    }

    /// What an image that cannot be read has nobody knows: which of dracut's modules were taken follows from the whole
    /// system. What may be in it counts as in it.
    fn carries(
        &self,
        host: &dyn ReadHost,
        _kernels: &Kernels,
        modules: &BTreeMap<ModuleName, InKernels>,
    ) -> Result<BTreeMap<ModuleName, Carries>, HostError> {
        let settings = Settings::read(host)?;
        let left_out = |module: &ModuleName| {
            settings.lists("omit_drivers", module).then_some("omit_drivers leaves it out")
        };
        Ok(may_carry(self.key(), modules, left_out))
    }

    fn told(&self, _host: &dyn ReadHost, needs: Needs) -> Result<Told, HostError> {
        if !needs.vfio_pci && !needs.files {
            return Ok(Told::Files(Vec::new()));
        }
        let force = if needs.vfio_pci { "force_drivers+=\" vfio_pci \"\n" } else { "" };
        let content = format!("{HEADER}install_optional_items+=\" {MODPROBE} {RULES} \"\n{force}");
        Ok(Told::Files(vec![ImageFile { path: PathBuf::from(DROP_IN), content, mode: 0o644 }]))
    }

    fn predict(&self, host: &dyn ReadHost, release: &str, image: &mut Image) -> Result<(), HostError> {
        let settings = Settings::read(host)?;
        let items: Vec<&str> =
            settings.words("install_optional_items").chain(settings.words("install_items")).collect();
        let is_named = |path: &str| items.iter().any(|item| glob::matches(item, path));
        image.follow_modprobe(host, |path| settings.is_hostonly() || is_named(path))?;
        let rules = Path::new(RULES);
        image.follow(rules, if is_named(RULES) { host.read(rules)? } else { None });
        let dep = host.text(&index(release, "modules.dep"))?.unwrap_or_default();
        for name in settings.words("force_drivers").chain(settings.words("add_drivers")) {
            if let Ok(module) = name.parse::<ModuleName>() {
                image.add_with_dependencies(&module, release, &dep);
            }
        }
        Ok(())
    }
}

/// What the configuration assigns, each variable's words in order.
#[derive(Debug, Default)]
struct Settings(BTreeMap<String, String>);

impl Settings {
    /// dracut sources `/etc/dracut.conf`, then the drop-ins in the order of their names; of two with one name the one in
    /// /etc counts. What more than assignments such a script holds is not followed.
    fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut settings = Self::default();
        let drop_ins = conf_d(host, &CONF_D, ".conf")?;
        for path in std::iter::once(PathBuf::from(CONF)).chain(drop_ins) {
            let text = host.text(&path)?.unwrap_or_default();
            for line in text.lines() {
                let Some((name, value)) = line.trim_start().split_once('=') else { continue };
                let (name, adds) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
                if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    continue;
                }
                let value = match value.chars().next() {
                    Some(quote @ ('"' | '\'')) => value.get(1..).and_then(|rest| rest.split(quote).next()),
                    _ => value.split([' ', '\t', ';']).next(),
                };
                let stored = settings.0.entry(name.to_owned()).or_default();
                if !adds {
                    stored.clear();
                }
                stored.push_str(value.unwrap_or_default());
            }
        }
        Ok(settings)
    }

    fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flat_map(|value| value.split_ascii_whitespace())
    }

    fn lists(&self, name: &str, module: &ModuleName) -> bool {
        self.words(name).any(|word| word.parse().is_ok_and(|listed: ModuleName| listed == *module))
    }

    /// Anything but nothing and "no" (`dracut.sh`).
    fn is_hostonly(&self) -> bool {
        self.0.get("hostonly").is_some_and(|value| !value.is_empty() && value != "no")
    }
}

#[cfg(test)]
mod tests;
