"""Hosts that cannot do what the document asks for: clear words, nothing changed, the machine boots."""

from lab import observe, topology
from lab.scenario import DOCUMENT, check, equal, reconcile


def other_host(scenario):
    """A document for another host; a host without vfio-pci; then a host whose IOMMU is turned off."""
    machine = scenario.machine()
    igb, card = machine.address("igb0"), machine.address("e1000e")
    with scenario.step("a document for another host changes nothing live"):
        machine.write(DOCUMENT, f"""\
version: 1
vfio_pci:
  devices: ["0000:7f:00.0", {{address: "{card}", id: "10de:11bf"}}, {{pf: "0000:7e:00.0", vf: 3}}]
sriov: [{{device: "0000:7e:00.0", vfs: 4, driver: vfio-pci}}, {{device: "{igb}", vfs: 99}}]
""")
        before = observe.attributes(machine)
        done = reconcile(machine, "--yes", status={1, 4})
        for word in ("0000:7f:00.0", "10de:11bf", "0000:7e:00.0", "99"):
            check(word in done.stdout + done.stderr, lambda: f"not named: {word}\n{done!r}")
        equal(observe.difference(before, observe.attributes(machine)), [], "what changed")
    with scenario.step("no vfio-pci in the kernel: nothing is bound, and the report says why"):
        machine.run("modprobe -r vfio_pci; rm /usr/lib/modules/$(uname -r)/kernel/drivers/vfio/pci/vfio-pci.ko*; depmod", timeout=600)
        machine.write(DOCUMENT, f'version: 1\nmodules: [vfio_pci]\nvfio_pci: {{devices: ["{card}"]}}\n')
        before = observe.files(machine), observe.attributes(machine)
        done = reconcile(machine, "--yes", status={1, 4})
        check("vfio_pci" in done.stdout + done.stderr, lambda: repr(done))
        scenario.log(next(line for line in (done.stdout + done.stderr).splitlines() if "vfio_pci" in line).strip())
        equal(machine.driver(card), "e1000e", "driver of the card")
        after = observe.files(machine), observe.attributes(machine)
        equal([line for old, new in zip(before, after) for line in observe.difference(old, new)], [], "what changed")
    with scenario.step("boot with intel_iommu=off"):
        machine.write("/etc/default/grub.d/off.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="intel_iommu=off"\n')
        machine.run("update-grub && systemctl enable reconcile")
        machine.write(DOCUMENT, f'version: 1\nmodules: [vfio_pci]\nvfio_pci: {{devices: ["{igb}"]}}\n')
        machine.reboot()
        equal(machine.out("ls /sys/kernel/iommu_groups"), "", "IOMMU groups")
    no_iommu(scenario, machine, igb)


def without_iommu(scenario):
    """A machine that has no IOMMU at all."""
    machine = scenario.machine(topology.without_iommu)
    igb = machine.address("igb0")
    machine.write(DOCUMENT, f'version: 1\nmodules: [vfio_pci]\nvfio_pci: {{devices: ["{igb}"]}}\n')
    no_iommu(scenario, machine, igb)


def no_iommu(scenario, machine, igb):
    with scenario.step("nothing is bound, and the report says why"):
        equal(machine.driver(igb), "igb", "driver while there is no IOMMU")
        done = reconcile(machine, "--yes", status={1, 4})
        check("IOMMU" in done.stdout + done.stderr, lambda: repr(done))
        scenario.log(next(line for line in (done.stdout + done.stderr).splitlines() if "IOMMU" in line).strip())
        equal(machine.driver(igb), "igb", "driver while there is no IOMMU")
        equal(machine.read(f"/sys/bus/pci/devices/{igb}/driver_override"), "(null)", "override")
        # It would keep igb from the function at the next boot, and vfio-pci could not take it.
        equal(machine.run(f"grep -r {igb} /etc/udev/rules.d", check=False).stdout, "", "a rule for the function")
