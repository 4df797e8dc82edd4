//! The PCI address (BDF) of a function.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

const ACCEPTED: &str = "[DOMAIN:]BUS:DEVICE.FUNCTION in hexadecimal, such as \"0000:03:00.0\"";

/// Address of one PCI function: `DDDD:BB:DD.F`.
///
/// Domains may need more than 16 bits (devices behind Intel VMD have domains such as `10000`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Domain (segment), 32 bits as in the kernel.
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device number, in 0..=31.
    device: u8,
    /// Function number, in 0..=7.
    function: u8,
}

impl PciAddress {
    /// Device number, in 0..=31.
    pub fn device(self) -> u8 {
        self.device
    }

    /// Function number, in 0..=7.
    pub fn function(self) -> u8 {
        self.function
    }

    /// Routing id within the domain: bus, device and function in 16 bits.
    pub fn routing_id(self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.device) << 3 | u16::from(self.function)
    }

    /// The address in `domain` that has this routing id.
    pub fn from_routing_id(domain: u32, id: u16) -> Self {
        let [bus, devfn] = id.to_be_bytes();
        Self { domain, bus, device: devfn >> 3, function: devfn & 7 }
    }
}

/// One hexadecimal component of an address, at most `digits` long and at most `max`.
fn component(text: &str, name: &str, digits: usize, max: u32) -> Result<u32, Invalid> {
    let well_formed = !text.is_empty() && text.len() <= digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let value = if well_formed { u32::from_str_radix(text, 16).ok() } else { None };
    value.filter(|value| *value <= max).ok_or_else(|| {
        Invalid::new(format!("{name} \"{text}\" is not a hexadecimal number up to {max:x}"), ACCEPTED)
    })
}

impl FromStr for PciAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.rsplitn(3, ':');
        let slot = parts.next().unwrap_or_default();
        let bus = parts.next().ok_or_else(|| Invalid::new(format!("\"{text}\" has no bus"), ACCEPTED))?;
        let domain = parts.next();
        let (device, function) = slot.split_once('.').ok_or_else(|| {
            Invalid::new(format!("\"{text}\" has no function (the part after the dot)"), ACCEPTED)
        })?;
        let byte = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        Ok(Self {
            domain: domain.map_or(Ok(0), |domain| component(domain, "domain", 8, u32::MAX))?,
            bus: byte(component(bus, "bus", 2, 0xff)?),
            device: byte(component(device, "device", 2, 0x1f)?),
            function: byte(component(function, "function", 1, 7)?),
        })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl fmt::Debug for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

super::serde_as_text!(PciAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_accepted_form() {
        for (text, shown) in [
            ("0000:03:00.0", "0000:03:00.0"),
            ("03:00.1", "0000:03:00.1"),
            ("ABCD:EF:1F.7", "abcd:ef:1f.7"),
            ("10000:01:00.0", "10000:01:00.0"),
            ("3:0.0", "0000:03:00.0"),
        ] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn names_the_part_at_fault() {
        for (text, part) in [
            ("", "no bus"),
            ("0000:03:00", "no function"),
            ("0000:03:20.0", "device"),
            ("0000:03:00.8", "function"),
            ("0000:103:00.0", "bus"),
            ("123456789:03:00.0", "domain"),
            ("0000:0g:00.0", "bus"),
            ("0000:+3:00.0", "bus"),
            ("180.0", "no bus"),
        ] {
            let error = text.parse::<PciAddress>().unwrap_err();
            assert!(error.problem.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn routing_id_round_trips() {
        for id in 0..=u16::MAX {
            assert_eq!(PciAddress::from_routing_id(7, id).routing_id(), id);
        }
    }
}
