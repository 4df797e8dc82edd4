//! The name of a PCI driver as its directory in sysfs spells it.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

const ACCEPTED: &str = "a driver's name as in /sys/bus/pci/drivers, such as \"vfio-pci\"";

/// Name of a PCI driver. `-` and `_` differ here: the driver is `vfio-pci`, its module `vfio_pci`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverName(String);

impl DriverName {
    /// The driver that hands functions to guests.
    pub fn vfio_pci() -> Self {
        Self("vfio-pci".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is vfio-pci or one of its variants (`mlx5_vfio_pci`, `xe-vfio-pci`, ...).
    pub fn is_vfio(&self) -> bool {
        self.0 == "vfio-pci" || self.0.ends_with("_vfio_pci") || self.0.ends_with("-vfio-pci")
    }
}

impl FromStr for DriverName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let well_formed = !text.is_empty()
            && text.len() < 64
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+'))
            && !text.starts_with('.');
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(format!("\"{text}\" cannot be a driver's name"), ACCEPTED))
        }
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::serde_as_text!(DriverName);
