//! The chain over whole trees.

use std::path::Path;

use crate::boot::{BootChain, Judged, Persisted, Sources, Wish, predict_command};
use crate::host::{EmptyHost, Host, Reach, ReadHost, SimulatedHost};
use crate::plan::{Objection, Step};
use crate::types::KernelArg;

use super::{GrubD, OWN_DROP_IN};

const EMPTY: &EmptyHost = &EmptyHost(Reach::Tree);

fn host(files: &[(&str, &str)]) -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(EMPTY);
    files.iter().for_each(|(path, text)| host.put_file(path, *text));
    host
}

fn sources(host: &SimulatedHost<'_>) -> Sources {
    GrubD.sources(host).unwrap()
}

fn persisted(files: &[(&str, &str)]) -> Persisted {
    GrubD.persisted(&sources(&host(files))).unwrap()
}

fn args(texts: &[&str]) -> Vec<KernelArg> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn wish(host: &mut SimulatedHost<'_>, present: &[&str], absent: &[&str]) -> Result<Vec<Step>, Objection> {
    let (present, absent) = (args(present), args(absent));
    let edits = GrubD.edits(&sources(host), &Wish { present: &present, absent: &absent, gone: &[] })?;
    edits.steps.iter().for_each(|step| host.execute(step).unwrap());
    Ok(edits.steps)
}

fn own(host: &SimulatedHost<'_>) -> Option<String> {
    host.text(Path::new(OWN_DROP_IN)).unwrap()
}

const GRUB: &str = "/etc/default/grub";

#[test]
fn files_are_read_in_the_glob_order_and_the_menu_line_begins_with_linux() {
    let given = persisted(&[
        (GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"root\"\n"),
        ("/etc/default/grub.d/b.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT b\"\n"),
        ("/etc/default/grub.d/B.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT B\"\n"),
        ("/etc/default/grub.d/.c.cfg", "GRUB_CMDLINE_LINUX=no\n"),
        ("/etc/default/grub.d/d.cfg.bak", "GRUB_CMDLINE_LINUX=no\n"),
    ]);
    let given: Vec<_> = given.given().map(|given| (given.arg.to_string(), given.at.as_str())).collect();
    let expected = [
        ("root", "/etc/default/grub:2"),
        ("quiet", "/etc/default/grub:1"),
        ("B", "/etc/default/grub.d/B.cfg:1"),
        ("b", "/etc/default/grub.d/b.cfg:1"),
    ];
    assert_eq!(given, expected.map(|(arg, at)| (arg.to_owned(), at)));
}

#[test]
fn what_cannot_be_told_names_file_line_and_reason() {
    let text = "A=1\nif [ -d /x ]; then\n  GRUB_CMDLINE_LINUX=a\nfi\n";
    let reasons = GrubD.persisted(&sources(&host(&[(GRUB, text)]))).unwrap_err();
    assert_eq!(reasons[1].at.as_deref(), Some("/etc/default/grub:3"));
    assert!(reasons[1].text.contains("in a conditional"), "{reasons:?}");
    let reasons = GrubD.persisted(&sources(&host(&[(GRUB, "GRUB_CMDLINE_LINUX='a;b'\n")]))).unwrap_err();
    assert_eq!(reasons[0].code, "arguments-unreadable");
    assert_eq!(reasons[0].at.as_deref(), Some("/etc/default/grub:1"));
}

#[test]
fn the_drop_in_holds_what_nobody_else_gives() {
    let mut host = host(&[(GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=on,sm_on\"\n")]);
    wish(&mut host, &["intel_iommu=on", "iommu=pt", "a=\"b c\"", "d=$e"], &[]).unwrap();
    let expected = r#"# Managed by reconcile: changes here are overwritten.
GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt a=\"b c\" d=\\\$e""#;
    assert_eq!(own(&host).as_deref(), Some(expected));
    assert_eq!(wish(&mut host, &["intel_iommu=on", "iommu=pt", "a=\"b c\"", "d=$e"], &[]).unwrap(), []);
    // What it gives stays in it, also when somebody else gives it, too.
    host.put_file(GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=on iommu=pt\"\n");
    assert_eq!(wish(&mut host, &["intel_iommu=on", "iommu=pt", "a=\"b c\"", "d=$e"], &[]).unwrap(), []);
    // Nothing wished for: it goes.
    let steps = wish(&mut host, &[], &[]).unwrap();
    assert!(matches!(steps.as_slice(), [Step::RemoveFile { .. }]));
    assert_eq!(own(&host), None);
}

