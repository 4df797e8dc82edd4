//! driverctl: a file for each device that it binds.
//!
//! Its udev rule has systemd start `driverctl@pci-ADDRESS.service` for each device with a file; that unbinds the device,
//! writes `driver_override` and has it probed. It is ordered before basic.target, and with reconcile.service not at all.

use std::path::Path;

use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::host::{HostError, ReadHost};
use crate::types::PciAddress;

const DIRECTORY: &str = "/etc/driverctl.d";

#[derive(Debug)]
pub(super) struct Driverctl;

impl Owner for Driverctl {
    fn name(&self) -> &'static str {
        "driverctl"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        !wanted.drivers.is_empty() || !wanted.counts.is_empty()
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let mut found = Found::default();
        for name in host.list(Path::new(DIRECTORY))?.unwrap_or_default() {
            let function = name.strip_prefix("pci-").and_then(|name| name.parse::<PciAddress>().ok());
            let Some(function) = function.filter(|function| wanted.concerns(*function)) else { continue };
            let path = Path::new(DIRECTORY).join(&name);
            let driver = host.text(&path)?.unwrap_or_default().trim().to_owned();
            // `none` keeps every driver away.
            let text = match driver.as_str() {
                "" => continue,
                "none" => format!("driverctl keeps {function} from every driver"),
                // Since 0.115 it writes new_id for vfio-pci.
                "vfio-pci" => format!(
                    "driverctl gives {function} to vfio-pci, later versions by its id, which takes twins"
                ),
                driver => format!("driverctl gives {function} to {driver}"),
            };
            found.holdings.push(Holding {
                setting: Setting::Driver(function, Some(driver)),
                force: Force::Sets,
                text,
                at: format!("{}:1", path.display()),
                wins: "at boot udev has systemd run driverctl for the function, whatever reconcile has made of it until then: \
                       the later of the two stays",
                remedy: format!("driverctl unset-override {function}; the live binding goes with it"),
            });
        }
        Ok(found)
    }
}
