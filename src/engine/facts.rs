//! What is known about the host in one round, gathered once and shared by every `derive`.

use std::collections::BTreeMap;
use std::path::Path;

use super::devices::Devices;
use crate::boot::ChainName;
use crate::document::Document;
use crate::guard::Withheld;
use crate::host::pci::Known;
use crate::host::{Kernels, Reach, ReadHost, StuckWrite, stuck_writes};
use crate::plan::Objection;
use crate::resources::ObserveError;
use crate::types::Entry;

/// Tells one boot from another.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Facts of one round; plain data, so that deriving is pure.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whether this is a running machine or a tree.
    pub reach: Reach,
    /// [`BOOT_ID`].
    pub boot_id: Option<String>,
    /// The functions that the document concerns.
    pub devices: Devices,
    /// The boot chain that the document names.
    pub boot_chain: Option<Entry<ChainName>>,
    /// The running and the installed kernels.
    pub kernels: Kernels,
    /// Writes of attributes that hang in the kernel.
    pub stuck: Vec<StuckWrite>,
    /// What a guard has refused of this round's plan, and the plan therefore goes without.
    pub withheld: Withheld,
}

impl Facts {
    /// What a guard has refused of one resource, by item.
    pub fn withheld(&self, resource: &str) -> BTreeMap<String, Objection> {
        let of_resource = self.withheld.iter().filter(|((key, _), _)| *key == resource);
        of_resource.map(|((_, item), objection)| (item.clone(), objection.clone())).collect()
    }

    /// Reads what the document makes necessary, and no more; `earlier` is what an earlier round of the same run found out.
    ///
    /// # Errors
    /// When the host cannot be read; what concerns a single function or module is a fact.
    pub fn gather(
        document: &Document,
        host: &dyn ReadHost,
        earlier: Option<Known>,
    ) -> Result<Self, ObserveError> {
        Ok(Self {
            reach: host.reach(),
            boot_id: host.text(Path::new(BOOT_ID))?,
            devices: Devices::gather(document, host, earlier)?,
            boot_chain: document.boot_chain.clone(),
            kernels: Kernels::read(host)?,
            stuck: if host.reach() == Reach::Machine { stuck_writes(host)? } else { Vec::new() },
            withheld: Withheld::new(),
        })
    }
}
