//! Which devices a module drives now.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::{HostError, ReadHost};
use crate::plan::Because;
use crate::types::{ModuleName, PciAddress};

const BUSES: &str = "/sys/bus";

/// A function some device of which a module drives, and what of the host can be on that device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Driven {
    /// The function that the device is, or is behind.
    pub(super) function: PciAddress,
    /// What can be on the device.
    carries: Carries,
}

/// What can be on the devices of a driver: a USB controller, say, has disks and keyboards behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Carries {
    Anything,
    Disks,
    Links,
    Keyboards,
}

impl Driven {
    /// Whether this is lost at a boot without the driver. What only runs now (a guest, a program) is not; and a display
    /// shows the console without its driver, through the firmware's framebuffer or as VGA text.
    pub(super) fn is_lost(self, because: Because, is_display: bool) -> bool {
        use Because::{
            Address, Console, DefaultRoute, Keyboard, RootDisk, SshSession, Storage, Swap, Unsure,
        };
        match self.carries {
            Carries::Anything if because == Console => !is_display,
            Carries::Anything => matches!(
                because,
                RootDisk | Storage | Swap | DefaultRoute | SshSession | Address | Keyboard | Unsure
            ),
            Carries::Disks => matches!(because, RootDisk | Storage | Swap),
            Carries::Links => matches!(because, DefaultRoute | SshSession | Address),
            Carries::Keyboards => because == Keyboard,
        }
    }
}

/// The functions that are driven by `module`, or that have a device behind them that is.
///
/// # Errors
/// When a bus cannot be listed.
pub(super) fn driven_by(host: &dyn ReadHost, module: &ModuleName) -> Result<BTreeSet<Driven>, HostError> {
    let mut driven = BTreeSet::new();
    for bus in host.list(Path::new(BUSES))?.unwrap_or_default() {
        let drivers = Path::new(BUSES).join(&bus).join("drivers");
        for driver in host.list(&drivers)?.unwrap_or_default() {
            let directory = drivers.join(&driver);
            if is_of(host, &directory, &driver, module)? {
                let carries = carries(&bus, &driver);
                let functions = functions(host, &directory)?;
                driven.extend(functions.into_iter().map(|function| Driven { function, carries }));
            }
        }
    }
    Ok(driven)
}

/// Whether a driver is this module's. A captured tree may lack the link: the names are mostly equal then.
fn is_of(
    host: &dyn ReadHost,
    directory: &Path,
    driver: &str,
    module: &ModuleName,
) -> Result<bool, HostError> {
    let name = match host.link_name(&directory.join("module"))? {
        Some(name) => name,
        None => driver.to_owned(),
    };
    Ok(name.parse::<ModuleName>().is_ok_and(|name| name == *module))
}

fn carries(bus: &str, driver: &str) -> Carries {
    match bus {
        "pci" | "virtio" => Carries::Anything,
        "usb" if matches!(driver, "usb-storage" | "uas") => Carries::Disks,
        "usb" if !driver.contains("hid") => Carries::Links,
        "usb" | "hid" => Carries::Keyboards,
        _ => Carries::Disks,
    }
}

/// The functions that a driver's devices are, or are behind.
fn functions(host: &dyn ReadHost, directory: &Path) -> Result<BTreeSet<PciAddress>, HostError> {
    let mut functions = BTreeSet::new();
    for entry in host.list(directory)?.unwrap_or_default() {
        if matches!(entry.as_str(), "bind" | "unbind" | "new_id" | "remove_id" | "uevent" | "module") {
            continue;
        }
        if let Some(target) = host.read_link(&directory.join(&entry))? {
            functions.extend(last_function(&target));
        }
    }
    Ok(functions)
}

fn last_function(path: &Path) -> Option<PciAddress> {
    path.iter().rev().find_map(|name| name.to_str()?.parse().ok())
}
