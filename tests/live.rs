//! The engine live: the real binary with an example's tree as `/`, no `--root`, on a /sys that reacts.
//!
//! How such a machine works is told in `live/mod.rs`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs, unreachable_pub)]

#[path = "support/calls.rs"]
mod calls;
#[path = "live/crash.rs"]
mod crash;
#[path = "live/mod.rs"]
mod live;
#[path = "live/rollback.rs"]
mod rollback;

use std::time::{Duration, Instant};

use live::kernel::is_vfio;
use live::{Disk, Event, Machine, Prediction, Reaction, Run};
use nix::errno::Errno;

const IN_SYNC: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const CHANGES: Option<i32> = Some(2);
const REBOOT_PENDING: Option<i32> = Some(3);

const EXAMPLES: [&str; 3] = ["grid-k2", "hi1822", "x520"];
const NONE: [&str; 0] = [];

fn assert_status(run: &Run, status: Option<i32>) {
    assert_eq!(run.status, status, "{}", run.told());
}

/// A dry run, which has to leave the machine as it was.
fn dry_run(machine: &Machine) -> Run {
    let before = machine.disk();
    let run = machine.run(&["--dry-run", "-o", "json"]);
    assert_eq!(run.events, [], "a dry run writes nothing");
    assert_eq!(
        before.changes(&machine.disk()),
        NONE,
        "a dry run leaves every file as it was, bytes and times"
    );
    run
}

/// Applies, and holds what was done against what the dry run before it said.
fn apply(machine: &Machine) -> Run {
    let prediction = Prediction::of(&dry_run(machine));
    let run = machine.run(&["--yes"]);
    prediction.assert_done(machine, &run);
    run
}

/// A second run does nothing at all.
fn assert_idempotent(machine: &Machine, status: Option<i32>) {
    let before = machine.disk();
    let run = machine.run(&["--yes"]);
    assert_status(&run, status);
    assert_eq!(run.events, [], "{}", run.told());
    assert_eq!(before.changes(&machine.disk()), NONE);
}

fn drivers(machine: &Machine, functions: &[&str]) -> Vec<String> {
    let kernel = machine.kernel();
    functions.iter().map(|function| kernel.driver_of(function).unwrap_or_default()).collect()
}

/// From the captured host to the state after a reboot in which nothing is left to do.
fn fresh_to_done(name: &str) -> Machine {
    let mut machine = Machine::example(name);
    assert_status(&dry_run(&machine), CHANGES);
    assert_status(&apply(&machine), REBOOT_PENDING);
    assert_idempotent(&machine, REBOOT_PENDING);
    machine.reboot();
    assert_status(&machine.run(&["--boot"]), IN_SYNC);
    assert_status(&dry_run(&machine), IN_SYNC);
    assert_idempotent(&machine, IN_SYNC);
    machine
}

/// Since the machine was switched on, no driver of the host has had any of these functions.
fn assert_never_native(machine: &Machine, functions: &[&str]) {
    for function in functions {
        let had = machine.kernel().drivers_since_boot(function);
        assert!(!had.is_empty() && had.iter().all(|driver| is_vfio(driver)), "{function}: {had:?}");
    }
}

#[test]
fn grid_k2_gives_all_four_gpus_to_guests() {
    let machine = fresh_to_done("grid-k2");
    let gpus = ["0000:04:00.0", "0000:05:00.0", "0000:84:00.0", "0000:85:00.0"];
    assert_eq!(drivers(&machine, &gpus), ["vfio-pci"; 4]);
    assert_never_native(&machine, &gpus);
    let conf = machine.read("etc/libvirt/qemu.conf").unwrap();
    for node in ["/dev/vfio/vfio", "/dev/vfio/45", "/dev/vfio/46", "/dev/vfio/58"] {
        assert!(conf.contains(&format!("\"{node}\"")), "{node} in {conf}");
    }
}

#[test]
fn hi1822_gives_four_vfs_to_guests() {
    let machine = fresh_to_done("hi1822");
    let vfs = machine.kernel().vfs("0000:03:00.0");
    let vfs: Vec<&str> = vfs.iter().map(String::as_str).collect();
    assert_eq!(vfs, ["0000:03:00.1", "0000:03:00.2", "0000:03:00.3", "0000:03:00.4"]);
    assert_eq!(drivers(&machine, &vfs), ["vfio-pci"; 4]);
    assert_never_native(&machine, &vfs);
    let ports = ["0000:03:00.0", "0000:04:00.0", "0000:05:00.0", "0000:06:00.0"];
    assert_eq!(drivers(&machine, &ports), ["hinic"; 4]);
}

#[test]
fn x520_gives_one_port_to_a_guest_and_keeps_its_twin() {
    let machine = fresh_to_done("x520");
    assert_eq!(drivers(&machine, &["0000:41:00.0", "0000:41:00.1"]), ["vfio-pci", "ixgbe"]);
    assert_never_native(&machine, &["0000:41:00.0"]);
}