#[test]
fn wished_arguments_come_before_a_bare_double_dash() {
    let mut host = host(&[(GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet -- single\"\n")]);
    wish(&mut host, &["iommu=pt"], &[]).unwrap();
    assert!(own(&host).unwrap().ends_with("=\"iommu=pt $GRUB_CMDLINE_LINUX_DEFAULT\""));
    host.put_file(GRUB, "GRUB_CMDLINE_LINUX=\"quiet -- single\"\n");
    let objection = wish(&mut host, &["iommu=pt"], &[]).unwrap_err();
    assert_eq!(objection.chain[0].code, "arguments-hidden");
    assert_eq!(objection.chain[0].at.as_deref(), Some("/etc/default/grub:1"));
}

#[test]
fn a_later_file_that_forgets_ours_is_refused() {
    let late = "/etc/default/grub.d/zzz.cfg";
    let mut host = host(&[(GRUB, ""), (late, "A=1\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n")]);
    let objection = wish(&mut host, &["iommu=pt"], &[]).unwrap_err();
    assert_eq!(objection.chain[0].code, "drop-in-overridden");
    assert_eq!(objection.chain[0].at.as_deref(), Some("/etc/default/grub.d/zzz.cfg:2"));
    host.put_file(late, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet $GRUB_CMDLINE_LINUX_DEFAULT\"\n");
    assert!(wish(&mut host, &["iommu=pt"], &[]).is_ok());
}

#[test]
fn a_conflict_is_edited_where_it_is() {
    let mut host = host(&[(GRUB, "GRUB_CMDLINE_LINUX=\"iommu.passthrough=0 x\" # why\n")]);
    let steps = wish(&mut host, &["iommu.passthrough=1"], &[]).unwrap();
    assert_eq!(steps.len(), 1);
    assert_eq!(
        host.text(Path::new(GRUB)).unwrap().unwrap(),
        "GRUB_CMDLINE_LINUX=\"iommu.passthrough=1 x\" # why"
    );
    assert_eq!(own(&host), None);
}

#[test]
fn a_conflict_that_turns_up_later_goes_although_ours_is_last() {
    let mut host = host(&[(GRUB, "")]);
    wish(&mut host, &["a=1"], &[]).unwrap();
    host.put_file(GRUB, "GRUB_CMDLINE_LINUX=\"a=0 b\"\n");
    wish(&mut host, &["a=1"], &[]).unwrap();
    assert_eq!(host.text(Path::new(GRUB)).unwrap().unwrap(), "GRUB_CMDLINE_LINUX=\"b\"");
    assert!(own(&host).unwrap().contains(" a=1\""));
}

#[test]
fn a_file_of_our_name_without_our_header_is_left_alone() {
    let mut host = host(&[(GRUB, ""), (OWN_DROP_IN, "GRUB_CMDLINE_LINUX_DEFAULT=x\n")]);
    assert_eq!(wish(&mut host, &["a"], &[]).unwrap_err().chain[0].code, "drop-in-foreign");
}

#[test]
fn what_a_file_of_our_name_without_our_header_gives_is_not_ours() {
    let host = host(&[(GRUB, ""), (OWN_DROP_IN, "GRUB_CMDLINE_LINUX_DEFAULT=x\n")]);
    assert!(!GrubD.persisted(&sources(&host)).unwrap().lines[0].given[0].ours);
}

#[test]
fn our_drop_in_is_written_anew_where_it_was_broken() {
    for broken in
        ["GRUB_CMDLINE_LINUX_DEFAULT=\"x\n", "if true; then GRUB_CMDLINE_LINUX_DEFAULT=x; fi\n", "A='"]
    {
        let mut host = host(&[(GRUB, ""), (OWN_DROP_IN, &format!("{}{broken}", crate::resources::HEADER))]);
        wish(&mut host, &["a"], &[]).unwrap();
        assert!(own(&host).unwrap().ends_with(" a\""), "{broken}");
        wish(&mut host, &[], &[]).unwrap();
        assert_eq!(own(&host), None);
    }
    // What is broken elsewhere is not ours to mend.
    let mut host = host(&[(GRUB, "A='"), (OWN_DROP_IN, crate::resources::HEADER)]);
    assert_eq!(wish(&mut host, &["a"], &[]).unwrap_err().chain[0].code, "arguments-uncertain");
}

#[test]
fn an_argument_in_several_quotes_is_edited_and_its_quotes_stay() {
    let mut host = host(&[(GRUB, "GRUB_CMDLINE_LINUX=qui'et 'mit\"igations=auto\"\\ nosmt\n")]);
    wish(&mut host, &["mitigations=off"], &["nosmt"]).unwrap();
    let text = host.text(Path::new(GRUB)).unwrap().unwrap();
    assert_eq!(text, "GRUB_CMDLINE_LINUX=qui'et 'mitigations=off\"\"");
}

