//! Who this very session belongs to: the SSH client, by the environment of this process or of one above it, or by the
//! connection that its sshd has open.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::graph::{Graph, Thing};
use super::{Gap, Scope};
use crate::host::{HostError, ReadHost};
use crate::plan::{Because, Reason};

/// No tree of processes is deeper.
const ANCESTORS: usize = 64;

/// `TCP_ESTABLISHED` (include/net/tcp_states.h).
const ESTABLISHED: &str = "01";

/// Where the client is.
enum Client {
    At(IpAddr),
    /// A link-local address has the interface with it: `fe80::1%eth0`.
    On(String),
}

pub(super) fn add(graph: &mut Graph<'_>) {
    let client = client(graph.host);
    let Some(client) = graph.known(Scope::Network, client) else { return };
    let (whose, on) = match client {
        Client::At(address) => (address.to_string(), Thing::Peer(address)),
        Client::On(interface) => (format!("a neighbour on {interface}"), Thing::Interface(interface)),
    };
    let text = format!("this session's SSH client is {whose}");
    let remedy = "run from the console, or from a client that is reached another way";
    graph.need(Because::SshSession, Reason::new("ssh-session", text).remedy(remedy), vec![on]);
}

/// The client of the nearest SSH session above this process; sudo drops the variable, its caller still has it.
fn client(host: &dyn ReadHost) -> Result<Option<Client>, Gap> {
    let mut directory = PathBuf::from("/proc/self");
    for _ in 0..ANCESTORS {
        let environment = host.read(&directory.join("environ"));
        let comm = host.text(&directory.join("comm"))?.unwrap_or_default();
        let is_server = comm.starts_with("sshd") || comm.starts_with("dropbear");
        match environment {
            Ok(environment) => {
                if let Some(client) = environment.as_deref().and_then(in_environment) {
                    return Ok(Some(client));
                }
            }
            // What belongs to another user is above a session that is not one of SSH, or is its server.
            Err(error) if is_server => return Err(error.into()),
            Err(_) => {}
        }
        let pid = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_server && let Some(peer) = peers_of_process(host, &pid)?.into_iter().next() {
            return Ok(Some(Client::At(peer)));
        }
        let Some(parent) = host.text(&directory.join("stat"))?.as_deref().and_then(parent) else {
            return Ok(None);
        };
        directory = Path::new("/proc").join(parent.to_string());
    }
    Ok(None)
}

/// The parent's pid: the second field after the name, which may hold anything (proc_pid_stat(5)). None for the first.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_whitespace().nth(1)?.parse().ok().filter(|pid| *pid > 0)
}

/// `SSH_CONNECTION=CLIENT PORT SERVER PORT` (ssh(1)).
fn in_environment(environment: &[u8]) -> Option<Client> {
    let variables = environment.split(|byte| *byte == 0);
    let value = variables.filter_map(|variable| std::str::from_utf8(variable).ok()).find_map(|variable| {
        variable.strip_prefix("SSH_CONNECTION=").or_else(|| variable.strip_prefix("SSH_CLIENT="))
    })?;
    let client = value.split_whitespace().next()?;
    if let Some((_, interface)) = client.split_once('%') {
        return Some(Client::On(interface.to_owned()));
    }
    client.parse().ok().map(plain).map(Client::At)
}

/// An IPv4 address that a socket for both protocols shows in IPv6's form is one of IPv4.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The other ends of the established TCP connections of a process.
///
/// # Errors
/// When its open files or the connections cannot be read.
pub(super) fn peers_of_process(host: &dyn ReadHost, pid: &str) -> Result<BTreeSet<IpAddr>, HostError> {
    let files = Path::new("/proc").join(pid).join("fd");
    let mut sockets = BTreeSet::new();
    for fd in host.list(&files)?.unwrap_or_default() {
        let target = host.read_link(&files.join(fd))?.unwrap_or_default();
        let inode = target.to_string_lossy().strip_prefix("socket:[").map(|rest| rest.replace(']', ""));
        sockets.extend(inode);
    }
    let mut peers = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in host.text(Path::new(table))?.unwrap_or_default().lines().skip(1) {
            // Columns: number, local, remote, state, queues, timer, retransmits, uid, timeout, inode
            // (net/ipv4/tcp_ipv4.c).
            let columns: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, remote, ESTABLISHED, _, _, _, _, _, inode, ..] = columns.as_slice()
                && sockets.contains(*inode)
            {
                peers.extend(socket_address(remote));
            }
        }
    }
    Ok(peers)
}

/// `0A00A8C0:0016`: the address as 32-bit words in the machine's order. This program runs on little-endian machines and
/// reads trees that were taken from such.
fn socket_address(text: &str) -> Option<IpAddr> {
    let (address, _) = text.split_once(':')?;
    if address.len() == 8 {
        let bits = u32::from_str_radix(address, 16).ok()?;
        return Some(IpAddr::V4(Ipv4Addr::from_bits(bits.swap_bytes())));
    }
    let word = |at: usize| Some(u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?.swap_bytes());
    let bits = (0..4).try_fold(0u128, |bits, at| Some(bits << 32 | u128::from(word(at)?)))?;
    Some(plain(IpAddr::V6(Ipv6Addr::from_bits(bits))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sockets() {
        for (text, address) in [
            ("0A00A8C0:0016", "192.168.0.10"),
            ("0000000000000000FFFF00000A00A8C0:0016", "192.168.0.10"),
            ("B80D0120000000000000000001000000:0016", "2001:db8::1"),
        ] {
            assert_eq!(socket_address(text), Some(address.parse().unwrap()), "{text}");
        }
        assert_eq!(socket_address("0A00A8:0016"), None);
    }

    #[test]
    fn the_parent_of_a_process_with_an_odd_name() {
        assert_eq!(parent("12 (a) b) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent("1 (init) S 0 1 1"), None);
    }
}
