//! Whether the IOMMU group of a function can go to a guest: all of it does, or nothing of it.

use std::borrow::Cow;
use std::path::PathBuf;

use super::handed::claims_of;
use super::{Claim, Devices, FunctionFacts};
use crate::document::Document;
use crate::facts::interrupt_remapping::InterruptRemapping;
use crate::facts::{Check as _, Standing};
use crate::guard::{self, Loss};
use crate::host::{HostError, Kernels, Pci, ReadHost, Users};
use crate::plan::{Because, LiftedBy, Objection, Reason, Warning};
use crate::types::{IommuGroup, PciAddress};

/// Which drivers may have a function of a group that a guest gets, by the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    /// Since 5.19 the drivers say it themselves (`driver_managed_dma`, `drivers/iommu/iommu.c`): portdrv does, other drivers
    /// of bridges do not. Before, any bridge was in order (`drivers/vfio/vfio.c`, `vfio_dev_viable`).
    drivers_say: bool,
    /// Before 5.3 the regions of USB controllers and displays, which may go, read as `direct` like any other
    /// (`drivers/iommu/intel/iommu.c`, `device_rmrr_is_relaxable`).
    relaxable_is_told: bool,
}

impl Rules {
    fn of(release: Option<&str>) -> Self {
        let numbers =
            release.unwrap_or_default().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let numbers: Vec<u32> = numbers.collect();
        let since = |version: [u32; 2]| numbers.len() < 2 || numbers.as_slice() >= version.as_slice();
        Self { drivers_say: since([5, 19]), relaxable_is_told: since([5, 3]) }
    }

    /// Whether a function with this driver keeps its group from a guest.
    fn keeps(self, facts: &FunctionFacts) -> bool {
        let Some(driver) = &facts.driver else { return false };
        let is_port = matches!(facts.function.class >> 8, 0x0604 | 0x0607 | 0x0609);
        let may = match driver.as_str() {
            "pci-stub" => true,
            "pcieport" => self.drivers_say || is_port,
            _ => !self.drivers_say && is_port,
        };
        !driver.is_vfio() && !may
    }

    /// Whether the region of such a type keeps this function from a guest.
    fn holds(self, region: &str, facts: &FunctionFacts) -> bool {
        let relaxable = matches!(facts.function.class >> 8, 0x0c03) || facts.function.class >> 16 == 0x03;
        region == "direct" && (self.relaxable_is_told || !relaxable)
    }
}

impl Devices {
    /// Judges the groups of the functions that go to a guest and that no vfio driver has yet.
    ///
    /// # Errors
    /// When what the kernel says of a group cannot be read.
    pub(super) fn judge_groups(
        &mut self,
        document: &Document,
        pci: &Pci<'_>,
        host: &dyn ReadHost,
    ) -> Result<(), HostError> {
        let claims: Vec<Claim> = claims_of(document, self);
        let goes = |claim: &&Claim| claim.driver.is_vfio() && claim.refused.is_none();
        let going: Vec<PciAddress> = claims.iter().filter(goes).filter_map(Claim::address).collect();
        let is_new =
            |facts: &&FunctionFacts| !facts.driver.as_ref().is_some_and(crate::types::DriverName::is_vfio);
        let new: Vec<(FunctionFacts, IommuGroup)> = going
            .iter()
            .filter_map(|address| self.function(*address).filter(is_new))
            .filter_map(|facts| Some((facts.clone(), facts.group?)))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let rules = Rules::of(host.text(std::path::Path::new("/proc/sys/kernel/osrelease"))?.as_deref());
        self.warn_of_resets(pci, &new);
        self.warn_of_interrupts(host)?;
        let mut users = Users::new(host);
        for (facts, group) in new {
            let address = facts.function.address;
            let link = Reason::new("handed-over", format!("{address} would go to a guest"));
            let staying = self.group_members(group).iter().filter(|member| !going.contains(member));
            let staying: Vec<FunctionFacts> =
                staying.filter_map(|member| self.function(*member).cloned()).collect();
            let keeping: Vec<FunctionFacts> =
                staying.into_iter().filter(|facts| rules.keeps(facts)).collect();
            let mut losses = Vec::new();
            if !keeping.is_empty() {
                losses.push(self.companion_loss(&facts, group, &keeping, host, &mut users));
            }
            losses.extend(reserved_region(&facts, group, rules, host)?);
            match self.consents.weigh(address.to_string(), vec![link], &losses) {
                Ok(allowed) => self.allowed.extend(allowed),
                Err(mut objection) => {
                    if objection.because == [Because::GroupCompanion].into() {
                        with_members(&mut objection, &facts, &keeping, self);
                    }
                    self.in_use.insert(address, *objection);
                }
            }
        }
        Ok(())
    }

