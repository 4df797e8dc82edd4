//! A host as a model: things, what each is made of, and which of them somebody would miss.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What can be missed, as the counts call it.
pub(crate) const NEEDS: [&str; 10] = [
    "root file system",
    "file system",
    "fstab entry",
    "swap",
    "default route",
    "address",
    "ssh session",
    "guest",
    "holder",
    "console",
];

/// A small generator (xorshift): the same host for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % bound.max(1)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What a document asks for.
#[derive(Debug)]
pub(crate) enum Order {
    /// The function to vfio-pci.
    Give(String),
    /// Another VF count.
    Count { pf: String, vfs: usize },
}

impl Order {
    pub(crate) fn document(orders: &[Self]) -> String {
        let (mut devices, mut counts) = (String::new(), String::new());
        for order in orders {
            match order {
                Self::Give(function) => drop(writeln!(devices, "    - \"{function}\"")),
                Self::Count { pf, vfs } => drop(writeln!(counts, "  - {{device: \"{pf}\", vfs: {vfs}}}")),
            }
        }
        let mut text = "version: 1\n".to_owned();
        if !devices.is_empty() {
            let _ = write!(text, "vfio_pci:\n  devices:\n{devices}");
        }
        if !counts.is_empty() {
            let _ = write!(text, "sriov:\n{counts}");
        }
        text
    }
}

/// A host.
#[derive(Debug, Default)]
pub(crate) struct Model {
    text: String,
    /// What each thing is made of: it dies with any part.
    parts: BTreeMap<String, Vec<String>>,
    /// Things that somebody would miss, and as what.
    needed: BTreeMap<String, BTreeSet<&'static str>>,
    /// Functions that a host driver has.
    native: Vec<String>,
    /// VFs by PF.
    vfs: BTreeMap<String, Vec<String>>,
    /// Block devices that nothing stands on yet.
    blocks: Vec<String>,
    /// Interfaces that nothing stands on yet.
    interfaces: Vec<String>,
    number: usize,
}

