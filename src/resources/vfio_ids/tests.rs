use super::*;
use crate::document::VfioPci;
use crate::engine::Memory;
use crate::host::{EmptyHost, Reach, SimulatedHost};
use crate::plan::Step;
use crate::resources::HEADER;
use crate::types::{DeviceRef, DriverName, Entry, Pin, PinnedDevice, Selector};

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);
const IDS: &str = "options vfio-pci ids=10de:11bf\n";
const ALIASES: &str =
    "alias pci:v000010DEd*sv*sd*bc03sc00i* nouveau\nalias pci:v000010DEd*sv*sd*bc03sc00i* nvidia\n";

fn document(ids: &[&str], devices: &[&str]) -> Document {
    let place = Place { file: "host.yaml".into(), line: 1, column: 1 };
    let ids = ids.iter().map(|id| Entry::new(id.parse().unwrap(), place.clone())).collect();
    let device = |address: &&str| {
        let device = DeviceRef::Function(Selector::Address(address.parse().unwrap()));
        Entry::new(PinnedDevice { device, pin: Pin::default() }, place.clone())
    };
    let devices = (!devices.is_empty()).then(|| devices.iter().map(device).collect());
    Document { vfio_pci: Some(VfioPci { ids: Some(ids), devices }), ..Document::default() }
}

fn card(address: &str) -> Function {
    let (id, subsystem) = ("10de:11bf".parse().unwrap(), Some("10de:100a".parse().unwrap()));
    Function { address: address.parse().unwrap(), id, subsystem, class: 0x03_0000 }
}

fn host() -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_function(&card("0000:04:00.0"));
    host
}

fn found(host: &SimulatedHost<'_>, document: &Document) -> Findings {
    let (facts, memory) = (Facts::gather(document, host, None).unwrap(), Memory::default());
    let spec = VfioIds::derive(document, &facts).unwrap();
    let observer = Observer { host, memory: &memory, facts: &facts };
    VfioIds::diff(&spec, &VfioIds::observe(&spec, &observer).unwrap())
}

/// What is written to each path; an empty text where a file goes.
fn written(findings: &Findings) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for item in &findings.items {
        let Verdict::Change(change) = &item.verdict else { continue };
        for step in &change.steps {
            let text = match step {
                Step::WriteFile { after, .. } => String::from_utf8(after.0.to_vec()).unwrap(),
                _ => String::new(),
            };
            let other = found.insert(step.target(), text.clone());
            assert!(other.is_none_or(|other| other == text), "all items of a file share one step");
        }
    }
    found
}

fn refused(findings: &Findings) -> &Objection {
    match &findings.items[0].verdict {
        Verdict::Refused(objection) => objection,
        other => panic!("{other:?}"),
    }
}

fn codes(findings: &Findings) -> Vec<&str> {
    findings.warnings.iter().map(|warning| warning.reason.code.as_ref()).collect()
}

#[test]
fn ids_and_softdeps_of_known_competitors() {
    let mut host = host();
    host.put_file("/usr/sbin/update-initramfs", "mkinitramfs");
    let document = document(&["10de:11bf"], &[]);
    let findings = found(&host, &document);
    let files = written(&findings);
    let softdeps: String = ["nouveau", "nvidia", "nvidia_drm", "nvidiafb"]
        .map(|module| format!("softdep {module} pre: vfio-pci\n"))
        .concat();
    assert_eq!(files[FILE], format!("{HEADER}{IDS}{softdeps}"));
    let rebuilds = |item: &ItemVerdict| match &item.verdict {
        Verdict::Change(change) => change.followups.contains(&Followup::Initramfs),
        _ => false,
    };
    assert!(findings.items.iter().all(rebuilds));

    for (path, text) in files {
        host.put_file(path, text);
    }
    assert!(written(&found(&host, &document)).is_empty());
    let none = written(&found(&host, &self::document(&[], &[])));
    assert!(none.len() == 1 && none.values().all(String::is_empty), "{none:?}");
}

#[test]
fn drivers_come_from_the_kernels_and_a_dead_softdep_goes_first() {
    let mut host = host();
    host.put_file("/lib/modules/6.1/modules.dep", "kernel/nouveau.ko:\nkernel/nvidia.ko:\n");
    host.put_file("/lib/modules/6.1/modules.alias", ALIASES);
    host.put_file("/lib/modules/6.1/modules.softdep", "softdep nouveau pre: mxm-wmi post: x\n");
    let files = written(&found(&host, &document(&["10de:11bf"], &[])));
    assert_eq!(files[FILE], format!("{HEADER}{IDS}softdep nvidia pre: vfio-pci\n"));
    assert_eq!(files[EARLY_FILE], format!("{HEADER}softdep nouveau pre: vfio-pci mxm-wmi post: x\n"));

    host.put_file("/etc/modprobe.d/00-a.conf", "softdep nouveau pre: other\nsoftdep nvidia pre: vfio_pci\n");
    let findings = found(&host, &document(&["10de:11bf"], &[]));
    assert_eq!(codes(&findings), ["softdep-hidden"]);
    assert_eq!(written(&findings)[FILE], format!("{HEADER}{IDS}"));
}

