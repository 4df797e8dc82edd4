//! Checked newtypes: a value of one of these types has been validated once, where it entered.

mod device;
mod driver_name;
mod iommu_group;
mod kernel_arg;
mod module_name;
mod pci_address;
mod pci_id;
mod place;

pub use device::{DeviceRef, Pin, PinnedDevice, Selector};
pub use driver_name::DriverName;
pub use iommu_group::IommuGroup;
pub use kernel_arg::KernelArg;
pub use module_name::ModuleName;
pub use pci_address::PciAddress;
pub use pci_id::{IdFilter, PciId, VfioId};
pub use place::{Entry, Place};

/// Why a text is not a value of a checked type: names the part at fault and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; accepted: {accepted}")]
pub struct Invalid {
    /// What is wrong with the text, naming the part at fault.
    pub problem: String,
    /// The accepted form, with an example.
    pub accepted: &'static str,
}

impl Invalid {
    /// An error that says `problem` and shows the `accepted` form.
    pub fn new(problem: impl Into<String>, accepted: &'static str) -> Self {
        Self { problem: problem.into(), accepted }
    }
}

/// Implements `Serialize` and `Deserialize` through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use serde_as_text;
