//! What is known about the host in one round, gathered once and shared by every `derive`.

use std::collections::BTreeMap;
use std::path::Path;

use super::devices::Devices;
use crate::boot::{self, ChainName};
use crate::document::Document;
use crate::formats::cmdline::CommandLine;
use crate::guard::{Consents, Withheld};
use crate::host::pci::Known;
use crate::host::{Kernels, Reach, ReadHost, stuck_writes};
use crate::owners::{self, Desired, OwnerReport};
use crate::plan::Objection;
use crate::resources::ObserveError;
use crate::types::{Entry, KernelArg, PciAddress};

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
    pub stuck: Vec<Stuck>,
    /// What other programs set of the kernel arguments that the document names.
    pub argument_owners: owners::Judged,
    /// What a guard has refused of this round's plan, and the plan therefore goes without.
    pub withheld: Withheld,
}

impl Facts {
    /// What a guard has refused of one resource, by item.
    pub fn withheld(&self, resource: &str) -> BTreeMap<String, Objection> {
        let of_resource = self.withheld.iter().filter(|((key, _), _)| *key == resource);
        of_resource.map(|((_, item), objection)| (item.clone(), objection.clone())).collect()
    }

    /// Everything that other programs set and the document wants.
    pub fn owners(&self) -> Vec<&OwnerReport> {
        self.devices.owners().iter().chain(&self.argument_owners.reports).collect()
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
            // After the functions have been read: that is how others' are met.
            stuck: stuck(host)?,
            argument_owners: argument_owners(document, host)?,
            withheld: Withheld::new(),
        })
    }
}

/// Looks for other owners of the kernel arguments that the document names. One that runs already as it is to be is settled.
fn argument_owners(document: &Document, host: &dyn ReadHost) -> Result<owners::Judged, ObserveError> {
    let Some(named) = &document.kernel_args else { return Ok(owners::Judged::default()) };
    let running = CommandLine::parse(&host.read(Path::new("/proc/cmdline"))?.unwrap_or_default());
    let running: Vec<&KernelArg> = running.args().collect();
    let desired = |entry: &Entry<KernelArg>, settled| Desired {
        value: entry.value.clone(),
        settled,
        origin: entry.place.to_string(),
    };
    let present = named.present.iter().map(|entry| {
        let wanted = boot::wanted(std::slice::from_ref(&entry.value));
        desired(entry, wanted.iter().all(|wanted| wanted.given_by(&running)))
    });
    let absent = named
        .absent
        .iter()
        .map(|entry| desired(entry, !running.iter().any(|arg| boot::is_meant(&entry.value, arg))));
    let wanted =
        owners::Wanted { present: present.collect(), absent: absent.collect(), ..owners::Wanted::default() };
    Ok(owners::judge(&wanted, &owners::find(host, &wanted), &Consents::default()))
}

/// A write that hangs.
#[derive(Debug, Clone)]
pub struct Stuck {
    /// The functions that are left alone for it.
    pub functions: Vec<PciAddress>,
    /// What is to be told about it.
    pub told: String,
}

fn stuck(host: &dyn ReadHost) -> Result<Vec<Stuck>, ObserveError> {
    if host.reach() == Reach::Tree {
        return Ok(Vec::new());
    }
    let writes = [stuck_writes(host)?, host.locks_met()].concat();
    let stuck = writes.iter().map(|write| Stuck { functions: write.functions(host), told: write.told(host) });
    Ok(stuck.collect())
}
