"""What only a reboot proves: kernel arguments through GRUB, and the initramfs."""

from lab.prediction import apply
from lab.scenario import check, equal, reconcile, report


def menu(machine):
    """The command lines of grub.cfg, normal entries and recovery entries."""
    lines = machine.out("grep -E '^[[:space:]]*linux[[:space:]]' /boot/grub/grub.cfg").splitlines()
    return ([line.split() for line in lines if " single" not in line], [line.split() for line in lines if " single" in line])


def kernel_args(scenario):
    """Added; another's value changed and another's argument removed; taken back."""
    machine = scenario.machine()
    with scenario.step("added"):
        apply(machine, "version: 1\nkernel_args: [intel_iommu=on, iommu=pt, pcie_aspm=off]\n", 3)
        normal, recovery = menu(machine)
        check(normal and all({"intel_iommu=on", "iommu=pt", "pcie_aspm=off"} <= set(line) for line in normal), normal)
        check(all("iommu=pt" not in line for line in recovery), recovery)
        machine.reboot()
        check({"intel_iommu=on", "iommu=pt", "pcie_aspm=off"} <= set(machine.read("/proc/cmdline").split()), "cmdline")
        equal(machine.read("/sys/kernel/iommu_groups/0/type"), "identity", "type of an IOMMU group")
        reconcile(machine, "--dry-run", status=0)
    with scenario.step("changed, and another's removed"):
        machine.run("sed -i 's/^GRUB_CMDLINE_LINUX_DEFAULT=.*/GRUB_CMDLINE_LINUX_DEFAULT=\"quiet panic=5\" # mine/' /etc/default/grub")
        apply(machine, "version: 1\nkernel_args: {present: [panic=7, intel_iommu=on], absent: [quiet]}\n", 3)
        normal, _ = menu(machine)
        for line in normal:
            check({"panic=7", "intel_iommu=on"} <= set(line) and not {"quiet", "panic=5", "iommu=pt"} & set(line), line)
        check("# mine" in machine.read("/etc/default/grub"), "the comment behind the value is gone")
        machine.reboot()
        found = machine.read("/proc/cmdline").split()
        check("panic=7" in found and not {"quiet", "panic=5", "iommu=pt"} & set(found), found)
        reconcile(machine, "--dry-run", status=0)
    with scenario.step("taken back"):
        apply(machine, "version: 1\nkernel_args: []\n")
        check(all("intel_iommu=on" not in line for line in menu(machine)[0]), "still in grub.cfg")
        equal(machine.run("test -e /etc/default/grub.d/zz-reconcile.cfg", check=False).status, 1, "our drop-in")


def initramfs(scenario):
    """Ids with a twin, and a blacklisted driver, both of functions whose driver the initramfs has; no unit at boot."""
    machine = scenario.machine()
    twins = [machine.address("e1000e"), machine.address("noacs")]
    with scenario.step("applied"):
        apply(machine, 'version: 1\nmodules: [vfio_pci]\nblacklist: [igb]\nvfio_pci: {ids: ["8086:10d3"]}\n', {0, 3})
        listed = machine.out("lsinitramfs /boot/initrd.img-$(uname -r) | grep -E 'zz-reconcile|/(vfio-pci|e1000e|igb)[.]ko'", timeout=300)
        for name in ("zz-reconcile-vfio-pci.conf", "zz-reconcile-blacklist.conf", "vfio-pci.ko", "e1000e.ko"):
            check(name in listed, f"{name} is not in the initramfs:\n{listed}")
    with scenario.step("after a reboot"):
        machine.reboot()
        equal([machine.driver(twin) for twin in twins], ["vfio-pci", "vfio-pci"], "drivers of the twins")
        equal(machine.driver(machine.address("igb0")), "", "driver of the igb, whose module is blacklisted")
        log = machine.kernel_log()
        check(not any(f"e1000e {twin}" in log for twin in twins), "e1000e had one of them")
        # The ids say nothing about the override; the unit, which is not enabled here, would have set it.
        left = [(change["target"], change["after"]) for change in report(machine)["changes"]]
        equal(left, [(f"/sys/bus/pci/devices/{twin}/driver_override", "vfio-pci") for twin in twins], "what is left")
