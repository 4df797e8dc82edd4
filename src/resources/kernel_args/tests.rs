//! Whole diffs over small trees.

use std::path::Path;

use super::KernelArgs;
use crate::boot::grub_d::OWN_DROP_IN;
use crate::document::{Source, load};
use crate::engine::{Facts, Memory, PersistedAt};
use crate::host::{EmptyHost, Host, Reach, ReadHost, SimulatedHost};
use crate::plan::{Followup, Step, Verdict};
use crate::resources::{Findings, Observer, Resource};

const GRUB: &str = "/etc/default/grub";
const MENU: &str = "/boot/grub/grub.cfg";

fn host(reach: Reach, files: &[(&str, &str)]) -> SimulatedHost<'static> {
    const MACHINE: &EmptyHost = &EmptyHost(Reach::Machine);
    const TREE: &EmptyHost = &EmptyHost(Reach::Tree);
    let mut host = SimulatedHost::new(if reach == Reach::Machine { MACHINE } else { TREE });
    files.iter().for_each(|(path, text)| host.put_file(path, *text));
    host
}

fn machine(files: &[(&str, &str)]) -> SimulatedHost<'static> {
    let mut host = host(Reach::Machine, &[("/proc/sys/kernel/random/boot_id", "now\n")]);
    files.iter().for_each(|(path, text)| host.put_file(path, *text));
    host
}

fn menu(args: &str) -> String {
    format!(
        "### BEGIN /etc/grub.d/10_linux ###\nmenuentry 'Debian' {{\n\tlinux\t/vmlinuz root=/dev/sda1 ro {args}\n}}\n\
         ### END /etc/grub.d/10_linux ###\n"
    )
}

fn judge_with(host: &SimulatedHost<'_>, document: &str, memory: &Memory) -> Option<Findings> {
    let source = Source::new("host.yaml", format!("version: 1\n{document}\n"));
    let document = load(&[source]).unwrap().document;
    let facts = Facts::gather(&document, host, None).unwrap();
    let observer = Observer { host, memory, facts: &facts };
    let spec = KernelArgs::derive(&document, &facts)?;
    Some(KernelArgs::diff(&spec, &KernelArgs::observe(&spec, &observer).unwrap()))
}

fn judge(host: &SimulatedHost<'_>, document: &str) -> Findings {
    judge_with(host, document, &Memory::default()).unwrap()
}

/// Each item with the kind of its verdict and the code of its reason.
fn told(findings: &Findings) -> Vec<String> {
    let kind = |verdict: &Verdict| match verdict {
        Verdict::InSync => "in sync".to_owned(),
        Verdict::Change(change) => format!("change ({}, {} steps)", change.reason.code, change.steps.len()),
        Verdict::PendingReboot { why } => format!("reboot ({})", why.code),
        Verdict::Stuck { why } => format!("stuck ({})", why.text),
        Verdict::Blocked { why, .. } => format!("blocked ({})", why.code),
        Verdict::Refused(objection) => format!("refused ({})", objection.chain[0].code),
    };
    findings.items.iter().map(|item| format!("{}: {}", item.item, kind(&item.verdict))).collect()
}

fn codes(findings: &Findings) -> Vec<String> {
    findings.warnings.iter().map(|warning| warning.reason.code.to_string()).collect()
}

fn apply(host: &mut SimulatedHost<'_>, findings: &Findings) {
    let changes = findings.items.iter().filter_map(|item| match &item.verdict {
        Verdict::Change(change) => Some(change),
        _ => None,
    });
    let steps: std::collections::BTreeSet<&Step> = changes.flat_map(|change| &change.steps).collect();
    steps.into_iter().for_each(|step| host.execute(step).unwrap());
}

