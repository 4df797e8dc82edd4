"""Hardware that changed while the machine was off."""

from lab import topology
from lab.prediction import apply
from lab.scenario import check, equal, reconcile

from .live import count, drivers, vfs


def changed_topology(scenario):
    """One more card on the last bus moves the numbers of IOMMU groups; one on the first bus moves every address."""
    machine = scenario.machine()
    card, pf = machine.address("e1000e"), machine.address("igb0")
    with scenario.step("apply, with pins"):
        apply(machine, f"""\
version: 1
modules: [vfio_pci]
sriov: [{{device: {{address: "{pf}", mac: "52:54:00:00:01:00"}}, vfs: 2, driver: vfio-pci}}]
vfio_pci: {{devices: [{{address: "{card}", id: "8086:10d3"}}]}}
qemu: {{cgroup_device_acl: {{vfio_groups: true}}}}
""", 0)
        machine.run("systemctl enable reconcile.service")
        before = groups(machine, pf, card)
        check(before <= listed(machine), f"{before} are not in qemu.conf")
    with scenario.step("a card on the last bus: the boot unit has the ACL follow"):
        machine.restart(topology.card_behind)
        equal(machine.address("e1000e"), card, "address of the card")
        after = groups(machine, pf, card)
        check(after != before, f"the groups are {after}, as before: this proves nothing")
        equal(machine.out("systemctl show -P Result reconcile.service"), "success", "the unit's result")
        equal((machine.driver(card), drivers(machine, pf)), ("vfio-pci", ["vfio-pci"] * 2), "drivers")
        equal(listed(machine), after, "groups in cgroup_device_acl")
        reconcile(machine, "--dry-run", status=0)
    with scenario.step("a card on the first bus: pins refuse, and say where the cards went"):
        machine.restart(topology.card_before)
        moved = machine.address("e1000e"), machine.address("igb0")
        check(moved[0] != card and moved[1] != pf, moved)
        text = reconcile(machine, "--dry-run", status=4).stdout
        for old, new in zip((card, pf), moved):
            check(f"another card than the pinned one sits at {old}" in text, text)
            check(f"at {new}" in text, f"not said: {new}\n{text}")
        journal = machine.out("journalctl -b -u reconcile --no-pager")
        check("another card than the pinned one" in journal, journal)
        equal((count(machine, moved[1]), count(machine, machine.address("igb1"))), ("0", "0"), "VF counts")
        equal((machine.address("nvme"), machine.address("uplink")), (card, pf), "what is there now")
        equal((machine.driver(card), machine.driver(pf)), ("nvme", "virtio-pci"), "drivers of what is there now")
    with scenario.step("as it was"):
        machine.restart(topology.full)
        reconcile(machine, "--dry-run", status=0)


def groups(machine, pf, card):
    return {machine.group(address) for address in (card, *vfs(machine, pf))}


def listed(machine):
    """Group numbers in libvirt's ACL."""
    text = machine.out("grep -o '\"/dev/vfio/[0-9]*\"' /etc/libvirt/qemu.conf | tr -dc '0-9\\n'")
    return set(text.split())
