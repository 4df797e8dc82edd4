//! The routing tables and addresses, as /proc/net shows them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::required;
use crate::host::{HostError, Reach, ReadHost};

/// `RTF_UP` and `RTF_REJECT` (include/uapi/linux/route.h).
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// `IFA_F_DADFAILED`: another machine has the address (include/uapi/linux/if_addr.h).
const DUPLICATE: u8 = 0x08;
/// `IPV6_ADDR_LOOPBACK` and `IPV6_ADDR_LINKLOCAL`, as if_inet6 prints scopes (include/net/ipv6.h).
const NARROW_SCOPES: [u8; 2] = [0x10, 0x20];

/// One route that leads out by an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) interface: String,
    network: IpAddr,
    length: u32,
    metric: u32,
}

/// What is known of routes and addresses.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// IPv4: the main table; IPv6: every table (net/ipv6/ip6_fib.c, `ipv6_route_seq_next_table`).
    routes: Vec<Route>,
    /// The host's own IPv4 addresses, of whichever interface and table; without loopback.
    local: BTreeSet<Ipv4Addr>,
    /// Addresses that reach further than the link, by interface.
    addresses: Vec<(String, Ipv6Addr)>,
    /// Whether other IPv4 tables than main, local and default hold an address of the host: a VRF's does.
    other_tables: bool,
}

impl Route {
    pub(super) fn is_default(&self) -> bool {
        self.length == 0
    }

    /// What a sentence calls its protocol.
    pub(super) fn protocol(&self) -> &'static str {
        if self.network.is_ipv4() { "IPv4" } else { "IPv6" }
    }

    /// `10.0.0.0/8`.
    pub(super) fn destination(&self) -> String {
        format!("{}/{}", self.network, self.length)
    }

    pub(super) fn covers(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.length.min(32)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.length.min(128)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether the kernel makes such a route by itself on every interface that is up: link-local, multicast.
    fn is_of_every_link(&self) -> bool {
        match self.network {
            IpAddr::V4(network) => network.is_link_local() || network.is_multicast(),
            IpAddr::V6(network) => network.segments()[0] & 0xffc0 == 0xfe80 || network.is_multicast(),
        }
    }
}

impl Routes {
    pub(super) fn read(host: &dyn ReadHost, reach: Reach) -> Result<Self, HostError> {
        let mut found = Self::default();
        found.take_in_ipv4(&required(host, reach, "/proc/net/route")?);
        // No such file: no IPv6, or a kernel without it.
        let text = |path| Ok::<_, HostError>(host.text(Path::new(path))?.unwrap_or_default());
        found.take_in_ipv6(&text("/proc/net/ipv6_route")?);
        found.take_in_addresses(&text("/proc/net/if_inet6")?);
        found.take_in_trie(&text("/proc/net/fib_trie")?);
        Ok(found)
    }

