"""That the comparison of prediction and execution can fail, and that each round looks at the host anew."""

import os
import shutil
import subprocess

from lab import image
from lab.prediction import Diverged, apply, both
from lab.scenario import check, equal, reconcile, shared

from .live import count, drivers, vfs

SOURCE = os.path.join(os.path.dirname(__file__), "..", "..", "..")
TARGET = "x86_64-unknown-linux-musl"
# A rule of the model of the kernel, and the same made wrong: no driver takes a VF when it appears.
RULE = ("src/host/simulated/sriov.rs", {"self.find_driver(&vf)?;": "", "self.autoload(&vfs)": "Ok(())"})


@shared
def between_rounds(scenario, machine):
    """Somebody else changes the host while the first round runs: the second follows what is there, not the prediction."""
    pf, card = machine.address("igb1"), machine.address("e1000e")
    document = f"""\
version: 1
modules: [vfio_pci]
sriov: [{{device: "{pf}", vfs: 3}}]
vfio_pci: {{devices: ["{card}", {{pf: "{pf}", vf: 2}}]}}
"""
    hook = "/usr/local/sbin/modprobe"
    with scenario.step("what a first round loads takes the VFs away and unbinds the card"):
        machine.run(f"modprobe -r vfio_pci; echo 3 > /sys/bus/pci/devices/{pf}/sriov_numvfs; udevadm settle")
        machine.write(hook, f"#!/bin/sh\n/usr/sbin/modprobe \"$@\"\necho 0 > /sys/bus/pci/devices/{pf}/sriov_numvfs\n"
                            f"echo {card} > /sys/bus/pci/devices/{card}/driver/unbind\n")
        machine.run(f"chmod 755 {hook}")
        wanted, found, _, _ = both(machine, document, 0)
        machine.run(f"rm {hook}")
    with scenario.step("the rounds after it made what was then needed"):
        last = vfs(machine, pf)[2]
        equal([event for event in wanted if event not in found], [("attribute", "e1000e/unbind", card)], "predicted, not done")
        equal([event for event in found if event not in wanted], [("attribute", f"{pf}/sriov_numvfs", "3")], "done, not predicted")
        check(found.index(("attribute", f"{pf}/sriov_numvfs", "3")) < found.index(("attribute", "igbvf/unbind", last)), found)
        equal((count(machine, pf), drivers(machine, pf)), ("3", ["igbvf", "igbvf", "vfio-pci"]), "VFs and their drivers")
        equal(machine.driver(card), "vfio-pci", "driver of the card")
        reconcile(machine, "--dry-run", status=0)


@shared
def wrong_model(scenario, machine):
    """A rule of the kernel's model made wrong on purpose: the comparison has to find it out."""
    pf = machine.address("igb0")
    with scenario.step("build with the wrong rule"):
        machine.push({"/var/tmp/reconcile-wrong": build_wrong()})
    document = f'version: 1\nmodules: [vfio_pci]\nsriov: [{{device: "{pf}", vfs: 2}}]\nvfio_pci: {{devices: [{{pf: "{pf}", vf: 1}}]}}\n'
    with scenario.step("its prediction is found wrong"):
        try:
            apply(machine, document, 0, predictor="/var/tmp/reconcile-wrong")
        except Diverged as divergence:
            check("+('attribute', 'igbvf/unbind'" in str(divergence), divergence)
        else:
            check(False, "a VF without a driver was predicted, and nobody noticed that it had one")
    with scenario.step("the right one's is not"):
        machine.run(f"echo 0 > /sys/bus/pci/devices/{pf}/sriov_numvfs")
        apply(machine, status=0)


def build_wrong():
    """The program from this source with one rule of its model changed; the path of the binary."""
    work = os.path.join(image.cache(), "wrong-model")
    source = os.path.join(work, "source")
    shutil.rmtree(source, ignore_errors=True)
    # With their times, so that cargo sees what is new.
    for name in ("src", "benches"):
        shutil.copytree(os.path.join(SOURCE, name), os.path.join(source, name))
    for name in ("Cargo.toml", "Cargo.lock", "README.md"):
        shutil.copy2(os.path.join(SOURCE, name), source)
    name, changes = RULE
    with open(os.path.join(source, name), "r+") as file:
        text = file.read()
        for right, wrong in changes.items():
            check(text.count(right) == 1, f"{name} no longer has what this makes wrong: {right}")
            text = text.replace(right, wrong)
        file.seek(0)
        file.truncate()
        file.write(text)
    target = os.path.join(work, "target")
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "reconcile", "--target", TARGET, "--target-dir", target],
                   cwd=source, check=True)
    binary = os.path.join(work, "reconcile")
    subprocess.run(["strip", "-o", binary, os.path.join(target, TARGET, "debug", "reconcile")], check=True)
    return binary
