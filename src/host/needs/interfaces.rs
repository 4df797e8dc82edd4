//! What network interfaces stand on.

use std::net::IpAddr;
use std::path::Path;

use super::graph::{Graph, Step, Steps, Thing, behind};
use super::{UNKNOWN_USE, Use, listed, sysfs};
use crate::host::pci::attribute;
use crate::host::{HostError, Pci, ReadHost};
use crate::plan::{Because, Reason};
use crate::resources::ObserveError;
use crate::types::PciAddress;

const CLASS: &str = "/sys/class/net";

/// The master of every port of Open vSwitch, whichever of its bridges that is in.
pub(super) const OVS: &str = "ovs-system";

/// Whether the function has an interface that this network namespace does not show: the directory of a function's
/// interfaces is there as long as any namespace has one, and lists those of one's own (`drivers/base/core.c`,
/// `class_dir_create_and_add`; `net/core/dev.c`, `__dev_change_net_namespace`). A driver that makes no interface makes no
/// directory either.
///
/// # Errors
/// When the directory is there and cannot be listed.
pub(super) fn elsewhere(host: &dyn ReadHost, function: PciAddress) -> Result<Option<Use>, HostError> {
    let names = host.list(&attribute(function, "net"))?;
    let head = || {
        let text = format!("{function} has an interface in another network namespace");
        Reason::new("other-namespace", text)
            .remedy("stop the container that has it, or bring it back: ip netns exec NAME ip link set INTERFACE netns 1")
    };
    Ok(names
        .is_some_and(|names| names.is_empty())
        .then(|| Use { because: Because::Holder, chain: vec![head()] }))
}

/// As [`elsewhere`], of all VFs of a function.
///
/// # Errors
/// When it cannot be told which VFs it has, or for one of them.
pub(super) fn of_vfs_elsewhere(
    host: &dyn ReadHost,
    pf: PciAddress,
) -> Result<Vec<(PciAddress, Use)>, ObserveError> {
    let pci = Pci::new(host);
    let Some(sriov) = pci.sriov(pf)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for vf in pci.vfs(pf, sriov.current)?.into_iter().flatten() {
        found.extend(elsewhere(host, vf)?.map(|found| (vf, found)));
    }
    Ok(found)
}

impl Graph<'_> {
    pub(super) fn below_interface(&mut self, name: &str) -> Steps {
        let Some(directory) = sysfs::directory(self.host, &Path::new(CLASS).join(name))? else {
            return self.dead_end(format!("nothing tells what the interface {name} stands on"));
        };
        let functions = behind(name, &directory);
        if !functions.is_empty() {
            return Ok(functions);
        }
        let entries = self.host.list(&directory)?.unwrap_or_default();
        let mut lowers: Vec<String> =
            entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).map(str::to_owned).collect();
        if lowers.is_empty() {
            lowers = self.lowers_without_links(name, &directory)?;
        }
        if !lowers.is_empty() {
            let is = |kind: &str| entries.iter().any(|entry| entry == kind);
            let kind = if is("bridge") {
                "is the bridge over"
            } else if is("bonding") {
                "is the bond of"
            } else {
                "stands on"
            };
            let text = format!("{name} {kind} {}", listed(&lowers));
            let lowers = lowers.into_iter().map(Thing::Interface).collect();
            return Ok(vec![Step::new("made-of", text, lowers)]);
        }
        // A bridge without ports, a tap, a tunnel and a VLAN of nothing are not of Open vSwitch; veth has another's index.
        let own = |kind: &str| entries.iter().any(|entry| entry == kind);
        let peer =
            self.host.text(&directory.join("iflink"))? != self.host.text(&directory.join("ifindex"))?;
        if name == "lo" || peer || ["bridge", "bonding", "tun_flags"].into_iter().any(own) {
            return Ok(Vec::new());
        }
        self.through_ovs(name)
    }

    /// The interfaces below one, told by other means than its own links: a tree may have these alone.
    fn lowers_without_links(&self, name: &str, directory: &Path) -> Result<Vec<String>, HostError> {
        let mut lowers = self.host.list(&directory.join("brif"))?.unwrap_or_default();
        let bond = self.host.text(&directory.join("bonding/slaves"))?.unwrap_or_default();
        lowers.extend(bond.split_whitespace().map(str::to_owned));
        // `eth0.5 | 5 | eth0` (net/8021q/vlanproc.c).
        let vlans = self.host.text(Path::new("/proc/net/vlan/config"))?.unwrap_or_default();
        for line in vlans.lines() {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            if let [vlan, _, lower] = columns.as_slice()
                && *vlan == name
            {
                lowers.push((*lower).to_owned());
            }
        }
        if !lowers.is_empty() {
            return Ok(lowers);
        }
        for lower in self.host.list(Path::new(CLASS))?.unwrap_or_default() {
            let entry = |kind: &str| Path::new(CLASS).join(&lower).join(kind);
            let is_below = self.host.link_name(&entry("master"))?.as_deref() == Some(name)
                || self.host.exists(&entry(&format!("upper_{name}")))?;
            if is_below {
                lowers.push(lower);
            }
        }
        Ok(lowers)
    }

    /// An interface that stands on nothing can be a port of an Open vSwitch bridge, which sends by the other ports: by
    /// which of them, sysfs does not tell.
    fn through_ovs(&self, name: &str) -> Steps {
        let switch = Path::new(CLASS).join(OVS);
        let Some(directory) = sysfs::directory(self.host, &switch)? else { return Ok(Vec::new()) };
        if name == OVS {
            return Ok(Vec::new());
        }
        let entries = self.host.list(&directory)?.unwrap_or_default();
        let mut ports: Vec<String> =
            entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).map(str::to_owned).collect();
        if ports.is_empty() {
            ports = self.lowers_without_links(OVS, &directory)?;
        }
        // Taps and veths lead to guests, not out.
        let mut outward = Vec::new();
        for port in ports {
            let entry = Path::new(CLASS).join(&port);
            let place = sysfs::directory(self.host, &entry)?.unwrap_or_default();
            if !place.starts_with("/sys/devices/virtual") || !self.is_leaf(&place)? {
                outward.push(port);
            }
        }
        if outward.is_empty() {
            return Ok(Vec::new());
        }
        let sure = outward.len() == 1;
        let (code, by) = if sure { ("switched", "by") } else { (UNKNOWN_USE, "by one of") };
        let text = format!("{name} is a port of Open vSwitch, which sends {by} {}", listed(&outward));
        let to = outward.into_iter().map(Thing::Interface).collect();
        Ok(vec![Step { sure, ..Step::new(code, text, to) }])
    }

    fn is_leaf(&self, directory: &Path) -> Result<bool, HostError> {
        let entries = self.host.list(directory)?.unwrap_or_default();
        Ok(!entries.iter().any(|entry| entry.starts_with("lower_")))
    }

    /// Another machine is reached by the interface of the route to it.
    pub(super) fn below_peer(&mut self, address: IpAddr) -> Steps {
        if self.routes.is_own(address) {
            return Ok(Vec::new());
        }
        let Some(route) = self.routes.towards(address) else {
            return self.dead_end(format!("the main routing table has no route to {address}"));
        };
        let interface = route.interface.clone();
        let text = format!("{address} is reached by {interface}");
        Ok(vec![Step::new("leaves-by", text, vec![Thing::Interface(interface)])])
    }
}
