//! The reacting kernel answers as a real one does (Linux 6.12, the facts that the machine's docs name), asked from
//! inside a machine by its own shell.

use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::sample::{AUDIO, CARD, PF, PORT, TWIN, fill};
use super::{Event, Machine, Reaction, Run};

const PCI: &str = "/sys/bus/pci";

fn machine() -> Machine {
    Machine::start(fill)
}

/// Writes with a real `echo >`, so that the errno goes through the system call.
fn echo(machine: &Machine, value: &str, attribute: &str) -> Result<(), Errno> {
    let run = machine.shell(&format!("echo '{value}' > {PCI}/{attribute}"));
    match run.events.as_slice() {
        [Event::Attribute { answer: Some(answer), .. }] => {
            assert_eq!(run.status == Some(0), answer.is_ok(), "{}", run.told());
            *answer
        }
        // Not even opened.
        [] if run.stderr.contains("Permission denied") => Err(Errno::EACCES),
        [] if run.stderr.contains("nonexistent directory") => Err(Errno::ENOENT),
        _ => panic!("{}", run.told()),
    }
}

fn cat(machine: &Machine, path: &str) -> String {
    machine.shell(&format!("cat {path}")).stdout
}

fn driver(machine: &Machine, address: &str) -> String {
    let run = machine.shell(&format!("readlink {PCI}/devices/{address}/driver"));
    run.stdout.trim_end().rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn numvfs_has_the_errnos_of_the_kernel() {
    let machine = machine();
    let numvfs = format!("devices/{PF}/sriov_numvfs");
    for (value, answer) in [
        ("0", Ok(())),
        ("64", Err(Errno::ERANGE)),
        ("-1", Err(Errno::EINVAL)),
        ("abc", Err(Errno::EINVAL)),
        ("", Err(Errno::EINVAL)),
        ("70000", Err(Errno::EINVAL)),
        ("4", Ok(())),
        ("4", Ok(())),
        ("2", Err(Errno::EBUSY)),
        ("0", Ok(())),
        ("0x2", Ok(())),
    ] {
        assert_eq!(echo(&machine, value, &numvfs), answer, "{value:?}");
    }
    assert_eq!(cat(&machine, &format!("{PCI}/{numvfs}")), "2\n");
    assert_eq!(echo(&machine, PF, "drivers/ixgbe/unbind"), Ok(()));
    assert_eq!(cat(&machine, &format!("{PCI}/{numvfs}")), "0\n", "the PF's driver takes its VFs with it");
    assert_eq!(echo(&machine, "4", &numvfs), Err(Errno::ENOENT), "no driver");
}

#[test]
fn virtual_functions_stand_where_offset_and_stride_say() {
    let machine = machine();
    echo(&machine, "4", &format!("devices/{PF}/sriov_numvfs")).unwrap();
    let names = machine.shell(&format!("cd {PCI}/devices; for f in {PF}/virtfn*; do readlink $f; done"));
    assert_eq!(names.stdout, "../0000:03:10.0\n../0000:03:10.2\n../0000:03:10.4\n../0000:03:10.6\n");
    let vf = format!("{PCI}/devices/0000:03:10.2");
    assert_eq!(
        cat(&machine, &format!("{vf}/vendor {vf}/device {vf}/driver_override")),
        "0x8086\n0x10ed\n(null)\n"
    );
    assert_eq!(cat(&machine, &format!("{vf}/physfn/vendor")), "0x8086\n");
    assert_eq!(driver(&machine, "0000:03:10.2"), "ixgbevf", "loaded by its alias");
    assert_eq!(machine.shell(&format!("ls {vf}/iommu_group/devices")).stdout, "0000:03:10.2\n");
    echo(&machine, "0", &format!("devices/{PF}/sriov_numvfs")).unwrap();
    assert_eq!(
        machine.shell(&format!("ls {PCI}/devices {PCI}/devices/{PF}")).stdout.matches("10.2").count(),
        0
    );
}

#[test]
fn without_autoprobe_only_an_override_brings_a_driver() {
    let machine = machine();
    assert_eq!(echo(&machine, "0", &format!("devices/{PF}/sriov_drivers_autoprobe")), Ok(()));
    echo(&machine, "2", &format!("devices/{PF}/sriov_numvfs")).unwrap();
    assert_eq!(driver(&machine, "0000:03:10.0"), "");
    machine.shell("modprobe vfio-pci");
    echo(&machine, "vfio-pci", "devices/0000:03:10.0/driver_override").unwrap();
    echo(&machine, "0000:03:10.0", "drivers_probe").unwrap();
    assert_eq!(driver(&machine, "0000:03:10.0"), "vfio-pci");
    assert_eq!(echo(&machine, "0000:03:10.2", "drivers/ixgbevf/bind"), Err(Errno::ENODEV));
}

#[test]
fn binding_follows_the_override_and_probing_always_succeeds() {
    let machine = machine();
    assert_eq!(echo(&machine, CARD, "drivers_probe"), Ok(()), "bound already");
    assert_eq!(echo(&machine, "0000:99:00.0", "drivers_probe"), Err(Errno::ENODEV));
    assert_eq!(echo(&machine, CARD, "drivers/ixgbe/unbind"), Err(Errno::ENODEV), "another driver");
    machine.shell("modprobe vfio-pci");
    assert_eq!(driver(&machine, CARD), "nouveau", "vfio-pci takes nothing of itself");
    echo(&machine, "vfio-pci", &format!("devices/{CARD}/driver_override")).unwrap();
    assert_eq!(echo(&machine, CARD, "drivers/vfio-pci/bind"), Err(Errno::EBUSY));
    echo(&machine, CARD, &format!("devices/{CARD}/driver/unbind")).unwrap();
    assert_eq!(echo(&machine, CARD, "drivers/nouveau/bind"), Err(Errno::ENODEV), "the override says other");
    echo(&machine, CARD, "drivers_probe").unwrap();
    assert_eq!(driver(&machine, CARD), "vfio-pci");
    assert_eq!(driver(&machine, TWIN), "nouveau");
    assert!(machine.path("dev/vfio/45").exists());
    // Back: a newline clears it.
    echo(&machine, "", &format!("devices/{CARD}/driver_override")).unwrap();
    assert_eq!(cat(&machine, &format!("{PCI}/devices/{CARD}/driver_override")), "(null)\n");
    echo(&machine, CARD, &format!("devices/{CARD}/driver/unbind")).unwrap();
    echo(&machine, CARD, "drivers_probe").unwrap();
    assert_eq!(driver(&machine, CARD), "nouveau");
    assert!(!machine.path("dev/vfio/45").exists());
}

#[test]
fn a_probe_that_fails_shows_only_in_bind() {
    let machine = machine();
    machine.shell("modprobe vfio-pci");
    for address in [PORT, AUDIO] {
        echo(&machine, "vfio-pci", &format!("devices/{address}/driver_override")).unwrap();
        echo(&machine, address, &format!("devices/{address}/driver/unbind")).unwrap();
    }
    assert_eq!(echo(&machine, PORT, "drivers_probe"), Ok(()));
    assert_eq!(driver(&machine, PORT), "", "vfio-pci takes no bridge");
    assert_eq!(echo(&machine, PORT, "drivers/vfio-pci/bind"), Err(Errno::EINVAL));
    machine.kernel().fail_probe(AUDIO, "vfio-pci", Errno::ENODEV);
    assert_eq!(echo(&machine, AUDIO, "drivers_probe"), Ok(()));
    assert_eq!(driver(&machine, AUDIO), "");
}

#[test]
fn new_id_takes_every_free_function_of_that_id() {
    let machine = machine();
    machine.shell("modprobe vfio-pci");
    for address in [CARD, TWIN] {
        echo(&machine, address, "drivers/nouveau/unbind").unwrap();
    }
    assert_eq!(echo(&machine, "10de", "drivers/vfio-pci/new_id"), Err(Errno::EINVAL));
    assert_eq!(echo(&machine, "10de 11bf", "drivers/vfio-pci/new_id"), Ok(()));
    assert_eq!((driver(&machine, CARD), driver(&machine, TWIN)), ("vfio-pci".into(), "vfio-pci".into()));
    assert_eq!(echo(&machine, "10de 11bf", "drivers/vfio-pci/new_id"), Err(Errno::EEXIST));
    assert_eq!(echo(&machine, "10de 11bf", "drivers/vfio-pci/remove_id"), Ok(()));
    assert_eq!(echo(&machine, "10de 11bf", "drivers/vfio-pci/remove_id"), Err(Errno::ENODEV));
}

#[test]
fn attributes_keep_their_modes_even_from_root() {
    let machine = machine();
    let refused = |run: Run| assert!(run.stderr.contains("Permission denied"), "{}", run.told());
    refused(machine.shell(&format!("cat {PCI}/drivers_probe")));
    refused(machine.shell(&format!("echo 1 > {PCI}/devices/{CARD}/vendor")));
    refused(machine.shell(&format!("echo 1 > {PCI}/devices/{CARD}/invented")));
}

#[test]
fn a_function_that_vanishes_is_gone_for_the_write_under_way() {
    let machine = machine();
    let gone = Reaction::After(Box::new(|kernel| kernel.vanish(CARD)));
    machine.kernel().on_write(&format!("{CARD}/driver_override"), "vfio-pci", gone);
    let attribute = format!("devices/{CARD}/driver_override");
    assert_eq!(echo(&machine, "vfio-pci", &attribute), Err(Errno::ENODEV));
    assert_eq!(machine.shell(&format!("ls {PCI}/devices/{CARD}")).status, Some(1));
    assert_eq!(driver(&machine, AUDIO), "snd_hda_intel");
}

#[test]
fn a_hung_write_waits_where_no_signal_ends_it_and_the_machine_can_still_be_switched_off() {
    let machine = machine();
    machine.kernel().on_write("drivers/nouveau/unbind", CARD, Reaction::Hang);
    let mut child = machine
        .command("/.live/bin/sh")
        .args(["-c", &format!("echo {CARD} > {PCI}/drivers/nouveau/unbind")])
        .spawn()
        .unwrap();
    let start = Instant::now();
    while machine.kernel().take_events().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "the write never came");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(child.try_wait().unwrap().is_none(), "killed, and still in the write");
    // Without O_TRUNC, which waits for the write under way where the kernel's own sysfs does not.
    let others = machine.shell(&format!("printf {TWIN} | dd of={PCI}/drivers/nouveau/unbind conv=notrunc"));
    assert_eq!(others.status, Some(0), "the others go on: {}", others.told());
    assert_eq!(driver(&machine, TWIN), "");
    drop(machine);
    child.wait().unwrap();
}

