//! PCI ids: `vendor:device`, vfio-pci's longer form, and lspci's filter.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

const ID: &str = "VENDOR:DEVICE, four hexadecimal digits each, such as \"10de:11bf\"";
const VFIO_ID: &str = "VENDOR:DEVICE[:SUBVENDOR[:SUBDEVICE[:CLASS[:MASK]]]] in hexadecimal, such as \"10de:11bf\" or \"8086:10c9:8086:a03c\"";
const FILTER: &str = "[VENDOR]:[DEVICE][:CLASS] in hexadecimal, such as \"10de:11bf:0300\" or \"::0300\"";

/// A 16-bit field of exactly four hexadecimal digits, with or without `0x`.
fn field(text: &str, name: &str, accepted: &'static str) -> Result<u16, Invalid> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Invalid::new(format!("{name} \"{text}\" is not four hexadecimal digits"), accepted));
    }
    u16::from_str_radix(digits, 16)
        .map_err(|error| Invalid::new(format!("{name} \"{text}\": {error}"), accepted))
}

/// Vendor and device id of a function: `10de:11bf`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciId {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
}

impl FromStr for PciId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (vendor, device) = text
            .split_once(':')
            .ok_or_else(|| Invalid::new(format!("\"{text}\" has no colon between vendor and device"), ID))?;
        Ok(Self { vendor: field(vendor, "vendor", ID)?, device: field(device, "device", ID)? })
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl fmt::Debug for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One entry of vfio-pci's `ids=`; what is left out matches anything (`drivers/vfio/pci/vfio_pci.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VfioId {
    /// Vendor and device.
    pub id: PciId,
    /// Subsystem vendor; `None` matches anything.
    pub subvendor: Option<u16>,
    /// Subsystem device; `None` matches anything.
    pub subdevice: Option<u16>,
    /// 24-bit class and the mask under which it is compared; a mask of 0 matches any class.
    pub class: Option<(u32, u32)>,
}

impl VfioId {
    /// Whether a function with these ids and 24-bit class matches, as the kernel's `pci_match_one_device` does.
    pub fn matches(&self, id: PciId, subsystem: Option<PciId>, class: u32) -> bool {
        let sub = |wanted: Option<u16>, part: fn(PciId) -> u16| {
            wanted.is_none_or(|wanted| subsystem.map_or(wanted == 0, |subsystem| part(subsystem) == wanted))
        };
        self.id == id
            && sub(self.subvendor, |subsystem| subsystem.vendor)
            && sub(self.subdevice, |subsystem| subsystem.device)
            && self.class.is_none_or(|(wanted, mask)| (wanted ^ class) & mask == 0)
    }
}

impl FromStr for VfioId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fields: Vec<&str> = text.split(':').collect();
        let wide = |text: &str, name: &str| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            let well_formed =
                (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let value = if well_formed { u32::from_str_radix(digits, 16).ok() } else { None };
            value.ok_or_else(|| {
                Invalid::new(format!("{name} \"{text}\" is not one to six hexadecimal digits"), VFIO_ID)
            })
        };
        let (vendor, device, rest) = match fields.as_slice() {
            [vendor, device, rest @ ..] if rest.len() <= 4 => (*vendor, *device, rest),
            [_] => {
                return Err(Invalid::new(
                    format!("\"{text}\" has no colon between vendor and device"),
                    VFIO_ID,
                ));
            }
            _ => return Err(Invalid::new(format!("\"{text}\" has more than six fields"), VFIO_ID)),
        };
        let class = rest.get(2).map(|text| wide(text, "class")).transpose()?;
        let mask = rest.get(3).map(|text| wide(text, "class mask")).transpose()?;
        Ok(Self {
            id: PciId {
                vendor: field(vendor, "vendor", VFIO_ID)?,
                device: field(device, "device", VFIO_ID)?,
            },
            subvendor: rest.first().map(|text| subsystem(text, "subvendor")).transpose()?.flatten(),
            subdevice: rest.get(1).map(|text| subsystem(text, "subdevice")).transpose()?.flatten(),
            // The kernel's mask is 0 where it is left out: any class matches.
            class: class.map(|class| (class, mask.unwrap_or(0))),
        })
    }
}

/// Half of a subsystem id; `ffffffff` (`PCI_ANY_ID`) matches anything, so that a class can be given behind it.
fn subsystem(text: &str, name: &str) -> Result<Option<u16>, Invalid> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.eq_ignore_ascii_case(ANY) { Ok(None) } else { field(text, name, VFIO_ID).map(Some) }
}

const ANY: &str = "ffffffff";

