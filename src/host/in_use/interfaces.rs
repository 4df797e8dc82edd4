//! Which network interfaces the default route leaves by.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Below, UNKNOWN_USE, Use, required};
use crate::host::{HostError, ReadHost};
use crate::plan::{Because, Reason};

/// `RTF_UP` and `RTF_REJECT` (include/uapi/linux/route.h).
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// The master of every port of Open vSwitch, whichever of its bridges that is in.
const OVS: &str = "ovs-system";

/// The interfaces of the main table's default routes, and for which protocol.
#[derive(Debug)]
pub(super) struct DefaultRoutes(BTreeMap<String, &'static str>);

impl DefaultRoutes {
    pub(super) fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut routes = BTreeMap::new();
        // Columns: interface, destination, gateway, flags, reference count, use, metric, mask (net/ipv4/fib_trie.c).
        for line in required(host, "/proc/net/route")?.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if let [interface, "00000000", _, flags, _, _, _, "00000000", ..] = columns.as_slice()
                && leads_out(flags)
            {
                routes.insert((*interface).to_owned(), "IPv4");
            }
        }
        // Columns: destination, its prefix, source, its prefix, next hop, metric, references, use, flags, interface
        // (net/ipv6/route.c). No such file: no IPv6.
        for line in host.text(Path::new("/proc/net/ipv6_route"))?.unwrap_or_default().lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if let [destination, "00", _, _, _, _, _, _, flags, interface] = columns.as_slice()
                && destination.bytes().all(|digit| digit == b'0')
                && leads_out(flags)
            {
                routes.entry((*interface).to_owned()).or_insert("IPv6");
            }
        }
        Ok(Self(routes))
    }

    /// The default routes that leave by an interface of a function, or by one that stands on it.
    pub(super) fn users(&self, host: &dyn ReadHost, below: &Below) -> Result<Vec<Use>, HostError> {
        let mut uses = Vec::new();
        for interface in &below.interfaces {
            let mut waiting = vec![vec![interface.clone()]];
            let mut seen = Vec::new();
            while let Some(via) = waiting.pop() {
                let Some(name) = via.last().filter(|name| !seen.contains(*name)).cloned() else { continue };
                if let Some(protocol) = self.0.get(&name) {
                    let text =
                        format!("the {protocol} default route leaves by its interface {}", via.join(" > "));
                    let remedy = format!("give the host a default route that does not need {interface}");
                    let reason = Reason::new("default-route", text).remedy(remedy);
                    uses.push(Use::new(Because::DefaultRoute, reason));
                }
                if name == OVS {
                    uses.extend(self.through_ovs(host, interface)?);
                }
                for upper in uppers(host, &name)? {
                    waiting.push([via.as_slice(), &[upper]].concat());
                }
                seen.push(name);
            }
        }
        Ok(uses)
    }

    /// Which port a bridge of Open vSwitch sends by, sysfs does not tell: a default route through an interface that
    /// stands on nothing may be such a bridge.
    fn through_ovs(&self, host: &dyn ReadHost, interface: &str) -> Result<Vec<Use>, HostError> {
        let mut uses = Vec::new();
        for name in self.0.keys() {
            let directory = Path::new("/sys/class/net").join(name);
            let entries = host.list(&directory)?.unwrap_or_default();
            if !entries.iter().any(|entry| entry == "device" || entry.starts_with("lower_")) {
                let text = format!(
                    "the default route leaves by {name}, and its interface {interface} is a port of Open vSwitch, so that \
                     nothing tells whether the one needs the other"
                );
                let remedy = format!("remove the port {interface} from Open vSwitch (ovs-vsctl del-port)");
                uses.push(Use::new(Because::Unsure, Reason::new(UNKNOWN_USE, text).remedy(remedy)));
            }
        }
        Ok(uses)
    }
}

fn leads_out(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP != 0 && flags & REJECT == 0)
}

/// The interfaces that stand on this one: a bond, a bridge, VLANs, macvlans.
fn uppers(host: &dyn ReadHost, name: &str) -> Result<Vec<String>, HostError> {
    let directory = Path::new("/sys/class/net").join(name);
    let mut uppers = Vec::new();
    for entry in host.list(&directory)?.unwrap_or_default() {
        if let Some(upper) = entry.strip_prefix("upper_") {
            uppers.push(upper.to_owned());
        } else if entry == "master" {
            uppers.extend(host.link_name(&directory.join(entry))?);
        }
    }
    uppers.sort();
    uppers.dedup();
    Ok(uppers)
}
