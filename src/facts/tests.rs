use super::*;
use crate::host::{EmptyHost, Reach, SimulatedHost};

/// A file of a host and its text.
type File = (&'static str, &'static str);

/// Files of a host, and what comes of them.
type Case<'a> = (&'a [File], Standing, &'static str);

/// Judges `name` on a host with these files.
fn judged(name: &str, reach: Reach, files: &[File]) -> (Standing, String, Reason) {
    let empty = EmptyHost(reach);
    let mut host = SimulatedHost::new(&empty);
    for (path, text) in files {
        host.put_file(path, *text);
    }
    let kernels = Kernels::read(&host).unwrap();
    let facts = all(&host, &kernels);
    let fact = facts.into_iter().find(|fact| fact.fact == name).unwrap();
    (fact.state, fact.reason.code.to_string(), fact.reason)
}

fn on_machine(name: &str, files: &[File]) -> (Standing, String) {
    let (state, code, reason) = judged(name, Reach::Machine, files);
    assert!(reason.at.is_some(), "{reason:?}");
    assert!(state != Standing::Fails || reason.remedy.is_some(), "{reason:?}");
    (state, code)
}

const INTEL: File = ("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx\n");
const AMD: File = ("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm\n");
const ARM: File = ("/proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n");
const OTHER_TABLE: File = ("/sys/firmware/acpi/tables/DSDT", "");
const DMAR: File = ("/sys/firmware/acpi/tables/DMAR", "");
const IVRS: File = ("/sys/firmware/acpi/tables/IVRS", "");
const IORT: File = ("/sys/firmware/acpi/tables/IORT", "");
const UNIT: File = ("/sys/class/iommu/dmar0/intel-iommu/version", "1:0\n");
const GROUP: File = ("/sys/kernel/iommu_groups/7/type", "DMA-FQ\n");

