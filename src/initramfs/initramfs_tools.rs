//! initramfs-tools (Debian, Ubuntu, Proxmox): `mkinitramfs(8)`, `hook-functions`, `initramfs.conf(5)`.
//!
//! It copies all of `/etc/modprobe.d` and `/lib/modprobe.d` into every image, and with udev's hook the rules in
//! `/etc/udev/rules.d`. A module comes with its dependencies and the soft ones, so that a softdep of a driver in the
//! image brings vfio-pci along.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Carries, Generator, Image, ImageFile, Needs, Told};
use crate::engine::Means;
use crate::formats::kmod_index;
use crate::host::kernels::{InKernels, Presence, index};
use crate::host::{HostError, Kernels, Reach, ReadHost};
use crate::resources::HEADER;
use crate::resources::bindings::RULES;
use crate::types::ModuleName;

/// initramfs-tools.
#[derive(Debug, Clone, Copy)]
pub struct InitramfsTools;

/// Our hook.
pub(super) const HOOK: &str = "/etc/initramfs-tools/hooks/reconcile-vfio";

impl Generator for InitramfsTools {
    fn key(&self) -> &'static str {
        "initramfs-tools"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Option<String>, HostError> {
        let conf = "/etc/initramfs-tools/initramfs.conf";
        for path in ["/usr/sbin/update-initramfs", "/sbin/update-initramfs"] {
            if let Some(script) = host.text(Path::new(path))? {
                // dracut brings a command of the same name.
                let certain = script.contains("mkinitramfs");
                let likely = !script.contains("dracut") && host.exists(Path::new(conf))?;
                return Ok((certain || likely).then(|| path.to_owned()));
            }
        }
        // A captured tree need not hold programs.
        let captured = host.reach() == Reach::Tree && host.exists(Path::new(conf))?;
        Ok(captured.then(|| conf.to_owned()))
    }

    fn rebuild(&self, _host: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::Command(["update-initramfs", "-u", "-k", "all"].map(str::to_owned).to_vec()))
    }

    fn carries(
        &self,
        host: &dyn ReadHost,
        kernels: &Kernels,
        modules: &BTreeMap<ModuleName, InKernels>,
    ) -> Result<BTreeMap<ModuleName, Carries>, HostError> {
        let policy = Policy::read(host)?;
        let mut answers: BTreeMap<ModuleName, Carries> = modules
            .iter()
            .map(|(module, found)| {
                let why = if found.is_nowhere() || found.0.is_empty() {
                    "no installed kernel has it".to_owned()
                } else if found.is_builtin_everywhere() {
                    "it is built into the kernel".to_owned()
                } else {
                    format!("MODULES={} takes nothing from its directory", policy.setting)
                };
                (module.clone(), Carries::No(why))
            })
            .collect();
        for kernel in &kernels.installed {
            let text = host.text(&index(&kernel.release, "modules.dep"))?.unwrap_or_default();
            let paths: BTreeMap<&str, &ModuleName> = modules
                .iter()
                .filter_map(|(module, found)| match found.0.get(&kernel.release) {
                    Some(Presence::Module(path)) => Some((path.as_str(), module)),
                    _ => None,
                })
                .collect();
            if paths.is_empty() {
                continue;
            }
            for (path, needs) in kmod_index::dependencies(&text) {
                let concerned: Vec<&ModuleName> =
                    std::iter::once(path).chain(needs).filter_map(|path| paths.get(path).copied()).collect();
                if concerned.is_empty() {
                    continue;
                }
                if let Some(why) = policy.takes(host, path)? {
                    for module in concerned {
                        answers.insert(module.clone(), Carries::Yes(why.clone()));
                    }
                }
            }
        }
        Ok(answers)
    }

    fn told(&self, _host: &dyn ReadHost, needs: Needs) -> Result<Told, HostError> {
        if !needs.vfio_pci {
            return Ok(Told::Files(Vec::new()));
        }
        let content = format!(
            "#!/bin/sh\n{HEADER}[ \"$1\" = prereqs ] && exit 0\n. /usr/share/initramfs-tools/hook-functions\n\
             manual_add_modules vfio_pci\nexit 0\n"
        );
        Ok(Told::Files(vec![ImageFile { path: PathBuf::from(HOOK), content, mode: 0o755 }]))
    }

    fn predict(&self, host: &dyn ReadHost, release: &str, image: &mut Image) -> Result<(), HostError> {
        image.follow_modprobe(host, |_| true)?;
        // udev's hook leaves out what the distribution has a rule of the same name for; ours have no such name.
        image.follow(Path::new(RULES), host.read(Path::new(RULES))?);
        let dep = host.text(&index(release, "modules.dep"))?.unwrap_or_default();
        let policy = Policy::read(host)?;
        let hook = host.exists(Path::new(HOOK))?.then(|| "vfio_pci".parse().ok()).flatten();
        for module in policy.listed.keys().cloned().chain(hook) {
            image.add_with_dependencies(&module, release, &dep);
        }
        Ok(())
    }
}

