//! Both places.

use super::Proxmox;
use crate::boot::BootChain;
use crate::boot::tests::{host, wish};

const CMDLINE: (&str, &str) = ("/etc/kernel/cmdline", "root=a\nsecond line\n");
const GRUB: (&str, &str) = ("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"iommu=pt\"\n");

#[test]
fn both_menus_get_what_they_lack() {
    let mut host = host(&[CMDLINE, GRUB]);
    let edits = wish(&Proxmox, &mut host, &["iommu=pt", "quiet"], &[], &[]).unwrap();
    assert_eq!(edits.steps.len(), 2);
    assert_eq!(edits.ours, ["quiet".parse().unwrap()]);
    let lines = Proxmox.persisted(&Proxmox.sources(&host).unwrap()).unwrap().lines;
    let lines: Vec<Vec<String>> =
        lines.iter().map(|line| line.args().iter().map(ToString::to_string).collect()).collect();
    assert_eq!(lines, [vec!["root=a", "iommu=pt", "quiet"], vec!["iommu=pt", "quiet"]]);
}

#[test]
fn a_first_line_without_root_is_refused() {
    let refused =
        |text: &str| Proxmox.sources(&host(&[("/etc/kernel/cmdline", text)])).unwrap().refused.len();
    assert_eq!((refused("quiet\nroot=a\n"), refused("root=a\n")), (1, 0));
    assert_eq!(Proxmox.sources(&host(&[])).unwrap().refused[0].code, "cmdline-unknown");
}
