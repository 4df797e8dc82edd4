//! The IOMMU group of a function.

use std::fmt;

use super::PciAddress;

/// An IOMMU group: a number once the function exists, a named unknown before.
///
/// Group numbers are given out at enumeration and differ between boots: never stored, always read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IommuGroup {
    /// `/sys/kernel/iommu_groups/<number>`.
    Number(u32),
    /// The group that this function will have once it exists; only a simulated host answers this.
    Of(PciAddress),
}

impl IommuGroup {
    /// Reads the last component of an `iommu_group` link, or the name that [`fmt::Display`] gives an unknown one.
    pub fn from_link_name(name: &str) -> Option<Self> {
        let unknown = || name.strip_prefix("<group of ")?.strip_suffix('>')?.parse().ok().map(Self::Of);
        name.parse().ok().map(Self::Number).or_else(unknown)
    }

    /// The group's node, `/dev/vfio/<number>`.
    pub fn node(self) -> String {
        format!("/dev/vfio/{self}")
    }
}

impl fmt::Display for IommuGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Of(function) => write!(f, "<group of {function}>"),
        }
    }
}

impl serde::Serialize for IommuGroup {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for group in [IommuGroup::Number(45), IommuGroup::Of("0000:03:00.1".parse().unwrap())] {
            assert_eq!(IommuGroup::from_link_name(&group.to_string()), Some(group));
        }
        assert_eq!(IommuGroup::from_link_name("x"), None);
    }
}
