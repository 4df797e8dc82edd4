use super::*;
use crate::engine::{Memory, PersistedAt};
use crate::host::{EmptyHost, Reach, SimulatedHost};
use crate::plan::Step;
use crate::resources::HEADER;
use crate::types::Entry;

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);

fn document(options: &[(&str, &str, Option<&str>)]) -> Document {
    let place = Place { file: "host.yaml".into(), line: 1, column: 1 };
    let mut by_module: BTreeMap<ModuleName, Vec<Entry<ModuleOption>>> = BTreeMap::new();
    for (module, name, value) in options {
        let option = ModuleOption { name: (*name).to_owned(), value: value.map(str::to_owned) };
        by_module.entry(module.parse().unwrap()).or_default().push(Entry::new(option, place.clone()));
    }
    Document { module_options: Some(by_module), ..Document::default() }
}

fn found_with(host: &SimulatedHost<'_>, document: &Document, memory: &Memory) -> Findings {
    let facts = Facts::gather(document, host, None).unwrap();
    let spec = ModuleOptions::derive(document, &facts).unwrap();
    let observer = Observer { host, memory, facts: &facts };
    ModuleOptions::diff(&spec, &ModuleOptions::observe(&spec, &observer).unwrap())
}

fn found(host: &SimulatedHost<'_>, document: &Document) -> Findings {
    found_with(host, document, &Memory::default())
}

fn written(findings: &Findings) -> Option<String> {
    findings.items.iter().find_map(|item| match &item.verdict {
        Verdict::Change(change) => match change.steps.as_slice() {
            [Step::WriteFile { after, .. }] => Some(String::from_utf8(after.0.to_vec()).unwrap()),
            _ => Some(String::new()),
        },
        _ => None,
    })
}

#[test]
fn one_line_for_each_option() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/modprobe.d/a.conf", "options nouveau modeset=1\noptions kvm ignore_msrs=1\n");
    let document = document(&[
        ("nouveau", "modeset", Some("0")),
        ("kvm", "ignore-msrs", Some("1")),
        ("kvm", "x", Some("a b\\")),
        ("kvm", "flag", None),
    ]);
    let text = format!("{HEADER}options kvm x=\"a b\\\\\"\noptions kvm flag\noptions nouveau modeset=0\n");
    assert_eq!(written(&found(&host, &document)), Some(text.clone()));
    host.put_file(FILE, text);
    assert!(found(&host, &document).items.iter().all(|item| item.verdict == Verdict::InSync));
}

#[test]
fn what_beats_ours_is_refused_with_its_place() {
    for (path, text, at) in [
        ("/etc/modprobe.d/zzz.conf", "\noptions nouveau modeset=2\n", "/etc/modprobe.d/zzz.conf:2"),
        ("/proc/cmdline", "quiet nouveau.modeset=2", "/proc/cmdline"),
    ] {
        let mut host = SimulatedHost::new(&EMPTY);
        host.put_file(path, text);
        let findings = found(&host, &document(&[("nouveau", "modeset", Some("0"))]));
        let Verdict::Refused(objection) = &findings.items[0].verdict else { panic!("{findings:?}") };
        assert_eq!(objection.chain[0].at.as_deref(), Some(at));
    }
}

#[test]
fn ids_of_vfio_pci_have_another_owner() {
    let host = SimulatedHost::new(&EMPTY);
    let findings = found(&host, &document(&[("vfio-pci", "ids", Some("10de:11bf"))]));
    assert!(matches!(findings.items[0].verdict, Verdict::Refused(_)));
}

#[test]
fn a_running_value_waits_for_a_reboot_and_is_stuck_behind_it() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/proc/sys/kernel/random/boot_id", "now\n");
    host.put_file("/sys/module/kvm/parameters/ignore_msrs", "N\n");
    host.put_file(FILE, format!("{HEADER}options kvm ignore_msrs=1\n"));
    let document = document(&[("kvm", "ignore_msrs", Some("1"))]);
    assert!(matches!(found(&host, &document).items[0].verdict, Verdict::PendingReboot { .. }));
    let mut memory = Memory::default();
    let items = memory.persisted.entry(ModuleOptions::KEY.to_owned()).or_default();
    items.insert("kvm.ignore_msrs".to_owned(), PersistedAt { boot_id: "before".to_owned() });
    assert!(matches!(found_with(&host, &document, &memory).items[0].verdict, Verdict::Stuck { .. }));
    host.put_file("/sys/module/kvm/parameters/ignore_msrs", "Y\n");
    assert_eq!(found_with(&host, &document, &memory).items[0].verdict, Verdict::InSync);
}

#[test]
fn quotation_marks_are_refused_and_comments_warned_about() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/modprobe.d/a.conf", "options kvm b=1 # why\n");
    let findings = found(&host, &document(&[("kvm", "a", Some("\"x y"))]));
    assert!(matches!(findings.items[0].verdict, Verdict::Refused(_)));
    assert_eq!(findings.warnings[0].reason.code, "trailing-comment");
}

#[test]
fn an_argument_of_the_next_boot_beats_ours_too() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"kvm.ignore_msrs=0\"\n");
    let findings = found(&host, &document(&[("kvm", "ignore_msrs", Some("1"))]));
    let Verdict::Refused(objection) = &findings.items[0].verdict else { panic!("{findings:?}") };
    assert_eq!(objection.chain[0].at.as_deref(), Some("/etc/default/grub:1"));
}
