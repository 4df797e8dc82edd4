//! One file, edited in place.

use std::path::Path;

use super::GrubInPlace;
use crate::boot::tests::{host, wish};
use crate::boot::{BootChain, predict_command};
use crate::engine::Means;
use crate::host::ReadHost;

const GRUB: &str = "/etc/default/grub";
const EULER: (&str, &str) = ("/etc/os-release", "ID=\"openEuler\"\n");

/// The file after arguments were wished for, and gone.
fn edited(before: &str, present: &[&str], absent: &[&str], gone: &[&str]) -> Result<String, String> {
    let mut host = host(&[EULER, (GRUB, before)]);
    let edits = wish(&GrubInPlace, &mut host, present, absent, gone)
        .map_err(|objection| objection.chain[0].code.to_string())?;
    assert!(edits.steps.len() <= 1);
    let again = wish(&GrubInPlace, &mut host, present, absent, gone).unwrap();
    assert_eq!(again.steps, [], "the second time nothing changes");
    Ok(String::from_utf8(host.read(Path::new(GRUB)).unwrap().unwrap_or_default()).unwrap())
}

fn added(before: &str) -> String {
    edited(before, &["iommu=pt", "a=\"b c\""], &[], &[]).unwrap()
}

#[test]
fn arguments_are_added_where_the_value_stands() {
    let name = "GRUB_CMDLINE_LINUX_DEFAULT";
    for (before, after) in [
        ("=\"quiet\" # c\nX=1", "=\"quiet iommu=pt a=\\\"b c\\\"\" # c\nX=1"),
        ("=\"\"\n", "=\"iommu=pt a=\\\"b c\\\"\"\n"),
        ("='quiet'\n", "='quiet iommu=pt a=\"b c\"'\n"),
        ("=quiet\n", "=\"quiet iommu=pt a=\\\"b c\\\"\"\n"),
        ("=\n", "=\"iommu=pt a=\\\"b c\\\"\"\n"),
        ("=\"quiet \\\n  splash\"\n", "=\"quiet \\\n  splash iommu=pt a=\\\"b c\\\"\"\n"),
        ("=\"q -- b\"\n", "=\"q iommu=pt a=\\\"b c\\\" -- b\"\n"),
        (
            "=q\\ b\n",
            "=q\\ b\nGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt a=\\\"b c\\\"\"\n",
        ),
    ] {
        assert_eq!(added(&format!("T=5\n{name}{before}")), format!("T=5\n{name}{after}"));
    }
}

#[test]
fn the_variable_that_is_set_is_taken() {
    assert_eq!(
        added("GRUB_CMDLINE_LINUX=\"quiet\"\n"),
        "GRUB_CMDLINE_LINUX=\"quiet iommu=pt a=\\\"b c\\\"\"\n"
    );
    let both = "GRUB_CMDLINE_LINUX_DEFAULT=\"q\"\nGRUB_CMDLINE_LINUX=\"r\"\n";
    assert_eq!(edited(both, &["x"], &[], &[]).unwrap(), both.replace("\"q\"", "\"q x\""));
    assert_eq!(added(""), "GRUB_CMDLINE_LINUX_DEFAULT=\"iommu=pt a=\\\"b c\\\"\"\n");
    assert_eq!(edited("A=1", &["x"], &[], &[]).unwrap(), "A=1\nGRUB_CMDLINE_LINUX_DEFAULT=\"x\"\n");
}

#[test]
fn what_is_ours_goes_and_what_is_in_the_way_is_replaced() {
    let file = "GRUB_CMDLINE_LINUX=\"crashkernel=512M a=0 iommu=pt quiet\"\n";
    assert_eq!(
        edited(file, &["a=1"], &["quiet"], &["iommu=pt"]).unwrap(),
        "GRUB_CMDLINE_LINUX=\"crashkernel=512M a=1\"\n"
    );
}

#[test]
fn what_only_a_run_can_tell_is_refused() {
    assert_eq!(edited("GRUB_CMDLINE_LINUX=$(x)\n", &["a"], &[], &[]), Err("arguments-uncertain".to_owned()));
    let shared = "A=quiet\nGRUB_CMDLINE_LINUX=$A\nGRUB_CMDLINE_LINUX_DEFAULT=$A\n";
    assert!(
        edited(shared, &["x"], &[], &[]).unwrap().contains("DEFAULT=\"$A x\""),
        "the other use of A stays"
    );
}

const MENU: &str = "### BEGIN /etc/grub.d/10_linux ###\nmenuentry 'x' $menuentry_id_option 'gnulinux-5.10-advanced-u' {\n\tlinux\t/vmlinuz root=UUID=u ro quiet\n}\n### END /etc/grub.d/10_linux ###\n";

#[test]
fn the_menu_is_found_where_the_distribution_puts_it() {
    let command = |files: &[(&str, &str)]| match GrubInPlace.regenerate(&host(files)).unwrap() {
        Means::Command(argv) => argv.join(" "),
        other => format!("{other:?}"),
    };
    let euler = "/boot/efi/EFI/openEuler/grub.cfg";
    assert_eq!(command(&[EULER, (euler, MENU)]), format!("grub2-mkconfig -o {euler}"));
    let stub = (
        "/boot/efi/EFI/fedora/grub.cfg",
        "search --set=dev x\nset prefix=($dev)/grub2\nconfigfile $prefix/grub.cfg\n",
    );
    assert_eq!(command(&[stub, ("/boot/grub2/grub.cfg", MENU)]), "grub2-mkconfig -o /boot/grub2/grub.cfg");
    assert_eq!(command(&[("/boot/grub/grub.cfg", MENU)]), "grub-mkconfig -o /boot/grub/grub.cfg");
    assert_eq!(command(&[("/usr/bin/grub-mkconfig", "")]), "grub-mkconfig -o /boot/grub/grub.cfg");
    let both = [(euler, MENU), ("/boot/grub2/grub.cfg", MENU)];
    assert!(command(&both).contains("boot-menu-ambiguous"));
    let firmware = [both[0], both[1], ("/sys/firmware/efi/fw_platform_size", "64\n")];
    assert_eq!(command(&firmware), format!("grub2-mkconfig -o {euler}"));
}

#[test]
fn the_menu_is_predicted_for_its_own_command_only() {
    let menu = "/boot/grub2/grub.cfg";
    let host = host(&[EULER, (GRUB, "GRUB_CMDLINE_LINUX=\"quiet iommu=pt\"\n"), (menu, MENU)]);
    let predicted =
        |command: &str| predict_command(&host, &command.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let expected = MENU.replace("ro quiet", "ro quiet iommu=pt ");
    assert_eq!(predicted("grub2-mkconfig -o /boot/grub2/grub.cfg"), [(menu.into(), expected.into_bytes())]);
    assert_eq!(predicted("grub2-mkconfig -o /tmp/x"), []);
}
