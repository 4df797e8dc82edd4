//! What the host itself uses is refused outright: neither now nor for the next boot does a file give it away.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use support::command::{RECONCILE, bare, outcome_of};
use support::{only_ours, workplace};

/// Applies a document to a copy of the example `x520`, whose default route leaves by 0000:01:00.0 (8086:1521), and
/// returns every file below /etc that tells the next boot what vfio-pci takes.
fn files_after(document: &str) -> String {
    let place = workplace("x520");
    let path = place.path().join("host.yaml");
    fs::write(&path, format!("version: 1\n{document}\n")).unwrap();
    only_ours(&path);
    let run = ["--yes", "--root", "host", "-c", "host.yaml"];
    let outcome = outcome_of(bare(RECONCILE, place.path()).args(run)).expect(4);
    assert!(outcome.stdout.contains("the IPv4 default route leaves by"), "{}", outcome.stdout);
    outcome_of(bare(RECONCILE, place.path()).args(run)).expect(4);
    let own = [
        "udev/rules.d/10-reconcile-vfio.rules",
        "modprobe.d/zz-reconcile-vfio-pci.conf",
        "default/grub.d/zz-reconcile.cfg",
    ];
    let texts =
        own.map(|file| fs::read_to_string(place.path().join("host/etc").join(file)).unwrap_or_default());
    texts.concat()
}

#[test]
fn a_binding_has_no_rule_for_the_next_boot_either() {
    let files = files_after("vfio_pci: {devices: [\"0000:01:00.0\", \"0000:41:00.0\"]}");
    assert!(files.contains("0000:41:00.0") && !files.contains("0000:01:00.0"), "{files}");
}

#[test]
fn an_id_is_not_claimed_at_the_next_boot_either() {
    let files = files_after("vfio_pci: {ids: [\"8086:1521\", \"8086:154d\"]}");
    assert!(
        files.contains("ids=8086:154d\n") && !files.contains("8086:1521") && !files.contains("softdep igb "),
        "{files}"
    );
    assert_eq!(files_after("vfio_pci: {ids: [\"8086:1521\"]}"), "");
}

#[test]
fn a_pf_that_keeps_its_vfs_is_not_claimed_by_id_at_the_next_boot() {
    let place = workplace("x520");
    let path = place.path().join("host.yaml");
    fs::write(
        &path,
        "version: 1\nvfio_pci: {ids: [\"8086:154d\"]}\nsriov: [{device: \"0000:41:00.0\", vfs: 2}]\n",
    )
    .unwrap();
    only_ours(&path);
    outcome_of(bare(RECONCILE, place.path()).args(["--yes", "--root", "host", "-c", "host.yaml"])).expect(4);
    assert!(!place.path().join("host/etc/modprobe.d/zz-reconcile-vfio-pci.conf").exists());
}
