//! The four places in which an argument has to stand.

use std::path::Path;

use super::{GrubBls, expanded};
use crate::boot::tests::{host, wish};
use crate::boot::{BootChain, Judged};
use crate::host::{ReadHost, SimulatedHost};
use crate::plan::FileState;

const GRUB: (&str, &str) = ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet\"\nGRUB_ENABLE_BLSCFG=true\n");
const ENTRY: &str = "/boot/loader/entries/id-6.5.conf";

fn block(kernelopts: &str) -> String {
    let text =
        format!("# GRUB Environment Block\nsaved_entry=x\nkernelopts={kernelopts}\ntuned_params=t=1\n");
    format!("{text:#<1024}")
}

fn text(host: &SimulatedHost<'_>, path: &str) -> String {
    String::from_utf8(host.read(Path::new(path)).unwrap().unwrap_or_default()).unwrap()
}

#[test]
fn every_place_gets_the_argument_and_the_template_of_later_entries_comes_last() {
    let entry = "title x\nlinux /v\noptions root=a ro quiet $tuned_params\n";
    let mut host = host(&[GRUB, (ENTRY, entry), ("/etc/kernel/cmdline", "root=a ro quiet\n")]);
    let edits = wish(&GrubBls, &mut host, &["iommu=pt"], &["quiet"], &[]).unwrap();
    let targets: Vec<String> = edits.steps.iter().map(|step| step.target()).collect();
    assert_eq!(targets, ["/etc/default/grub", ENTRY, "/etc/kernel/cmdline"]);
    assert_eq!(
        text(&host, "/etc/default/grub"),
        "GRUB_CMDLINE_LINUX=\"iommu=pt\"\nGRUB_ENABLE_BLSCFG=true\n"
    );
    assert_eq!(text(&host, ENTRY), "title x\nlinux /v\noptions root=a ro $tuned_params iommu=pt\n");
    assert_eq!(text(&host, "/etc/kernel/cmdline"), "root=a ro iommu=pt\n");
    assert_eq!(wish(&GrubBls, &mut host, &["iommu=pt"], &["quiet"], &[]).unwrap().steps, []);
}

#[test]
fn the_template_stays_younger_than_the_file_that_would_overwrite_it() {
    let mut host = host(&[
        GRUB,
        (ENTRY, "linux /v\noptions root=a iommu=pt\n"),
        ("/etc/kernel/cmdline", "root=a iommu=pt\n"),
    ]);
    let edits = wish(&GrubBls, &mut host, &["iommu=pt"], &[], &[]).unwrap();
    assert_eq!(edits.steps.len(), 2);
    let age = |path: &str| match host.file_state(Path::new(path)).unwrap() {
        FileState::File { mtime_ns, .. } => mtime_ns,
        FileState::Absent => panic!("{path}"),
    };
    assert!(age("/etc/kernel/cmdline") > age("/etc/default/grub"));
    assert_eq!(edits.ours, [], "it was given before");
}

#[test]
fn variables_are_read_and_edited_where_they_are_set() {
    let entry = "linux /v\noptions $kernelopts $tuned_params b=0\n";
    let grubenv = "/boot/grub2/grubenv";
    let mut host = host(&[(ENTRY, entry), (grubenv, &block("root=a ro quiet"))]);
    wish(&GrubBls, &mut host, &["iommu=pt", "b=1"], &["quiet"], &[]).unwrap();
    assert_eq!(text(&host, grubenv), block("root=a ro iommu=pt b=1"));
    assert_eq!(text(&host, ENTRY), "linux /v\noptions $kernelopts $tuned_params\n", "the conflict goes");
    let entries = GrubBls.entries(&host).unwrap().unwrap();
    let args: Vec<String> = entries[0].args.iter().map(ToString::to_string).collect();
    assert_eq!(args, ["root=a", "ro", "iommu=pt", "b=1", "t=1"]);
    let long = format!("a={}", "x".repeat(1000));
    assert_eq!(wish(&GrubBls, &mut host, &[&long], &[], &[]).unwrap_err().chain[0].code, "grubenv-full");
    assert_eq!(
        wish(&GrubBls, &mut host, &["a=\"*\""], &[], &[]).unwrap_err().chain[0].code,
        "argument-uneditable"
    );
    assert_eq!(expanded(b"a $unknown ${kernelopts} -- b", None), ["a".parse().unwrap()]);
}

#[test]
fn entries_for_repairs_and_of_other_systems_are_no_sources() {
    let other = "machine-id 2\nlinux /v\noptions root=b\n";
    let files = [
        GRUB,
        (ENTRY, "linux /v\noptions root=a\n"),
        ("/boot/loader/entries/id-0-rescue.conf", "linux /v\noptions root=a\n"),
        ("/boot/loader/entries/o-1.conf", other),
        ("/etc/machine-id", "1\n"),
    ];
    let sources = GrubBls.sources(&host(&files)).unwrap();
    assert_eq!(sources.files.len(), 2);
    let entries = GrubBls.entries(&host(&files)).unwrap().unwrap();
    let ours: Vec<bool> = entries.iter().map(|entry| entry.judged == Judged::Ours).collect();
    assert_eq!(ours, [false, true, false]);
}
