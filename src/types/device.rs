//! How a document names a function.

use std::fmt;
use std::str::FromStr;

use super::{IdFilter, Invalid, PciAddress, PciId};

const ACCEPTED: &str = "an address such as \"0000:03:00.0\" or a filter such as \"10de:11bf:0300\"";

/// One function by its address or by a filter that has to match exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// By address.
    Address(PciAddress),
    /// By lspci filter.
    Filter(IdFilter),
}

impl FromStr for Selector {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Only an address has a dot; only a filter can do without one.
        if text.contains('.') {
            return text.parse().map(Self::Address);
        }
        if !text.contains(':') {
            return Err(Invalid::new(format!("\"{text}\" is neither an address nor a filter"), ACCEPTED));
        }
        // Short fields are a bus and a device: an address that lost its function.
        if text.split(':').skip(1).all(|field| (1..=2).contains(&field.len())) {
            return text.parse().map(Self::Address);
        }
        text.parse::<IdFilter>().map(Self::Filter).map_err(|error| Invalid { accepted: ACCEPTED, ..error })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Filter(filter) => filter.fmt(f),
        }
    }
}

/// One function: selected directly, or as the `vf`-th virtual function of a physical one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceRef {
    /// Selected directly.
    Function(Selector),
    /// `{pf, vf}`: the VF with this index (`virtfnN`), whatever its address.
    Vf {
        /// The physical function.
        pf: Selector,
        /// Index from 0.
        vf: u16,
    },
}

impl DeviceRef {
    /// The address in it: the function's, or its PF's; `None` where a filter selects.
    pub fn written_address(&self) -> Option<PciAddress> {
        match self {
            Self::Function(Selector::Address(address)) | Self::Vf { pf: Selector::Address(address), .. } => {
                Some(*address)
            }
            Self::Function(Selector::Filter(_)) | Self::Vf { pf: Selector::Filter(_), .. } => None,
        }
    }
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(selector) => selector.fmt(f),
            Self::Vf { pf, vf } => write!(f, "VF {vf} of {pf}"),
        }
    }
}

/// What the function has to be, so that a moved card is noticed; all that are given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    /// Vendor and device.
    pub id: Option<PciId>,
    /// Subsystem vendor and device.
    pub subsystem: Option<PciId>,
    /// PCIe device serial number, as lspci prints it: `00-15-4d-ff-ff-12-34-56`.
    pub serial: Option<String>,
    /// MAC address of the PF's network interface, lower case.
    pub mac: Option<String>,
    /// Name of the physical slot in `/sys/bus/pci/slots`.
    pub slot: Option<String>,
}

impl Pin {
    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A function as a document names it, with its pin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinnedDevice {
    /// Which function.
    pub device: DeviceRef,
    /// What it has to be.
    pub pin: Pin,
}

impl fmt::Display for PinnedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.device.fmt(f)
    }
}
