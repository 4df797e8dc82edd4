//! What a function's configuration space says it can do. Only root reads all of it: where it is short, nothing is said.

use super::{Pci, attribute};
use crate::resources::ObserveError;
use crate::types::PciAddress;

/// The whole of PCI Express configuration space.
const WHOLE: usize = 4096;
/// Where extended capabilities begin.
pub(super) const EXTENDED: usize = 0x100;
/// PCI Express capability, Advanced Features, Access Control Services (`include/uapi/linux/pci_regs.h`).
const EXPRESS: u32 = 0x10;
const ADVANCED_FEATURES: u32 = 0x13;
const ACCESS_CONTROL: u32 = 0x0d;

impl Pci<'_> {
    /// Whether the kernel has a way to reset the function; `None` where nothing tells.
    ///
    /// # Errors
    /// When an attribute cannot be read.
    pub fn can_be_reset(&self, address: PciAddress) -> Result<Option<bool>, ObserveError> {
        if let Some(methods) = self.host.text(&attribute(address, "reset_method"))? {
            return Ok(Some(!methods.is_empty()));
        }
        if self.host.exists(&attribute(address, "reset"))? {
            return Ok(Some(true));
        }
        let config = self.host.read(&attribute(address, "config"))?.unwrap_or_default();
        Ok((config.len() >= EXTENDED).then(|| resets_itself(&config)))
    }

    /// Whether a port or device has access control (ACS); `None` where nothing tells.
    ///
    /// # Errors
    /// When the configuration space cannot be read.
    pub fn has_acs(&self, address: PciAddress) -> Result<Option<bool>, ObserveError> {
        let config = self.host.read(&attribute(address, "config"))?.unwrap_or_default();
        Ok((config.len() >= WHOLE).then(|| extended(&config, ACCESS_CONTROL).is_some()))
    }
}

pub(super) fn word(config: &[u8], at: usize) -> Option<u32> {
    let bytes = config.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Where an extended capability lies: each header holds an id (16 bits), a version (4) and the next offset (12).
pub(super) fn extended(config: &[u8], id: u32) -> Option<usize> {
    let mut at = EXTENDED;
    // A list that is longer than the space has a cycle in it.
    for _ in 0..(WHOLE - EXTENDED) / 4 {
        let header = word(config, at)?;
        if header & 0xffff == id {
            return Some(at);
        }
        at = usize::try_from(header >> 20).ok()? & !3;
        if at < EXTENDED {
            return None;
        }
    }
    None
}

/// Where a capability lies: each header holds an id and the next offset, a byte each; the first offset is at 0x34.
fn capability(config: &[u8], id: u32) -> Option<usize> {
    let mut at = usize::from(*config.get(0x34)?) & !3;
    for _ in 0..EXTENDED / 4 {
        if at < 0x40 {
            return None;
        }
        let header = word(config, at)?;
        if header & 0xff == id {
            return Some(at);
        }
        at = usize::try_from(header >> 8 & 0xff).ok()? & !3;
    }
    None
}

/// Whether the function has a reset of its own: FLR in the device capabilities (bit 28), or among the advanced features
/// (bit 1 of byte 3).
fn resets_itself(config: &[u8]) -> bool {
    let bit = |id, offset, bit: u32| {
        capability(config, id)
            .and_then(|at| word(config, at + offset))
            .is_some_and(|word| word & (1 << bit) != 0)
    };
    bit(EXPRESS, 4, 28) || bit(ADVANCED_FEATURES, 0, 25)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration space with these words.
    fn config(words: &[(usize, u32)]) -> Vec<u8> {
        let mut config = vec![0; WHOLE];
        for (at, word) in words {
            config[*at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        config
    }

    #[test]
    fn finds_function_level_reset() {
        // Power management at 0x40, then PCI Express at 0x60.
        let express =
            |devcap| config(&[(0x34, 0x40), (0x40, 0x0003_6001), (0x60, 0x0002_0010), (0x64, devcap)]);
        assert!(resets_itself(&express(0x1000_8fe2)));
        assert!(!resets_itself(&express(0x0000_8fe2)));
        assert!(resets_itself(&config(&[(0x34, 0x50), (0x50, 0x0306_0013)])));
        assert!(!resets_itself(&config(&[(0x34, 0x50), (0x50, 0x0000_5005)])), "a list with a cycle");
        assert!(!resets_itself(&vec![0xff; WHOLE]));
        assert!(!resets_itself(&[]));
    }

    #[test]
    fn finds_access_control_behind_other_capabilities() {
        let port = config(&[(0x100, 0x2201_0001), (0x220, 0x0001_000d)]);
        assert_eq!(extended(&port, ACCESS_CONTROL), Some(0x220));
        assert_eq!(extended(&config(&[(0x100, 0x1001_0001)]), ACCESS_CONTROL), None, "a list with a cycle");
    }
}
