//! Network interfaces, addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Described, Words};

const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";

impl Described {
    /// `net NAME at ADDRESS[/virtio0]`, or without `at` a virtual one: `[kind=bridge|bond|vlan|...] [over=A,B] [down]`
    pub(super) fn net(&mut self, words: &Words<'_>) {
        let name = words.at(0);
        let directory = match words.after("at") {
            Some(at) => format!("{}/net/{name}", self.place(at)),
            None => format!("/sys/devices/virtual/net/{name}"),
        };
        let kind = words.option("kind").unwrap_or_default();
        let index = words.option("index").map_or_else(|| (self.places.len() + 2).to_string(), str::to_owned);
        let down = words.has("down");
        let uevent = if kind.is_empty() { String::new() } else { format!("DEVTYPE={kind}\n") };
        for (file, value) in [
            ("ifindex", format!("{index}\n")),
            ("iflink", format!("{index}\n")),
            ("type", "1\n".to_owned()),
            ("mtu", "1500\n".to_owned()),
            ("flags", if down { "0x1002\n" } else { "0x1003\n" }.to_owned()),
            (
                "operstate",
                words.option("operstate").unwrap_or(if down { "down" } else { "up" }).to_owned() + "\n",
            ),
            ("uevent", format!("{uevent}INTERFACE={name}\nIFINDEX={index}\n")),
        ] {
            self.file(&format!("{directory}/{file}"), &value);
        }
        self.sys_link(&format!("{directory}/subsystem"), "/sys/class/net");
        self.sys_link(&format!("/sys/class/net/{name}"), &directory);
        if words.after("at").is_some() {
            self.link(&format!("{directory}/device"), "../..");
        }
        self.places.insert(name.to_owned(), directory.clone());
        if kind == "bridge" {
            self.file(&format!("{directory}/bridge/bridge_id"), "8000.525400000001\n");
        }
        for lower in words.list("over") {
            let below = self.place(lower);
            self.sys_link(&format!("{directory}/lower_{lower}"), &below);
            self.sys_link(&format!("{below}/upper_{name}"), &directory);
            match kind {
                "bridge" => self.sys_link(&format!("{directory}/brif/{lower}"), &format!("{below}/brport")),
                "bond" => self.append_word(&format!("{directory}/bonding/slaves"), lower),
                "vlan" => self.append("/proc/net/vlan/config", &format!("{name} | 1 | {lower}")),
                _ => {}
            }
            if matches!(kind, "bridge" | "bond" | "team" | "vrf" | "ovs") {
                self.sys_link(&format!("{below}/master"), &directory);
            }
        }
    }

    fn append_word(&mut self, path: &str, word: &str) {
        let before = self.text(path).unwrap_or_default();
        let content = format!("{} {word}\n", before.trim());
        self.file(path, content.trim_start());
    }

    /// `address NAME IP/LENGTH [scope=20] [flags=80]`; `noroute` leaves the connected route out
    pub(super) fn address(&mut self, words: &Words<'_>) {
        let (name, (ip, length)) = (words.at(0), words.at(1).split_once('/').expect("IP/LENGTH"));
        let length: u32 = length.parse().expect("a prefix length");
        match ip.parse().expect("an address") {
            IpAddr::V4(ip) => {
                if self.text("/proc/net/fib_trie").is_some() {
                    self.append("/proc/net/fib_trie", &format!("     |-- {ip}\n        /32 host LOCAL"));
                } else {
                    let text = format!("Local:\n     |-- {ip}\n        /32 host LOCAL\n");
                    self.file("/proc/net/fib_trie", &text);
                }
                if !words.has("noroute") {
                    let network = Ipv4Addr::from_bits(ip.to_bits() & mask(length));
                    self.route4(name, network, length, Ipv4Addr::UNSPECIFIED, "0001");
                }
            }
            IpAddr::V6(ip) => {
                let index = self.text(&format!("{}/ifindex", self.place(name))).expect("ifindex");
                let index: u32 = index.trim().parse().expect("a number");
                let link_local = ip.segments()[0] == 0xfe80;
                let scope = words.option("scope").unwrap_or(if link_local { "20" } else { "00" });
                let flags = words.option("flags").unwrap_or("80");
                let line = format!("{} {index:02x} {length:02x} {scope} {flags} {name:>8}", hex(ip));
                self.append("/proc/net/if_inet6", &line);
                let network = Ipv6Addr::from_bits(ip.to_bits() & mask6(length));
                self.route6(name, network, length, Ipv6Addr::UNSPECIFIED, "00000001");
            }
        }
    }

    /// `route default|NETWORK/LENGTH dev NAME [via GATEWAY]`; `default6` for the IPv6 one, `reject` for an unreachable one
    pub(super) fn route(&mut self, words: &Words<'_>) {
        let (to, name) = (words.at(0), words.after("dev").expect("dev"));
        let to = match to {
            "default" => "0.0.0.0/0",
            "default6" => "::/0",
            other => other,
        };
        let (network, length) = to.split_once('/').expect("NETWORK/LENGTH");
        let length: u32 = length.parse().expect("a prefix length");
        let gateway = words.after("via");
        let reject = words.has("reject");
        match network.parse().expect("an address") {
            IpAddr::V4(network) => {
                let flags = if reject {
                    "0201"
                } else if gateway.is_some() {
                    "0003"
                } else {
                    "0001"
                };
                let gateway = gateway.map_or(Ipv4Addr::UNSPECIFIED, |via| via.parse().expect("an address"));
                self.route4(if reject { "*" } else { name }, network, length, gateway, flags);
            }
            IpAddr::V6(network) => {
                let flags = if reject {
                    "00200200"
                } else if gateway.is_some() {
                    "00000003"
                } else {
                    "00000001"
                };
                let gateway = gateway.map_or(Ipv6Addr::UNSPECIFIED, |via| via.parse().expect("an address"));
                self.route6(name, network, length, gateway, flags);
            }
        }
    }

    fn route4(&mut self, name: &str, network: Ipv4Addr, length: u32, gateway: Ipv4Addr, flags: &str) {
        if self.text("/proc/net/route").is_none() {
            self.file("/proc/net/route", &format!("{ROUTES}\n"));
        }
        let swapped = |bits: u32| format!("{:08X}", bits.swap_bytes());
        let line = format!(
            "{name}\t{}\t{}\t{flags}\t0\t0\t100\t{}\t0\t0\t0",
            swapped(network.to_bits()),
            swapped(gateway.to_bits()),
            swapped(mask(length))
        );
        self.append("/proc/net/route", &line);
    }

    fn route6(&mut self, name: &str, network: Ipv6Addr, length: u32, gateway: Ipv6Addr, flags: &str) {
        let line = format!(
            "{} {length:02x} {} 00 {} 00000400 00000001 00000000 {flags} {name:>8}",
            hex(network),
            hex(Ipv6Addr::UNSPECIFIED),
            hex(gateway)
        );
        self.append("/proc/net/ipv6_route", &line);
    }
}

fn mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

fn mask6(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

fn hex(ip: Ipv6Addr) -> String {
    format!("{:032x}", ip.to_bits())
}
