//! Generates the PCI part of a host tree, of any size, as sysfs lays it out.
//!
//! Every domain has a host bridge, 15 root ports on bus 0 and, behind each port, a bus with 256 functions. The cards
//! repeat: graphics, network (with SR-IOV), storage, sound; the very first function behind a port has an id that no
//! other has. Domains start at `1000`, so that a generated part can be added to a captured host without a collision.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const FIRST_DOMAIN: usize = 0x1000;
const PORTS: usize = 15;
const FUNCTIONS_PER_BUS: usize = 256;
const PER_DOMAIN: usize = 1 + PORTS * (1 + FUNCTIONS_PER_BUS);
const FUNCTIONS_PER_GROUP: usize = 2;
const FIRST_GROUP: usize = 1000;

/// A model of a card.
#[derive(Debug, Clone, Copy)]
struct Model {
    vendor: u16,
    device: u16,
    class: u32,
    driver: &'static str,
    /// `sriov_totalvfs` of function 0.
    total_vfs: u16,
}

const HOST_BRIDGE: Model =
    Model { vendor: 0x8086, device: 0x2020, class: 0x06_0000, driver: "", total_vfs: 0 };
const ROOT_PORT: Model =
    Model { vendor: 0x8086, device: 0x2030, class: 0x06_0400, driver: "pcieport", total_vfs: 0 };
const UNIQUE: Model =
    Model { vendor: 0x15b3, device: 0x1017, class: 0x02_0000, driver: "mlx5_core", total_vfs: 0 };
const CARDS: [Model; 4] = [
    Model { vendor: 0x10de, device: 0x11bf, class: 0x03_0000, driver: "nouveau", total_vfs: 0 },
    Model { vendor: 0x8086, device: 0x154d, class: 0x02_0000, driver: "ixgbe", total_vfs: 63 },
    Model { vendor: 0x144d, device: 0xa808, class: 0x01_0802, driver: "nvme", total_vfs: 0 },
    Model { vendor: 0x10de, device: 0x0e0a, class: 0x04_0300, driver: "snd_hda_intel", total_vfs: 0 },
];

/// The id that exactly one generated function has.
pub(crate) const UNIQUE_ID: &str = "15b3:1017";

/// One generated function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// `1000:01:00.0`.
    pub(crate) address: String,
    /// `10de:11bf`.
    pub(crate) id: String,
    /// Bound driver; empty where there is none.
    pub(crate) driver: &'static str,
    /// IOMMU group.
    pub(crate) group: usize,
    /// Whether this is a bridge.
    pub(crate) bridge: bool,
    /// `sriov_totalvfs`; 0 where it is no PF.
    pub(crate) total_vfs: u16,
    /// The root port above; empty on bus 0.
    pub(crate) port: String,
}

struct Position {
    domain: usize,
    bus: usize,
    devfn: usize,
    model: Model,
    port: Option<usize>,
}

fn position(number: usize) -> Position {
    let domain = FIRST_DOMAIN + number / PER_DOMAIN;
    let within = number % PER_DOMAIN;
    if number == 2 {
        return Position { domain, bus: 1, devfn: 0, model: UNIQUE, port: Some(1) };
    }
    if within == 0 {
        return Position { domain, bus: 0, devfn: 0, model: HOST_BRIDGE, port: None };
    }
    let bus = 1 + (within - 1) / (1 + FUNCTIONS_PER_BUS);
    match (within - 1) % (1 + FUNCTIONS_PER_BUS) {
        0 => Position { domain, bus: 0, devfn: bus << 3, model: ROOT_PORT, port: None },
        nth => {
            let devfn = nth - 1;
            let model = CARDS[(devfn >> 3) % CARDS.len()];
            let total_vfs = if devfn & 7 == 0 { model.total_vfs } else { 0 };
            Position { domain, bus, devfn, model: Model { total_vfs, ..model }, port: Some(bus) }
        }
    }
}

fn address(domain: usize, bus: usize, devfn: usize) -> String {
    format!("{domain:04x}:{bus:02x}:{:02x}.{:x}", devfn >> 3, devfn & 7)
}

/// Adds `count` PCI functions to the host tree at `root`.
///
/// # Errors
/// When the tree cannot be written.
pub(crate) fn add_functions(root: &Path, count: usize) -> io::Result<Vec<Function>> {
    let mut writer = Writer { root: root.to_owned(), pool: BTreeMap::new() };
    for directory in
        ["sys/bus/pci/devices", "sys/bus/pci/slots", "sys/kernel/iommu_groups", "sys/class/iommu/dmar0"]
    {
        fs::create_dir_all(root.join(directory))?;
    }
    writer.attribute(Path::new("sys/bus/pci/drivers_probe"), "")?;
    for driver in CARDS.iter().map(|card| card.driver).chain(["mlx5_core", "pcieport", "vfio-pci"]) {
        for attribute in ["bind", "unbind", "new_id", "remove_id"] {
            writer.attribute(&Path::new("sys/bus/pci/drivers").join(driver).join(attribute), "")?;
        }
    }
    (0..count).map(|number| writer.function(number)).collect()
}

/// Writes attributes; equal ones are one inode, which keeps 65,536 functions within a small file system.
struct Writer {
    root: PathBuf,
    pool: BTreeMap<String, PathBuf>,
}

