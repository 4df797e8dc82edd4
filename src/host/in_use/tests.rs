#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::host::Machine;

/// A tree that stands for a running machine.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fixture.put("/proc/self/mountinfo", "21 1 0:20 / /proc rw - proc proc rw\n");
        fixture.put("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        fixture.put("/proc/net/route", "Iface\tDestination\tGateway\tFlags\n");
        fixture
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// A function; returns its directory.
    fn function(&self, address: &str) -> String {
        let directory = format!("/sys/devices/pci0000:00/{address}");
        self.put(&format!("{directory}/vendor"), "0x8086\n");
        self.link(&format!("/sys/bus/pci/devices/{address}"), &directory);
        directory
    }

    fn block(&self, directory: &str, number: &str) {
        let name = directory.rsplit('/').next().unwrap();
        self.put(&format!("{directory}/dev"), &format!("{number}\n"));
        self.put(&format!("{directory}/size"), "1000\n");
        self.link(&format!("{directory}/subsystem"), "/sys/class/block");
        self.link(&format!("/sys/class/block/{name}"), directory);
    }

    fn partition(&self, directory: &str, number: &str) {
        self.block(directory, number);
        self.put(&format!("{directory}/partition"), "1\n");
    }

    fn interface(&self, directory: &str) {
        let name = directory.rsplit('/').next().unwrap();
        self.put(&format!("{directory}/mtu"), "1500\n");
        self.link(&format!("{directory}/subsystem"), "/sys/class/net");
        self.link(&format!("{directory}/device"), "..");
        self.link(&format!("/sys/class/net/{name}"), directory);
    }

    fn mount(&self, line: &str) {
        self.put("/proc/self/mountinfo", &format!("{line}\n"));
    }

    fn uses(&self, function: &str) -> Vec<Use> {
        let machine = Machine::open(self.0.path(), Reach::Machine).unwrap();
        Users::new(&machine).of(function.parse().unwrap())
    }

    fn texts(&self, function: &str) -> Vec<String> {
        let line = |found: Use| {
            let texts: Vec<String> = found.chain.into_iter().map(|reason| reason.text).collect();
            format!("{}: {}", found.because, texts.join("; "))
        };
        self.uses(function).into_iter().map(line).collect()
    }
}

#[test]
fn a_mounted_partition_of_an_nvme_disk() {
    let fixture = Fixture::new();
    let disk = format!("{}/nvme/nvme0/nvme0n1", fixture.function("0000:01:00.0"));
    fixture.block(&disk, "259:0");
    fixture.partition(&format!("{disk}/nvme0n1p2"), "259:2");
    fixture.function("0000:02:00.0");
    assert_eq!(fixture.texts("0000:01:00.0"), [""; 0]);
    fixture.mount("30 1 259:2 / /mnt/a\\040b rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw");
    assert_eq!(
        fixture.texts("0000:01:00.0"),
        ["storage: a file system on its disk nvme0n1 > nvme0n1p2 is mounted on /mnt/a b"]
    );
    assert_eq!(fixture.texts("0000:02:00.0"), [""; 0]);
    assert_eq!(fixture.texts("0000:0f:00.0"), [""; 0], "a function that is not there has no users");
}

#[test]
fn device_mapper_and_raid_above_a_disk() {
    let fixture = Fixture::new();
    let host = format!("{}/host0/target0:0:0/0:0:0:0/block", fixture.function("0000:02:00.0"));
    fixture.block(&format!("{host}/sda"), "8:0");
    fixture.put(&format!("{host}/sda/holders/dm-0/x"), "");
    fixture.block("/sys/devices/virtual/block/dm-0", "253:0");
    fixture.put("/sys/devices/virtual/block/dm-0/holders/dm-1/x", "");
    fixture.block("/sys/devices/virtual/block/dm-1", "253:1");
    assert_eq!(fixture.texts("0000:02:00.0"), ["storage: its disk sda > dm-0 is held by dm-1"]);
    fixture.mount("30 1 253:1 / /srv rw - xfs /dev/mapper/vg-srv rw");
    assert_eq!(
        fixture.texts("0000:02:00.0"),
        ["storage: a file system on its disk sda > dm-0 > dm-1 is mounted on /srv"]
    );
    fixture.mount("");
    fixture.put(
        "/proc/swaps",
        "Filename Type Size Used Priority\n/dev/dm-1 partition 100 0 -2\n/swap file 1 0 -3\n",
    );
    assert_eq!(
        fixture.texts("0000:02:00.0"),
        ["swap: its disk sda > dm-0 > dm-1 is in use for swap (/dev/dm-1)"]
    );
}

