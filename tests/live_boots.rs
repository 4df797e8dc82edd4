//! Boots that do not reach their target, and the switches of the unit, on a machine that reacts.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs, unreachable_pub)]

#[path = "live/mod.rs"]
mod live;

use live::{Event, Machine, Reaction, Run};

const IN_SYNC: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const REFUSED: Option<i32> = Some(4);

const DOCUMENT: &str = "version: 1\nsriov: [{device: \"0000:03:00.0\", vfs: 4, driver: vfio-pci}]\n";

fn machine() -> Machine {
    let machine = Machine::example("hi1822");
    machine.write("etc/reconcile/host.yaml", DOCUMENT);
    machine
}

fn expect(run: Run, status: Option<i32>) -> Run {
    assert_eq!(run.status, status, "{}", run.told());
    run
}

/// A boot in which the unit begins its change, and that ends before its target.
fn lost_boot(machine: &mut Machine) {
    machine.reboot();
    let run = expect(machine.run(&["--boot", "--wait", "0"]), IN_SYNC);
    assert!(!run.events.is_empty(), "{}", run.told());
}

#[test]
fn what_two_boots_did_not_survive_is_left_out_of_the_third_until_a_run_by_hand() {
    let mut machine = machine();
    lost_boot(&mut machine);
    lost_boot(&mut machine);
    for _ in 0..2 {
        machine.reboot();
        let run = expect(machine.run(&["--boot", "--wait", "0"]), REFUSED);
        assert_eq!(run.events, []);
        assert!(run.stderr.contains("2 boots have begun it"), "{}", run.told());
    }
    let status = machine.run(&["status"]);
    assert!(status.stdout.contains("none of them reached its target"), "{}", status.told());
    assert_eq!(machine.kernel().vfs("0000:03:00.0").len(), 0);
    // By hand it succeeds, so the next boot makes it again.
    expect(machine.run(&["--yes"]), IN_SYNC);
    lost_boot(&mut machine);
    assert_eq!(machine.kernel().vfs("0000:03:00.0").len(), 4);
}

#[test]
fn a_boot_that_reaches_its_target_clears_what_is_noted() {
    let mut machine = machine();
    for _ in 0..4 {
        lost_boot(&mut machine);
        expect(machine.run(&["booted"]), IN_SYNC);
    }
    lost_boot(&mut machine);
    lost_boot(&mut machine);
    machine.reboot();
    expect(machine.run(&["--boot", "--wait", "0"]), REFUSED);
}

#[test]
fn another_document_has_its_own_chances() {
    let mut machine = machine();
    lost_boot(&mut machine);
    lost_boot(&mut machine);
    machine.write("etc/reconcile/host.yaml", DOCUMENT.replace("vfs: 4", "vfs: 2"));
    lost_boot(&mut machine);
    assert_eq!(machine.kernel().vfs("0000:03:00.0").len(), 2);
}

/// The unit is killed, or the machine stops, in the middle of the write: the note is there before.
#[test]
fn a_boot_is_noted_before_the_change_is_begun() {
    let mut machine = machine();
    for _ in 0..2 {
        machine.reboot();
        machine.kernel().on_write("0000:03:00.0/sriov_numvfs", "4", Reaction::Hang);
        let mut child =
            machine.command(live::machine::BINARY).args(["--boot", "--wait", "0"]).spawn().unwrap();
        let started = std::time::Instant::now();
        let hangs = |event: &Event| matches!(event, Event::Attribute { answer: None, .. });
        while !machine.kernel().take_events().iter().any(hangs) {
            assert!(started.elapsed().as_secs() < 30, "the write was never begun");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    machine.reboot();
    expect(machine.run(&["--boot", "--wait", "0"]), REFUSED);
}

#[test]
fn two_switches_keep_the_unit_from_doing_anything() {
    let machine = machine();
    machine.write("etc/reconcile/disabled", "");
    let run = expect(machine.run(&["--boot"]), IN_SYNC);
    assert!(run.stdout.contains("switched off: /etc/reconcile/disabled is there"), "{}", run.told());
    assert_eq!(run.events, []);
    machine.shell("rm /etc/reconcile/disabled");
    machine.kernel().tree.put_file("/proc/cmdline", "quiet reconcile.disable=1\n", 0o444);
    let run = expect(machine.run(&["--boot"]), IN_SYNC);
    assert!(run.stdout.contains("reconcile.disable=1") && run.events.is_empty(), "{}", run.told());
    // An operator's own run is not switched off.
    expect(machine.run(&["--yes"]), IN_SYNC);
    assert_eq!(machine.kernel().vfs("0000:03:00.0").len(), 4);
}

#[test]
fn a_second_run_leaves_a_function_alone_on_which_a_write_still_hangs() {
    let machine = machine();
    let document = format!("{DOCUMENT}vfio_pci: {{devices: [\"0000:05:00.0\"]}}\n");
    machine.write("etc/reconcile/host.yaml", document);
    machine.kernel().on_write("0000:03:00.0/sriov_numvfs", "4", Reaction::Hang);
    let mut child = machine.command(live::machine::BINARY).arg("--yes").spawn().unwrap();
    let started = std::time::Instant::now();
    let notes = machine.path("run/reconcile/writes");
    let note = || {
        let mut notes = std::fs::read_dir(&notes).ok()?.flatten();
        notes.find(|note| std::fs::read_to_string(note.path()).unwrap().contains("sriov_numvfs\n4\n"))
    };
    let pid = loop {
        if let Some(note) = note() {
            break note.file_name().into_string().unwrap();
        }
        assert!(started.elapsed().as_secs() < 30, "nothing was noted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    // This machine's /proc has no processes of its own.
    let words = "reconcile\0__attribute-writer\0/\0";
    machine.kernel().tree.put_file(&format!("/proc/{pid}/cmdline"), words, 0o444);
    for arguments in [&["--yes"][..], &["status"], &["--dry-run"]] {
        let run = expect(machine.run(arguments), FAILED);
        assert!(run.stdout.contains(&format!("sriov_numvfs has not returned (pid {pid}")), "{}", run.told());
        let again =
            |event: &Event| matches!(event, Event::Attribute { path, .. } if path.contains("sriov_numvfs"));
        assert!(!run.events.iter().any(again), "{}", run.told());
    }
    assert_eq!(machine.kernel().driver_of("0000:05:00.0").as_deref(), Some("vfio-pci"), "others go on");
}