    /// What the operator should know of functions that go to a guest and that no vfio driver has yet.
    fn warn_of_resets(&mut self, pci: &Pci<'_>, new: &[(FunctionFacts, IommuGroup)]) {
        for address in new.iter().map(|(facts, _)| facts.function.address) {
            if matches!(pci.can_be_reset(address), Ok(Some(false))) {
                let text =
                    format!("{address} cannot be reset: a guest gets it as the one before has left it");
                let reason = Reason::new("no-reset", text)
                    .remedy("give it to one guest only, and power the host off and on between guests");
                let subject = address.to_string();
                self.warnings.push(Warning { resource: Cow::Borrowed("bindings"), subject, reason });
            }
        }
    }

    /// Interrupts that are not remapped: nothing can be handed over, or every guest can raise any of them.
    fn warn_of_interrupts(&mut self, host: &dyn ReadHost) -> Result<(), HostError> {
        let found = InterruptRemapping::read(host, &Kernels::default())?.judge();
        if matches!(found.state, Standing::Fails | Standing::Note) {
            let subject = "interrupts".to_owned();
            self.warnings.push(Warning {
                resource: Cow::Borrowed("bindings"),
                subject,
                reason: found.reason,
            });
        }
        Ok(())
    }

    /// What stands against a group that would be divided between the host and a guest.
    fn companion_loss(
        &self,
        facts: &FunctionFacts,
        group: IommuGroup,
        keeping: &[FunctionFacts],
        host: &dyn ReadHost,
        users: &mut Users<'_>,
    ) -> Loss {
        let function = facts.function.address;
        let text = format!(
            "IOMMU group {group} of {function} goes to a guest as a whole{}",
            why_together(facts, keeping, host)
        );
        let mut chain = vec![Reason::new("group-not-viable", text)];
        for companion in keeping {
            let (address, id) = (companion.function.address, companion.function.id);
            let driver = companion.driver.as_ref().map_or("a driver", |driver| driver.as_str());
            let text = format!("{driver} would keep {address} ({id}) of the same group on the host");
            chain.push(Reason::new("group-companion", text));
            let uses = guard::losses_of(address, users).into_iter().filter(guard::is_certain);
            chain.extend(uses.flat_map(|needed| needed.chain));
        }
        Loss { function, because: Because::GroupCompanion, chain }
    }
}

/// Why functions share a group: nothing between them isolates them from each other.
fn why_together(facts: &FunctionFacts, keeping: &[FunctionFacts], host: &dyn ReadHost) -> String {
    let device =
        |address: PciAddress| address.to_string().rsplit_once('.').map(|(device, _)| device.to_owned());
    let own = device(facts.function.address);
    if keeping.iter().all(|other| device(other.function.address) == own) {
        return ": they are functions of one device, which does not isolate them from each other".to_owned();
    }
    let common = |bridge: &&PciAddress| keeping.iter().any(|other| other.bridges.contains(bridge));
    let port = facts.bridges.iter().rev().find(common);
    let without_acs = port.filter(|port| matches!(Pci::new(host).has_acs(**port), Ok(Some(false))));
    without_acs
        .map_or_else(String::new, |port| format!(": the port {port} above them has no access control (ACS)"))
}

/// Completes an objection by what has to be added to the document, if anything can be.
fn with_members(
    objection: &mut Objection,
    facts: &FunctionFacts,
    keeping: &[FunctionFacts],
    devices: &Devices,
) {
    let LiftedBy::Document(allow) = &objection.lifted_by else { return };
    let stays = |companion: &&FunctionFacts| {
        companion.function.is_bridge()
            || facts.physfn == Some(companion.function.address)
            || devices.in_use(companion.function.address).is_some()
    };
    let needed = objection
        .chain
        .iter()
        .skip_while(|reason| reason.code != "group-companion")
        .any(|reason| reason.code != "group-companion");
    if let Some(last) = objection.chain.last_mut() {
        let other = format!("where the guest does without the group, {allow}");
        last.remedy = Some(last.remedy.take().map_or(other.clone(), |remedy| format!("{remedy}; {other}")));
    }
    objection.lifted_by = match keeping.iter().find(stays) {
        Some(companion) => LiftedBy::Operator(format!(
            "moving {} to another slot: {} stays with the host",
            facts.function.address, companion.function.address
        )),
        None if needed => LiftedBy::Operator(format!(
            "moving {} to another slot: the host needs what shares its group",
            facts.function.address
        )),
        None => {
            let members = keeping.iter().map(|companion| {
                let driver = companion.driver.as_ref().map_or("no driver", |driver| driver.as_str());
                format!("\n    - \"{}\"  # {}, {driver}", companion.function.address, companion.function.id)
            });
            LiftedBy::Document(format!("vfio_pci:\n  devices:{}", members.collect::<String>()))
        }
    };
}

