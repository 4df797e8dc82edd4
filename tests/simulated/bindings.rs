//! `bindings`, rule by rule.

use reconcile::document::{Document, KernelArgs};
use reconcile::engine::Memory;
use reconcile::host::{EmptyHost, Host, Kernels, Reach, SimulatedHost};
use reconcile::plan::{Followup, Step, Verdict};
use reconcile::resources::HEADER;
use reconcile::types::{Entry, Pin, Place};

use crate::world::*;

const RULES: &str = "/etc/udev/rules.d/10-reconcile-vfio.rules";

fn set(host: &mut SimulatedHost<'_>, at: &str, driver: &str, driver_override: &str) {
    host.remove(attribute(at, "driver"));
    if driver != "-" {
        host.put_driver(address(at), &driver.parse().unwrap());
    }
    host.put_file(attribute(at, "driver_override"), format!("{driver_override}\n"));
}

#[test]
fn only_what_is_wrong_is_written() {
    let rebind = |steps: &[&str]| format!("change: {}", steps.join("; "));
    let set_override = "0000:04:00.0/driver_override=vfio-pci";
    let probe = "drivers_probe=0000:04:00.0";
    for (driver, driver_override, expected) in [
        ("vfio-pci", "vfio-pci", "in sync".to_owned()),
        ("mlx5_vfio_pci", "mlx5_vfio_pci", "in sync".to_owned()),
        ("xe-vfio-pci", "vfio-pci", "in sync".to_owned()),
        ("vfio-pci", "(null)", rebind(&[set_override])),
        ("vfio-pci", "nouveau", rebind(&[set_override])),
        ("xe-vfio-pci", "(null)", rebind(&["0000:04:00.0/driver_override=xe-vfio-pci"])),
        ("nouveau", "(null)", rebind(&[set_override, "nouveau/unbind=0000:04:00.0", probe])),
        ("nouveau", "vfio-pci", rebind(&["nouveau/unbind=0000:04:00.0", probe])),
        ("pci-stub", "", rebind(&[set_override, "pci-stub/unbind=0000:04:00.0", probe])),
        ("-", "(null)", rebind(&[set_override, probe])),
        ("-", "vfio-pci", rebind(&[probe])),
        ("-", "mlx5_vfio_pci", rebind(&[set_override, probe])),
    ] {
        let mut host = machine();
        set(&mut host, GPU, driver, driver_override);
        let found = verdict(&devices(&[device(GPU)]), &host, &format!("bindings {GPU}"));
        assert_eq!(found, expected, "{driver} with override {driver_override}");
    }
}

#[test]
fn ids_bind_every_match_and_names_only_what_they_name() {
    let items = |document| -> Vec<String> {
        let (items, _) = find(&document, &machine(), &Memory::default());
        items.into_iter().filter(|item| !item.item.contains("/etc/")).map(|item| item.item).collect()
    };
    assert_eq!(items(ids(&["10de:11bf"])), ["bindings 0000:04:00.0", "bindings 0000:05:00.0"]);
    assert_eq!(items(ids(&["10de:11bf:0001:0001"])), Vec::<String>::new());
    assert_eq!(items(devices(&[device(GPU)])), ["bindings 0000:04:00.0"]);
}

#[test]
fn no_rule_keeps_a_native_driver_from_a_function_that_vfio_pci_cannot_take() {
    let has_rule = |document: &Document, host: &SimulatedHost<'_>| {
        find(document, host, &Memory::default()).0.iter().any(|item| item.item.contains(RULES))
    };
    let mut document = devices(&[device(NO_GROUP)]);
    assert!(has_rule(&devices(&[device(GPU)]), &machine()));
    assert!(!has_rule(&document, &machine()), "the IOMMU is off, and nothing here turns it on");
    let place = Place { file: "host.yaml".into(), line: 1, column: 1 };
    let present = vec![Entry::new("intel_iommu=on".parse().unwrap(), place)];
    document.kernel_args = Some(KernelArgs { present, absent: Vec::new() });
    assert!(has_rule(&document, &machine()), "the next boot turns the IOMMU on");

    let mut host = machine();
    host.remove("/sys/bus/pci/drivers/vfio-pci");
    assert!(has_rule(&devices(&[device(GPU)]), &host), "it can be loaded");
    host.put_file("/lib/modules/6.12.0/modules.dep", "kernel/drivers/net/ethernet/intel/igb/igb.ko: \n");
    assert!(!has_rule(&devices(&[device(GPU)]), &host), "no kernel has it");
}

