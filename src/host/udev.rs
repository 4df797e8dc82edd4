//! What udev does when functions appear: it has the module loaded that their modalias names (`80-drivers.rules`,
//! systemd's `udev-builtin-kmod.c`), a moment after the kernel has announced them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clock::Clock;
use super::pci::{Function, Pci};
use super::{ReadHost, kmod};
use crate::formats::kmod_index;
use crate::resources::ObserveError;
use crate::types::{ModuleName, PciAddress};

/// There while udevd runs (`udev-ctrl.c`).
const CONTROL: &str = "/run/udev/control";

/// A module that is not loaded yet is read, linked and probes each VF in turn.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// The modules that udev loads for a function: those whose alias fits and that are not blacklisted.
///
/// # Errors
/// When depmod's index or a file of modprobe.d cannot be read.
pub(super) fn modules_for(
    host: &dyn ReadHost,
    function: &Function,
) -> Result<BTreeSet<ModuleName>, ObserveError> {
    let Some(release) = host.text(Path::new("/proc/sys/kernel/osrelease"))? else {
        return Ok(BTreeSet::new());
    };
    let path: PathBuf = ["/lib/modules", &release, "modules.alias"].iter().collect();
    let aliases = host.read(&path)?.unwrap_or_default();
    let mut modules = kmod_index::aliased(&aliases, &function.modalias());
    if !modules.is_empty() {
        let config = kmod::modprobe_config(host)?;
        modules.retain(|module| config.blacklisted(module).next().is_none());
    }
    Ok(modules)
}

/// Waits, for a limited time, until new VFs that udev loads a module for have a driver. Without this the next
/// observation would be a race with udev: VFs without a driver would get one behind its back.
///
/// # Errors
/// When the VFs cannot be read.
pub(super) fn wait_for_vf_drivers(host: &dyn ReadHost, numvfs: &Path) -> Result<(), ObserveError> {
    if !numvfs.ends_with("sriov_numvfs") || !host.exists(Path::new(CONTROL))? {
        return Ok(());
    }
    let named = numvfs.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let Some(pf) = named.and_then(|name| name.parse::<PciAddress>().ok()) else { return Ok(()) };
    let inventory = Pci::new(host);
    let Some(sriov) = inventory.sriov(pf)? else { return Ok(()) };
    if sriov.current == 0 || sriov.autoprobe == Some(false) {
        return Ok(());
    }
    let Some(first) = inventory.vf(pf, 0)? else { return Ok(()) };
    let Some(function) = inventory.function(first)? else { return Ok(()) };
    if inventory.driver(first)?.is_none() && modules_for(host, &function)?.is_empty() {
        return Ok(());
    }
    let mut silent = |_: Duration| {};
    let mut clock = Clock::start(PATIENCE, &mut silent);
    while !clock.left().is_zero() && !all_have_drivers(&inventory, pf, sriov.current)? {
        clock.sleep(PAUSE);
    }
    Ok(())
}

fn all_have_drivers(inventory: &Pci<'_>, pf: PciAddress, count: u16) -> Result<bool, ObserveError> {
    for vf in inventory.vfs(pf, count)?.into_iter().flatten() {
        if inventory.driver(vf)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
