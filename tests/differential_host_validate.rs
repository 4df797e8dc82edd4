//! Firmware and kernel facts against `virt-host-validate qemu`, which looks at some of the same: both see the same made-up
//! /sys, /dev and /proc/cpuinfo in a mount namespace of their own.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Hides what is real, then lets both look.
const SCRIPT: &str = "
set -e
mount -t tmpfs sys /sys && cp -r \"$1\"/sys/. /sys/
mount -t tmpfs dev /dev && cp -r \"$1\"/dev/. /dev/
mount --bind \"$1\"/cpuinfo /proc/cpuinfo
mount --bind \"$1\"/cmdline /proc/cmdline
virt-host-validate qemu > \"$1\"/theirs || true
\"$2\" status -o json -c \"$1\"/host.yaml > \"$1\"/ours || true
";

/// What a host shows.
struct World {
    flags: &'static str,
    table: Option<&'static str>,
    iommu: Option<&'static str>,
    kvm: bool,
    arguments: &'static str,
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Whether each thing is in order, by their words and by ours.
fn both(world: &World) -> (BTreeMap<String, bool>, BTreeMap<String, Value>) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let vendor = if world.flags.contains("svm") { "AuthenticAMD" } else { "GenuineIntel" };
    let cpuinfo = format!("processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {}\n", world.flags);
    write(&root.join("cpuinfo"), &cpuinfo);
    write(&root.join("cmdline"), world.arguments);
    write(&root.join("host.yaml"), "version: 1\nmodules: []\n");
    write(&root.join("dev/null"), "");
    for directory in ["sys/class/iommu", "sys/kernel/iommu_groups", "sys/firmware/acpi/tables"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    write(&root.join("sys/firmware/acpi/tables/FACP"), "");
    if let Some(table) = world.table {
        write(&root.join("sys/firmware/acpi/tables").join(table), "");
    }
    if let Some(unit) = world.iommu {
        write(&root.join("sys/class/iommu").join(unit).join("uevent"), "");
        for group in ["0", "1", "2"] {
            write(&root.join("sys/kernel/iommu_groups").join(group).join("type"), "DMA\n");
        }
    }
    if world.kvm {
        write(&root.join("dev/kvm"), "");
    }
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", SCRIPT, "sh"])
        .arg(root)
        .arg(env!("CARGO_BIN_EXE_reconcile"))
        .status()
        .expect("unshare runs (package util-linux)");
    assert!(status.success(), "a private mount namespace (this test needs root)");
    let theirs = fs::read_to_string(root.join("theirs")).unwrap();
    assert!(theirs.contains("QEMU:"), "virt-host-validate runs (package libvirt-clients): {theirs}");
    let theirs = theirs.lines().filter_map(|line| {
        let (what, verdict) =
            line.split_once("Checking ")?.1.rsplit_once(" : ").or_else(|| line.split_once(" : "))?;
        Some((what.trim_start_matches("Checking ").trim().to_owned(), verdict.starts_with("PASS")))
    });
    let theirs: BTreeMap<String, bool> = theirs.collect();
    let ours: Value = serde_json::from_slice(&fs::read(root.join("ours")).unwrap()).expect("a report");
    let facts = ours["facts"].as_array().expect("facts").iter();
    let facts = facts.map(|fact| (fact["fact"].as_str().unwrap().to_owned(), fact.clone())).collect();
    (theirs, facts)
}

#[test]
fn both_say_the_same_of_the_same_host() {
    let intel = World {
        flags: "fpu vmx nx",
        table: Some("DMAR"),
        iommu: Some("dmar0"),
        kvm: true,
        arguments: "ro intel_iommu=on",
    };
    let amd = World { flags: "fpu svm", table: Some("IVRS"), iommu: Some("ivhd0"), arguments: "ro", ..intel };
    let worlds = [
        World { ..intel },
        World { iommu: None, ..intel },
        World { iommu: None, arguments: "ro quiet", ..intel },
        World { iommu: None, table: None, ..intel },
        World { kvm: false, ..intel },
        World { kvm: false, iommu: None, table: None, ..intel },
        World { flags: "fpu nx", ..intel },
        World { ..amd },
        World { iommu: None, arguments: "ro amd_iommu=off", ..amd },
        World { iommu: None, table: None, ..amd },
        World { kvm: false, ..amd },
    ];
    let mut compared = 0;
    for world in &worlds {
        let (theirs, ours) = both(world);
        let good = |fact: &str| ours[fact]["state"] == "good";
        let mut same = |what: &str, ours_says: bool| {
            if let Some(theirs_says) = theirs.get(what) {
                compared += 1;
                assert_eq!(*theirs_says, ours_says, "{what}: theirs {theirs:?}, ours {ours:#?}");
            }
        };
        same("for hardware virtualization", ours["kvm"]["code"] != "no-virtualisation");
        same("if device /dev/kvm exists", good("kvm"));
        same("if IOMMU is enabled by kernel", good("iommu"));
        same("for cgroup 'devices' controller support", good("cgroup"));
        // Without vmx or svm it does not know which table to look for; the table itself tells us.
        if world.flags.contains("vm") {
            same("for device assignment IOMMU support", good("iommu-table"));
        }
        for fact in ours.values() {
            let failing = fact["state"] == "fails";
            assert!(!failing || fact["remedy"].is_string(), "a failing fact has a remedy: {fact}");
        }
    }
    assert!(compared > 40, "compared only {compared} answers");
}