impl Model {
    /// What would be missed if these functions went: everything dies that has lost a part, until nothing more does.
    pub(crate) fn missed_without(&self, functions: &[&str]) -> BTreeSet<&'static str> {
        let mut dead: BTreeSet<&str> = functions.iter().copied().collect();
        loop {
            let before = dead.len();
            for (thing, parts) in &self.parts {
                if parts.iter().any(|part| dead.contains(part.as_str())) {
                    dead.insert(thing);
                }
            }
            if dead.len() == before {
                break;
            }
        }
        dead.iter().filter_map(|thing| self.needed.get(*thing)).flatten().copied().collect()
    }

    /// What would be missed without the VFs of a PF.
    pub(crate) fn missed_without_vfs(&self, pf: &str) -> BTreeSet<&'static str> {
        let vfs: Vec<&str> = self.vfs.get(pf).into_iter().flatten().map(String::as_str).collect();
        self.missed_without(&vfs)
    }

    pub(crate) fn description(&self) -> String {
        self.text.clone()
    }

    /// A few orders that do not contradict each other.
    pub(crate) fn orders(&self, seed: u64) -> Vec<Order> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut orders = Vec::new();
        for (pf, vfs) in self.vfs.iter().filter(|(_, vfs)| !vfs.is_empty()) {
            if random.chance(60) {
                orders.push(Order::Count {
                    pf: pf.clone(),
                    vfs: if random.chance(50) { 0 } else { vfs.len() + 1 },
                });
            }
        }
        for function in &self.native {
            // A VF of a PF whose count changes is not given as well, nor a PF with VFs.
            let counted = |order: &Order| match order {
                Order::Count { pf, .. } => {
                    pf == function || self.vfs.get(pf).is_some_and(|vfs| vfs.contains(function))
                }
                Order::Give(_) => false,
            };
            let has_vfs = self.vfs.get(function).is_some_and(|vfs| !vfs.is_empty());
            if random.chance(50) && !has_vfs && !orders.iter().any(counted) {
                orders.push(Order::Give(function.clone()));
            }
        }
        orders
    }

    fn say(&mut self, line: String) {
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn thing(&mut self, name: &str, parts: &[String]) {
        self.parts.insert(name.to_owned(), parts.to_vec());
    }

    fn need(&mut self, what: &'static str, thing: &str) {
        self.needed.entry(thing.to_owned()).or_default().insert(what);
    }

    fn next(&mut self) -> usize {
        self.number += 1;
        self.number
    }

    /// A host that this seed makes.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95) | 1);
        let mut model = Self::default();
        for line in [
            "/proc/sys/kernel/osrelease = 6.1.0",
            "/proc/modules = vfio_pci 16384 0 - Live 0x0",
            "/proc/cmdline = intel_iommu=on",
            "/sys/module/vfio_pci/refcnt = 0",
            "/sys/bus/pci/drivers_probe = 0",
            "/sys/bus/pci/drivers/vfio-pci/bind = 0",
            "/sys/class/iommu/dmar0/",
            "/etc/modules-load.d/vfio.conf = vfio-pci",
            "net lo index=1",
            "mount proc /proc proc dev=0:22",
            "route 127.0.0.0/8 dev lo",
        ] {
            model.say(line.to_owned());
        }
        for slot in 1..4 + random.below(6) {
            model.card(&mut random, slot);
        }
        if random.chance(30) {
            model.shared_namespace(&mut random);
        }
        model.networks(&mut random);
        for _ in 0..random.below(6) {
            model.stack_blocks(&mut random);
        }
        model.storage_needs(&mut random);
        model
    }

    fn function(&mut self, address: &str, class: &str, driver: &str, more: &str) {
        let group = 100 + self.next();
        self.say(format!("function {address} 8086:{group:04x} {class} driver={driver} group={group} {more}"));
        self.thing(address, &[]);
        if driver != "vfio-pci" {
            self.native.push(address.to_owned());
        }
    }

    fn card(&mut self, random: &mut Random, slot: usize) {
        let address = format!("0000:{slot:02x}:00.0");
        match random.below(7) {
            0 | 1 => {
                self.function(&address, "010601", "ahci", "");
                for target in 0..1 + random.below(3) {
                    let id = self.next();
                    let disk = format!(
                        "sd{}",
                        char::from(b'a' + u8::try_from(id % 26).unwrap_or(0)).to_string() + &id.to_string()
                    );
                    self.say(format!("block {disk} 8:{id} at {address}/ata{target}/host{id}/target/block"));
                    self.disk(random, disk, &address);
                }
            }
            2 => {
                self.function(&address, "010802", "nvme", "");
                let id = self.next();
                let disk = format!("nvme{id}n1");
                self.say(format!("block {disk} 259:{id} at {address}/nvme/nvme{id}"));
                self.disk(random, disk, &address);
            }
            3 => self.network_card(random, &address),
            4 => {
                self.function(&address, "020000", "virtio-pci", "");
                let id = self.next();
                let name = format!("ens{id}");
                self.say(format!("net {name} at {address}/virtio{id} index={}", 100 + id));
                self.thing(&name, &[address]);
                self.interfaces.push(name);
            }
            5 => {
                self.function(&address, "0c0330", "xhci_hcd", "");
                let id = self.next();
                if random.chance(60) {
                    let disk = format!("sdu{id}");
                    self.say(format!(
                        "block {disk} 8:{id} at {address}/usb{id}/{id}-1/{id}-1:1.0/host{id}/block"
                    ));
                    self.disk(random, disk, &address);
                } else {
                    let name = format!("enx{id}");
                    self.say(format!("net {name} at {address}/usb{id}/{id}-1/{id}-1:1.0 index={}", 100 + id));
                    self.thing(&name, &[address]);
                    self.interfaces.push(name);
                }
            }
            _ => {
                self.function(&address, "030000", "nouveau", "");
                let id = self.next();
                self.say(format!("/@{address}/drm/card{id}/dev = 226:{id}"));
                self.say(format!(
                    "/sys/class/drm/card{id} -> ../../devices/pci0000:{slot:02x}/{address}/drm/card{id}"
                ));
                self.thing(&format!("card{id}"), std::slice::from_ref(&address));
                if random.chance(30) {
                    self.say(format!("process {} /usr/bin/player", 2000 + id));
                    self.say(format!("fd {} 3 /dev/dri/card{id}", 2000 + id));
                    self.need("holder", &format!("card{id}"));
                }
                let boot = random.chance(20);
                self.say(format!("/@{address}/boot_vga = {}", u8::from(boot)));
                if boot {
                    self.need("console", &address);
                }
            }
        }
    }

    fn network_card(&mut self, random: &mut Random, address: &str) {
        let count = if random.chance(60) { random.below(4) } else { 0 };
        self.function(address, "020000", "ixgbe", &format!("vfs={count}/8"));
        let id = self.next();
        let name = format!("ens{id}");
        self.say(format!("net {name} at {address} index={}", 100 + id));
        self.thing(&name, &[address.to_owned()]);
        self.interfaces.push(name);
        let mut vfs = Vec::new();
        for index in 0..count {
            let vf = address.replace("00.0", &format!("10.{index}"));
            let group = 100 + self.next();
            let given = random.chance(50);
            let driver = if given { "vfio-pci" } else { "ixgbevf" };
            self.say(format!("vf {vf} of {address} index={index} driver={driver} group={group}"));
            self.thing(&vf, &[address.to_owned()]);
            if given {
                let node = format!("/dev/vfio/{group}");
                self.thing(&node, std::slice::from_ref(&vf));
                if random.chance(40) {
                    self.say(format!("process {} /usr/bin/qemu -name guest=g{group}", 1000 + group));
                    self.say(format!("fd {} 9 {node}", 1000 + group));
                    self.need("guest", &node);
                }
            } else {
                self.native.push(vf.clone());
                let name = format!("{vf}v").replace([':', '.'], "");
                self.say(format!("net {name} at {vf} index={}", 200 + group));
                self.thing(&name, std::slice::from_ref(&vf));
                self.interfaces.push(name);
            }
            vfs.push(vf);
        }
        self.vfs.insert(address.to_owned(), vfs);
    }

    fn disk(&mut self, random: &mut Random, disk: String, on: &str) {
        self.thing(&disk, &[on.to_owned()]);
        self.partitions(random, disk);
    }

    fn partitions(&mut self, random: &mut Random, disk: String) {
        let count = random.below(3);
        for _ in 0..count {
            let id = self.next();
            let name = format!("{disk}p{id}");
            self.say(format!("partition {name} 300:{id} of {disk}"));
            self.thing(&name, std::slice::from_ref(&disk));
            self.blocks.push(name);
        }
        if count == 0 {
            self.blocks.push(disk);
        }
    }

    /// A namespace with native multipath behind two controllers.
    fn shared_namespace(&mut self, random: &mut Random) {
        let id = self.next();
        let subsystem = format!("/sys/devices/virtual/nvme-subsystem/nvme-subsys{id}");
        let mut parts = Vec::new();
        for path in 0..2 {
            let address = format!("0000:f{path}:00.0");
            self.function(&address, "010802", "nvme", "");
            let controller = format!("nvme{id}{path}");
            self.say(format!("/@{address}/nvme/{controller}/state = live"));
            self.say(format!(
                "{subsystem}/{controller} -> ../../../pci0000:f{path}/{address}/nvme/{controller}"
            ));
            parts.push(address);
        }
        let disk = format!("nvme{id}n1");
        self.say(format!("block {disk} 259:{id} at {subsystem}"));
        self.thing(&disk, &parts);
        self.partitions(random, disk);
    }

    fn take_some(from: &mut Vec<String>, random: &mut Random, most: usize) -> Vec<String> {
        let count = 1 + random.below(most.min(from.len().max(1)));
        (0..count.min(from.len())).map(|_| from.swap_remove(random.below(from.len()))).collect()
    }

    fn stack_blocks(&mut self, random: &mut Random) {
        let parts = Self::take_some(&mut self.blocks, random, 3);
        if parts.is_empty() {
            return;
        }
        let id = self.next();
        let over = parts.join(",");
        let name = match random.below(4) {
            0 => {
                self.say(format!("stack md{id} 9:{id} over={over}"));
                format!("md{id}")
            }
            1 => {
                self.say(format!("stack dm-{id} 253:{id} over={over} dm=crypt{id} uuid=CRYPT-LUKS2-x"));
                format!("dm-{id}")
            }
            2 => {
                self.say(format!("stack bcache{id} 252:{id} over={over}"));
                format!("bcache{id}")
            }
            _ => {
                self.say(format!("stack dm-{id} 253:{id} over={over} dm=vg-lv{id} uuid=LVM-x"));
                format!("dm-{id}")
            }
        };
        self.thing(&name, &parts);
        // An active volume is in use whether or not it is mounted.
        self.need("file system", &name);
        if random.chance(30) { self.partitions(random, name) } else { self.blocks.push(name) }
    }

    fn storage_needs(&mut self, random: &mut Random) {
        let mut mounted: Vec<(String, String)> = Vec::new();
        let mut root = random.chance(70);
        for _ in 0..random.below(6) {
            let Some(block) = Self::take_some(&mut self.blocks, random, 1).pop() else { break };
            let id = self.next();
            let point = if std::mem::take(&mut root) { "/".to_owned() } else { format!("/srv/{id}") };
            let what = if point == "/" { "root file system" } else { "file system" };
            match random.below(7) {
                0 => {
                    self.say(format!("swap /dev/{block}"));
                    self.need("swap", &block);
                    continue;
                }
                1 => {
                    self.say(format!("udev {block} ID_FS_UUID=uuid-{id} S:disk/by-uuid/uuid-{id}"));
                    let manual = random.chance(30);
                    let options = if manual { "noauto" } else { "defaults" };
                    self.say(format!("/etc/fstab += UUID=uuid-{id} /data/{id} ext4 {options} 0 2"));
                    if !manual {
                        self.need("fstab entry", &block);
                    }
                    continue;
                }
                2 => {
                    let mut devices = Self::take_some(&mut self.blocks, random, 2);
                    devices.push(block.clone());
                    self.say(format!("mount /dev/{block} {point} btrfs dev=0:{} root=/@", 100 + id));
                    for device in &devices {
                        self.say(format!("/sys/fs/btrfs/fs{id}/devices/{device}/x = 0"));
                    }
                    self.thing(&point, &devices);
                }
                3 => {
                    self.say(format!("udev {block} ID_FS_TYPE=zfs_member ID_FS_LABEL=pool{id}"));
                    self.say(format!("/proc/spl/kstat/zfs/pool{id}/state = ONLINE"));
                    self.say(format!("mount pool{id}/x {point} zfs dev=0:{}", 100 + id));
                    self.thing(&point, std::slice::from_ref(&block));
                }
                _ => {
                    self.say(format!("mount /dev/{block} {point} ext4"));
                    self.thing(&point, std::slice::from_ref(&block));
                }
            }
            self.need(what, &point);
            mounted.push((point, block));
        }
        if let Some((point, _)) = mounted.last()
            && random.chance(30)
        {
            let id = self.next();
            let file = format!("{}/swapfile{id}", point.trim_end_matches('/'));
            self.say(format!("swap {file} file"));
            self.thing(&file, std::slice::from_ref(point));
            self.need("swap", &file);
        }
    }

    fn networks(&mut self, random: &mut Random) {
        for _ in 0..random.below(5) {
            let kind = ["bridge", "bond", "vlan", "macvlan", "team"][random.below(5)];
            let most = if matches!(kind, "vlan" | "macvlan") { 1 } else { 2 };
            let parts = Self::take_some(&mut self.interfaces, random, most);
            if parts.is_empty() {
                break;
            }
            let id = self.next();
            let name = format!("{kind}{id}");
            self.say(format!("net {name} kind={kind} over={} index={}", parts.join(","), 500 + id));
            self.thing(&name, &parts);
            self.interfaces.push(name);
        }
        let interfaces = self.interfaces.clone();
        let mut default = random.chance(80);
        for interface in interfaces {
            let id = self.next();
            match random.below(6) {
                0 if std::mem::take(&mut default) => {
                    self.say(format!("address {interface} 10.{id}.0.2/24"));
                    self.say(format!("route default via 10.{id}.0.1 dev {interface}"));
                    self.need("default route", &interface);
                    if random.chance(30) {
                        self.say("/proc/self/stat = 7000 (reconcile) S 6000 7000".to_owned());
                        self.say("process 6000 /bin/bash".to_owned());
                        self.say("env 6000 SSH_CONNECTION=198.51.100.7 50000 10.0.0.1 22".to_owned());
                        self.need("ssh session", &interface);
                    }
                }
                1 => {
                    self.say(format!("route default6 via fe80::{id:x} dev {interface}"));
                    self.need("default route", &interface);
                }
                2 => {
                    let address = if random.chance(50) {
                        format!("10.{id}.0.2/24")
                    } else {
                        format!("2001:db8:{id:x}::2/64")
                    };
                    self.say(format!("address {interface} {address}"));
                    self.need("address", &interface);
                }
                // What every interface has that is up, and an address on one without a link, are nobody's need.
                3 => self.say(format!("address {interface} fe80::{id:x}/64")),
                4 => {
                    self.say(format!("/@{interface}/operstate = down"));
                    self.say(format!("address {interface} 10.{id}.0.2/24"));
                }
                _ => {}
            }
        }
    }
}
