"""Several hundred VFs: what the product costs beside what the kernel costs."""

import json
import os
import subprocess
import tempfile

from lab import topology
from lab.scenario import DOCUMENT, check, equal, reconcile

from .live import count, drivers

VFS = 127
# The boot unit's own time with nothing to make, on a processor like the one that runs the tests.
OWN_SECONDS = 0.050
# Runs a command with its children and says how it ended; seconds elapsed, in its own code, in the kernel for it.
COST = """\
import json, resource, subprocess, sys, time
begun = time.monotonic()
status = subprocess.run(sys.argv[1:], stdout=2).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, time.monotonic() - begun, used.ru_utime, used.ru_stime]))
"""
# Work without a host: thousands of functions that are not there.
WORK = "version: 1\nvfio_pci: {devices: [" + ", ".join(f'"0000:{n >> 5:02x}:{n & 31:02x}.0"' for n in range(4096)) + "]}\n"


def several_hundred_vfs(scenario):
    """Dry run, the boot unit's whole work, and the boot unit with nothing to do."""
    machine = scenario.machine(topology.large, memory="4G")
    pfs = [machine.address(name) for name in topology.STORES]
    entries = ", ".join(f'{{device: "{pf}", vfs: {VFS}, driver: vfio-pci}}' for pf in pfs)
    machine.write(DOCUMENT, f"version: 1\nmodules: [vfio_pci]\nsriov: [{entries}]\n")
    with scenario.step("how much slower this machine is"):
        slower = slowness(scenario, machine)
        scenario.log(f"the program's own code runs {slower:.1f} times slower than outside")
    with scenario.step("dry run, everything to make"):
        cost(scenario, machine, "--dry-run", 2)
    with scenario.step("the boot unit's run, everything to make"):
        making = cost(scenario, machine, "--boot", 0)
    for pf in pfs:
        with scenario.step(f"{pf} has its VFs"):
            equal(count(machine, pf), str(VFS), "VF count")
            equal(drivers(machine, pf), ["vfio-pci"] * VFS, "drivers of the VFs")
    with scenario.step("the boot unit's run, nothing to make"):
        looking = cost(scenario, machine, "--boot", 0)
    for what, own in (("everything", making), ("nothing", looking)):
        scenario.log(f"the boot unit's own time with {what} to make: {own / slower * 1000:.0f} ms")
    check(looking / slower < OWN_SECONDS, f"{looking:.3f} s here are {looking / slower:.3f} s outside")


def cost(scenario, machine, arguments, status):
    """Seconds in the program's own code."""
    done = machine.run(["python3", "-c", COST, "reconcile", *arguments.split()], timeout=3000)
    ended, elapsed, own, kernel = json.loads(done.stdout)
    scenario.log(f"reconcile {arguments}: {elapsed:.1f} s, {own:.2f} s in its own code, {kernel:.2f} s in the kernel")
    check(ended == status, lambda: repr(done))
    return own


def slowness(scenario, machine):
    """How much longer the same work without a host takes in the guest; the least of several runs, other load only adds."""
    arguments = ["--root", "/var/tmp/none", "-c", "/var/tmp/work.yaml", "--dry-run"]
    machine.write("/var/tmp/work.yaml", WORK)
    machine.run("mkdir /var/tmp/none")
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["dpkg-deb", "--extract", scenario.package, directory], check=True)
        os.mkdir(f"{directory}/none")
        with open(f"{directory}/work.yaml", "w") as file:
            file.write(WORK)

        def outside(argv):
            return subprocess.run(argv, check=True, capture_output=True, text=True)

        def least(run, program, place):
            argv = ["python3", "-c", COST, program, *(argument.replace("/var/tmp", place) for argument in arguments)]
            return min(json.loads(run(argv).stdout)[2] for _ in range(3))

        return least(machine.run, "reconcile", "/var/tmp") / least(outside, f"{directory}/usr/sbin/reconcile", directory)
