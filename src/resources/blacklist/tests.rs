use super::*;
use crate::document::Blacklisted;
use crate::engine::Memory;
use crate::host::{EmptyHost, Reach, SimulatedHost};
use crate::plan::{Step, Verdict};
use crate::types::Entry;

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);

fn document(modules: &[(&str, bool)]) -> Document {
    let place = Place { file: "host.yaml".into(), line: 1, column: 1 };
    let entry = |(name, alias_off): &(&str, bool)| {
        Entry::new(Blacklisted { module: name.parse().unwrap(), alias_off: *alias_off }, place.clone())
    };
    Document { blacklist: Some(modules.iter().map(entry).collect()), ..Document::default() }
}

fn found(host: &SimulatedHost<'_>, document: &Document) -> Findings {
    let (facts, memory) = (Facts::gather(document, host, None).unwrap(), Memory::default());
    let spec = Blacklist::derive(document, &facts).unwrap();
    let observer = Observer { host, memory: &memory, facts: &facts };
    Blacklist::diff(&spec, &Blacklist::observe(&spec, &observer).unwrap())
}

/// What the one step writes: `None` where there is none, an empty text where the file goes.
fn written(findings: &Findings) -> Option<String> {
    let mut steps = findings.items.iter().filter_map(|item| match &item.verdict {
        Verdict::Change(change) => Some(change.steps.clone()),
        _ => None,
    });
    let first = steps.next()?;
    assert!(steps.all(|other| other == first), "all items share one step");
    match first.as_slice() {
        [Step::WriteFile { after, .. }] => Some(String::from_utf8(after.0.to_vec()).unwrap()),
        [Step::RemoveFile { .. }] => Some(String::new()),
        other => panic!("{other:?}"),
    }
}

fn rebuilds(findings: &Findings) -> bool {
    findings.items.iter().any(|item| match &item.verdict {
        Verdict::Change(change) => change.followups.contains(&Followup::Initramfs),
        _ => false,
    })
}

#[test]
fn writes_what_nobody_says_yet() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/modprobe.d/blacklist.conf", "blacklist lbm-nouveau\n# blacklist nouveau\n");
    let document = document(&[("nouveau", true), ("lbm-nouveau", false)]);
    let findings = found(&host, &document);
    let expected = format!("{}blacklist nouveau\nalias nouveau off\n", super::super::HEADER);
    assert_eq!(written(&findings).as_deref(), Some(expected.as_str()));
    assert_eq!(findings.items[0].verdict, Verdict::InSync, "{:?}", findings.items[0]);

    host.put_file(FILE, expected);
    assert_eq!(written(&found(&host, &document)), None);
}

#[test]
fn what_is_dropped_goes_and_the_file_with_the_last() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file(FILE, format!("{}blacklist a\nblacklist b\n", super::super::HEADER));
    let findings = found(&host, &document(&[("a", false)]));
    assert!(written(&findings).unwrap().ends_with("overwritten.\nblacklist a\n"));
    assert_eq!(written(&found(&host, &document(&[]))).as_deref(), Some(""));
}

#[test]
fn volatile_sources_do_not_count() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/run/modprobe.d/x.conf", "blacklist a\n");
    host.put_file("/proc/cmdline", "modprobe.blacklist=a\n");
    assert!(written(&found(&host, &document(&[("a", false)]))).unwrap().ends_with("blacklist a\n"));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file(FILE, "blacklist b\n");
    let findings = found(&host, &document(&[("a", false)]));
    assert!(findings.items.iter().any(|item| matches!(item.verdict, Verdict::Refused(_))));
    assert_eq!(written(&findings), None);
}

#[test]
fn only_a_module_in_the_image_owes_a_rebuild() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/usr/sbin/update-initramfs", "mkinitramfs");
    host.put_file(
        "/lib/modules/6.1/modules.dep",
        "kernel/drivers/gpu/drm/nouveau/nouveau.ko:\nkernel/drivers/net/ethernet/intel/igb/igb.ko:\n",
    );
    assert!(!rebuilds(&found(&host, &document(&[("nouveau", false)]))));
    assert!(rebuilds(&found(&host, &document(&[("igb", false)]))));
}

#[test]
fn a_builtin_is_warned_about() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/lib/modules/6.1/modules.dep", "");
    host.put_file("/lib/modules/6.1/modules.builtin", "kernel/drivers/usb/host/xhci-pci.ko\n");
    host.put_directory("/sys/module/ahci");
    let findings = found(&host, &document(&[("xhci-pci", false), ("ahci", false)]));
    let codes: Vec<&str> = findings.warnings.iter().map(|warning| warning.reason.code.as_ref()).collect();
    assert_eq!(codes, ["blacklisted-and-loaded", "blacklist-of-builtin"]);
}