/// Directories below `kernel/drivers` that `auto_add_modules` copies with `MODULES=most`, by class.
const BASE: [&str; 22] = [
    "usb/host",
    "usb/c67x00",
    "usb/chipidea",
    "usb/dwc2",
    "usb/dwc3",
    "usb/isp1760",
    "usb/musb",
    "usb/renesas_usbhs",
    "usb/typec/tcpm",
    "usb/phy",
    "input/keyboard",
    "hid",
    "bus",
    "clk",
    "gpio",
    "i2c/busses",
    "i2c/muxes",
    "mfd",
    "pci/controller",
    "phy",
    "pinctrl",
    "rtc",
];
const BASE_TOO: [&str; 3] = ["regulator", "reset", "spi"];
const STORAGE: [&str; 8] = ["ide", "mmc", "scsi", "ufs", "ata", "block", "nvme", "usb/storage"];
/// Directories below `kernel/drivers/net` that are left out.
const NET_LEFT_OUT: [&str; 13] = [
    "appletalk",
    "arcnet",
    "bonding",
    "can",
    "hamradio",
    "hippi",
    "irda",
    "pcmcia",
    "team",
    "tokenring",
    "wan",
    "wimax",
    "wireless",
];
/// Modules that `auto_add_modules base`, `scsi`, `block`, `firewire` and `hidden_dep_add_modules` name.
const NAMED: [&str; 32] = [
    "btrfs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "isofs",
    "jfs",
    "reiserfs",
    "udf",
    "xfs",
    "nfs",
    "nfsv2",
    "nfsv3",
    "nfsv4",
    "af_packet",
    "atkbd",
    "i8042",
    "psmouse",
    "virtio_pci",
    "virtio_mmio",
    "hyperv_keyboard",
    "mptfc",
    "mptsas",
    "mptscsih",
    "mptspi",
    "vmd",
    "firewire_ohci",
    "firewire_sbp2",
    "fan",
    "thermal",
    "mlx4_ib",
    "mlx5_ib",
];

/// What goes into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Policy {
    /// The value of `MODULES`.
    setting: String,
    /// Modules that are listed, and where.
    listed: BTreeMap<ModuleName, PathBuf>,
    /// The hook that brings graphics drivers, where there is one.
    graphics: Option<&'static str>,
}

impl Policy {
    fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut setting = "most".to_owned();
        for path in configuration(host)? {
            let text = host.text(&path)?.unwrap_or_default();
            for line in text.lines() {
                if let Some(value) = line.trim_start().strip_prefix("MODULES=") {
                    let value = value.split(['#', ' ', ';']).next().unwrap_or_default();
                    setting = value.trim_matches(['"', '\'']).to_owned();
                }
            }
        }
        let mut listed = BTreeMap::new();
        let shared = Path::new("/usr/share/initramfs-tools/modules.d");
        let more = host.list(shared)?.unwrap_or_default();
        let files = more.iter().map(|name| shared.join(name));
        for path in std::iter::once(PathBuf::from("/etc/initramfs-tools/modules")).chain(files) {
            let text = host.text(&path)?.unwrap_or_default();
            let names = text.lines().filter(|line| !line.starts_with('#'));
            for name in names.filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()) {
                listed.entry(name).or_insert_with(|| path.clone());
            }
        }
        let mut graphics = None;
        for hook in [
            "/usr/share/initramfs-tools/hooks/plymouth",
            "/usr/share/initramfs-tools/hooks/framebuffer",
            "/etc/initramfs-tools/hooks/framebuffer",
        ] {
            if graphics.is_none() && host.exists(Path::new(hook))? {
                graphics = Some(hook);
            }
        }
        Ok(Self { setting, listed, graphics })
    }

    /// Why the module at this path below `/lib/modules/RELEASE` is in the image; `None` where it is not.
    fn takes(&self, host: &dyn ReadHost, path: &str) -> Result<Option<String>, HostError> {
        let Some(module) = kmod_index::module_of_path(path) else { return Ok(None) };
        if let Some(list) = self.listed.get(&module) {
            return Ok(Some(format!("{} lists {module}", list.display())));
        }
        let drivers = path.strip_prefix("kernel/drivers/").unwrap_or_default();
        let within =
            |directory: &&str| drivers.strip_prefix(*directory).is_some_and(|rest| rest.starts_with('/'));
        if let Some(hook) = self.graphics
            && (within(&"gpu") || within(&"video"))
        {
            return Ok(Some(format!("{hook} brings graphics drivers")));
        }
        let net = drivers.strip_prefix("net/").is_some_and(|rest| {
            let top = rest.split('/').next().unwrap_or_default();
            !NET_LEFT_OUT.contains(&top)
        });
        let base = BASE.iter().chain(&BASE_TOO).any(within) || NAMED.contains(&module.as_str());
        let most = base || net || STORAGE.iter().any(within);
        let taken = match self.setting.as_str() {
            "list" => false,
            "netboot" => base || net,
            // Of these the ones that the root device needs: none that is not loaded.
            "dep" => most && host.exists(&Path::new("/sys/module").join(module.as_str()))?,
            _ => most,
        };
        Ok(taken.then(|| format!("MODULES={} takes {module}", self.setting)))
    }
}

/// The files that `mkinitramfs` sources for its settings, in order.
fn configuration(host: &dyn ReadHost) -> Result<Vec<PathBuf>, HostError> {
    let [own, shared, hooks] = [
        "/etc/initramfs-tools/conf.d",
        "/usr/share/initramfs-tools/conf.d",
        "/usr/share/initramfs-tools/conf-hooks.d",
    ]
    .map(PathBuf::from);
    let sourced = |name: &String| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        name.bytes().all(plain) && !name.starts_with(['.', '_', '-']) && !name.contains(".dpkg-")
    };
    let names = |directory: &Path| -> Result<BTreeSet<String>, HostError> {
        Ok(host.list(directory)?.unwrap_or_default().into_iter().filter(sourced).collect())
    };
    let ours = names(&own)?;
    let mut files = vec![PathBuf::from("/etc/initramfs-tools/initramfs.conf")];
    files.extend(names(&shared)?.difference(&ours).map(|name| shared.join(name)));
    files.extend(ours.iter().map(|name| own.join(name)));
    files.extend(names(&hooks)?.iter().map(|name| hooks.join(name)));
    Ok(files)
}

#[cfg(test)]
mod tests;
