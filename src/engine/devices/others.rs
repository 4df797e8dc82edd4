//! What of the functions and PFs that the document binds and counts other programs set, too.

use super::handed::claims_of;
use super::{Devices, Resolved};
use crate::document::Document;
use crate::host::ReadHost;
use crate::owners::{self, Desired, Wanted};
use crate::types::{DriverName, PciAddress};

impl Devices {
    /// Looks for other owners of what the document binds and counts.
    pub(super) fn find_owners(&mut self, document: &Document, host: &dyn ReadHost) {
        let wanted = self.wanted(document);
        if wanted.is_empty() {
            return;
        }
        self.owners = owners::judge(&wanted, &owners::find(host, &wanted), &self.consents);
        self.warnings.append(&mut self.owners.warnings);
        self.allowed.append(&mut self.owners.allowed);
    }

    fn wanted(&self, document: &Document) -> Wanted {
        let mut wanted = Wanted {
            manages_ids: document.vfio_pci.as_ref().is_some_and(|vfio| vfio.ids.is_some()),
            ..Wanted::default()
        };
        for claim in claims_of(document, self) {
            let Some(address) = claim.address() else { continue };
            let settled = self.is_bound(address, &claim.driver);
            wanted.drivers.insert(address, Desired { value: claim.driver, settled, origin: claim.origin });
        }
        for entry in document.sriov.iter().flatten() {
            let sriov = &entry.value;
            let Resolved::One(pf) = self.resolve(&sriov.device.device) else { continue };
            let current = self.function(pf).and_then(|facts| facts.sriov).map(|sriov| sriov.current);
            let settled = current == Some(sriov.vfs);
            let origin = entry.place.to_string();
            wanted.counts.insert(pf, Desired { value: sriov.vfs, settled, origin });
        }
        let concerned = wanted.drivers.keys().chain(wanted.counts.keys());
        let facts = concerned.filter_map(|address| self.function(*address));
        wanted.functions =
            facts.map(|facts| (facts.function.address, (facts.function, facts.driver.clone()))).collect();
        wanted
    }

    /// Whether a function is bound as it is to be, for now and for the next probe.
    fn is_bound(&self, address: PciAddress, driver: &DriverName) -> bool {
        let satisfies = |name: &DriverName| name == driver || (name.is_vfio() && driver.is_vfio());
        self.function(address).is_some_and(|facts| {
            let overridden = facts.driver_override.as_deref().and_then(|name| name.parse().ok());
            facts.driver.as_ref().is_some_and(satisfies) && overridden.as_ref().is_some_and(satisfies)
        })
    }
}