#[test]
fn what_others_say_already_is_in_order() {
    for (path, text) in
        [("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10DE:11BF\n"), ("/etc/modprobe.d/zzz.conf", IDS)]
    {
        let mut host = SimulatedHost::new(&EMPTY);
        host.put_file(path, text);
        assert!(written(&found(&host, &document(&["10de:11bf"], &[]))).is_empty(), "{path}");
    }
}

#[test]
fn a_line_or_argument_that_beats_ours_is_refused() {
    for (path, text, at) in [
        ("/etc/modprobe.d/zzz.conf", "options vfio-pci ids=1234:5678\n", "/etc/modprobe.d/zzz.conf:1"),
        ("/proc/cmdline", "vfio-pci.ids=1234:5678 quiet\n", "/proc/cmdline"),
    ] {
        let mut host = host();
        host.put_file(path, text);
        let findings = found(&host, &document(&["10de:11bf"], &[]));
        assert_eq!(refused(&findings).chain[0].at.as_deref(), Some(at));
    }
}

#[test]
fn overridden_ids_are_warned_about_and_refused_where_they_hold_a_function() {
    let mut host = host();
    host.put_file("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=8086:10c9,10de:11bf\n");
    let document = document(&["10de:11bf"], &[]);
    let findings = found(&host, &document);
    assert_eq!(codes(&findings), ["ids-without-effect"]);
    assert!(findings.warnings[0].reason.text.contains("8086:10c9"));
    assert!(written(&findings).contains_key(FILE));

    let nic = Function { id: "8086:10c9".parse().unwrap(), class: 0x02_0000, ..card("0000:05:00.0") };
    host.put_function(&nic);
    host.put_driver(nic.address, &DriverName::vfio_pci());
    let findings = found(&host, &document);
    assert_eq!(refused(&findings).chain[0].code, "ids-lost");
    assert!(written(&found(&host, &self::document(&["10de:11bf"], &["0000:05:00.0"]))).contains_key(FILE));
}

#[test]
fn a_value_that_keeps_vfio_pci_from_loading_is_refused() {
    let ids: Vec<String> = (0..110).map(|n| format!("10de:{n:04x}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(refused(&found(&host(), &document(&ids, &[]))).chain[0].code, "too-many-ids");
}

#[test]
fn builtin_vfio_pci_leaves_the_ids_to_the_command_line() {
    let mut host = host();
    host.put_file("/lib/modules/6.1/modules.dep", "");
    host.put_file("/lib/modules/6.1/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n");
    let document = document(&["10de:11bf"], &[]);
    assert!(written(&found(&host, &document)).is_empty());
    let ids: Vec<String> = (0..110).map(|n| format!("10de:{n:04x}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let document = self::document(&ids, &[]);
    assert_eq!(refused(&found(&host, &document)).chain[0].code, "too-many-ids", "the buffer is the same there");
    let facts = Facts::gather(&document, &host, None).unwrap();
    let args = crate::resources::kernel_args::KernelArgs::derive(&document, &facts).unwrap();
    assert_eq!(args.items().count(), 0);
}

#[test]
fn an_id_that_matches_more_than_the_listed_devices_is_warned_about() {
    let mut host = host();
    host.put_function(&card("0000:84:00.0"));
    let findings = found(&host, &document(&["10de:11bf"], &["0000:04:00.0"]));
    assert_eq!(codes(&findings), ["id-matches-more"]);
    assert!(findings.warnings[0].reason.text.contains("0000:84:00.0"));
}

#[test]
fn an_argument_of_the_next_boot_beats_ours_too() {
    let mut host = host();
    host.put_file("/etc/default/grub", "A=1\nGRUB_CMDLINE_LINUX=\"vfio_pci.ids=8086:154d\"\n");
    let findings = found(&host, &document(&["10de:11bf"], &[]));
    let objection = refused(&findings);
    assert_eq!(objection.chain[0].at.as_deref(), Some("/etc/default/grub:2"));
    assert!(matches!(&objection.lifted_by, LiftedBy::Operator(text) if text.contains("absent: [vfio_pci.ids]")));
    // The same ids there are in order, and need no line of ours.
    host.put_file("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"vfio_pci.ids=10DE:11BF\"\n");
    assert!(!written(&found(&host, &document(&["10de:11bf"], &[]))).values().any(|text| text.contains("ids=")));
}

#[test]
fn the_ids_of_the_last_boot_are_no_rival_where_one_kernel_has_vfio_pci_built_in() {
    let mut host = host();
    host.put_file("/lib/modules/6.1/modules.dep", "");
    host.put_file("/lib/modules/6.1/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n");
    host.put_file("/lib/modules/6.2/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko:\n");
    host.put_file("/proc/cmdline", "vfio-pci.ids=8086:154d\n");
    let written = written(&found(&host, &document(&["10de:11bf"], &[])));
    assert!(written.get(FILE).is_some_and(|text| text.contains(IDS)), "{written:?}");
}

#[test]
fn a_boot_loaders_file_that_cannot_be_read_is_for_kernel_args_to_say() {
    let mut host = host();
    host.put_link("/etc/default/grub", "/etc/default/grub");
    assert!(written(&found(&host, &document(&["10de:11bf"], &[]))).contains_key(FILE));
}