#[test]
fn what_has_to_come_first_is_named() {
    let with_args = |present: &[&str], absent: &[&str]| {
        let args = |texts: &[&str]| {
            let place = Place { file: "host.yaml".into(), line: 1, column: 1 };
            texts.iter().map(|text| Entry::new(text.parse().unwrap(), place.clone())).collect()
        };
        let mut document = devices(&[device(NO_GROUP)]);
        document.kernel_args = Some(KernelArgs { present: args(present), absent: args(absent) });
        document
    };
    let item = format!("bindings {NO_GROUP}");
    let mut host = machine();
    host.put_file("/proc/cmdline", "BOOT_IMAGE=/vmlinuz intel_iommu=off quiet\n");
    for (document, expected) in [
        (devices(&[device(NO_GROUP)]), "blocked on Host: no-iommu-group"),
        (with_args(&["quiet"], &[]), "blocked on Host: no-iommu-group"),
        (with_args(&["intel_iommu=on"], &[]), "blocked on Reboot: no-iommu-group"),
        (with_args(&[], &["intel_iommu=off"]), "blocked on Reboot: no-iommu-group"),
        (with_args(&["intel_iommu=off"], &[]), "blocked on Host: no-iommu-group"),
    ] {
        assert_eq!(verdict(&document, &host, &item), expected);
    }

    let mut host = machine();
    host.remove("/sys/bus/pci/drivers/vfio-pci");
    let found = verdict(&devices(&[device(GPU)]), &host, &format!("bindings {GPU}"));
    assert_eq!(found, "blocked on Resource(\"modules\"): driver-not-loaded");
    host.execute(&Step::quick_attr(attribute(PF, "sriov_numvfs"), None, "1")).unwrap();
    let found = verdict(&sriov(&[(PF, 1, Some("uio_pci_generic"))]), &host, "bindings 0000:03:10.0");
    assert_eq!(found, "blocked on Host: driver-not-loaded");

    // Nothing that `modules` could load brings it.
    let mut host = machine();
    host.remove("/sys/bus/pci/drivers/vfio-pci");
    host.put_file("/lib/modules/6.12.0/modules.dep", "kernel/drivers/net/ethernet/intel/igb/igb.ko: \n");
    let found = verdict(&devices(&[device(GPU)]), &host, &format!("bindings {GPU}"));
    assert_eq!(found, "blocked on Host: no-vfio-modules");
}

#[test]
fn a_function_without_a_group_says_what_status_says_of_the_iommu() {
    let mut host = machine();
    host.remove("/sys/kernel/iommu_groups");
    host.put_file("/sys/firmware/acpi/tables/DMAR", "");
    host.put_file("/proc/cmdline", "ro intel_iommu=off\n");
    let (items, _) = find(&devices(&[device(NO_GROUP)]), &host, &Memory::default());
    let item = items.iter().find(|item| item.item.contains(NO_GROUP)).unwrap();
    let Verdict::Blocked { why, .. } = &item.verdict else { panic!("{item:?}") };
    let facts = reconcile::facts::all(&host, &Kernels::read(&host).unwrap());
    let iommu = facts.into_iter().find(|fact| fact.fact == "iommu").unwrap();
    assert!(why.text.contains(&iommu.reason.text), "{why:?} {iommu:?}");
    assert_eq!(why.remedy, iommu.reason.remedy);
    assert_eq!(iommu.reason.code, "iommu-off-by-argument");
}

