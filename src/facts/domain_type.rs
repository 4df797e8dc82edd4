//! How the kernel translates the DMA of its own devices: the default domain's type.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Check, Judgement};
use crate::host::{HostError, Kernels, ReadHost};

const GROUPS: &str = "/sys/kernel/iommu_groups";

/// So many groups are looked at: they differ only where somebody wrote their `type`.
const LOOKED_AT: usize = 256;

/// The types of the groups' default domains (`Documentation/ABI/testing/sysfs-kernel-iommu_groups`), with their counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainType(BTreeMap<String, usize>);

impl Check for DomainType {
    const NAME: &'static str = "domain-type";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        let mut types = BTreeMap::new();
        for group in host.list(Path::new(GROUPS))?.unwrap_or_default().iter().take(LOOKED_AT) {
            if let Some(text) = host.text(&Path::new(GROUPS).join(group).join("type"))? {
                *types.entry(text).or_default() += 1;
            }
        }
        Ok(Self(types))
    }

    fn judge(&self) -> Judgement {
        let Some((most, _)) = self.0.iter().max_by_key(|(_, count)| **count) else {
            return Judgement::unknown("no IOMMU group tells its type", GROUPS);
        };
        let means = match most.as_str() {
            "identity" => "the host's own devices are not translated (iommu=pt, iommu.passthrough=1)",
            "DMA" => "the host's own devices are translated, strictly",
            "DMA-FQ" => "the host's own devices are translated, lazily",
            _ => "neither identity nor DMA",
        };
        let counts: Vec<String> = self.0.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        Judgement::good("domain-type", format!("{most}: {means} (groups: {})", counts.join(", ")), GROUPS)
    }
}
