"""What a scenario holds: its machines, the steps it has come through, and the product in the guest."""

import contextlib
import json
import shutil
import time

from . import topology
from .machine import Failed, Machine

DOCUMENT = "/etc/reconcile/host.yaml"


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

    def machine(self, devices=topology.full, installed=True, extra=()):
        """A booted machine on an overlay of its own, with the package in it."""
        machine = Machine(self.disk, devices, self.accel, log=self.log)
        self.machines.append(machine)
        with self.step("boot"):
            machine.start(extra)
            machine.settle()
        if installed:
            with self.step("install the package"):
                machine.push({"/var/tmp/reconcile.deb": self.package})
                machine.run("dpkg --install /var/tmp/reconcile.deb", timeout=300)
        return machine

    def tail(self):
        return "\n".join(machine.tail("qemu.log", 5) + "\n" + machine.tail() for machine in self.machines)

    def end(self, keep):
        for machine in self.machines:
            machine.stop()
            if keep:
                self.log(f"kept {machine.directory}")
            else:
                shutil.rmtree(machine.directory)


def check(held, text):
    """An assertion that says what it saw."""
    if not held:
        raise Failed(text() if callable(text) else str(text))


def equal(found, wanted, what):
    check(found == wanted, f"{what}: {found!r} instead of {wanted!r}")


def reconcile(machine, arguments="", status=None, timeout=900):
    """Runs the product; `status` is the exit status, or a set of them, that the scenario expects."""
    done = machine.run(f"reconcile {arguments}", check=False, timeout=timeout)
    expected = {status} if isinstance(status, int) else status
    check(expected is None or done.status in expected, lambda: f"expected status {status}: {done!r}")
    return done


def report(machine, arguments="--dry-run", status=None, timeout=900):
    """The product's report as a structure. By way of a file: the agent keeps no more than 16 MB of output."""
    done = reconcile(machine, f"{arguments} -o json", status, timeout)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"no JSON: {done!r}") from None
