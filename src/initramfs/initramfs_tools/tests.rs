use super::*;
use crate::host::{EmptyHost, SimulatedHost};
use crate::initramfs::{Detected, detect};

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);
const DEP: &str = "kernel/drivers/gpu/drm/nouveau/nouveau.ko.xz: kernel/drivers/i2c/algos/i2c-algo-bit.ko.xz\n\
                   kernel/drivers/net/ethernet/intel/igb/igb.ko.xz: kernel/drivers/i2c/algos/i2c-algo-bit.ko.xz\n\
                   kernel/drivers/net/wireless/x/wifi.ko.xz:\nkernel/drivers/i2c/algos/i2c-algo-bit.ko.xz:\n\
                   kernel/fs/ext4/ext4.ko.xz:\nkernel/sound/pci/hda/snd-hda-intel.ko.xz:\n";

fn carried(host: &SimulatedHost<'_>) -> Vec<String> {
    let kernels = Kernels::read(host).unwrap();
    let names = ["nouveau", "igb", "wifi", "i2c_algo_bit", "ext4", "snd-hda-intel", "gone"];
    let found = kernels.find(host, &names.map(|name| name.parse().unwrap()).into()).unwrap();
    let answers = InitramfsTools.carries(host, &kernels, &found).unwrap();
    let yes = answers.into_iter().filter(|(_, carries)| matches!(carries, Carries::Yes(_)));
    yes.map(|(module, _)| module.to_string()).collect()
}

fn host() -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/lib/modules/6.1/modules.dep", DEP);
    host
}

#[test]
fn most_takes_nets_and_file_systems_but_no_graphics() {
    assert_eq!(carried(&host()), ["ext4", "i2c_algo_bit", "igb"]);
}

#[test]
fn plymouth_and_lists_take_more() {
    let mut host = host();
    host.put_file("/usr/share/initramfs-tools/hooks/plymouth", "");
    host.put_file("/etc/initramfs-tools/modules", "# x\nsnd_hda_intel probe=1\n");
    assert_eq!(carried(&host), ["ext4", "i2c_algo_bit", "igb", "nouveau", "snd_hda_intel"]);
}

#[test]
fn list_and_dep_take_less() {
    let mut host = host();
    host.put_file("/etc/initramfs-tools/initramfs.conf", "MODULES=most\n");
    host.put_file("/usr/share/initramfs-tools/conf.d/driver", "MODULES=list\n");
    assert!(carried(&host).is_empty());
    host.put_file("/etc/initramfs-tools/conf.d/driver", "MODULES=\"dep\" # small\n");
    host.put_directory("/sys/module/igb");
    assert_eq!(carried(&host), ["i2c_algo_bit", "igb"]);
}

#[test]
fn an_update_initramfs_of_dracuts_is_not_ours() {
    let mut host = SimulatedHost::new(&EMPTY);
    assert!(matches!(detect(&host).unwrap(), Detected::None));
    host.put_file("/usr/bin/dracut", "");
    host.put_file("/usr/sbin/update-initramfs", "#!/bin/sh\nexec dracut --force\n");
    assert_eq!(detect(&host).unwrap().generator().unwrap().key(), "dracut");
    host.put_file("/usr/bin/mkosi-initrd", "");
    let Detected::Unserved(names, evidence) = detect(&host).unwrap() else { panic!("{:?}", detect(&host)) };
    assert_eq!(
        (names.as_str(), evidence.as_str()),
        ("dracut or mkosi-initrd", "/usr/bin/dracut, /usr/bin/mkosi-initrd")
    );
    host.put_file("/etc/kernel/install.conf", "layout=bls\ninitrd_generator=dracut\n");
    assert_eq!(detect(&host).unwrap().generator().unwrap().key(), "dracut");
    host.put_file("/usr/sbin/update-initramfs", "#!/bin/sh\nmkinitramfs -o x\n");
    let command = ["update-initramfs", "-u", "-k", "all"].map(str::to_owned).to_vec();
    assert_eq!(detect(&host).unwrap().generator().unwrap().rebuild(&host).unwrap(), Means::Command(command));
}
