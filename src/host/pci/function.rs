//! What identifies a function: its ids and class, as one `modalias` line holds them.

use crate::types::{PciAddress, PciId};

/// Identity of one PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor and device.
    pub id: PciId,
    /// Subsystem vendor and device; `None` where both are zero, as on bridges.
    pub subsystem: Option<PciId>,
    /// Class, subclass and programming interface, 24 bits.
    pub class: u32,
}

impl Function {
    /// The alias by which modules are looked up (`drivers/pci/pci-sysfs.c`, `modalias_show`).
    pub fn modalias(&self) -> String {
        let subsystem = self.subsystem.unwrap_or(PciId { vendor: 0, device: 0 });
        let [_, base, sub, interface] = self.class.to_be_bytes();
        format!(
            "pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{base:02X}sc{sub:02X}i{interface:02X}",
            self.id.vendor, self.id.device, subsystem.vendor, subsystem.device
        )
    }

    /// Whether this is a bridge (base class 06): never handed to a guest, vfio-pci refuses it.
    pub fn is_bridge(&self) -> bool {
        self.class >> 16 == 0x06
    }

    /// Reads the text of `modalias`; `None` where it is not one.
    pub(super) fn from_modalias(address: PciAddress, text: &str) -> Option<Self> {
        let mut rest = text.trim_end().strip_prefix("pci:")?;
        let mut field = |tag: &str, digits: usize| -> Option<u32> {
            let tail = rest.strip_prefix(tag)?;
            let value = hex(tail.get(..digits)?)?;
            rest = tail.get(digits..)?;
            Some(value)
        };
        let vendor = field("v", 8)?;
        let device = field("d", 8)?;
        let subvendor = field("sv", 8)?;
        let subdevice = field("sd", 8)?;
        let class = field("bc", 2)? << 16 | field("sc", 2)? << 8 | field("i", 2)?;
        if !rest.is_empty() {
            return None;
        }
        Some(Self { address, id: id(vendor, device)?, subsystem: subsystem(subvendor, subdevice)?, class })
    }

    /// Reads the text of `uevent`, whose lines are `KEY=value`.
    pub(super) fn from_uevent(address: PciAddress, text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')))
        };
        let pair = |key: &str| {
            let (first, second) = value(key)?.split_once(':')?;
            Some((hex(first)?, hex(second)?))
        };
        let (vendor, device) = pair("PCI_ID")?;
        let (subvendor, subdevice) = pair("PCI_SUBSYS_ID")?;
        let class = hex(value("PCI_CLASS")?)?;
        Some(Self { address, id: id(vendor, device)?, subsystem: subsystem(subvendor, subdevice)?, class })
    }
}

/// A hexadecimal number without sign or prefix, in 32 bits.
pub(super) fn hex(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u32::from_str_radix(text, 16).ok() } else { None }
}

/// Ids of two 16-bit halves; `None` where one does not fit.
pub(super) fn id(vendor: u32, device: u32) -> Option<PciId> {
    Some(PciId { vendor: u16::try_from(vendor).ok()?, device: u16::try_from(device).ok()? })
}

/// The outer `None` where a half does not fit, the inner one where there is no subsystem.
#[expect(clippy::option_option, reason = "absent and unreadable differ")]
pub(super) fn subsystem(vendor: u32, device: u32) -> Option<Option<PciId>> {
    let subsystem = id(vendor, device)?;
    Some(Some(subsystem).filter(|id| (id.vendor, id.device) != (0, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> PciAddress {
        "0000:04:00.0".parse().unwrap()
    }

    #[test]
    fn modalias_round_trips() {
        let text = "pci:v000010DEd000011BFsv000010DEsd0000100Abc03sc00i00";
        let function = Function::from_modalias(address(), &format!("{text}\n")).unwrap();
        assert_eq!(function.id.to_string(), "10de:11bf");
        assert_eq!(function.subsystem.unwrap().to_string(), "10de:100a");
        assert_eq!(function.class, 0x03_0000);
        assert_eq!(function.modalias(), text);
    }

    #[test]
    fn older_kernels_write_the_interface_in_lower_case() {
        let text = "pci:v00008086d00001E10sv00000000sd00000000bc06sc04i0a";
        let function = Function::from_modalias(address(), text).unwrap();
        assert_eq!((function.subsystem, function.class), (None, 0x06_040a));
        assert!(function.is_bridge());
    }

    #[test]
    fn half_written_attributes_are_no_function() {
        for text in [
            "",
            "\n",
            "pci:",
            "pci:v000010DEd0000",
            "pci:v000110DEd000011BFsv0sd0",
            "usb:v0000",
            "pci:v\u{fffd}",
        ] {
            assert_eq!(Function::from_modalias(address(), text), None, "{text:?}");
        }
        let long = "pci:v000010DEd000011BFsv000010DEsd0000100Abc03sc00i00x";
        assert_eq!(Function::from_modalias(address(), long), None);
    }

    #[test]
    fn uevent_says_the_same() {
        let text = "DRIVER=nouveau\nPCI_CLASS=30000\nPCI_ID=10DE:11BF\nPCI_SUBSYS_ID=10DE:100A\nPCI_SLOT_NAME=0000:04:00.0\n";
        let function = Function::from_uevent(address(), text).unwrap();
        assert_eq!(function.modalias(), "pci:v000010DEd000011BFsv000010DEsd0000100Abc03sc00i00");
        assert_eq!(Function::from_uevent(address(), "PCI_ID=10DE\n"), None);
    }
}
