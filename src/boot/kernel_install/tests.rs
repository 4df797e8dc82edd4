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
fn the_command_is_the_one_that_finds_this_hosts_kernels() {
    let program = |text| ("/usr/bin/kernel-install", text);
    let (old, new) = (program("add remove inspect"), program("\u{7f}ELF add-all"));
    let beside = ("/usr/lib/modules/6.1/vmlinuz", "");
    assert_eq!(command(&[]), "kernel-install add-all");
    assert_eq!(command(&[new, ENTRY, beside]), "kernel-install add-all");
    assert_eq!(command(&[old, ENTRY, beside]), "kernel-install add 6.1 /usr/lib/modules/6.1/vmlinuz");
    // Debian has none beside its modules, and add-all then makes nothing.
    let debian = ("/boot/vmlinuz-6.1", "");
    assert_eq!(command(&[new, ENTRY, debian]), "kernel-install add 6.1 /boot/vmlinuz-6.1");
    let second = ("/boot/loader/entries/id-6.2.conf", "options root=a\nlinux /id/6.2/linux\n");
    let several = [new, ENTRY, debian, second, ("/boot/vmlinuz-6.2", "")];
    let told = command(&several);
    assert!(told.contains("kernel-install add 6.1 /boot/vmlinuz-6.1; kernel-install add 6.2"), "{told}");
    for hook in super::UPDATE_INITRAMFS_HOOKS {
        // dracut's hosts have systemd-boot's hook and nothing that runs it.
        let hooked: Vec<_> = several.into_iter().chain([(hook, "")]).collect();
        assert_eq!(command(&hooked), told);
        let hooked: Vec<_> = hooked.into_iter().chain([("/usr/sbin/update-initramfs", "")]).collect();
        assert_eq!(command(&hooked), "update-initramfs -u -k all");
    }
    assert!(command(&[old, ENTRY]).contains("kernel-install-singly"));
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
