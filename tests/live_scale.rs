//! Several hundred VFs at boot: what one more costs. Counts, which no busy machine can change.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs, unreachable_pub)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "live/mod.rs"]
mod live;
#[path = "support/trace.rs"]
mod trace;

use std::path::Path;

use live::Machine;
use live::machine::BINARY;
use live::sample::{function, put};

const PFS: [&str; 4] = ["0000:a0:00.0", "0000:a1:00.0", "0000:a2:00.0", "0000:a3:00.0"];

/// NVMe controllers as QEMU has them.
fn add_pfs(root: &Path) {
    for (at, pf) in PFS.iter().enumerate() {
        let above = format!("pci0000:a{at}");
        let (id, group) = (["0x1b36", "0x0010", "0x010802"], (200 + at).to_string());
        function(root, &above, pf, id, &group, Some("nvme"));
        let directory = root.join("sys/devices").join(above).join(pf);
        for (name, value) in [
            ("modalias", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02"),
            ("subsystem_vendor", "0x1af4"),
            ("subsystem_device", "0x1100"),
            ("sriov_totalvfs", "127"),
            ("sriov_numvfs", "0"),
            ("sriov_offset", "1"),
            ("sriov_stride", "1"),
            ("sriov_vf_device", "0010"),
            ("sriov_drivers_autoprobe", "1"),
        ] {
            put(&directory.join(name), value);
        }
    }
}

fn machine(vfs: usize) -> Machine {
    let machine = Machine::example_with("x520", add_pfs);
    let entry = |pf: &&str| format!("{{device: \"{pf}\", vfs: {vfs}, driver: vfio-pci}}");
    let entries: Vec<String> = PFS.iter().map(entry).collect();
    let document = format!("version: 1\nmodules: [vfio_pci]\nsriov: [{}]\n", entries.join(", "));
    machine.write("etc/reconcile/host.yaml", document);
    machine
}

/// The system calls of the boot unit's run, its children's among them.
fn boot(machine: &Machine) -> usize {
    let root = machine.path("/").to_str().unwrap().to_owned();
    trace::calls(&["chroot".to_owned(), root, BINARY.to_owned(), "--boot".to_owned()]).len()
}

/// Prints what the boot unit's run of `vfs` VFs for each of four PFs costs, to make and to find them made.
fn costs(vfs: usize) -> (usize, usize) {
    let machine = machine(vfs);
    let making = boot(&machine);
    for pf in PFS {
        let made = machine.kernel().vfs(pf);
        assert_eq!(made.len(), vfs);
        assert!(made.iter().all(|vf| machine.kernel().driver_of(vf).as_deref() == Some("vfio-pci")));
    }
    (making, boot(&machine))
}

fn assert_costs(few: usize, many: usize, most: (f64, f64)) {
    let (before, after) = (costs(few), costs(many));
    let further = (PFS.len() * (many - few)) as f64;
    let making = (after.0 - before.0) as f64 / further;
    let looking = (after.1 - before.1) as f64 / further;
    println!(
        "{} VFs: {} calls to make, {} to look; {making:.1} and {looking:.1} for one more",
        PFS.len() * many,
        after.0,
        after.1
    );
    assert!(
        making <= most.0 && looking <= most.1,
        "one VF more costs {making:.1} calls to make and {looking:.1} to look"
    );
}

/// Of a VF that is made: two looks at it, two writes with their notes, each by a child that waits for the next, and the
/// override of one that has no driver, read by a child as well.
const MOST: (f64, f64) = (115.0, 30.0);

#[test]
fn a_vf_costs_the_same_calls_however_many_there_are() {
    assert_costs(2, 10, MOST);
}

#[test]
#[ignore = "a minute: cargo test --test live_scale -- --ignored --nocapture"]
fn five_hundred_vfs() {
    assert_costs(10, 127, MOST);
}
