"""Power that fails in the middle of an apply."""

import os
import random
import re
import time

from lab import topology
from lab.prediction import UNKNOWN
from lab.scenario import DOCUMENT, check, equal, reconcile, report

from .live import count, drivers

# By hand more of them: RECONCILE_VM_CUTS=20 tests/vm/run power-cut. RECONCILE_VM_SEED: the moments of an earlier run.
CUTS = 2
DOCUMENTS = ["""\
version: 1
kernel_args: [panic=5]
modules: [vfio_pci]
sriov: [{{device: "{pf}", vfs: 1, driver: vfio-pci}}]
qemu: {{cgroup_device_acl: {{vfio_groups: true, present: [/dev/hpet]}}}}
""", """\
version: 1
kernel_args: [panic=6]
modules: [vfio_pci, vfio_iommu_type1]
module_options: {{kvm: [ignore_msrs=1]}}
sriov: [{{device: "{pf}", vfs: 2}}]
qemu: {{cgroup_device_acl: {{vfio_groups: true, present: [/dev/rtc0]}}}}
"""]
DRIVERS = [["vfio-pci"], ["igbvf"] * 2]
# Everything that has a name where the product writes; a generation has a new one each time.
NAMES = "find /etc /boot /var/lib/reconcile /run/reconcile -xdev | grep -v /var/lib/reconcile/generations/ | sort"
ACL = re.compile(r"^cgroup_device_acl = \[.*?\]\n", re.M | re.S)


def power_cut(scenario):
    """Cut off at random moments of an apply: it boots, no file is torn, and the next run converges and tidies up."""
    cuts = int(os.environ.get("RECONCILE_VM_CUTS") or CUTS)
    seed = int(os.environ.get("RECONCILE_VM_SEED") or time.time())
    moments = random.Random(seed)
    machine = scenario.machine(topology.durable)
    pf = machine.address("igb0")
    with scenario.step("two documents, applied in turn to the end"):
        machine.run("systemctl enable reconcile.service")
        durations, names = {}, {}
        for which in (0, 1, 0):
            write(machine, which, pf)
            begun = time.monotonic()
            reconcile(machine, "--yes", status={0, 3})
            durations[which], names[which] = time.monotonic() - begun, machine.out(NAMES).splitlines()
        scenario.log(f"applies take {durations[1]:.1f} s and {durations[0]:.1f} s; seed {seed}")
    for number in range(1, cuts + 1):
        which = number % 2
        moment = moments.uniform(0, durations[which])
        with scenario.step(f"cut {number} of {cuts}, {moment:.2f} s into an apply"):
            write(machine, which, pf)
            versions = foretold(machine)
            machine.begin("exec reconcile --yes > /run/apply 2>&1")
            time.sleep(moment)
            machine.stop()
            machine.start()
            machine.settle()
            check({"panic=5", "panic=6"} & set(machine.read("/proc/cmdline").split()), "the kernel argument is gone")
            equal(torn(machine, versions), [], "files that are neither old nor new")
            told = reconcile(machine, "--yes", status={0, 3})
            equal(report(machine, status={0, 3})["changes"], [], "what a run has left to do")
            equal((count(machine, pf), drivers(machine, pf)), (str(which + 1), DRIVERS[which]), "VFs and their drivers")
            equal(machine.out(NAMES).splitlines(), names[which], "names against those after a whole apply")
            check(f"panic={which + 5}" in machine.out("grep -m 1 -E '^[[:space:]]*linux' /boot/grub/grub.cfg"), "not in grub.cfg")
            scenario.log(found(told.stdout + told.stderr))


def write(machine, which, pf):
    """The document, on the disk for good."""
    machine.write(DOCUMENT, DOCUMENTS[which].format(pf=pf))
    machine.run("sync")


def foretold(machine):
    """Every version of each file that an apply writes: a set of patterns, `None` for no file."""
    versions = {}
    for change in report(machine, status=2)["changes"]:
        if change["step"] in ("write_file", "remove_file"):
            known = versions.setdefault(change["target"], [])
            known += [change["before"], change["after"] if change["step"] == "write_file" else None]
    return versions


def torn(machine, versions):
    """Files that are no version that was foretold. What the boot unit makes of the ACL is its own: of that file it is the
    rest that counts."""
    wrong = []
    for path, known in versions.items():
        real = machine.run(["/bin/cat", path], check=False)
        text = real.stdout if real.status == 0 else None
        if path.endswith("qemu.conf"):
            known, text = ([None if version is None else ACL.sub("", version) for version in known], text and ACL.sub("", text))
        patterns = [version and "[0-9]+".join(re.escape(part) for part in UNKNOWN.split(version)[::2]) for version in known]
        if not any(text == pattern if None in (text, pattern) else re.fullmatch(pattern, text) for pattern in patterns):
            wrong.append((path, text))
    return wrong


def found(told):
    """What the run after a cut says about it."""
    lines = [line.strip() for line in told.splitlines() if "has not come to its end" in line]
    return f"the next run says: {lines[0]}" if lines else "the next run found nothing in flight"
