//! Saved plans on a machine that reacts: the rounds that a plan foresaw, with what could not be known filled in.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs, unreachable_pub)]

#[path = "live/mod.rs"]
mod live;

use live::{Machine, Prediction, Reaction, Run};

const PLAN: &str = "/tmp/plan.json";
const IN_SYNC: Option<i32> = Some(0);
const CHANGES: Option<i32> = Some(2);
const REBOOT_PENDING: Option<i32> = Some(3);
const REFUSED: Option<i32> = Some(4);

fn expect(run: Run, status: Option<i32>) -> Run {
    assert_eq!(run.status, status, "{}", run.told());
    run
}

fn dry_run(machine: &Machine) -> Run {
    expect(machine.run(&["--dry-run", "-o", "json", "--out", PLAN]), CHANGES)
}

fn make(machine: &Machine) -> Run {
    machine.run(&["--plan", PLAN, "--yes"])
}

#[test]
fn a_plan_is_made_as_the_dry_run_said_and_has_nothing_to_do_a_second_time() {
    for name in ["grid-k2", "hi1822", "x520"] {
        let machine = Machine::example(name);
        let prediction = Prediction::of(&dry_run(&machine));
        // Seconds or days later, with other processes and module references.
        assert_eq!(expect(machine.run(&["--plan", PLAN, "--dry-run"]), CHANGES).events, []);
        prediction.assert_done(&machine, &expect(make(&machine), REBOOT_PENDING));
        assert_eq!(expect(make(&machine), REBOOT_PENDING).events, []);
    }
}

/// The adapter with its VFs destroyed: groups are known only after they have been made again.
fn without_vfs() -> Machine {
    let mut machine = Machine::example("hi1822");
    expect(machine.run(&["--yes"]), REBOOT_PENDING);
    machine.reboot();
    expect(machine.run(&["--boot"]), IN_SYNC);
    machine.shell("echo 0 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs");
    machine
}

#[test]
fn groups_that_the_plan_could_not_know_are_filled_in() {
    for first in [60, 98] {
        let machine = without_vfs();
        machine.kernel().number_groups_from(first);
        let prediction = Prediction::of(&dry_run(&machine));
        assert!(machine.read(PLAN).unwrap().contains("<group of 0000:03:00.1>"));
        prediction.assert_done(&machine, &expect(make(&machine), IN_SYNC));
    }
}

#[test]
fn a_later_round_that_differs_is_not_made() {
    let machine = without_vfs();
    machine.kernel().number_groups_from(60);
    dry_run(&machine);
    let conf = machine.path("etc/libvirt/qemu.conf");
    let edit = Reaction::After(Box::new(move |_| {
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, format!("{text}# somebody else\n")).unwrap();
    }));
    machine.kernel().on_write("0000:03:00.0/sriov_numvfs", "4", edit);
    let run = expect(make(&machine), REFUSED);
    assert!(run.stdout.contains("not what the saved plan foresaw"), "{}", run.told());
    let conf = machine.read("etc/libvirt/qemu.conf").unwrap();
    assert!(conf.ends_with("# somebody else\n") && !conf.contains("/dev/vfio/60"), "{conf}");
    // What stands is told, and a new plan makes the rest.
    let again = dry_run(&machine);
    let prediction = Prediction::of(&again);
    prediction.assert_done(&machine, &expect(make(&machine), IN_SYNC));
}

#[test]
fn drift_of_the_running_machine_is_refused_before_anything_is_written() {
    for (drift, words) in [
        ("echo igb > /sys/bus/pci/devices/0000:04:00.0/driver_override", "driver_override"),
        (
            "echo 0000:04:00.0 > /sys/bus/pci/drivers/hinic/unbind",
            "0000:04:00.0/driver was there and is gone",
        ),
        (
            "echo 2 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs",
            "sriov_numvfs was \"0\" and is \"2\" now",
        ),
    ] {
        let machine = Machine::example("hi1822");
        let document = "version: 1\nvfio_pci: {devices: [\"0000:04:00.0\"]}\n\
                        sriov: [{device: \"0000:03:00.0\", vfs: 4, driver: vfio-pci}]\n";
        machine.write("etc/reconcile/host.yaml", document);
        dry_run(&machine);
        machine.shell(drift);
        let run = expect(make(&machine), REFUSED);
        assert!(run.stdout.contains(words), "{words}\n{}", run.told());
        assert_eq!(run.events, []);
    }
}
