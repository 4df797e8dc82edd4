//! Whether the firmware describes an IOMMU.

use std::path::Path;

use super::platform::TABLES;
use super::{Check, Judgement, Processor, Table};
use crate::host::{HostError, Kernels, ReadHost};

/// Where a machine without ACPI describes itself.
const DEVICE_TREE: &str = "/sys/firmware/devicetree/base";

/// What the firmware describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IommuTable {
    processor: Processor,
    table: Option<Table>,
    /// Whether the kernel shows tables at all.
    has_tables: bool,
    has_device_tree: bool,
}

impl Check for IommuTable {
    const NAME: &'static str = "iommu-table";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        Self::read(host)
    }

    fn judge(&self) -> Judgement {
        if let Some(table) = self.table {
            let text = format!("the firmware's table {} describes {}", table.name(), table.describes());
            return Judgement::good("iommu-table", text, &table.path().display().to_string());
        }
        if !self.has_tables {
            return if self.has_device_tree {
                let text = "there is no ACPI here: the device tree says which IOMMU there is";
                Judgement::note("device-tree", text, DEVICE_TREE)
            } else {
                Judgement::unknown("the firmware's tables are not shown here", TABLES)
            };
        }
        let (table, remedy) = match self.processor {
            Processor::Intel => ("DMAR", "turn VT-d on in the firmware's setup; if it is on, this machine has none"),
            Processor::Amd => {
                ("IVRS", "turn AMD-Vi (\"IOMMU\") on in the firmware's setup; if it is on, this machine has none")
            }
            Processor::Arm => ("IORT", "turn the SMMU on in the firmware's setup; if it is on, this machine has none"),
            Processor::Unknown => {
                ("DMAR, IVRS or IORT", "turn the IOMMU on in the firmware's setup; if it is on, this machine has none")
            }
        };
        let text = format!("the firmware has no table {table}: its IOMMU is turned off, or there is none");
        Judgement::fails("no-iommu-table", text, TABLES, remedy)
    }
}

impl IommuTable {
    pub(super) fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        Ok(Self {
            processor: Processor::read(host)?,
            table: Table::read(host)?,
            has_tables: host.exists(Path::new(TABLES))?,
            has_device_tree: host.exists(Path::new(DEVICE_TREE))?,
        })
    }
}
