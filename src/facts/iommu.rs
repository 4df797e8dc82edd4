//! Whether the kernel has turned an IOMMU on. Without one no function can be handed to a guest.

use std::path::Path;

use super::{Check, Judgement, Processor, Table, iommu_table};
use crate::formats::cmdline::CommandLine;
use crate::host::{HostError, Kernels, Reach, ReadHost};
use crate::plan::Reason;
use crate::types::KernelArg;

const CLASS: &str = "/sys/class/iommu";
const GROUPS: &str = "/sys/kernel/iommu_groups";
const COMMAND_LINE: &str = "/proc/cmdline";

/// What the kernel shows of IOMMUs, and what could have kept it from using one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iommu {
    /// The IOMMUs by name; `None` where this tree shows nothing of a kernel.
    units: Option<Vec<String>>,
    groups: usize,
    table: Option<Table>,
    processor: Processor,
    firmware: iommu_table::IommuTable,
    running: Vec<KernelArg>,
}

impl Check for Iommu {
    const NAME: &'static str = "iommu";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        Self::read(host)
    }

    fn judge(&self) -> Judgement {
        let Some(units) = &self.units else {
            return Judgement::unknown("this tree shows nothing of a running kernel", CLASS);
        };
        if !units.is_empty() && self.groups > 0 {
            let text = format!("{} with {}", units.join(", "), counted(self.groups, "IOMMU group"));
            return Judgement::good("iommu", text, CLASS);
        }
        if !units.is_empty() {
            let text = format!("{} is there, and no function is in an IOMMU group", units.join(", "));
            let remedy = "see the kernel log for messages of the IOMMU's driver";
            return Judgement::fails("iommu-without-groups", text, GROUPS, remedy);
        }
        if self.groups > 0 {
            // Groups without an IOMMU: vfio's no-IOMMU mode makes such, and they isolate nothing.
            let text = format!("{}, and no IOMMU behind them", counted(self.groups, "IOMMU group"));
            let remedy = "turn the IOMMU on in the firmware; do without enable_unsafe_noiommu_mode";
            return Judgement::fails("groups-without-iommu", text, CLASS, remedy);
        }
        self.why_off()
    }
}

impl Iommu {
    /// Reads it.
    ///
    /// # Errors
    /// When the host cannot be read.
    pub fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let units = host.list(Path::new(CLASS))?;
        let groups = host.list(Path::new(GROUPS))?;
        let is_shown = host.reach() == Reach::Machine || units.is_some() || groups.is_some();
        let line = host.read(Path::new(COMMAND_LINE))?.unwrap_or_default();
        Ok(Self {
            units: is_shown.then(|| units.unwrap_or_default()),
            groups: groups.map_or(0, |groups| groups.len()),
            table: Table::read(host)?,
            processor: Processor::read(host)?,
            firmware: iommu_table::IommuTable::read(host)?,
            running: CommandLine::parse(&line).args().cloned().collect(),
        })
    }

    /// Why no function can have an IOMMU group; `None` where the kernel has an IOMMU, or where nothing tells.
    pub fn is_off_because(&self) -> Option<Reason> {
        let is_off = self.units.as_ref().is_some_and(Vec::is_empty) && self.groups == 0;
        is_off.then(|| self.why_off().reason)
    }

    fn why_off(&self) -> Judgement {
        if let Some(arg) = self.running.iter().find(|arg| turns_off(arg)) {
            let text = format!("the kernel has no IOMMU in use: it was booted with {arg}");
            let remedy = format!("take it off the command line: kernel_args: {{absent: [{arg}]}}, then reboot");
            return Judgement::fails("iommu-off-by-argument", text, COMMAND_LINE, remedy);
        }
        match self.table {
            None => match self.firmware.judge() {
                missing if missing.reason.code == "no-iommu-table" => missing,
                _ => Judgement::fails(
                    "iommu-off",
                    "the kernel has no IOMMU in use, and nothing tells whether the firmware has one",
                    CLASS,
                    remedy_for(self.processor),
                ),
            },
            // Some kernels are built to leave it off (`CONFIG_INTEL_IOMMU_DEFAULT_ON`).
            Some(Table::Dmar) if !self.running.iter().any(|arg| arg.is_named("intel_iommu")) => Judgement::fails(
                "iommu-not-asked-for",
                "the firmware describes Intel's IOMMU (VT-d), and this kernel leaves it off unless it is told otherwise",
                CLASS,
                "add `intel_iommu=on` to kernel_args, then reboot",
            ),
            Some(table) => {
                let text = format!(
                    "the firmware describes {}, and the kernel has not turned it on",
                    table.describes()
                );
                let remedy = format!(
                    "see what the kernel log says about {}: its driver is not in this kernel, or the table is faulty",
                    table.name()
                );
                Judgement::fails("iommu-not-started", text, CLASS, remedy)
            }
        }
    }
}

/// Arguments that keep every IOMMU off (`arch/x86/kernel/pci-dma.c`, `drivers/iommu/intel/iommu.c`,
/// `drivers/iommu/amd/init.c`, `drivers/acpi/osl.c`); the values are compared as the kernel does, by their beginning.
fn turns_off(arg: &KernelArg) -> bool {
    let off = |value: &str| value.split(',').any(|word| word.starts_with("off"));
    let named = ["iommu", "intel_iommu", "amd_iommu"].iter().any(|name| arg.is_named(name));
    let without_acpi = arg.is_named("acpi") && arg.value() == Some("off");
    (named && arg.value().is_some_and(off)) || without_acpi
}

fn remedy_for(processor: Processor) -> &'static str {
    match processor {
        Processor::Intel => "turn VT-d on in the firmware; add `intel_iommu=on` to kernel_args",
        Processor::Amd => "turn AMD-Vi (\"IOMMU\") on in the firmware",
        Processor::Arm => "turn the SMMU on in the firmware; no kernel argument is needed for it",
        Processor::Unknown => {
            "turn VT-d or AMD-Vi on in the firmware; on Intel also add `intel_iommu=on` to kernel_args"
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
