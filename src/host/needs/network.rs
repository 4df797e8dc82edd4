//! Default routes, and addresses on interfaces that are up.

use std::collections::BTreeSet;
use std::path::Path;

use super::Scope;
use super::graph::{Graph, Thing};
use super::interfaces::OVS;
use crate::host::HostError;
use crate::plan::{Because, Reason};

/// `IFF_UP` (include/uapi/linux/if.h).
const IFF_UP: u32 = 1;

/// Default routes.
pub(super) fn add_defaults(graph: &mut Graph<'_>) {
    let mut defaults: Vec<(String, &str)> =
        graph.routes.defaults().map(|route| (route.interface.clone(), route.protocol())).collect();
    defaults.sort_unstable();
    defaults.dedup();
    for (interface, protocol) in defaults {
        let text = format!("the {protocol} default route leaves by {interface}");
        let remedy = format!("give the host a default route that does not need {interface}");
        let head = Reason::new("default-route", text).remedy(remedy);
        graph.need(Because::DefaultRoute, head, vec![Thing::Interface(interface)]);
    }
}

/// Addresses; not those of interfaces in `told`: who gives up the default route gives up the address that it has.
pub(super) fn add_addresses(graph: &mut Graph<'_>, told: &BTreeSet<Thing>) {
    let mut last = String::new();
    for (interface, what) in graph.routes.reachable() {
        // One is enough: what takes the interface takes them all.
        if interface == last || told.contains(&Thing::Interface(interface.clone())) {
            continue;
        }
        let up = graph.is_up(&interface);
        if graph.known(Scope::Network, up) {
            need_address(graph, &interface, &what);
        }
        last = interface;
    }
    if graph.routes.has_other_tables() {
        for (interface, vrf) in in_vrfs(graph) {
            need_address(graph, &interface, &format!("its addresses in the VRF {vrf}"));
        }
    }
}

fn need_address(graph: &mut Graph<'_>, interface: &str, what: &str) {
    let text = format!("{interface} is up and has {what}");
    let remedy = format!("take the interface down (ip link set {interface} down) if nobody needs it");
    let head = Reason::new("address", text).remedy(remedy);
    graph.need(Because::Address, head, vec![Thing::Interface(interface.to_owned())]);
}

/// The ports of VRFs that are up: their networks are in the VRF's table, which /proc shows without interfaces. Nothing in
/// sysfs calls a VRF one; it is a master that is no bridge, no bond and not Open vSwitch's.
fn in_vrfs(graph: &mut Graph<'_>) -> Vec<(String, String)> {
    let class = Path::new("/sys/class/net");
    let names = graph.host.list(class);
    let mut ports = Vec::new();
    for port in graph.known(Scope::Network, names).unwrap_or_default() {
        let found = graph.vrf_of(&port);
        let Some(vrf) = graph.known(Scope::Network, found) else { continue };
        let up = graph.is_up(&port);
        if graph.known(Scope::Network, up) {
            ports.push((port, vrf));
        }
    }
    ports
}

impl Graph<'_> {
    fn vrf_of(&self, port: &str) -> Result<Option<String>, HostError> {
        let class = Path::new("/sys/class/net");
        let Some(master) = self.host.link_name(&class.join(port).join("master"))? else { return Ok(None) };
        let kind = |name: &str| self.host.exists(&class.join(&master).join(name));
        Ok(if master == OVS || kind("bridge")? || kind("bonding")? { None } else { Some(master) })
    }

    /// Whether an interface is up and its link is not known to be down. Where sysfs does not say, it is: it has an
    /// address.
    fn is_up(&self, interface: &str) -> Result<bool, HostError> {
        let directory = Path::new("/sys/class/net").join(interface);
        let flags = self.host.text(&directory.join("flags"))?;
        let flags = flags.and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        if flags.is_some_and(|flags| flags & IFF_UP == 0) {
            return Ok(false);
        }
        // RFC 2863's states, as operstate prints them (net/core/net-sysfs.c).
        let state = self.host.text(&directory.join("operstate"))?.unwrap_or_default();
        Ok(!matches!(state.as_str(), "down" | "lowerlayerdown" | "notpresent"))
    }
}
