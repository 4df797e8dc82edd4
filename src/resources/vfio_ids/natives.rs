//! The native drivers that compete with vfio-pci for functions.

use std::collections::{BTreeMap, BTreeSet};

use crate::formats::kmod_index;
use crate::formats::modprobe::{Config, FileOfConfig, Softdep};
use crate::host::kernels::{InKernels, index};
use crate::host::pci::Function;
use crate::host::{HostError, Kernels, ReadHost};
use crate::types::ModuleName;

/// A native driver of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Native {
    pub(super) module: ModuleName,
    /// What the installed kernels have of it.
    pub(super) kernels: InKernels,
    /// The soft dependencies that the kernels' own `modules.softdep` give it, joined.
    pub(super) own: Option<Softdep>,
}

impl Native {
    /// Its soft dependency as an item.
    pub(super) fn item(&self) -> String {
        format!("softdep {}", self.module)
    }
}

/// The native drivers of these functions, from every installed kernel's `modules.alias`; where no kernel is installed,
/// those that are known for their vendors and classes.
pub(super) fn find(
    host: &dyn ReadHost,
    kernels: &Kernels,
    functions: &[Function],
) -> Result<Vec<Native>, HostError> {
    let mut modules: BTreeSet<ModuleName> = BTreeSet::new();
    let aliases: BTreeSet<String> = functions.iter().map(Function::modalias).collect();
    for kernel in kernels.installed.iter().filter(|_| !aliases.is_empty()) {
        let table = host.read(&index(&kernel.release, "modules.alias"))?.unwrap_or_default();
        modules.extend(aliases.iter().flat_map(|alias| kmod_index::aliased(&table, alias)));
    }
    if kernels.installed.is_empty() {
        modules.extend(functions.iter().flat_map(fixed_competitors));
    }
    modules.retain(|module| {
        let name = module.as_str();
        !name.ends_with("vfio_pci") && name != "pci_stub" && name != "xen_pciback"
    });
    let found = kernels.find(host, &modules)?;
    let mut own: BTreeMap<ModuleName, Softdep> = BTreeMap::new();
    for kernel in kernels.installed.iter().filter(|_| !modules.is_empty()) {
        let path = index(&kernel.release, "modules.softdep");
        let Some(bytes) = host.read(&path)? else { continue };
        let config = Config::new(vec![FileOfConfig { path, bytes }], None);
        for module in &modules {
            if let Some((_, softdep)) = config.softdep(module) {
                let joined = own.entry(module.clone()).or_insert_with(|| Softdep {
                    module: module.to_string(),
                    pre: Vec::new(),
                    post: Vec::new(),
                });
                join(joined, softdep);
            }
        }
    }
    let native = |(module, kernels): (ModuleName, InKernels)| {
        let own = own.remove(&module);
        Native { module, kernels, own }
    };
    Ok(found.into_iter().map(native).collect())
}

/// Adds what `softdep` has and `into` has not.
pub(super) fn join(into: &mut Softdep, softdep: &Softdep) {
    for (into, more) in [(&mut into.pre, &softdep.pre), (&mut into.post, &softdep.post)] {
        for module in more {
            if !into.contains(module) {
                into.push(module.clone());
            }
        }
    }
}

/// Drivers that are known to take functions of this vendor and class, for hosts whose kernels cannot be asked.
pub fn fixed_competitors(function: &Function) -> Vec<ModuleName> {
    let base = function.class >> 16;
    let names: &[&str] = match (base, function.id.vendor) {
        (0x03, 0x10de) => &["nouveau", "nvidia", "nvidia_drm", "nvidiafb"],
        (0x03, 0x1002) => &["amdgpu", "radeon"],
        (0x03, 0x8086) => &["i915", "xe"],
        (0x03, 0x102b) => &["mgag200"],
        (0x03, 0x1a03) => &["ast"],
        (0x04, _) => &["snd_hda_intel"],
        (0x0c, _) if function.class == 0x0c_0330 => &["xhci_pci"],
        (0x01, _) if function.class == 0x01_0802 => &["nvme"],
        _ => &[],
    };
    names.iter().filter_map(|name| name.parse().ok()).collect()
}
