//! Arguments that do nothing on this host; what the document alone tells is said by its own lint.

use std::borrow::Cow;
use std::path::Path;

use super::{KernelArgs, Spec, State};
use crate::boot::{Judged, MenuEntry};
use crate::facts::{Processor, Table};
use crate::formats::cmdline;
use crate::host::{HostError, ReadHost};
use crate::plan::{Reason, Warning};
use crate::resources::Resource;
use crate::types::KernelArg;

/// What decides whether an argument has a reader on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    processor: Processor,
    dracut: Option<bool>,
}

impl Platform {
    /// How many bytes the kernel takes of a command line, the final zero byte included, where that is known: on s390 and
    /// LoongArch it is more.
    pub(super) fn command_line_limit(self) -> Option<usize> {
        let known = matches!(self.processor, Processor::Intel | Processor::Amd | Processor::Arm);
        known.then_some(cmdline::MAX_BYTES)
    }

    /// Reads which IOMMU the firmware describes, else `/proc/cpuinfo`, and which initramfs generator is there.
    ///
    /// The table decides which driver comes up (`drivers/iommu/intel/dmar.c`, `drivers/iommu/amd/init.c`): virtual
    /// machines and processors of other makers have Intel's IOMMU, too.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn observe(host: &dyn ReadHost) -> Result<Self, HostError> {
        let processor = match Table::read(host)? {
            Some(Table::Dmar) => Processor::Intel,
            Some(Table::Ivrs) => Processor::Amd,
            Some(Table::Iort) | None => Processor::read(host)?,
        };
        let any = |paths: &[&str]| {
            paths.iter().try_fold(false, |found, path| Ok(found || host.exists(Path::new(path))?))
        };
        let dracut = any(&["/usr/bin/dracut", "/usr/sbin/dracut", "/usr/lib/dracut"])?;
        let other = any(&["/usr/sbin/mkinitramfs", "/usr/sbin/update-initramfs", "/etc/initramfs-tools"])?;
        // Where neither is found nothing is known, and nothing is said.
        Ok(Self { processor, dracut: (dracut || other).then_some(dracut) })
    }
}

pub(super) fn lint(spec: &Spec, state: &State) -> Vec<Warning> {
    let warning = |subject: String, reason: Reason| Warning { resource: Cow::Borrowed(KernelArgs::KEY), subject, reason };
    let mut warnings = Vec::new();
    for item in &spec.present {
        let reasons = about(&item.arg, state.platform);
        warnings.extend(reasons.into_iter().map(|reason| warning(item.name(), reason.at(&item.origin))));
    }
    if let Ok(chain) = &state.chain {
        let ours = chain.entries.iter().flatten().filter(|entry| entry.judged == Judged::Ours);
        let longest = ours.map(length).chain(chain.persisted.lines.iter().map(|line| line.length)).max().unwrap_or(0);
        if longest >= cmdline::MAX_BYTES {
            let text = format!("the command line has {longest} bytes and the kernel keeps {}", cmdline::MAX_BYTES - 1);
            let reason = Reason::new("command-line-too-long", text).remedy("take arguments out of the configuration");
            warnings.push(warning("command line".to_owned(), reason));
        }
    }
    warnings
}

/// The command line that the entry makes: `BOOT_IMAGE=` comes from GRUB.
pub(super) fn length(entry: &MenuEntry) -> usize {
    let args = entry.args.iter().map(|arg| arg.to_string().len() + 1).sum::<usize>();
    "BOOT_IMAGE=".len() + entry.kernel.len() + args
}

fn about(arg: &KernelArg, platform: Platform) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if arg.is_named("amd_iommu") {
        match platform.processor {
            Processor::Intel => reasons.push(no_reader("amd_iommu", "this processor is Intel's", "use intel_iommu=on")),
            Processor::Arm => reasons.push(no_reader("amd_iommu", "this processor is an Arm", ARM)),
            Processor::Amd | Processor::Unknown => {}
        }
    }
    if arg.is_named("intel_iommu") {
        match platform.processor {
            Processor::Amd => {
                let remedy = "leave the argument out: AMD's IOMMU is on unless it is turned off";
                reasons.push(no_reader("intel_iommu", "this processor has AMD's IOMMU", remedy));
            }
            Processor::Arm => reasons.push(no_reader("intel_iommu", "this processor is an Arm", ARM)),
            Processor::Intel | Processor::Unknown => {}
        }
    }
    if arg.is_named("iommu") && platform.processor == Processor::Arm {
        reasons.push(no_reader("iommu", "this processor is an Arm", ARM));
    }
    if arg.name().starts_with("rd.driver.") && platform.dracut == Some(false) {
        let remedy = "use the sections modules and blacklist, which reach an initramfs of initramfs-tools";
        reasons.push(no_reader(arg.name(), "only dracut's initramfs reads it, and this one is not dracut's", remedy));
    }
    if arg.is_named("pcie_acs_override") {
        let text = "only kernels with a patch that is not part of Linux read it, and where they do groups are no longer isolated";
        reasons.push(Reason::new("argument-without-reader", text).remedy("hand whole IOMMU groups to guests"));
    }
    reasons
}

const ARM: &str = "use iommu.passthrough=1 where the host's own devices shall not be translated";

fn no_reader(name: &str, why: &str, remedy: &str) -> Reason {
    Reason::new("argument-without-reader", format!("{name} has no effect here: {why}")).remedy(remedy)
}