impl Writer {
    fn attribute(&mut self, path: &Path, value: &str) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if path.exists() {
            return Ok(());
        }
        if let Some(pooled) = self.pool.get(value) {
            // A file system allows only so many links to one inode; then a new one is begun.
            if fs::hard_link(pooled, &path).is_ok() {
                return Ok(());
            }
        }
        fs::write(&path, value)?;
        self.pool.insert(value.to_owned(), path);
        Ok(())
    }

    fn function(&mut self, number: usize) -> io::Result<Function> {
        let Position { domain, bus, devfn, model, port } = position(number);
        let address_text = address(domain, bus, devfn);
        let port_address = port.map(|port| address(domain, 0, port << 3));
        let root_bus = format!("pci{domain:04x}:00");
        let mut directory = PathBuf::from("sys/devices").join(&root_bus);
        // How far up `sys/` is from the function's directory.
        let mut up = "../../..".to_owned();
        if let Some(port) = &port_address {
            directory.push(port);
            up.push_str("/..");
        }
        directory.push(&address_text);
        fs::create_dir_all(self.root.join(&directory))?;

        let (vendor, device, class) = (model.vendor, model.device, model.class);
        let modalias = format!(
            "pci:v{vendor:08X}d{device:08X}sv{vendor:08X}sd00001234bc{:02X}sc{:02X}i{:02X}\n",
            class >> 16,
            class >> 8 & 0xff,
            class & 0xff
        );
        let mut attributes = vec![
            ("vendor", format!("0x{vendor:04x}\n")),
            ("device", format!("0x{device:04x}\n")),
            ("subsystem_vendor", format!("0x{vendor:04x}\n")),
            ("subsystem_device", "0x1234\n".to_owned()),
            ("class", format!("0x{class:06x}\n")),
            ("revision", "0x01\n".to_owned()),
            ("irq", "0\n".to_owned()),
            ("numa_node", "0\n".to_owned()),
            ("enable", "1\n".to_owned()),
            ("driver_override", "(null)\n".to_owned()),
            ("resource", "0x0000000000000000 0x0000000000000000 0x0000000000000000\n".repeat(13)),
            ("modalias", modalias),
        ];
        if model.total_vfs > 0 {
            attributes.extend([
                ("sriov_totalvfs", format!("{}\n", model.total_vfs)),
                ("sriov_numvfs", "0\n".to_owned()),
                ("sriov_drivers_autoprobe", "1\n".to_owned()),
                ("sriov_offset", "128\n".to_owned()),
                ("sriov_stride", "2\n".to_owned()),
                ("sriov_vf_device", "10ed\n".to_owned()),
            ]);
        }
        for (name, value) in &attributes {
            self.attribute(&directory.join(name), value)?;
        }
        let bridge = class >> 8 == 0x0604;
        fs::write(self.root.join(&directory).join("config"), config_space(&model, bridge, devfn))?;
        symlink(format!("{up}/bus/pci"), self.root.join(&directory).join("subsystem"))?;

        let from_devices =
            format!("../../../{}", directory.strip_prefix("sys").unwrap_or(&directory).display());
        symlink(&from_devices, self.root.join("sys/bus/pci/devices").join(&address_text))?;
        if !model.driver.is_empty() {
            symlink(
                format!("{up}/bus/pci/drivers/{}", model.driver),
                self.root.join(&directory).join("driver"),
            )?;
            let bound = Path::new("sys/bus/pci/drivers").join(model.driver).join(&address_text);
            symlink(format!("../{from_devices}"), self.root.join(bound))?;
        }
        let group = FIRST_GROUP + number / FUNCTIONS_PER_GROUP;
        let members = self.root.join(format!("sys/kernel/iommu_groups/{group}/devices"));
        fs::create_dir_all(&members)?;
        symlink(format!("../{from_devices}"), members.join(&address_text))?;
        symlink(format!("{up}/kernel/iommu_groups/{group}"), self.root.join(&directory).join("iommu_group"))?;

        Ok(Function {
            address: address_text,
            id: format!("{vendor:04x}:{device:04x}"),
            driver: model.driver,
            group,
            bridge: class >> 16 == 0x06,
            total_vfs: model.total_vfs,
            port: port_address.unwrap_or_default(),
        })
    }
}

/// The first 64 bytes of the configuration space, which `lspci` reads of every function.
fn config_space(model: &Model, bridge: bool, devfn: usize) -> [u8; 64] {
    let mut space = [0; 64];
    space[0..2].copy_from_slice(&model.vendor.to_le_bytes());
    space[2..4].copy_from_slice(&model.device.to_le_bytes());
    space[4..6].copy_from_slice(&[0x06, 0x00]);
    space[8] = 0x01;
    space[9..12].copy_from_slice(&model.class.to_le_bytes()[..3]);
    // Header type, with the multi-function bit.
    space[14] = u8::from(bridge) | if bridge { 0 } else { 0x80 };
    if bridge {
        let bus = u8::try_from(devfn >> 3).unwrap_or(u8::MAX);
        space[0x18..0x1b].copy_from_slice(&[0, bus, bus]);
    } else {
        space[0x2c..0x2e].copy_from_slice(&model.vendor.to_le_bytes());
        space[0x2e..0x30].copy_from_slice(&[0x34, 0x12]);
    }
    space
}