#[test]
fn nvme_multipath_disks_lie_in_their_subsystem() {
    let fixture = Fixture::new();
    let controller = format!("{}/nvme/nvme3", fixture.function("0000:05:00.0"));
    fixture.put(&format!("{controller}/nvme3c3n1/size"), "1000\n");
    let subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys3";
    fixture.link("/sys/class/nvme-subsystem/nvme-subsys3", subsystem);
    fixture.link(&format!("{subsystem}/nvme3"), &controller);
    fixture.block(&format!("{subsystem}/nvme3n1"), "259:5");
    fixture.mount("30 1 259:5 / / rw - ext4 /dev/nvme3n1 rw");
    assert_eq!(
        fixture.texts("0000:05:00.0"),
        ["root-disk: a file system on its disk nvme3n1 is mounted on /"]
    );
}

#[test]
fn file_systems_over_several_disks() {
    let fixture = Fixture::new();
    for (address, name, number) in [("0000:06:00.0", "sdb", "8:16"), ("0000:07:00.0", "sdc", "8:32")] {
        fixture.block(&format!("{}/ata1/block/{name}", fixture.function(address)), number);
    }
    fixture.mount("30 1 0:33 /@ / rw - btrfs /dev/sdb rw,subvol=/@");
    fixture.link("/sys/fs/btrfs/1234/devices/sdc", "/sys/class/block/sdc");
    assert_eq!(fixture.texts("0000:06:00.0"), ["root-disk: its disk sdb is in use for /"]);
    assert_eq!(fixture.texts("0000:07:00.0"), ["storage: its disk sdc is in use for btrfs 1234"]);
    fixture.mount("30 1 0:33 / /data rw - bcachefs /dev/sdb:/dev/mapper/gone rw");
    assert_eq!(fixture.texts("0000:06:00.0"), ["storage: its disk sdb is in use for /data"]);

    let fixture = Fixture::new();
    fixture.block(&format!("{}/ata1/block/sdd", fixture.function("0000:08:00.0")), "8:48");
    fixture.put("/proc/spl/kstat/zfs/tank/state", "ONLINE\n");
    fixture.put("/proc/spl/kstat/zfs/arcstats", "");
    assert_eq!(
        fixture.texts("0000:08:00.0"),
        ["unsure: nothing tells whether the ZFS pool tank lies on its disks"]
    );
}

#[test]
fn the_default_route_through_bond_vlan_and_bridge() {
    let fixture = Fixture::new();
    fixture.interface(&format!("{}/net/eth0", fixture.function("0000:03:00.0")));
    fixture.interface(&format!("{}/net/eth1", fixture.function("0000:03:00.1")));
    let net = "/sys/devices/virtual/net";
    for name in ["bond0", "bond0.7", "br0"] {
        fixture.put(&format!("{net}/{name}/mtu"), "1500\n");
        fixture.link(&format!("/sys/class/net/{name}"), &format!("{net}/{name}"));
    }
    fixture.link("/sys/devices/pci0000:00/0000:03:00.0/net/eth0/master", &format!("{net}/bond0"));
    fixture.link("/sys/devices/pci0000:00/0000:03:00.0/net/eth0/upper_bond0", &format!("{net}/bond0"));
    fixture.link(&format!("{net}/bond0/upper_bond0.7"), &format!("{net}/bond0.7"));
    fixture.link(&format!("{net}/bond0.7/master"), &format!("{net}/br0"));
    assert_eq!(fixture.texts("0000:03:00.0"), [""; 0]);
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let route = |interface: &str, destination: &str, mask: &str| {
        format!("{head}{interface}\t{destination}\t0101A8C0\t0003\t0\t0\t100\t{mask}\t0\t0\t0\n")
    };
    fixture.put("/proc/net/route", &route("br0", "00000000", "00000000"));
    assert_eq!(
        fixture.texts("0000:03:00.0"),
        ["default-route: the IPv4 default route leaves by its interface eth0 > bond0 > bond0.7 > br0"]
    );
    assert_eq!(fixture.texts("0000:03:00.1"), [""; 0]);
    fixture.put("/proc/net/route", &route("eth1", "0000A8C0", "0000FFFF"));
    assert_eq!(fixture.texts("0000:03:00.1"), [""; 0], "a route to one network only");
    let zeros = "00000000000000000000000000000000";
    let v6 = |interface: &str, flags: &str| {
        format!("{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 1 0 {flags} {interface}\n")
    };
    fixture.put("/proc/net/ipv6_route", &(v6("eth1", "00000003") + &v6("eth0", "00200200")));
    assert_eq!(
        fixture.texts("0000:03:00.1"),
        ["default-route: the IPv6 default route leaves by its interface eth1"]
    );
    assert_eq!(fixture.texts("0000:03:00.0"), [""; 0], "an unreachable route leads nowhere");
}

