//! What is mounted, and on what it lies.

use std::net::IpAddr;
use std::path::Path;

use super::graph::{Graph, Step, Steps, Thing};
use super::names;
use super::required;
use crate::host::{HostError, Reach, ReadHost};

/// File systems over a network, by what the kernel calls them; the address is in the options or in the source.
const REMOTE: [&str; 9] =
    ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "fuse.glusterfs", "fuse.sshfs"];

/// One mount (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mount {
    /// `8:2`; `0:33` where the file system is not on one block device.
    number: String,
    /// Where it is.
    pub(super) point: String,
    pub(super) kind: String,
    source: String,
    options: String,
}

/// The mounts of this process' namespace and of the first process'.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    pub(super) fn read(host: &dyn ReadHost, reach: Reach) -> Result<Self, HostError> {
        let mut mounts = Self::default();
        mounts.take_in(&required(host, reach, "/proc/self/mountinfo")?);
        // A sandbox may hide mounts from this process; the first one has none.
        mounts.take_in(&host.text(Path::new("/proc/1/mountinfo"))?.unwrap_or_default());
        Ok(mounts)
    }

    /// Takes in lines of a `mountinfo`; what is known already is left out.
    pub(super) fn take_in(&mut self, text: &str) {
        for mount in text.lines().filter_map(Mount::parse) {
            if !self.0.contains(&mount) {
                self.0.push(mount);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// The mount that a path lies in: the last one on the longest part of it.
    fn holding(&self, path: &Path) -> Option<&Mount> {
        self.0.iter().filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.len())
    }
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let (number, point) = (fields.nth(2)?, fields.nth(1)?);
        let mut after = fields.skip_while(|field| *field != "-").skip(1);
        let (kind, source) = (after.next()?, after.next()?);
        Some(Self {
            number: number.to_owned(),
            point: unescaped(point),
            kind: kind.to_owned(),
            source: unescaped(source),
            options: unescaped(after.next().unwrap_or_default()),
        })
    }

    fn option(&self, key: &str) -> Option<&str> {
        self.options.split(',').find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// The ZFS pool, if it is of one.
    fn pool(&self) -> Option<&str> {
        (self.kind == "zfs").then(|| self.source.split('/').next().unwrap_or_default())
    }

    /// The addresses of the servers, as far as the options and the source hold any.
    fn peers(&self) -> Vec<IpAddr> {
        let options = ["addr", "mountaddr", "mon_addr", "trans_addr"].into_iter();
        let source = self.source.strip_prefix("//").unwrap_or(&self.source);
        // `10.0.0.1:/export`, `[2001:db8::1]:/export`, `//10.0.0.1/share`, `10.0.0.1:6789,10.0.0.2:6789:/`.
        let server = source.split_once(":/").map_or(source, |(server, _)| server);
        let candidates = options.filter_map(|key| self.option(key)).chain([server]);
        let mut peers: Vec<IpAddr> =
            candidates.flat_map(|text| text.split([',', '/'])).filter_map(address_of).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }
}

/// An address, with or without a port.
fn address_of(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(inner) = text.strip_prefix('[') {
        return inner.split_once(']')?.0.parse().ok();
    }
    text.split_once(':')?.0.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4)
}

