//! `reconcile devices`: the inventory, with a pin ready to paste.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::prepare::open_host;
use super::{Common, Output};
use crate::host::ReadHost;
use crate::host::pci::{Function, Pci};
use crate::host::pci_ids::PciNames;
use crate::report::{ExitStatus, chain};
use crate::resources::ObserveError;
use crate::types::{DriverName, IommuGroup, PciAddress, PciId, Selector};

#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// An address such as 0000:03:00.0, or a filter such as 10de:11bf:0300 or ::0300.
    #[arg(value_name = "SELECTOR")]
    selector: Option<Selector>,
}

/// One function and what passing it through depends on.
#[derive(Debug, Serialize)]
struct Device {
    address: PciAddress,
    id: PciId,
    subsystem: Option<PciId>,
    /// Base class and subclass, four hexadecimal digits.
    class: String,
    class_name: Option<String>,
    name: Option<String>,
    driver: Option<DriverName>,
    driver_override: Option<String>,
    iommu_group: Option<IommuGroup>,
    /// Every function of that group, this one included.
    group_members: Vec<PciAddress>,
    numa_node: Option<u32>,
    /// VF count now and at most; only of a PF.
    vfs: Option<VfCount>,
    /// The PF and the index; only of a VF.
    vf_of: Option<VfOf>,
    /// An entry for `vfio_pci.devices`, pinned.
    pin: String,
}

#[derive(Debug, Serialize)]
struct VfCount {
    current: u16,
    total: u16,
}

#[derive(Debug, Serialize)]
struct VfOf {
    pf: PciAddress,
    index: Option<u16>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Inventory {
    schema: u32,
    devices: Vec<Device>,
    /// Functions that could not be read.
    errors: Vec<String>,
}

pub(super) fn run(common: &Common, args: &DevicesArgs, output: &mut Output) -> ExitStatus {
    let machine = match open_host(common, output) {
        Ok(machine) => machine,
        Err(status) => return status,
    };
    let inventory = match inventory(&machine, args.selector.as_ref()) {
        Ok(inventory) => inventory,
        Err(error) => return output.fail(ExitStatus::Failed, &chain(&error)),
    };
    for error in &inventory.errors {
        output.error(error);
    }
    if inventory.devices.is_empty() && inventory.errors.is_empty() {
        match &args.selector {
            Some(selector) => output.error(&format!("no function of this host is {selector}")),
            None => output.error("this host shows no PCI function (/sys/bus/pci/devices)"),
        }
    }
    if output.json() {
        output.document(&inventory);
    } else if !inventory.devices.is_empty() {
        output.text(&table(&inventory.devices));
    }
    let complete = inventory.errors.is_empty() && !(inventory.devices.is_empty() && args.selector.is_some());
    if complete { ExitStatus::InSync } else { ExitStatus::Failed }
}

fn inventory(host: &dyn ReadHost, selector: Option<&Selector>) -> Result<Inventory, ObserveError> {
    let pci = Pci::new(host);
    let mut errors = Vec::new();
    let functions: Vec<Function> = match selector {
        Some(Selector::Address(address)) => pci.function(*address)?.into_iter().collect(),
        Some(Selector::Filter(_)) | None => {
            let scan = pci.scan()?;
            errors.extend(scan.broken.iter().map(|(address, problem)| format!("{address}: {problem}")));
            let wanted = |function: &&Function| match selector {
                Some(Selector::Filter(filter)) => filter.matches(function.id, function.class),
                Some(Selector::Address(_)) | None => true,
            };
            scan.functions.iter().filter(wanted).copied().collect()
        }
    };
    let names = PciNames::read(host);
    let mut known = Known::default();
    let mut devices = Vec::new();
    for function in functions {
        match device(&pci, &names, &mut known, function) {
            Ok(device) => devices.push(device),
            Err(error) => errors.push(format!("{}: {}", function.address, chain(&error))),
        }
    }
    Ok(Inventory { schema: 1, devices, errors })
}

/// What functions have in common, read once.
#[derive(Default)]
struct Known {
    groups: BTreeMap<IommuGroup, Vec<PciAddress>>,
    /// The VFs of each PF, by index.
    vfs: BTreeMap<PciAddress, Vec<Option<PciAddress>>>,
}

impl Known {
    fn members(&mut self, pci: &Pci<'_>, group: IommuGroup) -> Result<Vec<PciAddress>, ObserveError> {
        Ok(match self.groups.get(&group) {
            Some(members) => members.clone(),
            None => self.groups.entry(group).or_insert(pci.group_members(group)?).clone(),
        })
    }