#[test]
fn what_changes_behind_our_back_is_seen_and_mended() {
    for (name, drift, effects) in [
        // The function is given back to its driver.
        (
            "x520",
            "echo > /sys/bus/pci/devices/0000:41:00.0/driver_override; \
             echo 0000:41:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind; echo 0000:41:00.0 > /sys/bus/pci/drivers_probe",
            3,
        ),
        // It is only taken from vfio-pci.
        ("grid-k2", "echo 0000:84:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind", 1),
        // The VFs are destroyed: the count, override and probe for each of the four, and whatever their groups are now.
        ("hi1822", "echo 0 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs", 11),
        // Files of ours: one gone, one edited; the initramfs carries the first.
        (
            "x520",
            "rm /etc/udev/rules.d/10-reconcile-vfio.rules; echo '# x' >> /etc/modules-load.d/reconcile.conf",
            3,
        ),
    ] {
        let machine = fresh_to_done(name);
        assert_status(&machine.shell(drift), Some(0));
        let prediction = Prediction::of(&dry_run(&machine));
        assert_eq!(prediction.len(), effects, "{name}, {drift}: {prediction:#?}");
        assert_status(&apply(&machine), IN_SYNC);
        assert_idempotent(&machine, IN_SYNC);
    }
}

#[test]
fn group_numbers_that_are_others_after_a_boot_are_followed() {
    let mut machine = fresh_to_done("hi1822");
    machine.reboot();
    machine.kernel().number_groups_from(60);
    let run = machine.run(&["--boot"]);
    assert_status(&run, IN_SYNC);
    let conf = machine.read("etc/libvirt/qemu.conf").unwrap();
    let nodes: Vec<&str> = conf.split('"').filter(|word| word.starts_with("/dev/vfio/")).collect();
    assert_eq!(nodes, ["/dev/vfio/vfio", "/dev/vfio/60", "/dev/vfio/61", "/dev/vfio/62", "/dev/vfio/63"]);
    assert_status(&dry_run(&machine), IN_SYNC);
}

#[test]
fn group_numbers_that_a_dry_run_cannot_know_stand_for_their_real_ones() {
    let machine = fresh_to_done("hi1822");
    machine.shell("echo 0 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs");
    machine.kernel().number_groups_from(60);
    assert_status(&apply(&machine), IN_SYNC);
}

/// Everything that a document can name, and nothing in it: all that is ours is taken back.
const NOTHING: &str = "version: 1\nkernel_args: []\nmodules: []\nblacklist: []\nmodule_options: {}\n\
                       vfio_pci: {ids: [], devices: []}\nsriov: []\nqemu: {cgroup_device_acl: []}\n";

/// What a run may leave otherwise than it was: what it keeps for itself, and what other programs generate.
fn lasting(changes: Vec<String>) -> Vec<String> {
    let own = |path: &String| {
        path.starts_with("/var/lib/reconcile/")
            || path.starts_with("/boot/")
            || path == "/etc/reconcile/host.yaml"
    };
    changes.into_iter().filter(|path| !own(path)).collect()
}

/// The state of every function that a run can change.
fn functions(machine: &Machine) -> Vec<(String, Vec<Option<String>>)> {
    let kernel = machine.kernel();
    let attributes = ["driver_override", "sriov_numvfs", "sriov_drivers_autoprobe"];
    let state = |function: &String| {
        let mut state = vec![kernel.driver_of(function)];
        state.extend(attributes.map(|name| kernel.attribute(function, name)));
        state
    };
    kernel.functions().into_iter().map(|function| (function.clone(), state(&function))).collect()
}

#[test]
fn taking_everything_back_restores_what_was_there() {
    for name in EXAMPLES {
        let machine = Machine::example(name);
        // What the generators make of the files as they are, before we come.
        machine.shell("update-grub");
        let (disk, sysfs): (Disk, _) = (machine.disk(), functions(&machine));
        assert_status(&apply(&machine), REBOOT_PENDING);
        assert_ne!(lasting(disk.content_changes(&machine.disk())), NONE);
        machine.write("etc/reconcile/host.yaml", NOTHING);
        assert_status(&apply(&machine), IN_SYNC);
        assert_eq!(lasting(disk.content_changes(&machine.disk())), NONE, "{name}");
        assert_eq!(functions(&machine), sysfs, "{name}");
        let menu = "/boot/grub/grub.cfg".to_owned();
        assert!(!disk.content_changes(&machine.disk()).contains(&menu), "{name}: another menu than before");
        assert_idempotent(&machine, IN_SYNC);
    }
}