fn expect(name: &str, cases: &[Case<'_>]) {
    for (files, state, code) in cases {
        assert_eq!(on_machine(name, files), (*state, (*code).to_owned()), "{name} with {files:?}");
    }
}

#[test]
fn a_fact_that_nothing_shows_is_unknown_and_never_fails() {
    let empty = EmptyHost(Reach::Tree);
    let kernels = Kernels::read(&empty).unwrap();
    for Fact { fact, state, .. } in all(&empty, &kernels) {
        // Nothing of EFI is what a machine without it shows, too.
        let expected = if fact == "secure-boot" { Standing::Good } else { Standing::Unknown };
        assert_eq!(state, expected, "{fact}");
    }
}

#[test]
fn the_firmware_s_table() {
    expect(
        "iommu-table",
        &[
            (&[INTEL, DMAR], Standing::Good, "iommu-table"),
            (&[AMD, IVRS], Standing::Good, "iommu-table"),
            (&[ARM, IORT], Standing::Good, "iommu-table"),
            (&[INTEL, OTHER_TABLE], Standing::Fails, "no-iommu-table"),
            (&[AMD, OTHER_TABLE], Standing::Fails, "no-iommu-table"),
            (&[ARM, OTHER_TABLE], Standing::Fails, "no-iommu-table"),
            (&[ARM, ("/sys/firmware/devicetree/base/model", "x")], Standing::Note, "device-tree"),
            (&[INTEL], Standing::Unknown, "not-shown"),
        ],
    );
    let remedy = |cpu| judged("iommu-table", Reach::Machine, &[cpu, OTHER_TABLE]).2.remedy.unwrap();
    assert!(remedy(INTEL).contains("VT-d") && remedy(AMD).contains("AMD-Vi") && remedy(ARM).contains("SMMU"));
}

#[test]
fn an_iommu_that_is_off_says_why() {
    let booted = |line| ("/proc/cmdline", line);
    expect(
        "iommu",
        &[
            (&[INTEL, DMAR, UNIT, GROUP], Standing::Good, "iommu"),
            (&[ARM, IORT, ("/sys/class/iommu/smmu3.0x9050000/x", ""), GROUP], Standing::Good, "iommu"),
            (&[INTEL, DMAR, UNIT], Standing::Fails, "iommu-without-groups"),
            (&[INTEL, DMAR, GROUP], Standing::Fails, "groups-without-iommu"),
            (&[INTEL, DMAR, booted("ro quiet\n")], Standing::Fails, "iommu-not-asked-for"),
            (&[INTEL, DMAR, booted("ro intel_iommu=on\n")], Standing::Fails, "iommu-not-started"),
            (
                &[INTEL, DMAR, booted("intel_iommu=sm_on,off iommu=pt\n")],
                Standing::Fails,
                "iommu-off-by-argument",
            ),
            (&[AMD, IVRS, booted("amd_iommu=off\n")], Standing::Fails, "iommu-off-by-argument"),
            (&[AMD, IVRS, booted("iommu=off\n")], Standing::Fails, "iommu-off-by-argument"),
            // Intel's own word for what its graphics do, and not `off`.
            (
                &[AMD, IVRS, booted("amd_iommu=pgtbl_v2 intel_iommu=igfx_off\n")],
                Standing::Fails,
                "iommu-not-started",
            ),
            (&[INTEL, OTHER_TABLE], Standing::Fails, "no-iommu-table"),
            (&[ARM], Standing::Fails, "iommu-off"),
        ],
    );
    assert_eq!(judged("iommu", Reach::Tree, &[INTEL, DMAR]).0, Standing::Unknown, "an image shows no kernel");
}

#[test]
fn default_domains_are_told_from_the_groups() {
    let identity = ("/sys/kernel/iommu_groups/8/type", "identity\n");
    let other = ("/sys/kernel/iommu_groups/9/type", "identity\n");
    let (state, _, reason) = judged("domain-type", Reach::Machine, &[GROUP, identity, other]);
    assert_eq!(state, Standing::Good);
    assert!(
        reason.text.starts_with("identity: ") && reason.text.contains("1 DMA-FQ, 2 identity"),
        "{reason:?}"
    );
}

#[test]
fn interrupts_are_remapped_where_a_chip_says_so() {
    let shown = |text| ("/proc/interrupts", text);
    let plain = shown(" 24: 1 0 IO-APIC 5-edge ACPI:Ged\n 25: 0 7 PCI-MSIX-0000:01:00.0 0-edge eth0\n");
    let remapped = shown(" 24: 1 0 IR-IO-APIC 5-edge ACPI:Ged\n 25: 0 7 IR-PCI-MSI 512-edge eth0\n");
    let its = shown(" 27: 5 5 ITS-MSI 0 Edge nvme0q0\n");
    let allowed = ("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
    expect(
        "interrupt-remapping",
        &[
            (&[INTEL, UNIT, remapped], Standing::Good, "interrupt-remapping"),
            (&[AMD, UNIT, remapped], Standing::Good, "interrupt-remapping"),
            (&[ARM, UNIT, its], Standing::Good, "interrupt-remapping"),
            (&[INTEL, UNIT, plain], Standing::Fails, "no-interrupt-remapping"),
            (
                &[INTEL, UNIT, plain, ("/proc/cmdline", "intremap=off")],
                Standing::Fails,
                "no-interrupt-remapping",
            ),
            (&[INTEL, UNIT, plain, allowed], Standing::Note, "unsafe-interrupts-allowed"),
            (&[INTEL, plain], Standing::Unknown, "not-shown"),
            (&[ARM, UNIT, plain], Standing::Unknown, "not-shown"),
            (&[INTEL, UNIT], Standing::Unknown, "not-shown"),
        ],
    );
}

#[test]
fn lockdown_and_secure_boot_are_noted() {
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    let level = "/sys/kernel/security/lockdown";
    expect(
        "secure-boot",
        &[
            (&[(variable, "\u{6}\0\0\0\u{1}")], Standing::Note, "secure-boot"),
            (&[(variable, "\u{6}\0\0\0\0")], Standing::Good, "secure-boot"),
            (&[("/sys/firmware/efi/runtime", "")], Standing::Unknown, "not-shown"),
        ],
    );
    expect(
        "lockdown",
        &[
            (&[(level, "[none] integrity confidentiality\n")], Standing::Good, "lockdown"),
            (&[(level, "none [integrity] confidentiality\n")], Standing::Note, "lockdown"),
            (&[(level, "none integrity\n")], Standing::Unknown, "not-shown"),
        ],
    );
}

#[test]
fn every_installed_kernel_needs_the_modules() {
    let dep = "kernel/drivers/vfio/pci/vfio-pci.ko: \nkernel/drivers/vfio/vfio_iommu_type1.ko: \n";
    let all = ("/lib/modules/6.1/modules.dep", dep);
    let none = ("/lib/modules/6.8/modules.dep", "");
    let builtin = ("/lib/modules/6.8/modules.builtin", dep);
    expect(
        "vfio-modules",
        &[
            (&[all], Standing::Good, "vfio-modules"),
            (&[all, none], Standing::Fails, "no-vfio-modules"),
            (&[all, none, builtin], Standing::Note, "vfio-builtin"),
        ],
    );
    let text = judged("vfio-modules", Reach::Machine, &[all, none]).2.text;
    assert_eq!(text, "6.8 has no vfio_iommu_type1 and no vfio_pci");
}

#[test]
fn kvm_needs_the_processor_and_its_node() {
    let node = ("/dev/kvm", "");
    let module = ("/sys/module/kvm_intel/refcnt", "0\n");
    let plain = ("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor\n");
    expect(
        "kvm",
        &[
            (&[INTEL, node, module], Standing::Good, "kvm"),
            (&[AMD, node], Standing::Good, "kvm"),
            (&[ARM, node], Standing::Good, "kvm"),
            (&[INTEL], Standing::Fails, "no-kvm"),
            (&[ARM], Standing::Fails, "no-kvm"),
            (&[plain, node], Standing::Fails, "no-virtualisation"),
        ],
    );
    let remedy = |files: &[_]| judged("kvm", Reach::Machine, files).2.remedy.unwrap();
    assert!(remedy(&[INTEL]).contains("modprobe kvm_intel") && remedy(&[AMD]).contains("modprobe kvm_amd"));
    assert_eq!(judged("kvm", Reach::Tree, &[INTEL, module]).0, Standing::Good);
    assert_eq!(judged("kvm", Reach::Tree, &[INTEL]).0, Standing::Unknown);
}

#[test]
fn nested_guests_and_control_groups() {
    let nested = |value| ("/sys/module/kvm_amd/parameters/nested", value);
    let on = judged("nested", Reach::Machine, &[nested("1\n")]).2.text;
    let off = judged("nested", Reach::Machine, &[nested("N\n")]).2.text;
    assert!(on.starts_with("on: ") && off.starts_with("off: "));

    let mounts = |text| ("/proc/self/mountinfo", text);
    let unified = mounts("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    let legacy = mounts("33 32 0:28 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n");
    let hybrid = mounts(
        "31 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n33 32 0:28 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n",
    );
    let without = mounts("33 32 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    let systemd = mounts(
        "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n33 32 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n",
    );
    expect(
        "cgroup",
        &[
            (&[unified], Standing::Good, "cgroup-v2"),
            (&[systemd], Standing::Good, "cgroup-v2"),
            (&[legacy], Standing::Good, "cgroup-v1"),
            (&[hybrid], Standing::Good, "cgroup-v1"),
            (&[without], Standing::Fails, "no-devices-controller"),
            (&[mounts("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")], Standing::Unknown, "not-shown"),
        ],
    );
}
