//! What tells one card from its twin: serial number, MAC address, slot.

use std::path::Path;

use super::capabilities::{extended, word};
use super::{Pci, attribute};
use crate::resources::ObserveError;
use crate::types::PciAddress;

/// Device Serial Number (PCI Express Base Specification, 7.9.3).
const SERIAL_NUMBER: u32 = 0x0003;

impl Pci<'_> {
    /// The PCIe device serial number as lspci prints it: `00-15-4d-ff-ff-12-34-56`.
    ///
    /// Reads the configuration space: the function wakes up if it sleeps.
    ///
    /// # Errors
    /// When the configuration space cannot be read.
    pub fn serial(&self, address: PciAddress) -> Result<Option<String>, ObserveError> {
        let config = self.host.read(&attribute(address, "config"))?;
        Ok(config.as_deref().and_then(serial_number))
    }

    /// The MAC addresses of the function's network interfaces, in lower case.
    ///
    /// # Errors
    /// When an interface's directory cannot be read.
    pub fn macs(&self, address: PciAddress) -> Result<Vec<String>, ObserveError> {
        let net = attribute(address, "net");
        let names = self.host.list(&net)?.unwrap_or_default();
        let mut macs = Vec::new();
        for name in names {
            macs.extend(self.host.text(&net.join(name).join("address"))?.map(|mac| mac.to_ascii_lowercase()));
        }
        Ok(macs)
    }

    /// The names of the physical slots that the function's device sits in.
    ///
    /// # Errors
    /// When a slot's address cannot be read.
    pub fn slots(&self, address: PciAddress) -> Result<Vec<String>, ObserveError> {
        let directory = Path::new("/sys/bus/pci/slots");
        let device = address.to_string();
        let mut slots = Vec::new();
        for name in self.host.list(directory)?.unwrap_or_default() {
            let occupant = self.host.text(&directory.join(&name).join("address"))?;
            // A slot holds a device, `0000:03:00`, or a whole bus, `0000:03`.
            let holds =
                |slot: String| device.strip_prefix(&slot).is_some_and(|rest| rest.starts_with(['.', ':']));
            if occupant.is_some_and(holds) {
                slots.push(name);
            }
        }
        Ok(slots)
    }
}

fn serial_number(config: &[u8]) -> Option<String> {
    let at = extended(config, SERIAL_NUMBER)?;
    let (low, high) = (word(config, at + 4)?, word(config, at + 8)?);
    let bytes = (u64::from(high) << 32 | u64::from(low)).to_be_bytes();
    Some(bytes.map(|byte| format!("{byte:02x}")).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(capabilities: &[(usize, u32)]) -> Vec<u8> {
        let mut config = vec![0; 4096];
        for (at, word) in capabilities {
            config[*at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        config
    }

    #[test]
    fn finds_the_serial_number_behind_other_capabilities() {
        // The head of an igb's list: AER at 0x100, DSN at 0x140.
        let config =
            config(&[(0x100, 0x1401_0001), (0x140, 0x1501_0003), (0x144, 0xff12_3456), (0x148, 0x0015_4dff)]);
        assert_eq!(serial_number(&config).unwrap(), "00-15-4d-ff-ff-12-34-56");
    }

    #[test]
    fn ends_on_short_spaces_and_cycles() {
        assert_eq!(serial_number(&[0; 64]), None);
        assert_eq!(serial_number(&config(&[])), None);
        assert_eq!(serial_number(&config(&[(0x100, 0x1001_0001)])), None);
        assert_eq!(serial_number(&config(&[(0x100, 0xffc1_0001)])), None);
        assert_eq!(serial_number(&vec![0xff; 4096]), None);
    }
}