impl fmt::Display for VfioId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        let needed = [
            self.subvendor.is_some() || self.subdevice.is_some() || self.class.is_some(),
            self.subdevice.is_some() || self.class.is_some(),
        ];
        for (half, needed) in [self.subvendor, self.subdevice].into_iter().zip(needed) {
            match half {
                Some(half) => write!(f, ":{half:04x}")?,
                None if needed => write!(f, ":{ANY}")?,
                None => {}
            }
        }
        if let Some((class, mask)) = self.class {
            write!(f, ":{class:06x}:{mask:06x}")?;
        }
        Ok(())
    }
}

/// lspci's filter `[vendor]:[device][:class]`; what is empty matches anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdFilter {
    /// Vendor id.
    pub vendor: Option<u16>,
    /// Device id.
    pub device: Option<u16>,
    /// Base class and subclass.
    pub class: Option<u16>,
}

impl IdFilter {
    /// Whether a function with this id and 24-bit class passes the filter.
    pub fn matches(&self, id: PciId, class: u32) -> bool {
        self.vendor.is_none_or(|vendor| vendor == id.vendor)
            && self.device.is_none_or(|device| device == id.device)
            && self.class.is_none_or(|wanted| u32::from(wanted) == class >> 8)
    }
}

impl FromStr for IdFilter {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fields: Vec<&str> = text.split(':').collect();
        if !(2..=3).contains(&fields.len()) {
            return Err(Invalid::new(format!("\"{text}\" has {} fields", fields.len()), FILTER));
        }
        let optional = |index: usize, name: &str| match fields.get(index) {
            None | Some(&"" | &"*") => Ok(None),
            Some(text) => field(text, name, FILTER).map(Some),
        };
        let filter = Self {
            vendor: optional(0, "vendor")?,
            device: optional(1, "device")?,
            class: optional(2, "class")?,
        };
        if filter == (Self { vendor: None, device: None, class: None }) {
            return Err(Invalid::new(format!("\"{text}\" matches every function"), FILTER));
        }
        Ok(filter)
    }
}

impl fmt::Display for IdFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |value: Option<u16>| value.map_or(String::new(), |value| format!("{value:04x}"));
        write!(f, "{}:{}", part(self.vendor), part(self.device))?;
        self.class.map_or(Ok(()), |class| write!(f, ":{class:04x}"))
    }
}

super::serde_as_text!(PciId, VfioId, IdFilter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_refuse_short_fields() {
        assert_eq!("10DE:0x11bf".parse::<PciId>().unwrap().to_string(), "10de:11bf");
        for text in ["10de", "10de:1bf", "10de:11bff", "10de:11b-", ":11bf", "10de:11bf:0300"] {
            assert!(text.parse::<PciId>().is_err(), "{text}");
        }
    }

    #[test]
    fn vfio_ids_match_as_the_kernel_does() {
        let id: PciId = "8086:10c9".parse().unwrap();
        let subsystem = Some("8086:a03c".parse().unwrap());
        let matches = |text: &str| text.parse::<VfioId>().unwrap().matches(id, subsystem, 0x02_0000);
        assert!(matches("8086:10c9"));
        assert!(matches("8086:10c9:8086:a03c"));
        assert!(!matches("8086:10c9:8086:a03d"));
        assert!(matches("8086:10c9:8086:a03c:020000:ffffff"));
        assert!(!matches("8086:10c9:8086:a03c:030000:ff0000"));
        assert!(matches("8086:10c9:8086:a03c:030000"), "a mask left out is 0: any class");
    }

    #[test]
    fn any_subsystem_can_be_written_out() {
        let shown = |text: &str| text.parse::<VfioId>().unwrap().to_string();
        assert_eq!(
            shown("10DE:11bf:ffffffff:FFFFFFFF:030000:ffff00"),
            "10de:11bf:ffffffff:ffffffff:030000:ffff00"
        );
        assert_eq!(shown("10de:11bf:ffffffff:1000"), "10de:11bf:ffffffff:1000");
        assert_eq!(shown("10de:11bf:10de:ffffffff"), "10de:11bf:10de");
        assert_eq!(shown("10de:11bf:0xffffffff"), "10de:11bf");
        let id = "10de:11bf:ffffffff:ffffffff:030000:ffff00".parse::<VfioId>().unwrap();
        assert!(id.matches(id.id, None, 0x03_0000) && !id.matches(id.id, None, 0x04_0300));
        assert!("10de:11bf:fffffff".parse::<VfioId>().is_err());
    }

    #[test]
    fn filters_match_like_lspci() {
        let id: PciId = "10de:11bf".parse().unwrap();
        let matches = |text: &str| text.parse::<IdFilter>().unwrap().matches(id, 0x03_0000);
        assert!(matches("10de:11bf:0300") && matches("::0300") && matches("10de:") && matches(":11bf"));
        assert!(!matches("::0302") && !matches("8086::0300"));
        assert!("::".parse::<IdFilter>().is_err() && "10de".parse::<IdFilter>().is_err());
    }
}
