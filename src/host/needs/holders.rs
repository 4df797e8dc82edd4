//! Which processes have devices open: guests, and whoever else holds one. Every open file of every process is looked at
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::graph::{Graph, Thing};
use super::{Gap, Scope, names};
use crate::host::{HostError, Reach, ReadHost};
use crate::plan::{Because, Reason};

/// What a VFIO device's own descriptor reads as, whichever device that is (drivers/vfio/group.c).
const VFIO_DEVICE: &str = "anon_inode:[vfio-device]";

/// Which class in sysfs a node's name is looked up in, by where the node is. The longest prefix is the first.
const CLASSES: [(&str, &str); 14] = [
    ("/dev/vfio/devices/", "vfio-dev"),
    ("/dev/dri/by-path/", ""),
    ("/dev/dri/", "drm"),
    ("/dev/accel/", "accel"),
    ("/dev/snd/", "sound"),
    ("/dev/infiniband/uverbs", "infiniband_verbs"),
    ("/dev/infiniband/", "infiniband_mad"),
    ("/dev/uio", "uio"),
    ("/dev/fb", "graphics"),
    ("/dev/video", "video4linux"),
    ("/dev/sg", "scsi_generic"),
    ("/dev/ng", "nvme-generic"),
    ("/dev/ttyS", "tty"),
    ("/dev/watchdog", "watchdog"),
];

/// A node that is open, and what holding it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    because: Because,
    on: Thing,
}

/// The open nodes of one process.
#[derive(Debug, Default)]
struct OpenNodes {
    nodes: BTreeSet<String>,
    /// Whether it has a VFIO device open of which nothing else tells.
    vfio_device: bool,
}

pub(super) fn add(graph: &mut Graph<'_>) {
    let pids = pids(graph.host, graph.reach);
    let mut unreadable: Vec<HostError> = Vec::new();
    for pid in graph.known(Scope::Any, pids) {
        match open_nodes(graph.host, &pid) {
            Ok(open) => of_process(graph, &pid, &open),
            Err(error) => unreadable.push(error),
        }
    }
    // Without root it is every process of others: one reason is enough.
    if let Some(error) = unreadable.into_iter().next() {
        graph.unsure(Scope::Any, vec![Gap::from(error).reason()]);
    }
}

/// The processes, in the order of their names.
fn pids(host: &dyn ReadHost, reach: Reach) -> Result<Vec<String>, HostError> {
    let proc = Path::new("/proc");
    let mut names = host.list(proc)?.unwrap_or_default();
    if reach == Reach::Machine && !names.iter().any(|name| name == "self") {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        return Err(HostError::new("list the processes in", proc, missing));
    }
    names.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    Ok(names)
}

/// What a process has open below /dev; a process that ended meanwhile has nothing open.
fn open_nodes(host: &dyn ReadHost, pid: &str) -> Result<OpenNodes, HostError> {
    let mut open = OpenNodes::default();
    let files = Path::new("/proc").join(pid).join("fd");
    for fd in host.list(&files)?.unwrap_or_default() {
        let Some(target) = host.read_link(&files.join(fd))? else { continue };
        let target = target.to_string_lossy();
        // A container's node may have been deleted meanwhile.
        let node = target.strip_suffix(" (deleted)").unwrap_or(&target);
        if node == VFIO_DEVICE {
            open.vfio_device = true;
        } else if node.starts_with("/dev/") {
            open.nodes.insert(node.to_owned());
        }
    }
    Ok(open)
}

fn of_process(graph: &mut Graph<'_>, pid: &str, open: &OpenNodes) {
    let is_vfio = |node: &String| node.starts_with("/dev/vfio/") && node != "/dev/vfio/vfio";
    let mut held: BTreeMap<&str, Held> = BTreeMap::new();
    for node in &open.nodes {
        let found = held_by(graph, node);
        held.extend(graph.known(Scope::Any, found).map(|found| (node.as_str(), found)));
    }
    // A device without its group or node: that was closed after the device was opened.
    let lone_device = open.vfio_device && !open.nodes.iter().any(is_vfio);
    if held.is_empty() && !lone_device {
        return;
    }
    let process = graph.process(pid);
    for (node, Held { because, on }) in held {
        let (code, remedy) = match because {
            Because::Guest => ("open-vfio-node", process.shut_down()),
            _ => ("open-device", format!("stop {}", process.name)),
        };
        let head = Reason::new(code, format!("{} has {node} open", process.name));
        graph.need(because, head.remedy(remedy), vec![on]);
    }
    if lone_device {
        let text = format!("{} has a VFIO device open, and nothing tells which", process.name);
        let head = Reason::new(super::UNKNOWN_USE, text).remedy(process.shut_down());
        graph.unsure(Scope::Any, vec![head]);
    }
}

