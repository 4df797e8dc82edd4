//! Whether interrupts of devices are remapped: without that a guest could raise any interrupt of the host, and
//! `vfio_iommu_type1` refuses to hand functions over.

use std::path::Path;

use super::platform::cpuinfo;
use super::{Check, Judgement, Processor};
use crate::formats::cmdline::CommandLine;
use crate::host::{HostError, Kernels, ReadHost};

const INTERRUPTS: &str = "/proc/interrupts";
const UNSAFE: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
const CLASS: &str = "/sys/class/iommu";

/// What tells it without the kernel log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterruptRemapping {
    processor: Processor,
    has_iommu: bool,
    /// Whether a chip of `/proc/interrupts` remaps; `None` where there is no such file.
    remaps: Option<bool>,
    /// Whether vfio was told to do without.
    unsafe_allowed: bool,
    /// `intremap=off`, `nointremap` or the like, where the kernel was booted with it.
    turned_off_by: Option<String>,
}

impl Check for InterruptRemapping {
    const NAME: &'static str = "interrupt-remapping";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        let processor = Processor::of(&cpuinfo(host)?);
        let interrupts = host.text(Path::new(INTERRUPTS))?;
        let line = host.read(Path::new("/proc/cmdline"))?.unwrap_or_default();
        let off = CommandLine::parse(&line).args().find_map(|arg| {
            let is_off = arg.is_named("nointremap")
                || (arg.is_named("intremap") && arg.value().is_some_and(|value| value.contains("off")));
            is_off.then(|| arg.to_string())
        });
        Ok(Self {
            processor,
            has_iommu: host.list(Path::new(CLASS))?.is_some_and(|units| !units.is_empty()),
            remaps: interrupts.map(|text| remaps(processor, &text)),
            unsafe_allowed: matches!(host.text(Path::new(UNSAFE))?.as_deref(), Some("Y" | "1")),
            turned_off_by: off,
        })
    }

    fn judge(&self) -> Judgement {
        match self.remaps {
            Some(true) => Judgement::good("interrupt-remapping", "interrupts of devices are remapped", INTERRUPTS),
            _ if self.unsafe_allowed => Judgement::note(
                "unsafe-interrupts-allowed",
                "nothing shows that interrupts are remapped, and allow_unsafe_interrupts lets functions go to guests all the same: such a guest can raise any interrupt of the host",
                UNSAFE,
            )
            .remedy("leave the option out where the firmware can remap interrupts, or trust every guest"),
            None => Judgement::unknown("nothing tells: the kernel's interrupts are not shown here", INTERRUPTS),
            Some(false) if !self.has_iommu => {
                Judgement::unknown("without an IOMMU in use nothing can remap interrupts", CLASS)
            }
            // GICv2m and other MSI controllers do not say whether they keep devices apart.
            Some(false) if matches!(self.processor, Processor::Arm) => {
                Judgement::unknown("no interrupt goes through a GIC's ITS, which would keep devices apart", INTERRUPTS)
            }
            Some(false) => {
                let (text, at) = match &self.turned_off_by {
                    Some(arg) => (format!("interrupts are not remapped: the kernel was booted with {arg}"), "/proc/cmdline"),
                    None => (
                        "interrupts are not remapped: vfio_iommu_type1 hands no function to a guest then".to_owned(),
                        INTERRUPTS,
                    ),
                };
                let remedy = match &self.turned_off_by {
                    Some(arg) => format!("take it off the command line: kernel_args: {{absent: [{arg}]}}, then reboot"),
                    None => "turn interrupt remapping (on Intel with x2APIC) on in the firmware; only where every guest is trusted: module_options: {vfio_iommu_type1: [allow_unsafe_interrupts=1]}".to_owned(),
                };
                Judgement::fails("no-interrupt-remapping", text, at, remedy)
            }
        }
    }
}

/// Whether a chip in `/proc/interrupts` remaps: on x86 its name begins with `IR-` (`drivers/iommu/intel/irq_remapping.c`,
/// `drivers/iommu/amd/iommu.c`); on Arm the GIC's ITS keeps devices apart (`drivers/irqchip/irq-gic-v3-its.c`).
fn remaps(processor: Processor, interrupts: &str) -> bool {
    let mut names = interrupts.lines().flat_map(str::split_ascii_whitespace);
    match processor {
        Processor::Arm => names.any(|name| name.starts_with("ITS-")),
        _ => names.any(|name| name.starts_with("IR-")),
    }
}