#[test]
fn what_undoes_ours_from_behind_is_named() {
    let late = "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT intel_iommu=off\"\n";
    let mut host = host(&[(GRUB, ""), ("/etc/default/grub.d/zzz.cfg", late)]);
    let objection = wish(&mut host, &["intel_iommu=on"], &[]).unwrap_err();
    assert_eq!(objection.chain[0].code, "argument-without-effect");
    assert_eq!(objection.chain[0].at.as_deref(), Some("/etc/default/grub.d/zzz.cfg:1"));
    assert!(wish(&mut host, &["intel_iommu=on"], &["intel_iommu=off"]).is_ok());
}

#[test]
fn huge_pages_are_written_as_pairs() {
    let mut host = host(&[(GRUB, "GRUB_CMDLINE_LINUX=\"hugepagesz=2M hugepages=8\"\n")]);
    wish(&mut host, &["hugepagesz=1G", "hugepages=4"], &[]).unwrap();
    assert!(own(&host).unwrap().ends_with(" hugepagesz=1G hugepages=4\""));
}

const MENU: &str = "\
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Debian' --class debian $menuentry_id_option 'gnulinux-simple-u' {
\tlinux\t/vmlinuz-6.1 root=UUID=u ro  quiet
\tinitrd\t/initrd.img-6.1
}
submenu 'Advanced' $menuentry_id_option 'gnulinux-advanced-u' {
\tmenuentry 'Debian, 6.1' $menuentry_id_option 'gnulinux-6.1-advanced-u' {
\t\tlinux\t/vmlinuz-6.1 root=UUID=u ro rootflags=subvol=@ old splash $vt_handoff
\t}
\tmenuentry 'Debian, 6.1 (sysvinit)' $menuentry_id_option 'gnulinux-6.1-init-sysvinit-u' {
\t\tlinux\t/vmlinuz-6.1 root=UUID=u ro  quiet init=/lib/sysvinit/init
\t}
\tmenuentry 'Debian, 6.1 (recovery)' $menuentry_id_option 'gnulinux-6.1-recovery-u' {
\t\tlinux\t/vmlinuz-6.1 root=UUID=u ro single old
\t}
}
### END /etc/grub.d/10_linux ###
### BEGIN /etc/grub.d/20_linux_xen ###
menuentry 'Xen' {
\tmultiboot2\t/xen.gz
\tmodule2\t/vmlinuz-6.1 root=UUID=u ro quiet
}
### END /etc/grub.d/20_linux_xen ###
### BEGIN /etc/grub.d/30_os-prober ###
menuentry 'Other' $menuentry_id_option 'osprober-gnulinux-x' {
\tlinux\t/vmlinuz-5.0 root=/dev/sdb1 ro other
}
### END /etc/grub.d/30_os-prober ###
### BEGIN /etc/grub.d/40_custom ###
menuentry 'Mine' { linux /vmlinuz-6.1 root=UUID=u ro mine; }
### END /etc/grub.d/40_custom ###
";

#[test]
fn entries_are_judged_by_who_made_them() {
    let host = host(&[(GRUB, ""), (super::MENU, MENU)]);
    let entries = GrubD.entries(&host).unwrap().unwrap();
    let ours: Vec<bool> = entries.iter().map(|entry| entry.judged == Judged::Ours).collect();
    assert_eq!(ours, [true, true, true, false, false, false]);
    assert_eq!(entries[1].title, "Advanced>Debian, 6.1");
    assert_eq!(entries[1].at, "/boot/grub/grub.cfg:8");
    assert_eq!(entries[1].args, args(&["root=UUID=u", "ro", "rootflags=subvol=@", "old", "splash"]));
}

#[test]
fn the_script_under_another_number_makes_our_entries_too() {
    let host = host(&[(GRUB, ""), (super::MENU, &MENU.replace("10_linux", "08_linux"))]);
    assert_eq!(GrubD.entries(&host).unwrap().unwrap()[0].judged, Judged::Ours);
}

#[test]
fn the_regenerated_menu_has_the_new_arguments_and_nothing_else_changed() {
    let grub = "GRUB_CMDLINE_LINUX=\"new\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"splash a=\\\"b c\\\"\"\n";
    let host = host(&[(GRUB, grub), (super::MENU, MENU)]);
    let predicted = predict_command(&host, &["update-grub".to_owned()]);
    let expected = MENU
        .replace("u ro  quiet\n\tinit", "u ro new splash a=\"b c\"\n\tinit")
        .replace("@ old splash $vt_handoff", "@ new splash a=\"b c\" $vt_handoff")
        .replace("u ro  quiet init=", "u ro new splash a=\"b c\" init=")
        .replace("single old", "single new");
    assert_eq!(String::from_utf8_lossy(&predicted[0].1), expected);
}