#[test]
fn absent_functions_and_vfs() {
    let host = machine();
    for (document, item, expected) in [
        (devices(&[device("0000:99:00.0")]), "0000:99:00.0", "blocked on Host: missing-function"),
        (devices(&[device("::0300")]), "::0300", "blocked on Host: ambiguous-filter"),
        (
            devices(&[device("10de:0e0a")]),
            AUDIO,
            "change: 0000:04:00.1/driver_override=vfio-pci; snd_hda_intel/unbind=0000:04:00.1; drivers_probe=0000:04:00.1",
        ),
        (devices(&[vf(PF, 1)]), "VF 1 of 0000:03:00.0", "blocked on Host: missing-vf"),
        (devices(&[vf(PF, 9)]), "VF 9 of 0000:03:00.0", "blocked on Host: vf-out-of-range"),
        (
            both(devices(&[vf(PF, 1)]), sriov(&[(PF, 2, None)])),
            "VF 1 of 0000:03:00.0",
            "blocked on Resource(\"sriov\"): vf-to-come",
        ),
        (
            both(devices(&[vf(PF, 1)]), sriov(&[(PF, 1, None)])),
            "VF 1 of 0000:03:00.0",
            "blocked on Host: missing-vf",
        ),
        (devices(&[device(BRIDGE)]), BRIDGE, "refused: bridge"),
    ] {
        assert_eq!(verdict(&document, &host, &format!("bindings {item}")), expected, "{item}");
    }
}

#[test]
fn a_pf_with_vfs_needs_them_gone_first() {
    let mut host = machine();
    host.execute(&Step::quick_attr(attribute(PF, "sriov_numvfs"), None, "2")).unwrap();
    assert_eq!(verdict(&devices(&[device(PF)]), &host, &format!("bindings {PF}")), "refused: pf-with-vfs");
    let document = both(devices(&[device(PF)]), sriov(&[(PF, 0, None)]));
    assert!(verdict(&document, &host, &format!("bindings {PF}")).starts_with("change"));
}

#[test]
fn a_group_is_not_divided_between_guests_and_a_host_driver() {
    let gpu = format!("bindings {GPU}");
    let mut host = machine_with_companion();
    assert_eq!(verdict(&devices(&[device(GPU)]), &host, &gpu), "refused: handed-over");
    assert!(verdict(&devices(&[device(GPU), device(AUDIO)]), &host, &gpu).starts_with("change"));
    for harmless in ["-", "pci-stub", "vfio-pci"] {
        set(&mut host, AUDIO, harmless, "(null)");
        assert!(verdict(&devices(&[device(GPU)]), &host, &gpu).starts_with("change"), "{harmless}");
    }
}

#[test]
fn a_pinned_card_that_is_not_there_is_refused() {
    let mut card = device(GPU);
    card.pin = Pin { id: Some("10de:0e0a".parse().unwrap()), ..Pin::default() };
    assert_eq!(verdict(&devices(&[card]), &machine(), &format!("bindings {GPU}")), "refused: pin-mismatch");
}

fn rules(document: &Document, host: &SimulatedHost<'_>) -> Vec<String> {
    let (items, _) = find(document, host, &Memory::default());
    let item = items.iter().find(|item| item.item.ends_with(RULES));
    match item.map(|item| &item.verdict) {
        Some(Verdict::Change(change)) => match &change.steps[0] {
            Step::WriteFile { after, .. } => {
                String::from_utf8(after.0.to_vec()).unwrap().lines().map(str::to_owned).collect()
            }
            other => vec![format!("{other:?}")],
        },
        other => vec![format!("{other:?}")],
    }
}

