use super::*;
use crate::document::{Sriov, VfioPci};
use crate::engine::Memory;
use crate::host::{EmptyHost, SimulatedHost};
use crate::plan::{Phase, Step, Subject};
use crate::resources::HEADER;
use crate::types::{Entry, Pin, PinnedDevice, Place};

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);
const TREE: EmptyHost = EmptyHost(Reach::Tree);

fn place() -> Place {
    Place { file: "host.yaml".into(), line: 1, column: 1 }
}

fn document(modules: &[&str]) -> Document {
    let entry = |name: &&str| Entry::new(name.parse().unwrap(), place());
    Document { modules: Some(modules.iter().map(entry).collect()), ..Document::default() }
}

fn found(host: &SimulatedHost<'_>, document: &Document) -> Findings {
    let (facts, memory) = (Facts::gather(document, host, None).unwrap(), Memory::default());
    let spec = Modules::derive(document, &facts).unwrap();
    let observer = Observer { host, memory: &memory, facts: &facts };
    Modules::diff(&spec, &Modules::observe(&spec, &observer).unwrap())
}

fn written(findings: &Findings) -> Option<String> {
    steps(findings).into_iter().find_map(|step| match step {
        Step::WriteFile { after, .. } => Some(String::from_utf8(after.0.to_vec()).unwrap()),
        Step::RemoveFile { .. } => Some(String::new()),
        _ => None,
    })
}

fn steps(findings: &Findings) -> Vec<Step> {
    let changes = findings.items.iter().filter_map(|item| match &item.verdict {
        Verdict::Change(change) => Some(change.steps.clone()),
        _ => None,
    });
    changes.flatten().collect()
}

fn loads(findings: &Findings) -> Vec<String> {
    steps(findings).iter().filter(|step| matches!(step, Step::Run { .. })).map(Step::target).collect()
}

fn codes(findings: &Findings) -> Vec<&str> {
    findings.warnings.iter().map(|warning| warning.reason.code.as_ref()).collect()
}

#[test]
fn persists_and_loads_what_is_missing() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/modules", "# comment\nvfio\n");
    host.put_link("/etc/modules-load.d/modules.conf", "../modules");
    host.put_directory("/sys/module/vfio");
    let document = document(&["vfio", "vfio-pci"]);
    let findings = found(&host, &document);
    assert_eq!(written(&findings), Some(format!("{HEADER}vfio_pci\n")));
    assert_eq!(loads(&findings), ["modprobe vfio_pci"]);
    let Verdict::Change(change) = &findings.items.last().unwrap().verdict else { panic!() };
    assert_eq!(change.phase, Phase::Live);
    assert!(change.disturbs.contains(&Subject::Driver(DriverName::vfio_pci())));

    host.put_file(FILE, format!("{HEADER}vfio_pci\n"));
    host.put_directory("/sys/module/vfio_pci");
    assert!(steps(&found(&host, &document)).is_empty());
}

#[test]
fn etc_modules_counts_only_where_it_is_linked() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/modules", "vfio\n");
    assert_eq!(written(&found(&host, &document(&["vfio"]))), Some(format!("{HEADER}vfio\n")));
}

#[test]
fn a_module_that_no_kernel_has_is_skipped_with_a_warning() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/lib/modules/6.1/modules.dep", "kernel/drivers/vfio/vfio.ko:\n");
    host.put_file("/proc/sys/kernel/osrelease", "6.1\n");
    let findings = found(&host, &document(&["vfio", "vfio_virqfd"]));
    assert_eq!(written(&findings), Some(format!("{HEADER}vfio\n")));
    assert_eq!(
        (loads(&findings), codes(&findings)),
        (vec!["modprobe vfio".to_owned()], vec!["no-such-module"])
    );
    assert_eq!(findings.items.last().unwrap().verdict, Verdict::InSync);

    host.put_file("/lib/modules/5.10/modules.dep", "kernel/drivers/vfio/vfio_virqfd.ko:\n");
    let findings = found(&host, &document(&["vfio_virqfd"]));
    assert_eq!(codes(&findings), ["module-missing-in-kernel"]);
    assert!(matches!(findings.items[1].verdict, Verdict::PendingReboot { .. }));
}

#[test]
fn without_kernels_in_the_tree_everything_is_written_and_nothing_loaded() {
    let host = SimulatedHost::new(&TREE);
    let findings = found(&host, &document(&["vfio_virqfd"]));
    assert_eq!(written(&findings), Some(format!("{HEADER}vfio_virqfd\n")));
    assert!(loads(&findings).is_empty());
}

#[test]
fn builtin_counts_as_loaded() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/lib/modules/6.1/modules.dep", "");
    host.put_file("/lib/modules/6.1/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n");
    host.put_file("/proc/sys/kernel/osrelease", "6.1\n");
    assert!(steps(&found(&host, &document(&["vfio-pci"]))).is_empty());
}

#[test]
fn a_blacklisted_module_is_refused_with_the_place() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/modprobe.d/x.conf", "\nblacklist vfio-pci\n");
    let findings = found(&host, &document(&["vfio-pci"]));
    let Verdict::Refused(objection) = &findings.items[0].verdict else { panic!("{findings:?}") };
    assert_eq!(objection.chain[1].at.as_deref(), Some("/etc/modprobe.d/x.conf:2"));
}

#[test]
fn handing_functions_over_contributes_vfio_pci() {
    let mut host = SimulatedHost::new(&EMPTY);
    let ids = Some(vec![Entry::new("10de:11bf".parse().unwrap(), place())]);
    let mut document = Document { vfio_pci: Some(VfioPci { ids, devices: None }), ..Document::default() };
    let findings = found(&host, &document);
    assert_eq!(written(&findings), Some(format!("{HEADER}vfio_pci\n")));
    assert_eq!(findings.items[0].origin.as_deref(), Some("vfio_pci.ids (host.yaml:1:1)"));

    // The section is gone, its items stay; what was contributed goes with the last function.
    host.put_file(FILE, format!("{HEADER}vfio_pci\nkvm\n"));
    document.vfio_pci = Some(VfioPci::default());
    assert_eq!(written(&found(&host, &document)), Some(format!("{HEADER}kvm\n")));

    let device = crate::types::DeviceRef::Function("0000:03:00.0".parse().unwrap());
    let device = PinnedDevice { device, pin: Pin::default() };
    let sriov = Sriov { device, vfs: 4, driver: Some(DriverName::vfio_pci()) };
    let document = Document { sriov: Some(vec![Entry::new(sriov, place())]), ..Document::default() };
    assert!(found(&host, &document).items[0].origin.as_deref().unwrap().starts_with("sriov.driver"));
}

#[test]
fn an_empty_section_takes_everything_back() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file(FILE, format!("{HEADER}kvm\n"));
    assert_eq!(written(&found(&host, &document(&[]))).as_deref(), Some(""));
}

#[test]
fn without_its_section_only_what_others_contribute_is_managed() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file(FILE, format!("{HEADER}vfio\nvfio_pci\n"));
    let document = Document {
        vfio_pci: Some(VfioPci { devices: Some(Vec::new()), ..VfioPci::default() }),
        ..Document::default()
    };
    let findings = found(&host, &document);
    assert_eq!(written(&findings), Some(format!("{HEADER}vfio\n")), "vfio_pci was contributed");
    let warned: Vec<(&str, &str)> = findings
        .warnings
        .iter()
        .map(|warning| (warning.reason.code.as_ref(), warning.subject.as_str()))
        .collect();
    assert_eq!(warned, [("section-vanished", "vfio")]);
}