impl Graph<'_> {
    /// What a mount lies on, and how a sentence calls that; nothing for file systems without a medium.
    pub(super) fn medium(&mut self, mount: &Mount) -> Result<(Vec<Thing>, String), HostError> {
        if !mount.number.starts_with("0:") {
            let named = names::by_number(self.host, &mount.number)?;
            let named = match named {
                Some(name) => Some(name),
                None => names::by_path(self.host, &mount.source)?,
            };
            // A number that sysfs does not know keeps its name, so that the walk says so.
            let name = named.unwrap_or_else(|| mount.number.clone());
            return Ok((vec![Thing::Block(name.clone())], name));
        }
        let blocks = |names: Vec<String>| {
            let text = super::listed(&names);
            (names.into_iter().map(Thing::Block).collect(), text)
        };
        Ok(match mount.kind.as_str() {
            "btrfs" => blocks(self.btrfs_devices(&mount.source)?),
            // bcachefs joins its devices with colons.
            "bcachefs" => {
                let paths = mount.source.split(':');
                let name = |path: &str| -> Result<String, HostError> {
                    Ok(names::by_path(self.host, path)?.unwrap_or_else(|| path.to_owned()))
                };
                blocks(paths.map(name).collect::<Result<_, _>>()?)
            }
            "overlay" => {
                let layers = ["lowerdir", "lowerdir+", "upperdir"].into_iter();
                let layers = layers.filter_map(|key| mount.option(key)).flat_map(|list| list.split(':'));
                let layers: Vec<Thing> = layers.map(|path| Thing::File(path.into())).collect();
                (layers, "an overlay".to_owned())
            }
            "virtiofs" => (vec![Thing::VirtioDriver("virtiofs")], mount.source.clone()),
            "9p" if mount.option("trans") == Some("virtio") => {
                (vec![Thing::VirtioDriver("9pnet_virtio")], mount.source.clone())
            }
            kind if REMOTE.contains(&kind) => {
                (mount.peers().into_iter().map(Thing::Peer).collect(), mount.source.clone())
            }
            _ => match mount.pool() {
                Some(pool) => (vec![Thing::Pool(pool.to_owned())], format!("the ZFS pool {pool}")),
                None => (Vec::new(), String::new()),
            },
        })
    }

    /// Every device of the btrfs that has this one, which is all that mountinfo names (Documentation/ABI:
    /// fs/btrfs/sysfs.c).
    fn btrfs_devices(&self, source: &str) -> Result<Vec<String>, HostError> {
        let name = names::by_path(self.host, source)?.unwrap_or_else(|| source.to_owned());
        let class = Path::new("/sys/fs/btrfs");
        for filesystem in self.host.list(class)?.unwrap_or_default() {
            let devices = self.host.list(&class.join(filesystem).join("devices"))?.unwrap_or_default();
            if devices.contains(&name) {
                return Ok(devices);
            }
        }
        Ok(vec![name])
    }

    /// The file system that a file lies on.
    pub(super) fn below_file(&mut self, path: &Path) -> Steps {
        let Some(mount) = self.mounts.holding(path).cloned() else { return Ok(Vec::new()) };
        let (medium, _) = self.medium(&mount)?;
        let text = format!("{} lies on the file system of {}", path.display(), mount.point);
        Ok(if medium.is_empty() { Vec::new() } else { vec![Step::new("lies-on", text, medium)] })
    }
}

/// Undoes the octal escapes of mountinfo, swaps and fstab (`\040` for a space).
pub(super) fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            (byte == b'\\').then(|| tail.get(..3)).flatten().and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(escaped) => {
                out.push(escaped);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (escaped, plain) in
            [("/mnt/a\\040b", "/mnt/a b"), ("\\134", "\\"), ("/x\\04", "/x\\04"), ("", "")]
        {
            assert_eq!(unescaped(escaped), plain);
        }
    }

    #[test]
    fn servers_are_found_in_options_and_sources() {
        let line = |kind: &str, source: &str, options: &str| {
            Mount::parse(&format!("30 1 0:50 / /srv rw shared:1 - {kind} {source} {options}")).unwrap()
        };
        for (mount, peers) in [
            (line("nfs4", "nas:/export", "rw,addr=192.0.2.7,clientaddr=192.0.2.1"), vec!["192.0.2.7"]),
            (line("nfs", "192.0.2.8:/export", "rw"), vec!["192.0.2.8"]),
            (line("nfs4", "[2001:db8::7]:/", "rw,addr=2001:db8::7"), vec!["2001:db8::7"]),
            (line("cifs", "//192.0.2.9/share", "rw"), vec!["192.0.2.9"]),
            (line("ceph", "192.0.2.1:6789,192.0.2.2:6789:/", "rw"), vec!["192.0.2.1", "192.0.2.2"]),
            (line("nfs", "nas:/export", "rw"), vec![]),
        ] {
            let found: Vec<String> = mount.peers().iter().map(IpAddr::to_string).collect();
            assert_eq!(found, peers, "{mount:?}");
        }
    }
}
