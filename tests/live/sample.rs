//! A small machine of its own, for the tests of the kernel itself: a PF with VFs, two equal graphics cards of which one
//! has an audio function in its group, and a bridge above it all.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The PF: 63 VFs at most, on every second routing id from 128 on.
pub const PF: &str = "0000:03:00.0";
/// A graphics card, in a group with [`AUDIO`].
pub const CARD: &str = "0000:04:00.0";
/// The audio function of [`CARD`].
pub const AUDIO: &str = "0000:04:00.1";
/// Another card with the id of [`CARD`].
pub const TWIN: &str = "0000:05:00.0";
/// The root port above [`CARD`].
pub const PORT: &str = "0000:00:03.0";

/// Writes the tree of the machine.
pub fn fill(root: &Path) {
    function(root, "pci0000:00", PORT, ["0x8086", "0x2f08", "0x060400"], "1", Some("pcieport"));
    let below = format!("pci0000:00/{PORT}");
    function(root, &below, CARD, ["0x10de", "0x11bf", "0x030000"], "45", Some("nouveau"));
    function(root, &below, AUDIO, ["0x10de", "0x0e0a", "0x040300"], "45", Some("snd_hda_intel"));
    function(root, "pci0000:00", TWIN, ["0x10de", "0x11bf", "0x030000"], "46", Some("nouveau"));
    function(root, "pci0000:00", PF, ["0x8086", "0x10fb", "0x020000"], "17", Some("ixgbe"));
    let pf = root.join("sys/devices/pci0000:00").join(PF);
    for (name, value) in [
        ("sriov_totalvfs", "63"),
        ("sriov_numvfs", "0"),
        ("sriov_offset", "128"),
        ("sriov_stride", "2"),
        ("sriov_vf_device", "10ed"),
        ("sriov_drivers_autoprobe", "1"),
        ("net/ens3/address", "02:00:00:00:00:03"),
    ] {
        put(&pf.join(name), value);
    }
    put(&root.join("proc/cmdline"), "BOOT_IMAGE=/boot/vmlinuz-6.12.0 root=/dev/sda1 ro quiet");
    put(&root.join("proc/sys/kernel/osrelease"), "6.12.0");
    put(&root.join("proc/sys/kernel/random/boot_id"), "00000001-0000-4000-8000-000000000000");
    put(
        &root.join("proc/modules"),
        "nouveau 16384 0 - Live 0x0\nixgbe 16384 0 - Live 0x0\nsnd_hda_intel 16384 0 - Live 0x0",
    );
    let modules = root.join("lib/modules/6.12.0");
    put(&modules.join("modules.builtin"), "kernel/drivers/pci/pcie/pcieport.ko");
    put(
        &modules.join("modules.dep"),
        "kernel/nouveau.ko:\nkernel/ixgbe.ko:\nkernel/ixgbevf.ko:\nkernel/snd-hda-intel.ko:\nkernel/vfio.ko:\n\
         kernel/vfio_iommu_type1.ko: kernel/vfio.ko\nkernel/vfio-pci.ko: kernel/vfio.ko",
    );
    put(&modules.join("modules.alias"), "alias pci:v00008086d000010EDsv*sd*bc*sc*i* ixgbevf");
    put(&root.join("etc/default/grub"), "GRUB_CMDLINE_LINUX=\"\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"");
    put(
        &root.join("boot/grub/grub.cfg"),
        "menuentry 'Debian' {\n\tlinux\t/boot/vmlinuz-6.12.0 root=/dev/sda1 ro quiet\n}\n\
         menuentry 'Debian (recovery mode)' {\n\tlinux\t/boot/vmlinuz-6.12.0 root=/dev/sda1 ro single\n}",
    );
}

/// Puts a function below a directory of /sys/devices: vendor, device and class, its group, its driver.
pub fn function(root: &Path, above: &str, address: &str, id: [&str; 3], group: &str, driver: Option<&str>) {
    let directory = root.join("sys/devices").join(above).join(address);
    let [vendor, device, class] = id;
    for (name, value) in
        [("vendor", vendor), ("device", device), ("class", class), ("driver_override", "(null)")]
    {
        put(&directory.join(name), value);
    }
    let up = "../".repeat(above.split('/').count() + 2);
    let here = format!("devices/{above}/{address}");
    link(root, &format!("sys/bus/pci/devices/{address}"), &format!("../../../{here}"));
    link(root, &format!("sys/{here}/iommu_group"), &format!("{up}kernel/iommu_groups/{group}"));
    link(root, &format!("sys/kernel/iommu_groups/{group}/devices/{address}"), &format!("../../../../{here}"));
    if let Some(driver) = driver {
        link(root, &format!("sys/{here}/driver"), &format!("{up}bus/pci/drivers/{driver}"));
        link(root, &format!("sys/bus/pci/drivers/{driver}/{address}"), &format!("../../../../{here}"));
        if driver != "pcieport" {
            let module = format!("sys/bus/pci/drivers/{driver}/module");
            link(root, &module, &format!("../../../../module/{driver}"));
            put(&root.join(format!("sys/module/{driver}/initstate")), "live");
        }
    }
}

fn link(root: &Path, path: &str, target: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    symlink(target, path).unwrap();
}

/// Puts a file with this line.
pub fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{text}\n")).unwrap();
}
