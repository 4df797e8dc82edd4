//! An IOMMU that the next boot does not turn on, while guests that run need it.

use std::path::{Path, PathBuf};

use super::arguments;
use crate::guard::{Loss, Scene, Taking, Way};
use crate::host::kernels::Kernel;
use crate::host::{HostError, Kernels, ReadHost, pci};
use crate::plan::{Because, Change, Reason};
use crate::resources::ObserveError;
use crate::types::{KernelArg, PciAddress};

/// Turning the IOMMU off for the next boot.
#[derive(Debug)]
pub(in crate::guard) struct IommuAtBoot;

impl Way for IommuAtBoot {
    fn takings(
        &self,
        item: &str,
        change: &Change,
        scene: &mut Scene<'_>,
    ) -> Result<Vec<Taking>, ObserveError> {
        let arguments = arguments::of(item, change, scene);
        let concerns = |arg: &&KernelArg| NAMES.iter().any(|name| arg.is_named(name));
        let changed = arguments.added.iter().chain(&arguments.removed);
        let Some(arg) = changed.clone().find(concerns) else { return Ok(Vec::new()) };
        let Some(kind) = Kind::of(scene.host)? else { return Ok(Vec::new()) };
        let by_default = kind.by_default(scene.host, scene.kernels)?;
        let (before, after) =
            (kind.worst(&arguments.before, by_default), kind.worst(&arguments.after, by_default));
        if before == Some(false) || after == Some(true) {
            return Ok(Vec::new());
        }
        let how = if arguments.added.contains(arg) {
            format!("{arg} comes to")
        } else {
            format!("{arg} goes from")
        };
        let then = match after {
            None => "and nothing tells whether this kernel turns the IOMMU on by itself",
            Some(_) => "which turns the IOMMU off",
        };
        let text = format!("from the next boot on, {how} the kernel command line, {then}");
        let link = vec![Reason::new("turns-iommu-off", text)];
        Ok(vec![Taking { subject: arg.to_string(), link, losses: held_by_guests(scene)? }])
    }
}

const NAMES: [&str; 3] = ["intel_iommu", "amd_iommu", "iommu"];

/// Which IOMMU it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Intel,
    Amd,
}

impl Kind {
    /// As the kernel names its units; `None` for those that no argument turns off.
    fn of(host: &dyn ReadHost) -> Result<Option<Self>, HostError> {
        let units = host.list(Path::new("/sys/class/iommu"))?.unwrap_or_default();
        Ok(units.iter().find_map(|unit| match unit {
            unit if unit.starts_with("dmar") => Some(Self::Intel),
            unit if unit.starts_with("ivhd") => Some(Self::Amd),
            _ => None,
        }))
    }

    /// Whether every installed kernel turns it on without an argument; `None` where that cannot be told.
    /// AMD's is on wherever there is one; Intel's as the kernel was built (`drivers/iommu/intel/Kconfig`).
    fn by_default(self, host: &dyn ReadHost, kernels: &Kernels) -> Result<Option<bool>, HostError> {
        if self == Self::Amd {
            return Ok(Some(true));
        }
        let installed = kernels.installed.iter().map(|Kernel { release, .. }| release);
        let mut releases: Vec<&String> = installed.collect();
        if releases.is_empty() {
            releases.extend(&kernels.running);
        }
        let mut all = if releases.is_empty() { None } else { Some(true) };
        for release in releases {
            let config = host.text(&PathBuf::from(format!("/boot/config-{release}")))?;
            let Some(config) = config else { return Ok(None) };
            let on = ["CONFIG_INTEL_IOMMU_DEFAULT_ON=y", "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF=y"];
            if !config.lines().any(|line| on.contains(&line)) {
                all = Some(false);
            }
        }
        Ok(all)
    }

    /// Whether it is on with each of these command lines.
    fn worst(self, lines: &[Vec<KernelArg>], by_default: Option<bool>) -> Option<bool> {
        let states: Vec<Option<bool>> = lines.iter().map(|line| self.state(line, by_default)).collect();
        if states.contains(&Some(false)) { Some(false) } else { states.into_iter().min().flatten() }
    }

    /// Whether it is on with these arguments. Each occurrence counts, the later one last (`intel_iommu_setup`,
    /// `parse_amd_iommu_options`); `iommu=off` turns any of them off (`arch/x86/kernel/pci-dma.c`, `iommu_setup`).
    fn state(self, args: &[KernelArg], by_default: Option<bool>) -> Option<bool> {
        let own = match self {
            Self::Intel => "intel_iommu",
            Self::Amd => "amd_iommu",
        };
        let mut state = by_default;
        for arg in args {
            for word in arg.value().unwrap_or_default().split(',') {
                match (arg.is_named(own), arg.is_named("iommu")) {
                    // Words are compared by their beginning.
                    (true, _) if word.starts_with("off") => state = Some(false),
                    (true, _) if self == Self::Intel && word.starts_with("on") => state = Some(true),
                    (_, true) if word.starts_with("off") => return Some(false),
                    _ => {}
                }
            }
        }
        state
    }
}

/// The functions on drivers for guests that a guest has open.
fn held_by_guests(scene: &mut Scene<'_>) -> Result<Vec<Loss>, ObserveError> {
    let mut losses = Vec::new();
    for driver in scene.host.list(Path::new(pci::DRIVERS))?.unwrap_or_default() {
        if !driver.parse().is_ok_and(|driver: crate::types::DriverName| driver.is_vfio()) {
            continue;
        }
        let bound = scene.host.list(&Path::new(pci::DRIVERS).join(driver))?.unwrap_or_default();
        for function in bound.iter().filter_map(|name| name.parse::<PciAddress>().ok()) {
            let held = scene
                .losses_of(function)
                .into_iter()
                .filter(|loss| loss.function == function && loss.because == Because::Guest);
            losses.extend(held.map(|loss| Loss { because: Because::IommuOff, ..loss }));
        }
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_iommu_off_always() {
        let args = |line: &str| -> Vec<KernelArg> {
            line.split_whitespace().map(|arg| arg.parse().unwrap()).collect()
        };
        for (line, default, state) in [
            ("intel_iommu=on iommu=pt", None, Some(true)),
            ("iommu=pt", Some(false), Some(false)),
            ("quiet", None, None),
            ("intel_iommu=off intel_iommu=on,sm_on", Some(true), Some(true)),
            ("intel_iommu=on intel_iommu=sm_off,off", Some(true), Some(false)),
            ("intel_iommu=sm_off", Some(true), Some(true)),
            ("intel_iommu=on iommu=off", Some(true), Some(false)),
            ("amd_iommu=off", Some(true), Some(true)),
        ] {
            assert_eq!(Kind::Intel.state(&args(line), default), state, "{line}");
        }
        assert_eq!(Kind::Amd.state(&args("amd_iommu=off"), Some(true)), Some(false));
        assert_eq!(Kind::Amd.state(&args("amd_iommu=on intel_iommu=off"), Some(true)), Some(true));
    }
}
