//! Files of modprobe.d that are not ours: VFs that a driver makes when it is loaded, ids of drivers for guests, commands
//! instead of loading.
//!
//! Where `vfio_pci.ids` is in the document it judges other settings of vfio-pci's `ids=` and soft dependencies itself.

use super::matching::{Fits, Subject};
use super::shell_writes::{Attribute, Whose, writes};
use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::formats::modprobe::{Config, Directive};
use crate::host::{HostError, ReadHost, kmod};
use crate::types::{ModuleName, PciAddress, VfioId};

/// What every file of ours is called.
const OURS: &str = "reconcile-";

#[derive(Debug)]
pub(super) struct Modprobe;

impl Owner for Modprobe {
    fn name(&self) -> &'static str {
        "modprobe.d"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        // What goes to vfio-pci its ids help, and no driver makes VFs of it.
        !wanted.counts.is_empty() || wanted.drivers.values().any(|desired| !desired.value.is_vfio())
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let config = kmod::modprobe_config(host)?;
        let mut found = Found::default();
        found.holdings.extend(made_by_drivers(&config, wanted));
        found.holdings.extend(claimed(&config, wanted));
        for (at, command) in commands(&config) {
            for function in wanted.functions.keys().filter(|function| wanted.concerns(**function)) {
                found.holdings.extend(written(host, wanted, *function, command, &at)?);
            }
        }
        Ok(found)
    }
}

fn is_ours(at: &str) -> bool {
    at.contains(OURS)
}

/// `options NIC max_vfs=`: igb and ixgbe make that many VFs of every PF that they probe.
fn made_by_drivers(config: &Config, wanted: &Wanted) -> Vec<Holding> {
    let mut holdings = Vec::new();
    for pf in wanted.counts.keys() {
        let driver = wanted.functions.get(pf).and_then(|(_, driver)| driver.as_ref());
        let Some(module) = driver.and_then(|driver| driver.as_str().parse::<ModuleName>().ok()) else {
            continue;
        };
        let last = config.options(&module).filter(|setting| setting.parameter == "max_vfs").last();
        let Some(setting) = last.filter(|setting| !is_ours(&setting.origin.to_string())) else { continue };
        // One number for each port.
        let mut numbers = setting.value.as_deref().unwrap_or_default().split(',');
        let first = numbers.next().and_then(|number| number.parse::<u16>().ok());
        let count = first.filter(|first| numbers.all(|number| number.parse() == Ok(*first)));
        let shown = setting.value.as_deref().unwrap_or_default();
        holdings.push(Holding {
            setting: Setting::VfCount(*pf, count),
            force: Force::Weak,
            text: format!("{module} makes max_vfs={shown} VFs of {pf} when it is loaded"),
            at: setting.origin.to_string(),
            wins: "reconcile.service comes behind the driver and sets its own count through 0, at every boot",
            remedy: format!("take max_vfs= of {module} out there, then rebuild the initramfs"),
        });
    }
    holdings
}

/// Ids by which a driver for guests claims a function that the document gives to another driver.
fn claimed(config: &Config, wanted: &Wanted) -> Vec<Holding> {
    let mut holdings = Vec::new();
    for driver in ["vfio-pci", "pci-stub"] {
        let Ok(module) = driver.parse::<ModuleName>() else { continue };
        let last = config.options(&module).filter(|setting| setting.parameter == "ids").last();
        let Some(setting) = last.filter(|setting| !is_ours(&setting.origin.to_string())) else { continue };
        if driver == "vfio-pci" && wanted.manages_ids {
            continue;
        }
        let ids: Vec<VfioId> = setting
            .value
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .filter_map(|id| id.parse().ok())
            .collect();
        for (function, desired) in &wanted.drivers {
            let known = wanted.functions.get(function);
            let id = known.and_then(|(known, _)| {
                ids.iter().find(|id| id.matches(known.id, known.subsystem, known.class))
            });
            let Some(id) = id.filter(|_| desired.value.as_str() != driver) else { continue };
            holdings.push(Holding {
                setting: Setting::Driver(*function, Some(driver.to_owned())),
                force: Force::Weak,
                text: format!("{driver} claims {function} when it is loaded, by its id {id}"),
                at: setting.origin.to_string(),
                wins: "reconcile.service comes behind it, and driver_override beats ids",
                remedy: format!("take {id} out of ids= there, then rebuild the initramfs"),
            });
        }
    }
    holdings
}

/// The commands that are run instead of loading a module.
fn commands(config: &Config) -> Vec<(String, &str)> {
    let commands = config.entries().filter_map(|(origin, directive)| match directive {
        Directive::Install { command, .. } => Some((origin.to_string(), command.as_str())),
        _ => None,
    });
    commands.filter(|(at, _)| !is_ours(at)).collect()
}

/// What such a command writes of a function.
fn written(
    host: &dyn ReadHost,
    wanted: &Wanted,
    function: PciAddress,
    command: &str,
    at: &str,
) -> Result<Vec<Holding>, HostError> {
    let mut holdings = Vec::new();
    for write in writes(command) {
        let is_meant = match &write.whose {
            Whose::Function(named) => *named == function,
            Whose::Interface(named) => {
                Subject::read(host, wanted, function)?.named(|name| name == named) == Fits::Yes
            }
            Whose::Variable => false,
        };
        if !is_meant {
            continue;
        }
        let shown = write.value.as_deref().unwrap_or("what the text does not tell");
        let (setting, does) = match write.attribute {
            Attribute::VfCount => {
                let count = write.value.as_deref().and_then(|value| value.parse().ok());
                (Setting::VfCount(function, count), format!("gives {function} the VF count {shown}"))
            }
            Attribute::Override => {
                (Setting::Driver(function, write.value.clone()), format!("gives {function} to {shown}"))
            }
            Attribute::Unbind => {
                (Setting::Driver(function, None), format!("takes {function} from its driver"))
            }
        };
        holdings.push(Holding {
            setting,
            force: Force::Sets,
            text: format!("an install command {does}"),
            at: at.to_owned(),
            wins: "it runs whenever the module is loaded: before reconcile.service at most boots, and again at any time after",
            remedy: format!("take the line out: {at}"),
        });
    }
    Ok(holdings)
}
