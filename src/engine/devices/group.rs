//! Why the IOMMU group of a function is not known, and what will bring it.

use std::borrow::Cow;

use super::{Devices, Resolved, Target};
use crate::document::Document;
use crate::plan::{Blocker, Reason};
use crate::types::{IommuGroup, KernelArg};

/// Why a group is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupUnknown {
    /// What has to come first.
    pub on: Blocker,
    /// Why.
    pub why: Reason,
}

impl Devices {
    /// The IOMMU group of a function that the document hands over.
    ///
    /// # Errors
    /// While the function does not exist, and where it is in no group.
    pub fn group_of(&self, target: Target, document: &Document) -> Result<IommuGroup, GroupUnknown> {
        let address = match target {
            Target::Function(address) => address,
            Target::Vf { pf, vf } => {
                let asked = document.sriov.iter().flatten().any(|entry| {
                    entry.value.vfs > vf && self.resolve(&entry.value.device.device) == Resolved::One(pf)
                });
                let text = format!("VF {vf} of {pf} does not exist");
                return Err(if asked {
                    let why = Reason::new("vf-to-come", format!("{text} until sriov has made it"));
                    GroupUnknown { on: Blocker::Resource(Cow::Borrowed("sriov")), why }
                } else {
                    let remedy =
                        format!("ask for it: sriov: [{{device: \"{pf}\", vfs: {}}}]", u32::from(vf) + 1);
                    let why = Reason::new("missing-vf", format!("{text}, and sriov does not ask for it"));
                    GroupUnknown { on: Blocker::Host, why: why.remedy(remedy) }
                });
            }
        };
        let Some(facts) = self.function(address) else {
            let why = Reason::new("unreadable-function", format!("{address} cannot be read"));
            return Err(GroupUnknown { on: Blocker::Host, why });
        };
        facts.group.ok_or_else(|| {
            let cause = self.iommu_off.as_ref();
            let because = cause.map_or("the IOMMU is off, or does not cover it", |cause| &cause.text);
            let why = Reason::new("no-iommu-group", format!("{address} is in no IOMMU group: {because}"));
            if self.iommu_waits_for_reboot(document) {
                let remedy = "reboot: the kernel arguments that this document asks for turn it on";
                GroupUnknown { on: Blocker::Reboot, why: why.remedy(remedy) }
            } else {
                let remedy = cause.and_then(|cause| cause.remedy.as_deref()).unwrap_or(
                    "turn VT-d or AMD-Vi on in the firmware; on Intel also add `intel_iommu=on` to kernel_args",
                );
                GroupUnknown { on: Blocker::Host, why: why.remedy(remedy) }
            }
        })
    }

    /// Whether the running kernel was booted without what the document says about its IOMMU.
    fn iommu_waits_for_reboot(&self, document: &Document) -> bool {
        let running: Vec<&str> = self.running_args.split_ascii_whitespace().collect();
        let runs = |arg: &KernelArg| running.contains(&arg.to_string().as_str());
        let about_iommu = |arg: &KernelArg| arg.name().contains("iommu") || arg.name().contains("smmu");
        document.kernel_args.as_ref().is_some_and(|args| {
            let missing = args.present.iter().any(|arg| about_iommu(&arg.value) && !runs(&arg.value));
            missing || args.absent.iter().any(|arg| about_iommu(&arg.value) && runs(&arg.value))
        })
    }
}