/// A process as a sentence calls it.
struct Process {
    name: String,
    guest: Option<String>,
}

impl Process {
    fn shut_down(&self) -> String {
        match &self.guest {
            Some(guest) => format!("shut down the guest {guest}"),
            None => format!("shut down the guest that {} runs", self.name),
        }
    }
}

impl Graph<'_> {
    fn process(&mut self, pid: &str) -> Process {
        let directory = Path::new("/proc").join(pid);
        // Only names come from these: a process whose name cannot be read still has the node open.
        let comm = self.host.text(&directory.join("comm")).ok().flatten();
        let comm = comm.unwrap_or_else(|| "a process".to_owned());
        let command = self.host.read(&directory.join("cmdline")).ok().flatten().unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let guest = guest_name(&command);
        // The kernel cuts names off after 15 bytes.
        let program = command.split('\0').next().and_then(|program| program.rsplit('/').next());
        let comm = program.filter(|program| program.starts_with(&comm)).map_or(comm.clone(), str::to_owned);
        let name = match &guest {
            Some(guest) => format!("the guest {guest} ({comm}, pid {pid})"),
            None => format!("{comm} (pid {pid})"),
        };
        Process { name, guest }
    }
}

/// `-name guest=web,debug-threads=on` or `-name web` (qemu(1)).
fn guest_name(command: &str) -> Option<String> {
    let mut arguments =
        command.split('\0').skip_while(|argument| *argument != "-name" && *argument != "--name");
    let value = arguments.nth(1)?;
    let named = value.split(',').find_map(|part| part.strip_prefix("guest="));
    named.or_else(|| value.split(',').next()).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// What a node is, if it is one of a device that a function can carry.
fn held_by(graph: &mut Graph<'_>, node: &str) -> Result<Option<Held>, HostError> {
    let name = node.rsplit('/').next().unwrap_or_default();
    let holder = |on: Thing| Some(Held { because: Because::Holder, on });
    if let Some(group) = node.strip_prefix("/dev/vfio/")
        && !group.contains('/')
    {
        let number = group.strip_prefix("noiommu-").unwrap_or(group);
        let is_group = number.bytes().all(|byte| byte.is_ascii_digit());
        return Ok(is_group.then(|| Held { because: Because::Guest, on: Thing::Group(number.to_owned()) }));
    }
    if let Some(number) = node.strip_prefix("/dev/nvidia").filter(|rest| is_number(rest)) {
        let function = nvidia_function(graph.host, number)?;
        return Ok(function.map(|function| Held { because: Because::Holder, on: Thing::Function(function) }));
    }
    if let Some(bus) = node.strip_prefix("/dev/bus/usb/").and_then(|rest| rest.split('/').next()) {
        let root = format!("usb{}", bus.trim_start_matches('0'));
        return Ok(holder(Thing::Device(root.clone(), Path::new("/sys/bus/usb/devices").join(root))));
    }
    if let Some((prefix, class)) = CLASSES.iter().find(|(prefix, _)| node.starts_with(prefix)) {
        let because = if prefix.starts_with("/dev/vfio") { Because::Guest } else { Because::Holder };
        let on = Thing::Device(name.to_owned(), Path::new("/sys/class").join(class).join(name));
        return Ok(Some(Held { because, on }));
    }
    // A disk that a program reads and writes itself: a guest's volume, a database.
    Ok(if names::is_block_node(node) {
        names::by_path(graph.host, node)?.map(Thing::Block).and_then(holder)
    } else {
        None
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The function of `/dev/nvidiaN`: NVIDIA's driver says it in its own directory.
fn nvidia_function(host: &dyn ReadHost, minor: &str) -> Result<Option<crate::types::PciAddress>, HostError> {
    let directory = Path::new("/proc/driver/nvidia/gpus");
    for name in host.list(directory)?.unwrap_or_default() {
        let information = host.text(&directory.join(&name).join("information"))?.unwrap_or_default();
        let number = information.lines().find_map(|line| line.strip_prefix("Device Minor:"));
        if number.is_some_and(|number| number.trim() == minor) {
            return Ok(name.parse().ok());
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_guest() {
        for (command, name) in [
            ("qemu\0-name\0guest=web,debug-threads=on\0-S\0", Some("web")),
            ("qemu\0-name\0web\0", Some("web")),
            ("qemu\0-S\0", None),
            ("qemu\0-name\0", None),
            ("", None),
        ] {
            assert_eq!(guest_name(command).as_deref(), name, "{command:?}");
        }
    }
}