#[test]
fn rules_name_functions_by_address_and_pinned_ones_by_their_ids_too() {
    let mut pinned = device(GPU_TWIN);
    pinned.pin = Pin { slot: None, id: Some("10de:11bf".parse().unwrap()), ..Pin::default() };
    let document = devices(&[
        device(GPU),
        pinned,
        device("10de:0e0a"),
        vf(PF, 0),
        device("0000:99:00.0"),
        device(BRIDGE),
    ]);
    let mut host = machine();
    let tail = "ATTR{driver_override}=\"vfio-pci\", RUN{builtin}+=\"kmod load vfio-pci\"";
    let start = "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==";
    let expected = [
        "# Managed by reconcile: changes here are overwritten.".to_owned(),
        format!("{start}\"0000:04:00.0\", {tail}"),
        format!("{start}\"0000:04:00.1\", ATTR{{vendor}}==\"0x10de\", ATTR{{device}}==\"0x0e0a\", {tail}"),
        format!("{start}\"0000:05:00.0\", ATTR{{vendor}}==\"0x10de\", ATTR{{device}}==\"0x11bf\", {tail}"),
    ];
    assert_eq!(rules(&document, &host), expected, "a function that is missing gets no rule");
    host.execute(&Step::quick_attr(attribute(PF, "sriov_numvfs"), None, "1")).unwrap();
    assert_eq!(rules(&document, &host), expected, "a VF that exists has no rule either");
    let kept = format!("{start}\"0000:99:00.0\", {tail}\n");
    host.put_file(RULES, format!("{HEADER}{kept}"));
    assert!(rules(&document, &host).contains(&kept.trim_end().to_owned()), "it may come back");
    assert_eq!(rules(&devices(&[]), &machine()), ["None"]);
    assert_eq!(rules(&ids(&["10de:11bf"]), &machine()), ["None"], "ids are modprobe's");
}

#[test]
fn an_image_gets_its_rules_and_the_machine_decides_the_rest() {
    let image = SimulatedHost::new(&EmptyHost(Reach::Tree));
    let document = both(devices(&[device(GPU)]), sriov(&[(PF, 2, Some("vfio-pci"))]));
    assert_eq!(rules(&document, &image).len(), 2);
    for item in [format!("bindings {GPU}"), format!("sriov {PF}")] {
        assert_eq!(verdict(&document, &image, &item), "blocked on Reboot: no-inventory");
    }
}

#[test]
fn a_rule_file_of_somebody_else_stays() {
    let mut host = machine();
    host.put_file(RULES, "# mine\n");
    let found = verdict(&devices(&[device(GPU)]), &host, &format!("bindings {RULES}"));
    assert_eq!(found, "refused: foreign-file");
}

#[test]
fn the_initramfs_is_rebuilt_only_where_it_has_the_native_driver() {
    let mut host = machine();
    host.put_file("/usr/sbin/update-initramfs", "#!/bin/sh\nmkinitramfs\n");
    host.put_file(
        "/lib/modules/6.12.0/modules.dep",
        "kernel/drivers/net/ethernet/intel/igb/igb.ko:\nkernel/drivers/gpu/drm/nouveau/nouveau.ko:\n",
    );
    host.put_file(
        "/lib/modules/6.12.0/modules.alias",
        "alias pci:v00008086d000010C9sv*sd*bc*sc*i* igb\nalias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n",
    );
    let owes = |document: &Document, host: &SimulatedHost<'_>| {
        let (items, _) = find(document, host, &Memory::default());
        let rules = items.into_iter().find(|item| item.item.ends_with(RULES)).unwrap();
        match rules.verdict {
            Verdict::Change(change) => Some((change.followups.contains(&Followup::Initramfs), change.steps)),
            _ => None,
        }
    };
    assert!(!owes(&devices(&[device(GPU)]), &host).unwrap().0, "no graphics driver in the image");
    let (rebuild, steps) = owes(&devices(&[device(GPU), device(PF_TWIN)]), &host).unwrap();
    assert!(rebuild, "MODULES=most takes network drivers");
    host.execute(&steps[0]).unwrap();
    assert_eq!(owes(&devices(&[device(GPU), device(PF_TWIN)]), &host), None);
    assert!(
        !owes(&devices(&[device(PF_TWIN)]), &host).unwrap().0,
        "the copy in the image differs only for the GPU"
    );
    assert!(
        owes(&devices(&[device(GPU)]), &host).unwrap().0,
        "the rule in the image would still take the port"
    );
}