#[test]
fn a_port_of_open_vswitch_may_carry_the_default_route() {
    let fixture = Fixture::new();
    fixture.interface(&format!("{}/net/eth0", fixture.function("0000:03:00.0")));
    fixture
        .link("/sys/devices/pci0000:00/0000:03:00.0/net/eth0/master", "/sys/devices/virtual/net/ovs-system");
    fixture.put("/sys/devices/virtual/net/br-ex/mtu", "1500\n");
    fixture.link("/sys/class/net/br-ex", "/sys/devices/virtual/net/br-ex");
    assert_eq!(fixture.texts("0000:03:00.0"), [""; 0]);
    fixture.put("/proc/net/route", "head\nbr-ex 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n");
    let uses = fixture.uses("0000:03:00.0");
    assert_eq!((uses.len(), uses[0].because), (1, Because::Unsure), "{uses:?}");
}

#[test]
fn an_open_group_of_a_function_and_of_a_vf() {
    let fixture = Fixture::new();
    let pf = fixture.function("0000:04:00.0");
    let vf = fixture.function("0000:04:00.1");
    fixture.link(&format!("{pf}/virtfn0"), "../0000:04:00.1");
    fixture.link(&format!("{pf}/iommu_group"), "/sys/kernel/iommu_groups/4");
    fixture.link(&format!("{vf}/iommu_group"), "/sys/kernel/iommu_groups/45");
    fixture.put(&format!("{vf}/vfio-dev/vfio7/dev"), "511:7\n");
    fixture.link("/proc/123/fd/9", "/dev/vfio/45");
    fixture.link("/proc/123/fd/10", "anon_inode:[vfio-device]");
    fixture.put("/proc/123/comm", "qemu-system-x86\n");
    fixture.link("/proc/9/fd/0", "/dev/vfio/vfio");
    assert_eq!(fixture.texts("0000:04:00.1"), ["guest: qemu-system-x86 (pid 123) has /dev/vfio/45 open"]);
    assert_eq!(
        fixture.texts("0000:04:00.0"),
        ["guest: qemu-system-x86 (pid 123) has /dev/vfio/45 open; 0000:04:00.1 is a VF of 0000:04:00.0"]
    );

    fs::remove_file(fixture.0.path().join("proc/123/fd/9")).unwrap();
    assert_eq!(
        fixture.texts("0000:04:00.1"),
        ["unsure: qemu-system-x86 (pid 123) has a VFIO device open, and nothing tells which"]
    );
    fixture.link("/proc/123/fd/9", "/dev/vfio/devices/vfio7 (deleted)");
    assert_eq!(
        fixture.texts("0000:04:00.1"),
        ["guest: qemu-system-x86 (pid 123) has /dev/vfio/devices/vfio7 open"]
    );
}

#[test]
fn what_cannot_be_read_is_an_error_on_a_machine_and_nothing_in_a_tree() {
    let fixture = Fixture::new();
    fixture.interface(&format!("{}/net/eth0", fixture.function("0000:03:00.0")));
    fs::remove_file(fixture.0.path().join("proc/net/route")).unwrap();
    let function = "0000:03:00.0".parse().unwrap();
    let machine = Machine::open(fixture.0.path(), Reach::Machine).unwrap();
    assert_eq!(Users::new(&machine).of(function)[0].because, Because::Unsure);
    let tree = Machine::open(fixture.0.path(), Reach::Tree).unwrap();
    assert_eq!(Users::new(&tree).of(function), []);
}

#[test]
fn this_machine_is_read_without_errors() {
    let machine = Machine::open(Path::new("/"), Reach::Machine).unwrap();
    let mut users = Users::new(&machine);
    for name in machine.list(Path::new("/sys/bus/pci/devices")).unwrap().unwrap_or_default() {
        assert!(!users.of(name.parse().unwrap()).iter().any(|found| found.because == Because::Unsure));
    }
}
