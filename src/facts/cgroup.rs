//! What carries out `cgroup_device_acl`: the devices controller of cgroup 1, or a BPF program on cgroup 2.

use std::path::Path;

use super::{Check, Judgement};
use crate::host::{HostError, Kernels, ReadHost};

const MOUNTS: &str = "/proc/self/mountinfo";

/// The mounted hierarchies; `None` where nothing shows mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cgroup(Option<Mounted>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mounted {
    /// A `cgroup2` file system.
    unified: bool,
    /// A `cgroup` file system of any controller.
    legacy: bool,
    /// One with the devices controller.
    legacy_devices: bool,
}

impl Check for Cgroup {
    const NAME: &'static str = "cgroup";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        Ok(Self(host.text(Path::new(MOUNTS))?.map(|text| Mounted::of(&text))))
    }

    fn judge(&self) -> Judgement {
        match self.0 {
            Some(Mounted { legacy_devices: true, unified, .. }) => {
                let version = if unified { "version 1 (hybrid)" } else { "version 1" };
                let text = format!("{version}: the devices controller carries out cgroup_device_acl");
                Judgement::good("cgroup-v1", text, MOUNTS)
            }
            Some(Mounted { unified: true, legacy: false, .. }) => {
                let text = "version 2: a BPF program carries out cgroup_device_acl, for guests started from now on";
                Judgement::good("cgroup-v2", text, MOUNTS)
            }
            Some(Mounted { unified: true, legacy: true, .. }) => {
                let text = "version 2 beside version 1 without its devices controller: libvirt uses a BPF program for cgroup_device_acl";
                Judgement::good("cgroup-v2", text, MOUNTS)
            }
            Some(Mounted { legacy: true, .. }) => Judgement::fails(
                "no-devices-controller",
                "version 1 without the devices controller: nothing carries out cgroup_device_acl",
                MOUNTS,
                "mount the devices controller, or boot with systemd.unified_cgroup_hierarchy=1",
            ),
            Some(Mounted { .. }) | None => Judgement::unknown("no cgroup file system is shown", MOUNTS),
        }
    }
}

impl Mounted {
    /// Reads the text of mountinfo: the type and the options stand behind a lone `-` (proc(5)).
    fn of(mountinfo: &str) -> Self {
        let mut found = Self { unified: false, legacy: false, legacy_devices: false };
        for line in mountinfo.lines() {
            let Some((_, rest)) = line.split_once(" - ") else { continue };
            let mut words = rest.split(' ');
            match words.next() {
                Some("cgroup2") => found.unified = true,
                Some("cgroup") => {
                    let options = words.nth(1).unwrap_or_default();
                    let has = |option: &str| options.split(',').any(|known| known == option);
                    // systemd's own hierarchy has a name and no controller.
                    found.legacy |= !options.split(',').any(|option| option.starts_with("name="));
                    found.legacy_devices |= has("devices");
                }
                _ => {}
            }
        }
        found
    }
}
