//! Where a crash of the kernel would be written, if there is memory to do it in (kdump.conf(5); Debian's
//! kdump-tools(5)).

use std::net::IpAddr;
use std::path::Path;

use super::Scope;
use super::fstab::need_named;
use super::graph::{Graph, Thing};
use super::storage::file_system;
use crate::plan::{Because, Reason};

const REDHAT: &str = "/etc/kdump.conf";
const DEBIAN: &str = "/etc/default/kdump-tools";

/// What is kept for the kernel that writes the dump; 0 where nothing is.
const MEMORY: &str = "/sys/kernel/kexec_crash_size";

/// Where a dump goes, beside a directory of a file system that is mounted anyhow.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Device { source: String, kind: Option<String> },
    Peer(IpAddr),
}

pub(super) fn add(graph: &mut Graph<'_>) {
    for (path, parse) in [(REDHAT, redhat as fn(&str) -> Option<(Target, usize)>), (DEBIAN, debian)] {
        let text = graph.host.text(Path::new(path));
        let text = graph.known(Scope::Any, text).unwrap_or_default();
        let Some((target, line)) = parse(&text) else { continue };
        if !has_memory(graph) {
            continue;
        }
        let head = |to: &str| {
            Reason::new("crash-dump", format!("a crash of the kernel is written to {to}"))
                .at(format!("{path}:{line}"))
                .remedy(format!("write it elsewhere ({path})"))
        };
        match target {
            Target::Device { source, kind } => {
                let by = kind.map(|kind| file_system(&kind, &source)).unwrap_or_default();
                need_named(graph, Because::Storage, head(&source), &source, by);
            }
            Target::Peer(peer) => {
                graph.need(Because::Storage, head(&peer.to_string()), vec![Thing::Peer(peer)]);
            }
        }
    }
}

/// Without memory no dump is made, whatever is configured. A tree may have the command line alone.
fn has_memory(graph: &mut Graph<'_>) -> bool {
    let size = graph.host.text(Path::new(MEMORY));
    match graph.known(Scope::Any, size) {
        Some(size) => size.trim() != "0",
        None => {
            let line = graph.host.text(Path::new("/proc/cmdline"));
            graph.known(Scope::Any, line).is_some_and(|line| line.contains("crashkernel="))
        }
    }
}

/// The last target counts, and there should be one only.
fn redhat(text: &str) -> Option<(Target, usize)> {
    let targets = (1..).zip(text.lines()).filter_map(|(line, text)| {
        let mut words = text.split_whitespace();
        let (kind, value) = (words.next()?, words.next()?);
        let target = match kind {
            "raw" => Target::Device { source: value.to_owned(), kind: None },
            "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "minix" | "virtiofs" => {
                Target::Device { source: value.to_owned(), kind: Some(kind.to_owned()) }
            }
            "nfs" | "nfs4" | "net" | "ssh" => Target::Peer(host_of(value)?),
            _ => return None,
        };
        Some((target, line))
    });
    targets.last()
}

fn debian(text: &str) -> Option<(Target, usize)> {
    let targets = (1..).zip(text.lines()).filter_map(|(line, text)| {
        let (key, value) = text.trim().split_once('=')?;
        let value = value.trim_matches(['"', '\'']);
        matches!(key, "NFS" | "SSH").then(|| Some((Target::Peer(host_of(value)?), line)))?
    });
    targets.last()
}

/// The address in `user@192.0.2.7`, `192.0.2.7:/export`, `[2001:db8::7]:/export`; a name is looked up by nobody here.
fn host_of(text: &str) -> Option<IpAddr> {
    let host = text.rsplit('@').next()?;
    let host = host.split_once(":/").map_or(host, |(host, _)| host);
    host.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_both_files() {
        let device = |source: &str, kind: Option<&str>| Target::Device {
            source: source.to_owned(),
            kind: kind.map(str::to_owned),
        };
        let peer = |address: &str| Target::Peer(address.parse().unwrap());
        assert_eq!(
            redhat("# raw /dev/sda\npath /var/crash\next4 /dev/sdb1\n"),
            Some((device("/dev/sdb1", Some("ext4")), 3))
        );
        assert_eq!(redhat("raw /dev/sdc\n"), Some((device("/dev/sdc", None), 1)));
        assert_eq!(redhat("ssh kdump@192.0.2.7\n"), Some((peer("192.0.2.7"), 1)));
        assert_eq!(redhat("nfs [2001:db8::7]:/dumps\n"), Some((peer("2001:db8::7"), 1)));
        assert_eq!(redhat("path /var/crash\nnfs nas:/dumps\n"), None);
        assert_eq!(
            debian("USE_KDUMP=1\n#NFS=\"192.0.2.8:/x\"\nSSH=\"root@192.0.2.9\"\n"),
            Some((peer("192.0.2.9"), 3))
        );
    }
}
