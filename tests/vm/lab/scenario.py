"""What a scenario holds: its machines, the steps it has come through, and the product in the guest."""

import contextlib
import functools
import json
import shutil
import time

from . import topology
from .machine import Failed, Machine

DOCUMENT = "/etc/reconcile/host.yaml"
# Takes back all that is the product's.
EMPTY = "version: 1\nmodules: []\nblacklist: []\nmodule_options: {}\nsriov: []\nvfio_pci: {ids: [], devices: []}\n" \
        "qemu: {cgroup_device_acl: []}\n"


class Scenario:
    def __init__(self, name, disk, package, accel, log):
        self.name, self.disk, self.package, self.accel = name, disk, package, accel
        self.current, self.machines = "start", []
        self.log = lambda text: log(f"{name}: {text}")

    @contextlib.contextmanager
    def step(self, text):
        """A failing test says in which step it was."""
        self.current = text
        started = time.monotonic()
        yield
        self.log(f"{text} ({time.monotonic() - started:.1f} s)")

    def machine(self, devices=topology.full, memory="2G"):
        """A booted machine on an overlay of its own, with the package in it."""
        machine = Machine(self.disk, devices, self.accel, memory, self.log)
        self.machines.append(machine)
        with self.step("boot"):
            machine.start()
            machine.settle()
        with self.step("install the package"):
            machine.push({"/var/tmp/reconcile.deb": self.package})
            machine.run("dpkg --install /var/tmp/reconcile.deb", timeout=300)
        return machine

    def shared_machine(self, left):
        """The machine that a scenario before this one has `left` behind, with all taken back; else a new one."""
        if left is None:
            machine = self.machine()
            # It never boots again: an image without drivers has nothing that a change has to be taken into.
            with self.step("an initramfs without drivers"):
                machine.write("/etc/initramfs-tools/conf.d/lab", "MODULES=list\n")
                machine.run("update-initramfs -u", timeout=900)
            return machine
        self.machines.append(left)
        left.log = self.log
        with self.step("all taken back"):
            left.write(DOCUMENT, EMPTY)
            reconcile(left, "--yes", status=0)
            left.run(f"rm -rf /var/lib/reconcile {DOCUMENT}")
        return left

    def tail(self):
        return "\n".join(machine.tail("qemu.log", 5) + "\n" + machine.tail() for machine in self.machines)

    def end(self, keep, leave=False):
        """Stops the machines; one that the next scenario goes on with is left and returned."""
        if leave:
            return self.machines[0]
        for machine in self.machines:
            machine.stop()
            if keep:
                self.log(f"kept {machine.directory}")
            else:
                shutil.rmtree(machine.directory)
        return None


def shared(function):
    """Of a scenario that boots nothing: gets (scenario, machine), the machine one that others had before it. What it does
    behind the product's back it puts right itself."""

    @functools.wraps(function)
    def scenario_on_shared_machine(scenario, left=None):
        function(scenario, scenario.shared_machine(left))

    scenario_on_shared_machine.shared = True
    return scenario_on_shared_machine


def check(held, text):
    """An assertion that says what it saw."""
    if not held:
        raise Failed(text() if callable(text) else str(text))


def equal(found, wanted, what):
    check(found == wanted, f"{what}: {found!r} instead of {wanted!r}")


def wait_for(held, what, timeout=120):
    """Until `held()`."""
    until = time.monotonic() + timeout
    while not held():
        check(time.monotonic() < until, f"{what}: not within {timeout} s")
        time.sleep(0.2)


def reconcile(machine, arguments="", status=None, timeout=900, program="reconcile"):
    """Runs the product; `status` is the exit status, or a set of them, that the scenario expects."""
    done = machine.run(f"{program} {arguments}", check=False, timeout=timeout)
    expected = {status} if isinstance(status, int) else status
    check(expected is None or done.status in expected, lambda: f"expected status {status}: {done!r}")
    return done


def report(machine, arguments="--dry-run", **options):
    """The product's report as a structure; `options` as of `reconcile`."""
    done = reconcile(machine, f"{arguments} -o json", **options)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"no JSON: {done!r}") from None
