//! What block devices stand on.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::graph::{Carrier, Graph, Step, Steps, Thing, behind, carriers, made_of};
use super::{Gap, listed, names, sysfs};
use crate::host::HostError;

impl Graph<'_> {
    pub(super) fn below_block(&mut self, name: &str) -> Steps {
        let Some(directory) = sysfs::block_directory(self.host, name)? else {
            return self.dead_end(format!("nothing tells what the block device {name} lies on"));
        };
        let parent = directory.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
        if let Some(disk) = parent
            && self.host.exists(&directory.join("partition"))?
        {
            let text = format!("{name} is a partition of {disk}");
            return Ok(vec![Step::new("partition-of", text, vec![Thing::Block(disk.into_owned())])]);
        }
        let functions = behind(name, &directory);
        if !functions.is_empty() {
            return Ok(functions);
        }
        if let Some(session) = component(&directory, "session") {
            return self.iscsi_session(name, &session);
        }
        if let Some(subsystem) = component(&directory, "nvme-subsys") {
            return self.nvme_subsystem(name, &subsystem);
        }
        if directory.iter().any(|part| part == "nvme-fabrics")
            && let Some(controller) = directory.parent()
        {
            let of = controller.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = format!("{name} is a namespace of the NVMe controller {of}");
            let to = vec![Thing::Controller(of, controller.to_owned())];
            return Ok(vec![Step::new("namespace-of", text, to)]);
        }
        if let Some(path) = self.host.text(&directory.join("loop/backing_file"))? {
            let path = path.trim_end_matches(" (deleted)").to_owned();
            let text = format!("{name} is the file {path}");
            return Ok(vec![Step::new("file", text, vec![Thing::File(path.into())])]);
        }
        if name.starts_with("zd") {
            return self.all_pools(name);
        }
        if name.starts_with("nbd") {
            return self.network_block_device(name, &directory);
        }
        let slaves = self.slaves(name, &directory)?;
        if slaves.is_empty() {
            return if is_stacked(name) {
                self.dead_end(format!("nothing tells what {name} is made of"))
            } else {
                Ok(Vec::new())
            };
        }
        let text = format!("{} {}", self.what_it_is(name, &directory)?, listed(&slaves));
        let by = self.stacked_by(name, &directory)?;
        Ok(vec![Step::new("made-of", text, slaves.into_iter().map(Thing::Block).collect()).by(by)])
    }

    /// The modules that make a device of others, as far as sysfs tells them: what a target of the device mapper is, it
    /// tells of volumes that have a prefix for it.
    fn stacked_by(&self, name: &str, directory: &Path) -> Result<Vec<Carrier>, HostError> {
        let level = self.host.text(&directory.join("md/level"))?;
        let personality = match level.as_deref() {
            Some("raid4" | "raid5" | "raid6") => "raid456",
            Some("linear") => "md_linear",
            Some(level) => level,
            None => "md_mod",
        };
        let uuid = self.host.text(&directory.join("dm/uuid"))?.unwrap_or_default();
        let names: &[&str] = match uuid.split('-').next().unwrap_or_default() {
            "CRYPT" => &["dm_crypt", "dm_mod"],
            "mpath" => &["dm_multipath", "dm_mod"],
            _ if name.starts_with("dm-") => &["dm_mod"],
            _ if name.starts_with("md") => &[personality, "md_mod"],
            _ if name.starts_with("bcache") => &["bcache"],
            _ => &[],
        };
        Ok(carriers(names, name))
    }

    /// The devices that one of the device mapper, md or bcache is made of.
    fn slaves(&self, name: &str, directory: &Path) -> Result<Vec<String>, HostError> {
        let slaves = self.host.list(&directory.join("slaves"))?.unwrap_or_default();
        if !slaves.is_empty() {
            return Ok(slaves);
        }
        // zram: the device that takes what does not compress.
        if let Some(path) = self.host.text(&directory.join("backing_dev"))? {
            return Ok(if path == "none" { None } else { names::by_path(self.host, &path)? }
                .into_iter()
                .collect());
        }
        if !is_stacked(name) {
            return Ok(Vec::new());
        }
        // A captured tree may have the links from below alone.
        let class = Path::new("/sys/class/block");
        let mut found = Vec::new();
        for lower in self.host.list(class)?.unwrap_or_default() {
            if self.host.exists(&class.join(&lower).join("holders").join(name))? {
                found.push(lower);
            }
        }
        Ok(found)
    }

    /// The beginning of the sentence that says what it is made of.
    fn what_it_is(&self, name: &str, directory: &Path) -> Result<String, HostError> {
        if name.starts_with("md") {
            return Ok(format!("{name} is the RAID array of"));
        }
        let Some(mapped) = self.host.text(&directory.join("dm/name"))? else {
            return Ok(format!("{name} is made of"));
        };
        let uuid = self.host.text(&directory.join("dm/uuid"))?.unwrap_or_default();
        let kind = match uuid.split('-').next().unwrap_or_default() {
            "LVM" => "LVM volume",
            "CRYPT" => "encrypted volume",
            "mpath" => "multipath device",
            _ => "mapped device",
        };
        Ok(format!("{name} is the {kind} {mapped} on"))
    }

    /// The controllers of a namespace with native multipath: they are links in its subsystem
    /// (drivers/nvme/host/multipath.c).
    fn nvme_subsystem(&self, name: &str, subsystem: &Path) -> Steps {
        let mut controllers = Vec::new();
        let mut called = Vec::new();
        for entry in self.host.list(subsystem)?.unwrap_or_default() {
            let number = entry.strip_prefix("nvme").unwrap_or_default();
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            if let Some(directory) = sysfs::directory(self.host, &subsystem.join(&entry))? {
                called.push(entry.clone());
                controllers.push(Thing::Controller(entry, directory));
            }
        }
        if controllers.is_empty() {
            return self.dead_end(format!("nothing tells which controllers {name} has"));
        }
        let text = format!("{name} is a namespace of the NVMe controllers {}", listed(&called));
        Ok(vec![Step::new("namespace-of", text, controllers)])
    }

    /// A controller is behind a function, or at an address of the network (`traddr=` in `address`).
    pub(super) fn below_controller(&mut self, name: &str, directory: &Path) -> Steps {
        let functions = behind(name, directory);
        if !functions.is_empty() {
            return Ok(functions);
        }
        let address = self.host.text(&directory.join("address"))?.unwrap_or_default();
        let field = |key: &str| {
            address.split(',').find_map(|field| field.trim().strip_prefix(key)?.strip_prefix('='))
        };
        if let Some(peer) = field("traddr").and_then(|text| text.parse::<IpAddr>().ok()) {
            let text = format!("{name} is reached at {peer}");
            return Ok(vec![Step::new("remote", text, vec![Thing::Peer(peer)])]);
        }
        let Some(port) = field("host_traddr").and_then(|text| text.split("pn-").nth(1)) else {
            return self.dead_end(format!("nothing tells how the NVMe controller {name} is reached"));
        };
        // Fibre Channel: the host's own port, by its name.
        let class = Path::new("/sys/class/fc_host");
        for fc_host in self.host.list(class)?.unwrap_or_default() {
            if self.host.text(&class.join(&fc_host).join("port_name"))?.as_deref() == Some(port) {
                let entry = class.join(&fc_host);
                let step = made_of(name, vec![Thing::Device(fc_host.clone(), entry)], &[fc_host]);
                return Ok(vec![step]);
            }
        }
        self.dead_end(format!("nothing tells which port the NVMe controller {name} is reached by"))
    }

    /// The target of a software iSCSI session (drivers/scsi/scsi_transport_iscsi.c).
    fn iscsi_session(&self, name: &str, session: &Path) -> Steps {
        let number = session.file_name().unwrap_or_default().to_string_lossy().replace("session", "");
        let class = Path::new("/sys/class/iscsi_connection");
        let mut steps = Vec::new();
        for connection in self.host.list(class)?.unwrap_or_default() {
            if !connection.starts_with(&format!("connection{number}:")) {
                continue;
            }
            let directory = class.join(&connection);
            let now = self.host.text(&directory.join("address"))?;
            let address = now.or(self.host.text(&directory.join("persistent_address"))?).unwrap_or_default();
            if let Ok(peer) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
                let text = format!("{name} is on the iSCSI target at {peer}");
                steps.push(Step::new("remote", text, vec![Thing::Peer(peer)]));
            }
        }
        if steps.is_empty() {
            return self.dead_end(format!("nothing tells which iSCSI target {name} is on"));
        }
        Ok(steps)
    }

    /// The disks of a pool, by the labels that udev found on them: neither sysfs nor /proc tells.
    pub(super) fn below_pool(&mut self, pool: &str) -> Steps {
        let of_pool = |entry: &&super::udev::Entry| {
            entry.property("ID_FS_TYPE") == Some("zfs_member") && entry.property("ID_FS_LABEL") == Some(pool)
        };
        let members: Vec<String> =
            self.udev.entries()?.iter().filter(of_pool).map(|entry| entry.name.clone()).collect();
        if members.is_empty() {
            return Err(Gap::Unknown(format!("nothing tells which disks the ZFS pool {pool} lies on")));
        }
        let text = format!("the ZFS pool {pool} lies on {}", listed(&members));
        Ok(vec![Step::new("made-of", text, members.into_iter().map(Thing::Block).collect())])
    }

    fn all_pools(&self, name: &str) -> Steps {
        let pools = self.imported_pools()?;
        let text = format!("{name} is a volume of the ZFS pool {}", listed(&pools));
        Ok(vec![Step::new("volume-of", text, pools.into_iter().map(Thing::Pool).collect())])
    }

    /// The server of an nbd device: the peer of the client's connection.
    fn network_block_device(&mut self, name: &str, directory: &Path) -> Steps {
        let Some(pid) = self.host.text(&directory.join("pid"))? else { return Ok(Vec::new()) };
        let peers: Vec<IpAddr> =
            super::session::peers_of_process(self.host, pid.trim())?.into_iter().collect();
        if peers.is_empty() {
            return self.dead_end(format!("nothing tells which server {name} is on"));
        }
        let text = format!("{name} is on the NBD server at {}", listed(&peers));
        Ok(vec![Step::new("remote", text, peers.into_iter().map(Thing::Peer).collect())])
    }
}

/// Whether such a device always stands on others.
fn is_stacked(name: &str) -> bool {
    ["dm-", "md", "bcache", "drbd"].iter().any(|kind| name.starts_with(kind))
}

/// The part of a path down to the component that is `kind` and a number.
fn component(path: &Path, kind: &str) -> Option<PathBuf> {
    let is_kind = |part: &Path| {
        let name = part.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(kind).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    path.ancestors().find(|part| is_kind(part)).map(Path::to_owned)
}
