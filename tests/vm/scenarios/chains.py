"""Each boot chain and initramfs generator of Debian: from a fresh host to done over one reboot, and over the installation
of a second kernel, with no run in between."""

import json

from lab import topology
from lab.prediction import apply
from lab.recipe import SECOND_KERNEL_AT
from lab.scenario import check, equal, reconcile, report
from lab.variants import DRACUT, SYSTEMD_BOOT, on

ARGUMENTS = ["intel_iommu=on", "iommu=pt", "pcie_aspm=off"]
# What an image decides by its modprobe.d, by vfio-pci in it, and by its udev rules.
DOCUMENT = """\
version: 1
kernel_args: [{arguments}]
modules: [vfio_pci]
blacklist: [igb]
vfio_pci:
  ids: ["8086:10d3"]
  devices: ["{nvme}"]
"""


def grub(scenario):
    over_two_kernels(scenario, scenario.machine(topology.cards), "grub", "initramfs-tools", "/boot/grub/grub.cfg")


@on(DRACUT)
def dracut(scenario):
    over_two_kernels(scenario, scenario.machine(topology.cards), "grub", "dracut", "/boot/grub/grub.cfg")


@on(SYSTEMD_BOOT)
def systemd_boot(scenario):
    machine = scenario.machine(topology.uefi(topology.cards))
    over_two_kernels(scenario, machine, "kernel-install", "initramfs-tools", "/boot/efi/loader/entries/*.conf")


def over_two_kernels(scenario, machine, chain, generator, menu):
    nvme = machine.address("nvme")
    first = machine.out("uname -r")
    with scenario.step("applied"):
        machine.run("systemctl enable reconcile.service")
        apply(machine, DOCUMENT.format(arguments=", ".join(ARGUMENTS), nvme=nvme), 3)
        equal(in_charge(machine), (chain, generator), "boot chain and initramfs generator")
    with scenario.step("reboot"):
        machine.reboot()
    with scenario.step("in effect"):
        equal(machine.out("uname -r"), first, "running kernel")
        in_effect(machine, nvme)
    with scenario.step("a second kernel is installed"):
        machine.run(f"dpkg --install {SECOND_KERNEL_AT}/*.deb", timeout=3600)
        second = machine.out(f"ls /lib/modules | grep -v -x -F {first}")
        lines = machine.out(f"grep -h -E '^[[:space:]]*(linux|options)[[:space:]]' {menu} | grep -v -w single").splitlines()
        check(len(lines) > 1 and all(set(ARGUMENTS) <= set(line.split()) for line in lines if "root=" in line), lines)
        nothing_left(machine)
    with scenario.step("reboot into it"):
        machine.reboot()
    with scenario.step("in effect with the second kernel"):
        equal(machine.out("uname -r"), second, "running kernel")
        in_effect(machine, nvme)


def in_charge(machine):
    found = report(machine, "status")
    return found["boot_chain"]["chain"], found["initramfs"]["generator"]


def in_effect(machine, nvme):
    arguments = machine.read("/proc/cmdline").split()
    check(set(ARGUMENTS) <= set(arguments), arguments)
    log = machine.kernel_log()
    for native, address in (("e1000e", machine.address("e1000e")), ("e1000e", machine.address("noacs")), ("nvme", nvme)):
        equal(machine.driver(address), "vfio-pci", f"driver of {address}")
        had = [line for line in log.splitlines() if native in line and address in line]
        equal(had, [], f"what {native} said of {address}")
    equal(machine.driver(machine.address("igb0")), "", "driver of the igb, whose module is blacklisted")
    nothing_left(machine)


def nothing_left(machine):
    """By a dry run, and by what `why` says of each item."""
    found = report(machine, status=0)
    equal((found["changes"], found["followups"]), ([], []), "changes that are left")
    trails = json.loads(reconcile(machine, "why -o json", status=0).stdout)["trails"]
    equal(trails, [], "what is not in effect")
