//! The template and the entries that are made from it.

use super::{KernelInstall, entry_options};
use crate::boot::tests::host;
use crate::boot::{BootChain, Judged, predict_command};
use crate::engine::Means;

const ENTRY: (&str, &str) = (
    "/boot/loader/entries/id-6.1.conf",
    "title x\noptions    root=a ro systemd.machine_id=id\nlinux /id/6.1/linux\n",
);

fn command(files: &[(&str, &str)]) -> String {
    match KernelInstall.regenerate(&host(files)).unwrap() {
        Means::Command(argv) => argv.join(" "),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_command_is_the_one_that_this_systemd_knows() {
    let old = ("/usr/bin/kernel-install", "add remove inspect");
    assert_eq!(command(&[]), "kernel-install add-all");
    assert_eq!(command(&[("/usr/bin/kernel-install", "\u{7f}ELF add-all")]), "kernel-install add-all");
    assert_eq!(
        command(&[old, ("/etc/initramfs/post-update.d/systemd-boot", "")]),
        "update-initramfs -u -k all"
    );
    assert_eq!(command(&[old, ENTRY, ("/boot/vmlinuz-6.1", "")]), "kernel-install add 6.1 /boot/vmlinuz-6.1");
    assert!(command(&[old, ENTRY]).contains("kernel-install-old"));
}

#[test]
fn an_entry_gets_one_line_and_the_machines_id() {
    assert_eq!(entry_options(b"# c\n root=a\t ro\n  b\n", Some("id")), b"root=a ro b systemd.machine_id=id");
    assert_eq!(entry_options(b"a systemd.machine_id=x\n", Some("id")), b"a systemd.machine_id=x");
    assert_eq!(entry_options(b"a\n", None), b"a");
}

#[test]
fn entries_are_predicted_and_those_written_by_hand_stay() {
    let mine = ("/boot/loader/entries/mine.conf", "title mine\nlinux /mine\noptions root=a\n");
    let host =
        host(&[ENTRY, mine, ("/etc/machine-id", "id\n"), ("/etc/kernel/cmdline", "root=a ro iommu=pt\n")]);
    let predicted = predict_command(&host, &["kernel-install".to_owned(), "add-all".to_owned()]);
    let expected = ENTRY.1.replace("ro systemd", "ro iommu=pt systemd").into_bytes();
    assert_eq!(predicted, [(ENTRY.0.into(), expected)]);
    let entries = KernelInstall.entries(&host).unwrap().unwrap();
    assert!(matches!(entries[1].judged, Judged::Exempt(_)) && entries[0].judged == Judged::Ours);
}