#[test]
fn from_nothing_to_pending_reboot_to_in_sync() {
    let document = "kernel_args: [intel_iommu=on, iommu=pt]";
    let menu = menu("quiet");
    let files = [(GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"), (MENU, &menu), ("/proc/cmdline", "ro quiet\n")];
    let mut host = machine(&files);
    let findings = judge(&host, document);
    assert_eq!(
        told(&findings),
        ["intel_iommu=on: change (argument-missing, 1 steps)", "iommu=pt: change (argument-missing, 1 steps)"]
    );
    let Verdict::Change(change) = &findings.items[0].verdict else { panic!() };
    assert!(change.followups.contains(&Followup::BootLoader));
    assert_eq!(change.owns[0].item, "intel_iommu=on");
    assert_eq!(findings.items[0].origin.as_deref(), Some("host.yaml:2:15"));
    apply(&mut host, &findings);
    let stale = ["intel_iommu=on: change (menu-stale, 0 steps)", "iommu=pt: change (menu-stale, 0 steps)"];
    assert_eq!(told(&judge(&host, document)), stale);
    host.execute(&Step::Run { argv: vec!["update-grub".to_owned()], deadline_ms: 0 }).unwrap();
    let pending = ["intel_iommu=on: reboot (reboot-needed)", "iommu=pt: reboot (reboot-needed)"];
    assert_eq!(told(&judge(&host, document)), pending);
    host.put_file("/proc/cmdline", "BOOT_IMAGE=/vmlinuz ro quiet intel_iommu=on iommu=pt\n");
    assert_eq!(told(&judge(&host, document)), ["intel_iommu=on: in sync", "iommu=pt: in sync"]);
}

#[test]
fn running_right_and_persisted_wrong_is_never_in_sync() {
    let host = machine(&[(GRUB, ""), ("/proc/cmdline", "iommu=pt\n")]);
    assert_eq!(told(&judge(&host, "kernel_args: [iommu=pt]")), ["iommu=pt: change (argument-missing, 1 steps)"]);
}

#[test]
fn what_others_give_is_in_order_and_a_tree_without_a_menu_is_judged_by_its_sources() {
    let host = host(Reach::Tree, &[(GRUB, "GRUB_CMDLINE_LINUX=\"vfio_pci.ids=1 iommu=nomerge,pt\"\n")]);
    let findings = judge(&host, "kernel_args: [vfio-pci.ids=1, iommu=pt]");
    assert_eq!(told(&findings), ["vfio-pci.ids=1: in sync", "iommu=pt: in sync"]);
}

#[test]
fn absent_arguments_and_conflicts_are_edited_in_their_own_files() {
    let mut host = machine(&[(GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet a=0 nomodeset\"\n"), ("/proc/cmdline", "quiet a=0 nomodeset")]);
    let document = "kernel_args: {present: [a=1], absent: [nomodeset]}";
    let findings = judge(&host, document);
    let expected = ["a=1: change (argument-conflicts, 1 steps)", "nomodeset: change (argument-unwanted, 1 steps)"];
    assert_eq!(told(&findings), expected);
    apply(&mut host, &findings);
    assert_eq!(host.text(Path::new(GRUB)).unwrap().as_deref(), Some("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet a=1\""));
    assert_eq!(told(&judge(&host, document)), ["a=1: reboot (reboot-needed)", "nomodeset: reboot (reboot-needed)"]);
}

#[test]
fn what_the_document_no_longer_asks_for_is_taken_back() {
    let mut host = host(Reach::Tree, &[(GRUB, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n")]);
    let findings = judge(&host, "kernel_args: [a=1, b]");
    apply(&mut host, &findings);
    let findings = judge(&host, "kernel_args: [b]");
    assert_eq!(told(&findings), ["b: in sync", "a=1: change (argument-taken-back, 1 steps)"]);
    apply(&mut host, &findings);
    assert!(host.text(Path::new(OWN_DROP_IN)).unwrap().unwrap().ends_with("DEFAULT b\""));
    let findings = judge(&host, "kernel_args: []");
    assert_eq!(told(&findings), ["b: change (argument-taken-back, 1 steps)"]);
    apply(&mut host, &findings);
    assert_eq!(host.text(Path::new(OWN_DROP_IN)).unwrap(), None);
    assert_eq!(told(&judge(&host, "kernel_args: []")), [""; 0]);
}

#[test]
fn an_altered_drop_in_is_written_anew() {
    let mut host = host(Reach::Tree, &[(GRUB, "")]);
    let findings = judge(&host, "kernel_args: [b]");
    apply(&mut host, &findings);
    let text = host.text(Path::new(OWN_DROP_IN)).unwrap().unwrap();
    host.put_file(OWN_DROP_IN, format!("{text}\n# mine\n"));
    let findings = judge(&host, "kernel_args: [b]");
    assert_eq!(told(&findings), ["b: in sync", "/etc/default/grub.d/zz-reconcile.cfg: change (drop-in-altered, 1 steps)"]);
}

#[test]
fn uncertainty_and_other_boot_chains_refuse_each_item_with_the_chain_of_reasons() {
    let uncertain = host(Reach::Tree, &[(GRUB, "GRUB_CMDLINE_LINUX=$(echo a)\n")]);
    let findings = judge(&uncertain, "kernel_args: {present: [b], absent: [c]}");
    assert_eq!(told(&findings), ["b: refused (arguments-uncertain)", "c: refused (arguments-uncertain)"]);
    let Verdict::Refused(objection) = &findings.items[0].verdict else { panic!() };
    assert_eq!(objection.chain[1].at.as_deref(), Some("/etc/default/grub:1"));
    let other = host(Reach::Tree, &[(GRUB, ""), ("/etc/NIXOS", "")]);
    assert_eq!(told(&judge(&other, "kernel_args: [b]")), ["b: refused (boot-chain-unsupported)"]);
    assert_eq!(told(&judge(&host(Reach::Tree, &[]), "kernel_args: [b]")), ["b: refused (boot-chain-missing)"]);
}

#[test]
fn one_argument_that_cannot_be_had_does_not_stop_the_others() {
    let host = host(Reach::Tree, &[(GRUB, "A=0\nGRUB_CMDLINE_LINUX=\"x=$A\"\n")]);
    let findings = judge(&host, "kernel_args: [a, x=1, 'q=\\n', b]");
    let expected = [
        "a: change (argument-missing, 1 steps)",
        "x=1: refused (argument-uneditable)",
        "q=\\n: refused (argument-unpassable)",
        "b: change (argument-missing, 1 steps)",
    ];
    assert_eq!(told(&findings), expected);
}

#[test]
fn contradictions_between_sections_are_refused_and_do_not_swing() {
    let builtin = ("/lib/modules/6.1/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n");
    let host = host(Reach::Tree, &[("/lib/modules/6.1/modules.dep", ""), builtin, (GRUB, "")]);
    let findings = judge(&host, "vfio_pci: {ids: ['10de:11bf']}\nkernel_args: ['vfio-pci.ids=10de:0e0a', c]");
    let expected = [
        "vfio-pci.ids=10de:0e0a: refused (arguments-contradict)",
        "c: change (argument-missing, 1 steps)",
        "vfio-pci.ids=10de:11bf: refused (arguments-contradict)",
    ];
    assert_eq!(told(&findings), expected);
}

#[test]
fn booted_since_and_still_not_there_is_stuck_with_the_likely_cause() {
    let right = menu("iommu=pt");
    let mut memory = Memory::default();
    let at = PersistedAt { boot_id: "before".to_owned() };
    memory.persisted.entry("kernel_args".to_owned()).or_default().insert("iommu=pt".to_owned(), at);
    let stuck = |cmdline: &str| {
        let grub = "GRUB_CMDLINE_LINUX=iommu=pt\n";
        let host = machine(&[(GRUB, grub), (MENU, &right), ("/proc/cmdline", cmdline)]);
        told(&judge_with(&host, "kernel_args: [iommu=pt]", &memory).unwrap()).remove(0)
    };
    assert!(stuck("ro -- iommu=pt").contains("behind a bare --"));
    assert!(stuck(&format!("ro {}", "x".repeat(2044))).contains("cut off at 2048"));
    assert!(stuck("ro other").contains("another menu entry"));
    assert!(stuck("BOOT_IMAGE=/vmlinuz-5.10 ro other").contains("(it booted /vmlinuz-5.10)"));
    assert_eq!(stuck("ro iommu=pt"), "iommu=pt: in sync");
}

#[test]
fn ids_of_a_builtin_vfio_pci_go_to_the_command_line() {
    let kernel = [("/lib/modules/6.1/modules.dep", ""), ("/lib/modules/6.1/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n"), (GRUB, "")];
    let mut host = host(Reach::Tree, &kernel);
    let document = "vfio_pci: {ids: ['10de:11bf', '10de:0e0a', '10de:11bf']}";
    let findings = judge(&host, document);
    assert_eq!(told(&findings), ["vfio-pci.ids=10de:11bf,10de:0e0a: change (argument-missing, 1 steps)"]);
    assert_eq!(findings.items[0].origin.as_deref(), Some("vfio_pci.ids at host.yaml:2:18"));
    apply(&mut host, &findings);
    // Together with the section, then without ids.
    let findings = judge(&host, &format!("{document}\nkernel_args: [a]"));
    assert_eq!(told(&findings).len(), 2);
    apply(&mut host, &findings);
    let findings = judge(&host, "vfio_pci: {ids: []}");
    assert_eq!(told(&findings), ["vfio-pci.ids=10de:11bf,10de:0e0a: change (argument-taken-back, 1 steps)"]);
    assert_eq!(codes(&findings), ["section-vanished"], "kernel_args is gone, and its a stays");
    apply(&mut host, &findings);
    assert!(host.text(Path::new(OWN_DROP_IN)).unwrap().unwrap().ends_with("DEFAULT a\""));
    assert!(judge_with(&host, "vfio_pci: {devices: []}", &Memory::default()).is_none());
}

#[test]
fn arguments_without_a_reader_are_warned_about() {
    let warned = |extra: (&str, &str), arg: &str| {
        let host = host(Reach::Tree, &[(GRUB, ""), extra]);
        codes(&judge(&host, &format!("kernel_args: ['{arg}']")))
    };
    let (intel, amd, arm) = (
        ("/proc/cpuinfo", "vendor_id\t: GenuineIntel\n"),
        ("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\n"),
        ("/proc/cpuinfo", "CPU implementer\t: 0x41\n"),
    );
    assert_eq!(warned(intel, "intel_iommu=on"), [""; 0]);
    assert_eq!(warned(amd, "intel_iommu=on"), ["argument-without-reader"]);
    assert_eq!(warned(arm, "intel_iommu=on"), ["argument-without-reader"]);
    assert_eq!(warned(intel, "amd_iommu=force_enable"), ["argument-without-reader"]);
    assert_eq!(warned(amd, "amd_iommu=force_enable"), [""; 0]);
    for (table, codes_of_intel_iommu) in [("DMAR", vec![]), ("IVRS", vec!["argument-without-reader"])] {
        // A virtual machine may show an AMD processor and Intel's IOMMU, or the other way round.
        for processor in [intel, amd] {
            let path = format!("/sys/firmware/acpi/tables/{table}");
            let host = host(Reach::Tree, &[(GRUB, ""), processor, (&path, "")]);
            assert_eq!(codes(&judge(&host, "kernel_args: [intel_iommu=on]")), codes_of_intel_iommu);
        }
    }
    assert_eq!(warned(intel, "iommu=pt"), [""; 0]);
    assert_eq!(warned(arm, "iommu=pt"), ["argument-without-reader"]);
    assert_eq!(warned(("/etc/initramfs-tools/modules", ""), "rd.driver.pre=vfio-pci"), ["argument-without-reader"]);
    assert_eq!(warned(("/usr/bin/dracut", ""), "rd.driver.pre=vfio-pci"), [""; 0]);
    assert_eq!(warned(intel, "pcie_acs_override=downstream"), ["argument-without-reader"]);
    let long = format!("a={}", "x".repeat(2050));
    assert_eq!(warned(("/usr/bin/dracut", ""), &long), [""; 0]);
    let given = host(Reach::Tree, &[(GRUB, &format!("GRUB_CMDLINE_LINUX={long}\n"))]);
    assert_eq!(codes(&judge(&given, "kernel_args: [b]")), ["command-line-too-long"]);
}

#[test]
fn exempt_entries_are_named() {
    let menu = "### BEGIN /etc/grub.d/30_os-prober ###\nmenuentry 'Other' { linux /v ro x; }\n### END /etc/grub.d/30_os-prober ###\n";
    let host = host(Reach::Tree, &[(GRUB, "GRUB_CMDLINE_LINUX=a\n"), (MENU, menu)]);
    let findings = judge(&host, "kernel_args: [a]");
    assert_eq!(told(&findings), ["a: in sync"]);
    assert_eq!(codes(&findings), ["entries-exempt", "menu-unjudged"]);
    assert!(findings.warnings[0].reason.text.contains("os-prober"));
}

#[test]
fn an_argument_that_makes_the_command_line_too_long_is_refused_alone() {
    let long = format!("GRUB_CMDLINE_LINUX=a={}\n", "x".repeat(2000));
    let host = host(Reach::Tree, &[(GRUB, &long), ("/proc/cpuinfo", "vendor_id\t: GenuineIntel\n")]);
    let wide = format!("b={}", "y".repeat(60));
    let findings = judge(&host, &format!("kernel_args: [iommu=pt, {wide}, c]"));
    let expected = [
        "iommu=pt: change (argument-missing, 1 steps)".to_owned(),
        format!("{wide}: refused (command-line-too-long)"),
        "c: change (argument-missing, 1 steps)".to_owned(),
    ];
    assert_eq!(told(&findings), expected);
}
