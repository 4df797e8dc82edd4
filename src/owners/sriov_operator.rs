//! The SR-IOV network operator of Kubernetes: what its daemon has written for its services, and what it has applied.
//!
//! In systemd mode `sriov-config.service` applies `sriov-interface-config.yaml` at boot, behind network-pre.target; else the
//! daemon's pod does it. What it applied to a PF stands in `pci/ADDRESS` (its `pkg/consts/constants.go`).

use std::path::Path;

use serde_yaml::Value;

use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::host::{HostError, ReadHost};
use crate::types::PciAddress;

const CONFIG: &str = "/etc/sriov-operator/sriov-interface-config.yaml";
const APPLIED: &str = "/etc/sriov-operator/pci";

#[derive(Debug)]
pub(super) struct SriovOperator;

impl Owner for SriovOperator {
    fn name(&self) -> &'static str {
        "SR-IOV operator"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        !wanted.counts.is_empty() || !wanted.drivers.is_empty()
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let mut texts: Vec<(String, String)> = Vec::new();
        texts.extend(host.text(Path::new(CONFIG))?.map(|text| (CONFIG.to_owned(), text)));
        for name in host.list(Path::new(APPLIED))?.unwrap_or_default() {
            let path = format!("{APPLIED}/{name}");
            texts.extend(host.text(Path::new(&path))?.map(|text| (path, text)));
        }
        let mut holdings: Vec<Holding> = Vec::new();
        for (path, text) in &texts {
            for interface in interfaces(text) {
                let known = |holding: &Holding| {
                    holding.setting == Setting::VfCount(interface.pf, Some(interface.count))
                };
                // What it applied mostly repeats what it was told.
                if wanted.concerns(interface.pf) && !holdings.iter().any(known) {
                    holdings.push(interface.holding(path));
                }
            }
        }
        Ok(Found { holdings, notes: Vec::new() })
    }
}

/// What the operator does with one PF.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    pf: PciAddress,
    count: u16,
    line: usize,
}

impl Interface {
    fn holding(&self, path: &str) -> Holding {
        let Self { pf, count, line } = self;
        Holding {
            setting: Setting::VfCount(*pf, Some(*count)),
            force: Force::Sets,
            text: format!("the SR-IOV operator gives {pf} the VF count {count}"),
            at: format!("{path}:{line}"),
            wins: "the operator sets its count behind network-pre.target, that is behind reconcile.service, and again whenever it \
                   looks: the operator wins",
            remedy: format!(
                "take {pf} out of the cluster's SriovNetworkNodePolicy, or set externallyManaged there"
            ),
        }
    }
}

/// The PFs that it configures: `spec.interfaces` of its configuration, or the one interface of a file of its store (JSON).
/// Of an externally managed PF it makes no VFs.
fn interfaces(text: &str) -> Vec<Interface> {
    let Ok(root) = serde_yaml::from_str::<Value>(text) else { return Vec::new() };
    let list = root.get("spec").and_then(|spec| spec.get("interfaces")).and_then(Value::as_sequence);
    let one = std::slice::from_ref(&root);
    let interfaces = list.map_or(one, Vec::as_slice).iter();
    interfaces.filter_map(|value| interface(value, text)).collect()
}

fn interface(value: &Value, text: &str) -> Option<Interface> {
    let any = |names: [&str; 2]| names.into_iter().find_map(|name| value.get(name));
    let managed = any(["externallyManaged", "externallymanaged"]).and_then(Value::as_bool) != Some(true);
    let written = any(["pciAddress", "pciaddress"])?.as_str()?;
    let pf = written.parse().ok().filter(|_| managed)?;
    let count = any(["numVfs", "numvfs"]).and_then(Value::as_u64).unwrap_or(0);
    let line = (1..).zip(text.lines()).find(|(_, line)| line.contains(written)).map_or(1, |(line, _)| line);
    Some(Interface { pf, count: u16::try_from(count).ok()?, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_configuration_and_its_store_are_read() {
        let yaml = "spec:\n  dpConfigVersion: \"1\"\n  interfaces:\n  - pciAddress: 0000:04:00.0\n    numVfs: 4\n    name: ens4f0\n  - numVfs: 8\n    externallyManaged: true\n    pciAddress: \"0000:04:00.1\"\nunsupportedNics: false\n";
        let json =
            "{\"pciAddress\":\"0000:05:00.0\",\"numVfs\":2,\"vfGroups\":[{\"deviceType\":\"vfio-pci\"}]}";
        let shown = |text: &str| -> Vec<String> {
            let shown = |found: Interface| format!("{} {} @{}", found.pf, found.count, found.line);
            interfaces(text).into_iter().map(shown).collect()
        };
        assert_eq!(shown(yaml), ["0000:04:00.0 4 @4"]);
        assert_eq!(shown(json), ["0000:05:00.0 2 @1"]);
        assert!(shown("- x\n").is_empty() && shown("{").is_empty());
    }
}
