//! Whether every installed kernel has what hands functions to guests.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Judgement};
use crate::host::kernels::InKernels;
use crate::host::{HostError, Kernels, ReadHost};
use crate::plan::Reason;
use crate::types::ModuleName;

const MODULES: &str = "/lib/modules";

/// Names of the modules: what binds functions, and what maps a guest's memory for them.
const NEEDED: [&str; 2] = ["vfio_pci", "vfio_iommu_type1"];

/// What the installed kernels have of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VfioModules(BTreeMap<ModuleName, InKernels>);

impl Check for VfioModules {
    const NAME: &'static str = "vfio-modules";

    fn read(host: &dyn ReadHost, kernels: &Kernels) -> Result<Self, HostError> {
        let needed: BTreeSet<ModuleName> = NEEDED.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(Self(kernels.find(host, &needed)?))
    }

    fn judge(&self) -> Judgement {
        let releases: BTreeSet<&String> = self.0.values().flat_map(|kernels| kernels.0.keys()).collect();
        if releases.is_empty() {
            return Judgement::unknown("no kernel with modules is installed here", MODULES);
        }
        let lacking = releases.iter().filter_map(|release| {
            let missing = self.0.iter().filter(|(_, kernels)| kernels.missing_in().contains(&release.as_str()));
            let missing: Vec<&str> = missing.map(|(module, _)| module.as_str()).collect();
            (!missing.is_empty()).then(|| format!("{release} has no {}", missing.join(" and no ")))
        });
        let lacking: Vec<String> = lacking.collect();
        if !lacking.is_empty() {
            return Judgement::fails("no-vfio-modules", lacking.join("; "), MODULES, REMEDY);
        }
        let builtin = self.0.iter().filter(|(_, kernels)| !kernels.builtin_in().is_empty());
        let builtin: Vec<String> =
            builtin.map(|(module, kernels)| format!("{module} in {}", kernels.builtin_in().join(", "))).collect();
        if builtin.is_empty() {
            let releases: Vec<&str> = releases.into_iter().map(String::as_str).collect();
            return Judgement::good("vfio-modules", format!("in every kernel: {}", releases.join(", ")), MODULES);
        }
        let text = format!("in every kernel; built in: {} (modprobe.d does not reach it there)", builtin.join("; "));
        Judgement::note("vfio-builtin", text, MODULES)
    }
}

const REMEDY: &str = "install the package with this kernel's further modules (linux-modules-extra on Ubuntu, kernel-modules on Fedora), or boot another kernel";

impl VfioModules {
    /// Why no kernel of this host can hand a function over; `None` where one can, or none is installed.
    pub fn nowhere_because(&self) -> Option<Reason> {
        let nowhere = self.0.values().any(InKernels::is_nowhere);
        nowhere.then(|| self.judge().reason)
    }
}
