//! Whether guests can run on the processor itself.

use std::path::Path;

use super::platform::cpuinfo;
use super::{Check, Judgement, Processor};
use crate::host::{HostError, Kernels, Reach, ReadHost};

const DEVICE: &str = "/dev/kvm";
const CPUINFO: &str = "/proc/cpuinfo";
const MODULES: &str = "/sys/module";

/// The extension that an x86 processor says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// `vmx`, Intel's VT-x.
    Vmx,
    /// `svm`, AMD-V.
    Svm,
    /// An x86 processor that says it has none.
    None,
    /// Not x86: no flag tells.
    NoFlag,
}

/// What is there of KVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kvm {
    is_tree: bool,
    has_cpuinfo: bool,
    extension: Extension,
    has_device: bool,
    /// Of `kvm_intel`, `kvm_amd` and `kvm` the first one that is there.
    module: Option<&'static str>,
}

impl Check for Kvm {
    const NAME: &'static str = "kvm";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        let text = cpuinfo(host)?;
        let mut module = None;
        for name in ["kvm_intel", "kvm_amd", "kvm"] {
            if module.is_none() && host.exists(&Path::new(MODULES).join(name))? {
                module = Some(name);
            }
        }
        Ok(Self {
            is_tree: host.reach() == Reach::Tree,
            has_cpuinfo: !text.is_empty(),
            extension: extension(&text),
            has_device: host.exists(Path::new(DEVICE))?,
            module,
        })
    }

    fn judge(&self) -> Judgement {
        match self.extension {
            _ if !self.has_cpuinfo && !self.has_device => {
                Judgement::unknown("nothing of a running kernel is shown here", CPUINFO)
            }
            Extension::None => Judgement::fails(
                "no-virtualisation",
                "the processor does not say vmx or svm: it cannot run guests, or the firmware keeps it from that",
                CPUINFO,
                "turn VT-x or SVM on in the firmware; in a virtual machine, let the outer host pass the flag through",
            ),
            extension if self.has_device => {
                let by = match (extension, self.module) {
                    (Extension::Vmx, _) => " (vmx)",
                    (Extension::Svm, _) => " (svm)",
                    (_, _) => "",
                };
                Judgement::good("kvm", format!("guests run on the processor itself{by}"), DEVICE)
            }
            // A captured tree has no device nodes.
            _ if self.is_tree && matches!(self.module, Some("kvm_intel" | "kvm_amd")) => {
                let text = format!("{} is loaded", self.module.unwrap_or_default());
                Judgement::good("kvm", text, MODULES)
            }
            _ if self.is_tree => Judgement::unknown("a tree has no device nodes", DEVICE),
            extension => {
                let (module, setting) = match extension {
                    Extension::Vmx => ("kvm_intel", "VT-x"),
                    Extension::Svm => ("kvm_amd", "SVM"),
                    Extension::None | Extension::NoFlag => ("kvm", "virtualisation"),
                };
                let remedy = match self.module {
                    Some("kvm") | None => format!(
                        "modprobe {module}, and name it in `modules`; if it says \"disabled by bios\", turn {setting} on in the firmware"
                    ),
                    Some(loaded) => format!("{loaded} is loaded: see what the kernel log says about kvm"),
                };
                Judgement::fails("no-kvm", "there is no /dev/kvm: guests would be emulated", DEVICE, remedy)
            }
        }
    }
}

fn extension(cpuinfo: &str) -> Extension {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.trim_start().strip_prefix(':'));
    let Some(flags) = flags.filter(|_| Processor::of(cpuinfo) != Processor::Arm) else { return Extension::NoFlag };
    let has = |flag: &str| flags.split_ascii_whitespace().any(|known| known == flag);
    match (has("vmx"), has("svm")) {
        (true, _) => Extension::Vmx,
        (_, true) => Extension::Svm,
        _ => Extension::None,
    }
}