    fn vf_of(&mut self, pci: &Pci<'_>, pf: PciAddress, vf: PciAddress) -> Result<VfOf, ObserveError> {
        let vfs = match self.vfs.get(&pf) {
            Some(vfs) => vfs,
            None => {
                let count = pci.sriov(pf)?.map_or(0, |sriov| sriov.current);
                self.vfs.entry(pf).or_insert(pci.vfs(pf, count)?)
            }
        };
        let index = vfs.iter().position(|found| *found == Some(vf));
        Ok(VfOf { pf, index: index.and_then(|index| u16::try_from(index).ok()) })
    }
}

fn device(
    pci: &Pci<'_>,
    names: &PciNames,
    known: &mut Known,
    function: Function,
) -> Result<Device, ObserveError> {
    let address = function.address;
    let iommu_group = pci.iommu_group(address)?;
    let group_members = iommu_group.map_or(Ok(Vec::new()), |group| known.members(pci, group))?;
    let vf_of = pci.physfn(address)?.map(|pf| known.vf_of(pci, pf, address)).transpose()?;
    let class = u16::try_from(function.class >> 8).unwrap_or(u16::MAX);
    Ok(Device {
        address,
        id: function.id,
        subsystem: function.subsystem,
        class: format!("{class:04x}"),
        class_name: names.class(class).map(str::to_owned),
        name: names.device(function.id),
        driver: pci.driver(address)?,
        driver_override: pci.driver_override(address)?,
        iommu_group,
        group_members,
        numa_node: pci.numa_node(address)?,
        vfs: pci.sriov(address)?.map(|sriov| VfCount { current: sriov.current, total: sriov.total }),
        pin: pin(pci, &function, vf_of.as_ref())?,
        vf_of,
    })
}

/// An entry that names the function and everything that identifies it. A VF is named by its PF and index: its address
/// moves.
fn pin(pci: &Pci<'_>, function: &Function, vf_of: Option<&VfOf>) -> Result<String, ObserveError> {
    if let Some(VfOf { pf, index: Some(index) }) = vf_of {
        return Ok(format!("{{pf: \"{pf}\", vf: {index}}}"));
    }
    let address = function.address;
    let subsystem = function.subsystem.map_or(String::new(), |subsystem| format!(":{subsystem}"));
    let mut pin = format!("{{address: \"{address}\", id: \"{}{subsystem}\"", function.id);
    let identity = [
        ("serial", pci.serial(address)?),
        ("mac", pci.macs(address)?.into_iter().next()),
        ("slot", pci.slots(address)?.into_iter().next()),
    ];
    for (key, value) in identity {
        if let Some(value) = value {
            pin.push_str(&format!(", {key}: \"{value}\""));
        }
    }
    pin.push('}');
    Ok(pin)
}

fn table(devices: &[Device]) -> String {
    let mut rows = vec![
        ["ADDRESS", "ROLE", "ID", "CLASS", "DRIVER", "OVERRIDE", "GROUP", "NUMA", "NAME"].map(str::to_owned),
    ];
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for device in devices {
        let role = match (&device.vfs, &device.vf_of) {
            (Some(vfs), _) => format!("PF {}/{}", vfs.current, vfs.total),
            (None, Some(VfOf { pf, index: Some(index) })) => format!("VF {index} of {pf}"),
            (None, Some(VfOf { pf, index: None })) => format!("VF of {pf}"),
            (None, None) => "-".to_owned(),
        };
        let companions = device.group_members.len().saturating_sub(1);
        let group = device.iommu_group.map(|group| {
            if companions == 0 { group.to_string() } else { format!("{group} (+{companions})") }
        });
        rows.push([
            device.address.to_string(),
            role,
            device.id.to_string(),
            device.class.clone(),
            or_dash(device.driver.as_ref().map(ToString::to_string)),
            or_dash(device.driver_override.clone()),
            or_dash(group),
            or_dash(device.numa_node.map(|node| node.to_string())),
            or_dash(device.name.clone().or_else(|| device.class_name.clone())),
        ]);
    }
    let mut widths = [0usize; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    // What pastes into the document, for few functions: for many it would bury the table.
    if devices.len() <= 16 {
        text.push_str("\nto paste under vfio_pci.devices:\n");
        for device in devices {
            let group: Vec<String> = device
                .group_members
                .iter()
                .filter(|member| **member != device.address)
                .map(ToString::to_string)
                .collect();
            let shares = if group.is_empty() {
                String::new()
            } else {
                format!("    # group with {}", group.join(", "))
            };
            text.push_str(&format!("  - {}{shares}\n", device.pin));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{EmptyHost, Reach, SimulatedHost, pci};
    use crate::types::PciAddress;

    fn host() -> SimulatedHost<'static> {
        let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
        let function = |at: &str, id: &str| Function {
            address: at.parse().unwrap(),
            id: id.parse().unwrap(),
            subsystem: None,
            class: 0x02_0000,
        };
        let attribute = |at: &str, name: &str| pci::attribute(at.parse().unwrap(), name);
        host.put_function(&function("0000:03:00.0", "8086:10c9"));
        for (name, text) in [("sriov_totalvfs", "7"), ("sriov_numvfs", "2")] {
            host.put_file(attribute("0000:03:00.0", name), format!("{text}\n"));
        }
        for (index, vf) in ["0000:03:10.0", "0000:03:10.2"].into_iter().enumerate() {
            host.put_function(&function(vf, "8086:10ca"));
            host.put_link(attribute("0000:03:00.0", &format!("virtfn{index}")), format!("../{vf}"));
            host.put_link(attribute(vf, "physfn"), "../0000:03:00.0");
            host.put_in_group(vf.parse().unwrap(), IommuGroup::Number(7));
        }
        host
    }

    #[test]
    fn shows_what_passing_a_function_through_depends_on() {
        let inventory = inventory(&host(), None).unwrap();
        assert_eq!(inventory.errors, [""; 0]);
        let pins: Vec<&str> = inventory.devices.iter().map(|device| device.pin.as_str()).collect();
        assert_eq!(
            pins,
            [
                "{address: \"0000:03:00.0\", id: \"8086:10c9\"}",
                "{pf: \"0000:03:00.0\", vf: 0}",
                "{pf: \"0000:03:00.0\", vf: 1}"
            ]
        );
        let text = table(&inventory.devices);
        let row = |at: usize| text.lines().nth(at).unwrap().split("  ").filter(|cell| !cell.is_empty());
        let cells = |at: usize| row(at).map(str::trim).collect::<Vec<_>>();
        assert_eq!(cells(1)[..3], ["0000:03:00.0", "PF 2/7", "8086:10c9"], "{text}");
        assert_eq!(cells(2)[..3], ["0000:03:10.0", "VF 0 of 0000:03:00.0", "8086:10ca"], "{text}");
        assert!(cells(3).contains(&"7 (+1)") && text.contains("# group with 0000:03:10.0"), "{text}");
    }

    #[test]
    fn a_selector_narrows_it_down() {
        let found = |selector: &str| -> Vec<PciAddress> {
            let devices = inventory(&host(), Some(&selector.parse().unwrap())).unwrap().devices;
            devices.iter().map(|device| device.address).collect()
        };
        assert_eq!(found("0000:03:10.2"), ["0000:03:10.2".parse().unwrap()]);
        assert_eq!(found("8086:10ca").len(), 2);
        assert_eq!(found("::0300").len(), 0);
    }
}
