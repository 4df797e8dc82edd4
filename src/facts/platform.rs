//! Which processor this is and which IOMMU its firmware describes.

use std::path::{Path, PathBuf};

use crate::host::{HostError, ReadHost};

/// Where the kernel shows the firmware's ACPI tables.
pub(super) const TABLES: &str = "/sys/firmware/acpi/tables";

const CPUINFO: &str = "/proc/cpuinfo";

/// Whose processor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// Intel's.
    Intel,
    /// AMD's, or Hygon's, whose processors have AMD's IOMMU.
    Amd,
    /// An Arm.
    Arm,
    /// Another, or nothing tells.
    Unknown,
}

impl Processor {
    /// Reads `/proc/cpuinfo`.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        Ok(Self::of(&cpuinfo(host)?))
    }

    /// From the text of `/proc/cpuinfo`.
    pub fn of(cpuinfo: &str) -> Self {
        let has = |needle: &str| cpuinfo.lines().any(|line| line.contains(needle));
        if has("GenuineIntel") {
            Self::Intel
        } else if has("AuthenticAMD") || has("HygonGenuine") {
            Self::Amd
        } else if has("CPU implementer") {
            Self::Arm
        } else {
            Self::Unknown
        }
    }
}

/// The text of `/proc/cpuinfo`; empty where there is none.
pub(super) fn cpuinfo(host: &dyn ReadHost) -> Result<String, HostError> {
    Ok(host.text(Path::new(CPUINFO))?.unwrap_or_default())
}

/// The firmware's table that describes an IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `DMAR`: Intel's VT-d, also of virtual machines and of processors of other makers.
    Dmar,
    /// `IVRS`: AMD-Vi.
    Ivrs,
    /// `IORT`: Arm's SMMU.
    Iort,
}

impl Table {
    const ALL: [Self; 3] = [Self::Dmar, Self::Ivrs, Self::Iort];

    /// Which table is there; the kernel shows each as a file.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn read(host: &dyn ReadHost) -> Result<Option<Self>, HostError> {
        for table in Self::ALL {
            if host.exists(&table.path())? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    /// The table's signature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dmar => "DMAR",
            Self::Ivrs => "IVRS",
            Self::Iort => "IORT",
        }
    }

    /// What it describes.
    pub fn describes(self) -> &'static str {
        match self {
            Self::Dmar => "Intel's IOMMU (VT-d)",
            Self::Ivrs => "AMD's IOMMU (AMD-Vi)",
            Self::Iort => "Arm's IOMMU (SMMU)",
        }
    }

    /// Where it is shown.
    pub fn path(self) -> PathBuf {
        Path::new(TABLES).join(self.name())
    }
}
