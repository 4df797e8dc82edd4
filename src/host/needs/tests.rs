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
        [
            "storage: /mnt/a b is mounted from nvme0n1p2; nvme0n1p2 is a partition of nvme0n1; nvme0n1 is behind 0000:01:00.0"
        ]
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
    assert_eq!(
        fixture.texts("0000:02:00.0"),
        ["storage: dm-1 is active; dm-1 is made of dm-0; dm-0 is made of sda; sda is behind 0000:02:00.0"]
    );
    fixture.mount("30 1 253:1 / /srv rw - xfs /dev/mapper/vg-srv rw");
    assert_eq!(
        fixture.texts("0000:02:00.0"),
        [
            "storage: /srv is mounted from dm-1; dm-1 is made of dm-0; dm-0 is made of sda; sda is behind 0000:02:00.0"
        ]
    );
    fixture.mount("");
    fixture.put(
        "/proc/swaps",
        "Filename Type Size Used Priority\n/dev/dm-1 partition 100 0 -2\n/swap file 1 0 -3\n",
    );
    assert_eq!(
        fixture.texts("0000:02:00.0"),
        [
            "swap: the host swaps to /dev/dm-1; dm-1 is made of dm-0; dm-0 is made of sda; sda is behind 0000:02:00.0"
        ]
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
        [
            "root-disk: / is mounted from nvme3n1; nvme3n1 is a namespace of the NVMe controllers nvme3; nvme3 is behind 0000:05:00.0"
        ]
    );
}

#[test]
fn file_systems_over_several_disks() {
    let fixture = Fixture::new();
    for (address, name, number) in [("0000:06:00.0", "sdb", "8:16"), ("0000:07:00.0", "sdc", "8:32")] {
        fixture.block(&format!("{}/ata1/block/{name}", fixture.function(address)), number);
    }
    fixture.mount("30 1 0:33 /@ / rw - btrfs /dev/sdb rw,subvol=/@");
    for name in ["sdb", "sdc"] {
        fixture.link(&format!("/sys/fs/btrfs/1234/devices/{name}"), &format!("/sys/class/block/{name}"));
    }
    assert_eq!(
        fixture.texts("0000:06:00.0"),
        ["root-disk: / is mounted from sdb and sdc; sdb is behind 0000:06:00.0"]
    );
    assert_eq!(
        fixture.texts("0000:07:00.0"),
        ["root-disk: / is mounted from sdb and sdc; sdc is behind 0000:07:00.0"]
    );
    fixture.mount("30 1 0:33 / /data rw - bcachefs /dev/sdb:/dev/mapper/gone rw");
    assert_eq!(
        fixture.texts("0000:06:00.0"),
        [
            "storage: /data is mounted from sdb and /dev/mapper/gone; sdb is behind 0000:06:00.0",
            "unsure: /data is mounted from sdb and /dev/mapper/gone; nothing tells what the block device /dev/mapper/gone lies on",
        ]
    );

    let fixture = Fixture::new();
    fixture.block(&format!("{}/ata1/block/sdd", fixture.function("0000:08:00.0")), "8:48");
    fixture.put("/proc/spl/kstat/zfs/tank/state", "ONLINE\n");
    fixture.put("/proc/spl/kstat/zfs/arcstats", "");
    assert_eq!(
        fixture.texts("0000:08:00.0"),
        ["unsure: the ZFS pool tank is imported; nothing tells which disks the ZFS pool tank lies on"]
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
        [
            "default-route: the IPv4 default route leaves by br0; br0 stands on bond0.7; bond0.7 stands on bond0; bond0 stands on eth0; eth0 is behind 0000:03:00.0"
        ]
    );
    assert_eq!(fixture.texts("0000:03:00.1"), [""; 0]);
    fixture.put("/proc/net/route", &route("eth1", "0000A8C0", "0000FFFF"));
    assert_eq!(
        fixture.texts("0000:03:00.1"),
        ["address: eth1 is up and has the route to 192.168.0.0/16; eth1 is behind 0000:03:00.1"]
    );
    fixture.put("/proc/net/route", head);
    let zeros = "00000000000000000000000000000000";
    let v6 = |interface: &str, flags: &str| {
        format!("{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 1 0 {flags} {interface}\n")
    };
    fixture.put("/proc/net/ipv6_route", &(v6("eth1", "00000003") + &v6("eth0", "00200200")));
    assert_eq!(
        fixture.texts("0000:03:00.1"),
        ["default-route: the IPv6 default route leaves by eth1; eth1 is behind 0000:03:00.1"]
    );
    assert_eq!(fixture.texts("0000:03:00.0"), [""; 0], "an unreachable route leads nowhere");
}