#[test]
fn files_attributes_and_commands_are_recorded_in_one_order() {
    let machine = machine();
    let run = machine.shell(&format!(
        "echo a > /etc/x.tmp; mv /etc/x.tmp /etc/x; echo 1 > {PCI}/devices/{CARD}/driver_override; \
         mkdir -p /etc/new/er; echo b > /etc/new/er/y; rm /etc/default/grub; update-grub; modprobe nosuch"
    ));
    let did: Vec<String> = run.events.iter().map(Event::to_string).collect();
    let canonical = format!("/sys/devices/pci0000:00/{PORT}/{CARD}");
    let expected = [
        "file /etc/x".to_owned(),
        format!("attribute {canonical}/driver_override 1"),
        "file /etc/new/er/y".to_owned(),
        "file /etc/default/grub gone".to_owned(),
        "command update-grub".to_owned(),
        "command modprobe nosuch -> failed".to_owned(),
    ];
    assert_eq!(did, expected);
    assert_eq!(run.status, Some(1));
}

#[test]
fn a_reboot_brings_what_the_files_ask_for() {
    let mut machine = machine();
    machine.write(
        "etc/default/grub.d/zz.cfg",
        "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt\"\n",
    );
    machine.write("etc/modprobe.d/b.conf", "blacklist nouveau\nsoftdep snd_hda_intel pre: vfio-pci\n");
    machine.write("etc/modprobe.d/v.conf", "options vfio-pci ids=10de:0e0a\n");
    machine.write("etc/modules-load.d/m.conf", "# early\nvfio_iommu_type1\n");
    machine.write(
        "etc/udev/rules.d/10.rules",
        format!(
            "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"{TWIN}\", ATTR{{driver_override}}=\"vfio-pci\"\n"
        ),
    );
    assert_eq!(machine.shell("update-grub").status, Some(0));
    echo(&machine, "2", &format!("devices/{PF}/sriov_numvfs")).unwrap();
    echo(&machine, "x", &format!("devices/{CARD}/driver_override")).unwrap();
    machine.reboot();
    let cmdline = cat(&machine, "/proc/cmdline");
    assert_eq!(cmdline, "BOOT_IMAGE=/boot/vmlinuz-6.12.0 root=/dev/sda1 ro quiet iommu=pt\n");
    assert_ne!(cat(&machine, "/proc/sys/kernel/random/boot_id"), "00000001-0000-4000-8000-000000000000\n");
    assert_eq!(driver(&machine, CARD), "", "its driver is blacklisted");
    // The rule came when vfio-pci was there already: the override stands, and nothing has probed since.
    assert_eq!(machine.kernel().override_of(TWIN).as_deref(), Some("vfio-pci"), "by the rule");
    assert_eq!(driver(&machine, TWIN), "");
    assert_eq!(driver(&machine, AUDIO), "vfio-pci", "by its id, before its driver came");
    assert_eq!(driver(&machine, PF), "ixgbe");
    assert_eq!(driver(&machine, PORT), "pcieport");
    assert_eq!(cat(&machine, &format!("{PCI}/devices/{PF}/sriov_numvfs")), "0\n");
    assert_eq!(cat(&machine, &format!("{PCI}/devices/{PF}/net/ens3/address")), "02:00:00:00:00:03\n");
    assert!(cat(&machine, "/proc/modules").contains("vfio_iommu_type1 "));
    let recovery = machine.read("boot/grub/grub.cfg").unwrap();
    assert!(recovery.contains("ro single \n"), "{recovery}");
}
