//! What u-boot-update makes of its files.

use std::path::Path;

use super::{MENU, UBootMenu, without_root};
use crate::boot::tests::{host, wish};
use crate::boot::{BootChain, predict_command};
use crate::host::ReadHost;

const LABELS: &str =
    "# u-boot-update\nlabel l0\n\tappend root=/dev/a ro quiet\n\nlabel l0r\n\tappend root=/dev/a ro single\n";

#[test]
fn the_programs_own_default_is_said_once_something_is_added_to_it() {
    let mut host = host(&[("/etc/default/u-boot", "#U_BOOT_PARAMETERS=\"x\""), (MENU, LABELS)]);
    let given = UBootMenu.persisted(&UBootMenu.sources(&host).unwrap()).unwrap();
    assert_eq!(given.lines[0].args().len(), 2);
    assert_eq!(wish(&UBootMenu, &mut host, &["quiet"], &[], &[]).unwrap().steps, []);
    wish(&UBootMenu, &mut host, &["iommu.passthrough=1"], &[], &[]).unwrap();
    let text = host.text(Path::new("/etc/default/u-boot")).unwrap().unwrap();
    assert_eq!(text, "#U_BOOT_PARAMETERS=\"x\"\nU_BOOT_PARAMETERS=\"ro quiet iommu.passthrough=1\"");
    let predicted = predict_command(&host, &["u-boot-update".to_owned()]);
    let expected = LABELS
        .replace("ro quiet", "ro quiet iommu.passthrough=1")
        .replace("ro single", "ro iommu.passthrough=1 single");
    assert_eq!(String::from_utf8_lossy(&predicted[0].1), expected);
}

#[test]
fn root_is_taken_out_as_sed_does() {
    assert_eq!(without_root("root=/dev/a ro  b"), "ro  b");
    assert_eq!(without_root("ro root=/dev/a b"), "ro  b");
    assert_eq!(without_root("ro"), "ro");
}