/// Two ports of the adapter for guests as they are, four VFs of a third.
const PORTS: &str = "version: 1\nmodules: [vfio_pci]\n\
                     vfio_pci: {devices: [\"0000:05:00.0\", \"0000:06:00.0\"]}\n\
                     sriov: [{device: \"0000:03:00.0\", vfs: 4, driver: vfio-pci}]\n";

fn ports() -> Machine {
    let machine = Machine::example("hi1822");
    machine.write("etc/reconcile/host.yaml", PORTS);
    machine
}

fn assert_says(run: &Run, words: &[&str]) {
    let said = format!("{}{}", run.stdout, run.stderr);
    for word in words {
        assert!(said.contains(word), "nothing about {word:?}\n{}", run.told());
    }
}

#[test]
fn a_write_that_hangs_is_left_behind_at_its_deadline_while_the_others_go_on() {
    let machine = ports();
    machine.kernel().on_write("drivers/hinic/unbind", "0000:05:00.0", Reaction::Hang);
    let start = Instant::now();
    let run = machine.run(&["--yes"]);
    let took = start.elapsed();
    assert_status(&run, FAILED);
    assert!(took > Duration::from_secs(30) && took < Duration::from_secs(100), "{took:?}\n{}", run.told());
    assert_says(&run, &["/sys/bus/pci/drivers/hinic/unbind has not returned after 60 s", "(pid "]);
    let hung =
        run.events.iter().filter(|event| matches!(event, Event::Attribute { answer: None, .. })).count();
    assert_eq!(hung, 1, "{}", run.told());
    assert_eq!(drivers(&machine, &["0000:06:00.0", "0000:03:00.4"]), ["vfio-pci"; 2], "{}", run.told());
}

#[test]
fn a_function_that_vanishes_between_observing_and_acting_stops_only_itself() {
    let machine = ports();
    let gone = Reaction::After(Box::new(|kernel| kernel.vanish("0000:06:00.0")));
    machine.kernel().on_write("0000:05:00.0/driver_override", "vfio-pci", gone);
    let run = machine.run(&["--yes"]);
    assert_status(&run, FAILED);
    assert_says(&run, &["0000:06:00.0"]);
    assert_eq!(drivers(&machine, &["0000:05:00.0", "0000:03:00.4"]), ["vfio-pci"; 2], "{}", run.told());
    let next = machine.run(&["--yes"]);
    assert_status(&next, FAILED);
    assert_eq!(next.events, [], "{}", next.told());
}

#[test]
fn a_probe_that_fails_is_noticed_although_the_write_succeeded() {
    let machine = ports();
    machine.kernel().fail_probe("0000:05:00.0", "vfio-pci", Errno::EIO);
    let run = machine.run(&["--yes"]);
    assert_status(&run, FAILED);
    assert_says(&run, &["0000:05:00.0"]);
    assert_eq!(
        drivers(&machine, &["0000:05:00.0", "0000:06:00.0", "0000:03:00.4"]),
        ["", "vfio-pci", "vfio-pci"]
    );
}

#[test]
fn a_driver_that_gives_fewer_vfs_is_noticed_although_the_write_succeeded() {
    let machine = ports();
    machine.kernel().limit_vfs("0000:03:00.0", 2);
    let run = machine.run(&["--yes"]);
    assert_status(&run, FAILED);
    assert_says(&run, &["0000:03:00.0"]);
    assert_eq!(machine.kernel().vfs("0000:03:00.0").len(), 2);
    assert_eq!(drivers(&machine, &["0000:05:00.0", "0000:06:00.0"]), ["vfio-pci"; 2]);
}

#[test]
fn a_refused_write_names_its_errno_and_stops_only_what_depends_on_it() {
    let machine = ports();
    machine.kernel().on_write("0000:03:00.0/sriov_numvfs", "4", Reaction::Refuse(Errno::ENOMEM));
    let run = machine.run(&["--yes"]);
    assert_status(&run, FAILED);
    assert_says(&run, &["0000:03:00.0/sriov_numvfs", "Cannot allocate memory"]);
    assert_eq!(drivers(&machine, &["0000:05:00.0", "0000:06:00.0"]), ["vfio-pci"; 2], "{}", run.told());
    assert_status(&machine.run(&["--yes"]), IN_SYNC);
    assert_eq!(machine.kernel().vfs("0000:03:00.0").len(), 4);
}

#[test]
fn a_command_that_fails_stays_owed() {
    let machine = Machine::example("x520");
    machine.kernel().on_write("command", "update-grub", Reaction::Refuse(Errno::EIO));
    let run = machine.run(&["--yes"]);
    assert_status(&run, FAILED);
    assert_says(&run, &["update-grub", "FATAL"]);
    let next = machine.run(&["--yes"]);
    assert_status(&next, REBOOT_PENDING);
    let did: Vec<String> = next.events.iter().map(Event::to_string).collect();
    assert_eq!(did, ["command update-grub"]);
}
