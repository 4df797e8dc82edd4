//! Names from the system's `pci.ids`, read only when names are shown.

use std::collections::BTreeMap;
use std::path::Path;

use super::ReadHost;
use crate::types::PciId;

/// Where distributions keep the file.
const PLACES: [&str; 4] = [
    "/usr/share/misc/pci.ids",
    "/usr/share/hwdata/pci.ids",
    "/usr/share/pci.ids",
    "/var/lib/pciutils/pci.ids",
];

/// Vendor, device and class names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PciNames {
    vendors: BTreeMap<u16, String>,
    devices: BTreeMap<PciId, String>,
    base_classes: BTreeMap<u8, String>,
    classes: BTreeMap<u16, String>,
}

impl PciNames {
    /// Reads the installed file; without one every name is unknown. A file that cannot be read is as good as none:
    /// names are decoration.
    pub fn read(host: &dyn ReadHost) -> Self {
        let content = PLACES.iter().find_map(|path| host.read(Path::new(path)).ok().flatten());
        content.map_or_else(Self::default, |content| Self::parse(&String::from_utf8_lossy(&content)))
    }

    /// Reads the format of pci.ids: `vvvv  name`, below it `<tab>dddd  name`; classes as `C cc  name` and
    /// `<tab>ss  name`.
    pub fn parse(text: &str) -> Self {
        enum Block {
            Vendor(u16),
            Class(u8),
            Other,
        }
        let mut names = Self::default();
        let mut block = Block::Other;
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("\t\t")) {
            let (code, name) =
                line.trim_start_matches(['\t', 'C']).trim_start().split_once("  ").unwrap_or_default();
            let number = u16::from_str_radix(code, 16).ok();
            match (line.starts_with('\t'), &block, number) {
                (false, _, Some(class)) if line.starts_with("C ") => {
                    let [_, class] = class.to_be_bytes();
                    block = Block::Class(class);
                    names.base_classes.insert(class, name.to_owned());
                }
                (false, _, Some(vendor)) if code.len() == 4 => {
                    block = Block::Vendor(vendor);
                    names.vendors.insert(vendor, name.to_owned());
                }
                (false, _, _) => block = Block::Other,
                (true, Block::Vendor(vendor), Some(device)) => {
                    names.devices.insert(PciId { vendor: *vendor, device }, name.to_owned());
                }
                (true, Block::Class(class), Some(sub)) => {
                    names.classes.insert(u16::from(*class) << 8 | sub, name.to_owned());
                }
                (true, _, _) => {}
            }
        }
        names
    }

    /// `Vendor Device`, as much of it as is known.
    pub fn device(&self, id: PciId) -> Option<String> {
        let vendor = self.vendors.get(&id.vendor)?;
        Some(self.devices.get(&id).map_or_else(|| vendor.clone(), |device| format!("{vendor} {device}")))
    }

    /// The name of a base class and subclass.
    pub fn class(&self, class: u16) -> Option<&str> {
        let [base, _] = class.to_be_bytes();
        self.classes.get(&class).or_else(|| self.base_classes.get(&base)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_vendors_devices_and_classes() {
        let names = PciNames::parse(
            "# comment\n10de  NVIDIA Corporation\n\t11bf  GK104GL [GRID K2]\n\t\t10de 100a  GRID K2\n\n\
             8086  Intel Corporation\nC 03  Display controller\n\t00  VGA compatible controller\n\t\t00  VGA controller\n",
        );
        let id = |text: &str| text.parse::<PciId>().unwrap();
        assert_eq!(names.device(id("10de:11bf")).unwrap(), "NVIDIA Corporation GK104GL [GRID K2]");
        assert_eq!(names.device(id("8086:1234")).unwrap(), "Intel Corporation");
        assert_eq!(names.device(id("1234:1234")), None);
        assert_eq!(names.class(0x0300), Some("VGA compatible controller"));
        assert_eq!(names.class(0x0380), Some("Display controller"));
    }
}