/// The memory regions that the firmware keeps mapped for a device, and which a guest cannot have
/// (`Documentation/ABI/testing/sysfs-kernel-iommu_groups`).
fn reserved_region(
    facts: &FunctionFacts,
    group: IommuGroup,
    rules: Rules,
    host: &dyn ReadHost,
) -> Result<Option<Loss>, HostError> {
    let IommuGroup::Number(number) = group else { return Ok(None) };
    let path = PathBuf::from(format!("/sys/kernel/iommu_groups/{number}/reserved_regions"));
    let text = host.text(&path)?.unwrap_or_default();
    let held = text
        .lines()
        .find(|line| line.split_whitespace().nth(2).is_some_and(|region| rules.holds(region, facts)));
    Ok(held.map(|line| {
        let function = facts.function.address;
        let text = format!("the firmware keeps a memory region of IOMMU group {group} for itself: {line}");
        let remedy = "turn off in the firmware what uses it (USB legacy support, remote management), or move the card to another slot";
        let reason = Reason::new("reserved-region", text).at(path.display()).remedy(remedy);
        Loss { function, because: Because::ReservedRegion, chain: vec![reason] }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::pci::Function;

    fn facts(class: u32, driver: &str) -> FunctionFacts {
        let function = Function {
            address: "0000:03:00.0".parse().unwrap(),
            id: "8086:1521".parse().unwrap(),
            subsystem: None,
            class,
        };
        FunctionFacts {
            function,
            driver: (!driver.is_empty()).then(|| driver.parse().unwrap()),
            driver_override: None,
            group: None,
            sriov: None,
            vfs: Vec::new(),
            physfn: None,
            bridges: Vec::new(),
        }
    }

    #[test]
    fn who_keeps_a_group_on_the_host_depends_on_the_kernel() {
        let keeps = |release: &str, class, driver| Rules::of(Some(release)).keeps(&facts(class, driver));
        for release in ["6.12.107", "5.19.0-rc1", "6.1.0-37-amd64", "unknown"] {
            assert!(keeps(release, 0x02_0000, "igb") && keeps(release, 0x06_0400, "shpchp"), "{release}");
            assert!(keeps(release, 0x06_0100, "lpc_ich"), "{release}");
            assert!(!keeps(release, 0x06_0400, "pcieport") && !keeps(release, 0x02_0000, ""), "{release}");
            assert!(
                !keeps(release, 0x02_0000, "vfio-pci") && !keeps(release, 0x02_0000, "pci-stub"),
                "{release}"
            );
            assert!(!keeps(release, 0x02_0000, "mlx5_vfio_pci"), "{release}");
        }
        for release in ["5.18.19", "4.19.0-27-amd64"] {
            assert!(
                !keeps(release, 0x06_0400, "shpchp") && !keeps(release, 0x06_0400, "pcieport"),
                "{release}"
            );
            assert!(keeps(release, 0x06_0100, "lpc_ich") && keeps(release, 0x02_0000, "igb"), "{release}");
        }
    }

    #[test]
    fn relaxable_regions_hold_nothing() {
        let holds = |release: &str, region, class| Rules::of(Some(release)).holds(region, &facts(class, "x"));
        assert!(holds("6.1.0", "direct", 0x02_0000) && holds("6.1.0", "direct", 0x03_0000));
        assert!(!holds("6.1.0", "direct-relaxable", 0x0c_0330) && !holds("6.1.0", "msi", 0x02_0000));
        assert!(holds("5.2.21", "direct", 0x02_0000));
        assert!(!holds("5.2.21", "direct", 0x0c_0330) && !holds("4.19.0", "direct", 0x03_0000));
    }
}
