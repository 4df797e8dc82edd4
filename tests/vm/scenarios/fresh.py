"""A fresh machine, the whole document, one reboot, and nothing is left to do."""

import os

from lab import observe, vfio_open
from lab.prediction import apply
from lab.scenario import DOCUMENT, check, equal, reconcile, report

WHOLE = """\
version: 1
kernel_args: [intel_iommu=on, iommu=pt, {pause}]
modules: [vfio, vfio_iommu_type1, vfio_pci]
blacklist: [nouveau, bochs]
module_options:
  kvm: [ignore_msrs=1]
vfio_pci:
  ids: ["8086:2668"]
  devices:
    - "{e1000e}"
    - "{nvme}"
    - "{display}"
    - {{pf: "{igb0}", vf: 1}}
sriov:
  - {{device: "{igb0}", vfs: 4}}
  - {{device: "{igb1}", vfs: 2, driver: vfio-pci}}
qemu:
  cgroup_device_acl:
    vfio_groups: true
    present: [/dev/hpet]
allow: [{{device: "{display}", because: console}}]
"""


def places(machine):
    names = {name: machine.address(name) for name in ("igb0", "igb1", "nvme", "e1000e")}
    return {**names, "display": machine.address("gpu"), "audio": machine.address("gpu", "00.1"),
            "pause": "pcie_aspm=off"}


def to_done(scenario):
    machine = scenario.machine()
    where = places(machine)
    machine.write(DOCUMENT, WHOLE.format(**where))

    with scenario.step("the package enabled and started nothing"):
        equal(machine.out("systemctl is-enabled reconcile", check=False), "disabled", "the unit after the installation")
        equal(machine.out("systemctl is-active reconcile", check=False), "inactive", "the unit after the installation")
    with scenario.step("a dry run writes nothing"):
        before = observe.files(machine), observe.attributes(machine)
        reconcile(machine, "--dry-run", status=2)
        after = observe.files(machine), observe.attributes(machine)
        for old, new in zip(before, after):
            equal(observe.difference(old, new), [], "what a dry run changed")
    with scenario.step("apply does what the dry run predicted"):
        scenario.log(apply(machine, status=3)["summary"])
    with scenario.step("status says what waits"):
        text = reconcile(machine, "status", status=3).stdout
        check("iommu=pt" in text, f"status does not name the waiting kernel argument:\n{text}")
    with scenario.step("apply again writes nothing"):
        before = observe.files(machine)
        idempotent(machine, status=3)
        equal(observe.difference(before, observe.files(machine)), [], "what a second run changed")
    with scenario.step("reboot"):
        machine.run("systemctl enable reconcile.service")
        machine.reboot()
    with scenario.step("the kernel runs with what was asked for"):
        arguments = machine.read("/proc/cmdline").split()
        check({"intel_iommu=on", "iommu=pt", where["pause"]} <= set(arguments), arguments)
        in_effect(machine, where)
    with scenario.step("the unit ran before networking and libvirt"):
        unit_order(machine)
    with scenario.step("the native driver never had a function that goes to vfio-pci"):
        native_never_had(machine, where)
    with scenario.step("a dry run finds nothing to do"):
        found = report(machine)
        equal((found["exit_status"], found["changes"]), (0, []), left(found))
    with scenario.step("apply again writes nothing"):
        idempotent(machine, status=0)
    with scenario.step("a VF opens through VFIO"):
        vf = machine.out(f"basename $(readlink /sys/bus/pci/devices/{where['igb0']}/virtfn1)")
        opened = vfio(machine, vf)
        check("8086:10ca" in opened, opened)


def left(found):
    return f"dry run: {found['summary']} {found['blocked']} {found['refused']} {found['errors']} {found['reboot']}"


def idempotent(machine, status):
    done, lines = observe.strace(machine, "--yes")
    equal(done.status, status, f"the second run {done!r}")
    equal(observe.touched(lines, "/sys", "/etc", "/boot"), [], "what a second run wrote")


def in_effect(machine, where):
    for name in ("e1000e", "nvme", "display", "audio"):
        equal(machine.driver(where[name]), "vfio-pci", f"driver of {name} {where[name]}")
    for pf, count, bound in (("igb0", 4, [1]), ("igb1", 2, [0, 1])):
        device = f"/sys/bus/pci/devices/{where[pf]}"
        equal(machine.read(f"{device}/sriov_numvfs"), str(count), f"VFs of {pf}")
        equal(machine.driver(where[pf]), "igb", f"driver of {pf}")
        for index in range(count):
            vf = machine.out(f"basename $(readlink {device}/virtfn{index})")
            driver = machine.driver(vf)
            if index in bound:
                equal(driver, "vfio-pci", f"driver of VF {index} of {pf}")
            else:
                check(driver != "vfio-pci", f"VF {index} of {pf} went to vfio-pci, too")
    listed = machine.out("virsh -c qemu:///system capabilities | head -n 3; systemctl is-active libvirtd", timeout=300)
    check("<capabilities>" in listed and "active" in listed, listed)
    acl = machine.read("/etc/libvirt/qemu.conf")
    for name in ("e1000e", "nvme", "display"):
        node = f"/dev/vfio/{machine.group(where[name])}"
        check(f'"{node}"' in acl, f"{node} of {name} is not in cgroup_device_acl")


def unit_order(machine):
    """Monotonic times as systemd took them."""
    def when(unit, event):
        return int(machine.out(f"systemctl show -P {event} {unit}") or 0)

    equal(machine.out("systemctl show -P Result reconcile.service"), "success", "the unit's result")
    ended = when("reconcile.service", "ExecMainExitTimestampMonotonic")
    check(ended > 0, "the unit did not run")
    for unit in ("systemd-networkd.service", "libvirtd.service"):
        began = when(unit, "ExecMainStartTimestampMonotonic")
        check(began == 0 or began > ended, f"{unit} began at {began} µs, reconcile ended at {ended} µs")


def native_never_had(machine, where):
    """Each of these drivers names the function in its first line when it has bound it."""
    log = machine.kernel_log()
    for name, drivers in (("e1000e", ("e1000e",)), ("nvme", ("nvme",)), ("display", ("bochs-drm", "bochs")),
                          ("audio", ("snd_hda_intel",))):
        for line in log.splitlines():
            for driver in drivers:
                check(f"{driver} {where[name]}" not in line, f"{driver} had {name}: {line}")


def vfio(machine, address, program=vfio_open.__file__):
    with open(os.path.abspath(program)) as source:
        machine.write("/var/tmp/vfio_open.py", source.read())
    return machine.out(f"python3 /var/tmp/vfio_open.py {address}")
