//! Going back on a live machine.

use super::live::{Disk, Event, Machine, Run};
use super::{EXAMPLES, functions};

fn assert_status(run: &Run, status: i32) {
    super::assert_status(run, Some(status));
}

/// What a run may leave otherwise than it was: what it keeps for itself, and what other programs generate.
fn lasting(before: &Disk, after: &Disk) -> Vec<String> {
    let own = |path: &String| path.starts_with("/var/lib/reconcile/") || path.starts_with("/boot/");
    before.changes(after).into_iter().filter(|path| !own(path)).collect()
}

#[test]
fn an_apply_that_is_rolled_back_leaves_files_functions_and_menu_as_they_were() {
    for name in EXAMPLES {
        let machine = Machine::example(name);
        machine.shell("update-grub");
        let (disk, sysfs) = (machine.disk(), functions(&machine));
        let first = machine.run(&["--yes"]);
        assert_status(&first, 3);
        let went = machine.run(&["rollback", "--yes"]);
        assert_eq!(functions(&machine), sysfs, "{name}\n{}", went.told());
        assert_eq!(lasting(&disk, &machine.disk()), Vec::<String>::new(), "{name}\n{}", went.told());
        let menu = "/boot/grub/grub.cfg".to_owned();
        assert!(!disk.content_changes(&machine.disk()).contains(&menu), "{name}: another menu than before");
        assert_status(&went, 0);
        // And on again: what the rollback undid is what a run makes.
        let again = machine.run(&["--yes"]);
        assert_status(&again, 3);
        let effects = |run: &Run| -> Vec<String> {
            // Modules stay loaded, which changes the rounds and so the order.
            let modprobe =
                |event: &&Event| matches!(event, Event::Command { argv, .. } if argv[0] == "modprobe");
            let effects = run.events.iter().filter(|event| !modprobe(event));
            let mut effects: Vec<String> = effects.map(ToString::to_string).collect();
            effects.sort();
            effects
        };
        assert_eq!(effects(&again), effects(&first), "{name}");
    }
}

#[test]
fn a_rollback_after_a_reboot_takes_the_boot_runs_back_too() {
    for name in EXAMPLES {
        let mut machine = Machine::example(name);
        let disk = machine.disk();
        assert_status(&machine.run(&["--yes"]), 3);
        machine.reboot();
        let native = functions(&machine);
        assert_status(&machine.run(&["--boot"]), 0);
        let history = machine.run(&["history"]);
        let went = machine.run(&["rollback", "--yes"]);
        assert_eq!(lasting(&disk, &machine.disk()), Vec::<String>::new(), "{name}\n{}", went.told());
        assert_eq!(functions(&machine), native, "{name}\n{}{}", history.stdout, went.told());
        assert!([Some(0), Some(3)].contains(&went.status), "{}", went.told());
        machine.reboot();
        assert_status(&machine.run(&["rollback", "1", "--yes"]), 0);
    }
}

/// Six VFs where four were ours, then none: going back makes them anew and gives them to guests again.
#[test]
fn vfs_that_come_back_are_given_to_guests_again() {
    let machine = Machine::example("hi1822");
    assert_status(&machine.run(&["--yes"]), 3);
    let before = functions(&machine);
    let document = machine.read("etc/reconcile/host.yaml").unwrap();
    let without = document.replace("vfs: 4", "vfs: 2");
    assert_ne!(document, without);
    machine.write("etc/reconcile/host.yaml", &without);
    assert_status(&machine.run(&["--yes"]), 3);
    assert_ne!(functions(&machine), before);
    let went = machine.run(&["rollback", "--yes"]);
    assert_eq!(functions(&machine), before, "{}", went.told());
    machine.write("etc/reconcile/host.yaml", &document);
    let looked = machine.run(&["--dry-run"]);
    assert_status(&looked, 3);
    assert!(!looked.stdout.contains("to make"), "{}", looked.told());
}

#[test]
fn a_function_that_somebody_has_rebound_since_is_left_alone() {
    let machine = Machine::example("x520");
    assert_status(&machine.run(&["--yes"]), 3);
    machine.shell(
        "echo 0000:41:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind; \
         echo pci-stub > /sys/bus/pci/devices/0000:41:00.0/driver_override",
    );
    let now = functions(&machine);
    let went = machine.run(&["rollback", "--yes"]);
    assert_status(&went, 4);
    assert!(went.stdout.contains("driver_override of 0000:41:00.0 has changed since"), "{}", went.told());
    assert_eq!(functions(&machine), now);
    assert!(machine.read("etc/udev/rules.d/10-reconcile-vfio.rules").is_none(), "files go back all the same");
}