    /// Columns: interface, destination, gateway, flags, references, use, metric, mask (net/ipv4/fib_trie.c).
    fn take_in_ipv4(&mut self, text: &str) {
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [interface, destination, _, flags, _, _, metric, mask, ..] = columns.as_slice() else {
                continue;
            };
            let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
            if let (Some(network), Some(mask)) = (number(destination), number(mask))
                && leads_out(flags)
            {
                self.routes.push(Route {
                    interface: (*interface).to_owned(),
                    network: IpAddr::V4(Ipv4Addr::from_bits(network)),
                    length: mask.count_ones(),
                    metric: metric.parse().unwrap_or(0),
                });
            }
        }
    }

    /// Columns: destination, its prefix, source, its prefix, next hop, metric, references, use, flags, interface
    /// (net/ipv6/route.c).
    fn take_in_ipv6(&mut self, text: &str) {
        for line in text.lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [destination, length, _, _, _, metric, _, _, flags, interface] = columns.as_slice() else {
                continue;
            };
            let network = u128::from_str_radix(destination, 16).ok();
            let length = u32::from_str_radix(length, 16).ok();
            if let (Some(network), Some(length)) = (network, length)
                && leads_out(flags)
                && *interface != "lo"
            {
                self.routes.push(Route {
                    interface: (*interface).to_owned(),
                    network: IpAddr::V6(Ipv6Addr::from_bits(network)),
                    length,
                    metric: u32::from_str_radix(metric, 16).unwrap_or(0),
                });
            }
        }
    }

    /// Columns: address, interface's index, prefix, scope, flags, interface (net/ipv6/addrconf.c).
    fn take_in_addresses(&mut self, text: &str) {
        for line in text.lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [address, _, _, scope, flags, interface] = columns.as_slice() else { continue };
            let byte = |text: &str| u8::from_str_radix(text, 16).unwrap_or(0);
            let reaches = !NARROW_SCOPES.contains(&byte(scope)) && byte(flags) & DUPLICATE == 0;
            if let Ok(address) = u128::from_str_radix(address, 16)
                && reaches
            {
                self.addresses.push(((*interface).to_owned(), Ipv6Addr::from_bits(address)));
            }
        }
    }

    /// The leaves of the IPv4 tables: `|-- ADDRESS` and below it `/32 host LOCAL` for the host's own ones. With rules of
    /// its own, a host has more tables, under `Id N:` (net/ipv4/fib_trie.c, `fib_table_print`).
    fn take_in_trie(&mut self, text: &str) {
        let (mut address, mut of_another) = (None, false);
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(leaf) = trimmed.strip_prefix("|-- ") {
                address = leaf.parse::<Ipv4Addr>().ok();
            } else if line.ends_with(':') && !line.starts_with(' ') {
                of_another = line.starts_with("Id ");
            } else if trimmed.ends_with("host LOCAL")
                && let Some(address) = address.filter(|address| !address.is_loopback())
            {
                self.other_tables |= of_another;
                self.local.insert(address);
            }
        }
    }

    /// Every default route.
    pub(super) fn defaults(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.is_default())
    }

    /// Whether a VRF's table holds an address of the host.
    pub(super) fn has_other_tables(&self) -> bool {
        self.other_tables
    }

    /// The interfaces by which the host can be reached, each with the address or network that says so. Addresses that
    /// every interface gets by being up (link-local ones) are none: nobody has configured them, and nobody is there who
    /// would use them. One that a router has given counts: others on that network may know it.
    pub(super) fn reachable(&self) -> BTreeSet<(String, String)> {
        let of_route = |route: &Route| {
            let own = self.local.iter().find(|address| route.covers(IpAddr::V4(**address)));
            let text = match own.filter(|_| route.network.is_ipv4()) {
                Some(own) => format!("the address {own}"),
                None => format!("the route to {}", route.destination()),
            };
            (route.interface.clone(), text)
        };
        // IPv6 lists the connected networks of link-local and duplicate addresses as well: there the addresses count.
        let ipv4 = self.routes.iter().filter(|route| route.network.is_ipv4());
        let routed = ipv4.filter(|route| !route.is_default() && !route.is_of_every_link()).map(of_route);
        let given = self.addresses.iter().map(|(name, own)| (name.clone(), format!("the address {own}")));
        routed.chain(given).filter(|(name, _)| name != "lo").collect()
    }

    /// Whether an address is the host's own.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback()
            || match address {
                IpAddr::V4(address) => self.local.contains(&address),
                IpAddr::V6(address) => self.addresses.iter().any(|(_, own)| *own == address),
            }
    }

    /// The route that a packet to `address` takes: the longest prefix, then the lowest metric.
    pub(super) fn towards(&self, address: IpAddr) -> Option<&Route> {
        let covering = self.routes.iter().filter(|route| route.covers(address));
        covering.max_by_key(|route| (route.length, std::cmp::Reverse(route.metric)))
    }
}

fn leads_out(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP != 0 && flags & REJECT == 0)
}