#[test]
fn a_port_of_open_vswitch_may_carry_the_default_route() {
    let fixture = Fixture::new();
    fixture.interface(&format!("{}/net/eth0", fixture.function("0000:03:00.0")));
    fixture
        .link("/sys/devices/pci0000:00/0000:03:00.0/net/eth0/master", "/sys/devices/virtual/net/ovs-system");
    fixture.put("/sys/devices/virtual/net/ovs-system/mtu", "1500\n");
    fixture.link("/sys/class/net/ovs-system", "/sys/devices/virtual/net/ovs-system");
    fixture.put("/sys/devices/virtual/net/br-ex/mtu", "1500\n");
    fixture.link("/sys/class/net/br-ex", "/sys/devices/virtual/net/br-ex");
    assert_eq!(fixture.texts("0000:03:00.0"), [""; 0]);
    fixture.put("/proc/net/route", "head\nbr-ex 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n");
    let through = |ports: &str| {
        format!("br-ex; br-ex is a port of Open vSwitch, which sends {ports}; eth0 is behind 0000:03:00.0")
    };
    assert_eq!(
        fixture.texts("0000:03:00.0"),
        [format!("default-route: the IPv4 default route leaves by {}", through("by eth0"))]
    );
    fixture.interface(&format!("{}/net/eth1", fixture.function("0000:03:00.1")));
    fixture
        .link("/sys/devices/pci0000:00/0000:03:00.1/net/eth1/master", "/sys/devices/virtual/net/ovs-system");
    assert_eq!(
        fixture.texts("0000:03:00.0"),
        [format!("unsure: the IPv4 default route leaves by {}", through("by one of eth0 and eth1"))]
    );
}

#[test]
fn an_open_group_of_a_function_and_of_a_vf() {
    let fixture = Fixture::new();
    let pf = fixture.function("0000:04:00.0");
    let vf = fixture.function("0000:04:00.1");
    fixture.link(&format!("{pf}/virtfn0"), "../0000:04:00.1");
    fixture.link(&format!("{vf}/physfn"), "../0000:04:00.0");
    fixture.link(&format!("{pf}/iommu_group"), "/sys/kernel/iommu_groups/4");
    fixture.link(&format!("{vf}/iommu_group"), "/sys/kernel/iommu_groups/45");
    fixture.put(&format!("{vf}/vfio-dev/vfio7/dev"), "511:7\n");
    fixture.link("/sys/class/vfio-dev/vfio7", &format!("{vf}/vfio-dev/vfio7"));
    fixture.link("/proc/123/fd/9", "/dev/vfio/45");
    fixture.link("/proc/123/fd/10", "anon_inode:[vfio-device]");
    fixture.put("/proc/123/comm", "qemu-system-x86\n");
    fixture.link("/proc/9/fd/0", "/dev/vfio/vfio");
    assert_eq!(
        fixture.texts("0000:04:00.1"),
        ["guest: qemu-system-x86 (pid 123) has /dev/vfio/45 open; 0000:04:00.1 is in IOMMU group 45"]
    );
    assert_eq!(
        fixture.texts("0000:04:00.0"),
        [
            "guest: qemu-system-x86 (pid 123) has /dev/vfio/45 open; 0000:04:00.1 is in IOMMU group 45; 0000:04:00.1 is a VF of 0000:04:00.0"
        ]
    );

    fs::remove_file(fixture.0.path().join("proc/123/fd/9")).unwrap();
    assert_eq!(
        fixture.texts("0000:04:00.1"),
        ["unsure: qemu-system-x86 (pid 123) has a VFIO device open, and nothing tells which"]
    );
    fixture.link("/proc/123/fd/9", "/dev/vfio/devices/vfio7 (deleted)");
    assert_eq!(
        fixture.texts("0000:04:00.1"),
        ["guest: qemu-system-x86 (pid 123) has /dev/vfio/devices/vfio7 open; vfio7 is behind 0000:04:00.1"]
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
        let mut uses = users.of(name.parse().unwrap());
        // In a container nobody may look at the first process' files.
        uses.retain(|found| !found.chain[0].text.contains("cannot read the link /proc/1/fd"));
        assert!(!uses.iter().any(|found| found.because == Because::Unsure), "{uses:?}");
    }
}
