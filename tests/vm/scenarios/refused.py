"""What the host or a guest needs is not taken away; a write that hangs in the kernel is left behind."""

import json
import re

from lab import observe
from lab.prediction import apply
from lab.scenario import DOCUMENT, check, equal, reconcile, report, shared, wait_for

from .live import count, drivers, hold, vfs


@shared
def refused(scenario, machine):
    """The root disk, the only uplink, a VF that a guest has open, one function of a group: refused, and but for the root disk
    done once that is allowed."""
    names = ("disk", "uplink", "igb0")
    disk, uplink, pf = (machine.address(name) for name in names)
    display, audio = machine.address("gpu"), machine.address("gpu", "00.1")
    wanted = f"""\
version: 1
modules: [vfio_pci]
vfio_pci: {{devices: ["{disk}", "{uplink}", "{audio}"]}}
sriov: [{{device: "{pf}", vfs: 0}}]
"""
    with scenario.step("a guest has a VF open"):
        apply(machine, "version: 1\nmodules: [vfio_pci]\n", 0)
        vf = vf_by_hand(machine, pf)
        holder = hold(machine, vf, gives_back=True)
    with scenario.step("each is refused with its chain, and nothing is changed"):
        machine.write(DOCUMENT, wanted)
        before = observe.files(machine), observe.attributes(machine)
        dry, made = report(machine, status=4), report(machine, "--yes", status=4)
        text = reconcile(machine, "--yes", status=4).stdout
        after = observe.files(machine), observe.attributes(machine)
        equal([line for old, new in zip(before, after) for line in observe.difference(old, new)], [], "what changed")
        equal(made["refused"], dry["refused"], "refusals of the apply, and of the dry run")
        by_item = {entry["item"]: entry for entry in made["refused"]}
        group = machine.group(vf)
        chains = {
            disk: ({"root-disk"}, [disk, "/ is mounted from"]),
            uplink: ({"default-route"}, [uplink, "the IPv4 default route leaves by"]),
            audio: ({"group-companion"}, [audio, display, "bochs"]),
            pf: ({"guest"}, [pf, vf, f"/dev/vfio/{group}", f"pid {holder}"]),
        }
        equal(sorted(by_item), sorted(chains), "what is refused")
        for item, (because, words) in chains.items():
            # Of the root disk also "storage": the lab has mounted a file from it.
            check(because <= set(by_item[item]["because"]), f"why {item} is refused: {by_item[item]['because']}")
            chain = "\n".join(reason["text"] for reason in by_item[item]["chain"])
            for word in words:
                check(word in chain, f"the chain of {item} does not name {word}:\n{chain}")
            for reason in by_item[item]["chain"]:
                check(reason["text"] in text, f"not in the text: {reason['text']}\n{text}")
    with scenario.step("the root disk cannot be allowed"):
        machine.write(DOCUMENT, wanted + f'allow: [{{device: "{disk}", because: root-disk}}]\n')
        check("cannot be allowed" in reconcile(machine, "--dry-run", status=65).stderr, "no word about it")
    with scenario.step("what the refusals say lifts the others"):
        entries = ", ".join(to_paste(by_item[item]) for item in (uplink, audio, pf))
        result = apply(machine, f"{wanted}allow: [{entries}]\n", 4)
        equal([entry["item"] for entry in result["refused"]], [disk], "what is still refused")
        equal([machine.driver(address) for address in (disk, uplink, audio)], ["virtio-pci", "vfio-pci", "vfio-pci"], "drivers")
        equal(count(machine, pf), "0", "VF count")
    with scenario.step("the root disk's driver is not kept from the next boot either"):
        text = reconcile(machine, f"--yes -c {blacklist(machine)}", status=4).stdout
        check("/ is mounted from" in text, text)


def to_paste(refusal):
    """The entries of `allow` that a refusal names."""
    text = json.dumps(refusal, ensure_ascii=False).replace('\\"', '"')
    return re.search(r"allow: \[((?:\{[^}]*\}(?:, )?)+)\]", text)[1]


def blacklist(machine):
    path = "/var/tmp/blacklist.yaml"
    machine.write(path, "version: 1\nblacklist: [virtio_blk]\n")
    return path


def vf_by_hand(machine, pf):
    """A VF on vfio-pci that is not the product's: nothing of it would be taken back."""
    device = f"/sys/bus/pci/devices/{pf}"
    machine.run(f"echo 1 > {device}/sriov_numvfs && udevadm settle && vf=$(basename $(readlink {device}/virtfn0)) && "
                "cd /sys/bus/pci/devices/$vf && echo vfio-pci > driver_override && echo $vf > driver/unbind && "
                "echo $vf > /sys/bus/pci/drivers_probe")
    vf, = vfs(machine, pf)
    equal(machine.driver(vf), "vfio-pci", "driver of the VF")
    return vf


@shared
def hang(scenario, machine):
    """A write to the VF count that hangs, somebody's and our own: runs end, tell, do not join it, and do the rest."""
    pf, card = machine.address("igb0"), machine.address("e1000e")
    numvfs = f"/sys/bus/pci/devices/{pf}/sriov_numvfs"
    wanted = f'version: 1\nmodules: [vfio_pci]\nsriov: [{{device: "{pf}", vfs: 2, driver: vfio-pci}}]\n'
    with scenario.step("a guest has a VF open, and somebody takes the VFs away"):
        apply(machine, wanted, 0)
        vf = vfs(machine, pf)[0]
        holder = hold(machine, vf)
        writer = machine.begin(f"echo 0 > {numvfs}")
        wait_for(lambda: writer in sleepers(machine), "the write to hang")
    with scenario.step("a run ends, says what hangs, and does the rest"):
        machine.write(DOCUMENT, wanted + f'vfio_pci: {{devices: ["{card}"]}}\n')
        text = reconcile(machine, "--yes", status=1, timeout=300).stdout
        for word in ("sriov_numvfs has not returned", f"pid {writer} (sh), state ", f"pid {holder}"):
            check(word in text, f"not said: {word}\n{text}")
        equal(machine.driver(card), "vfio-pci", "driver of a function that does not hang")
    with scenario.step("a second run does not join it"):
        before = sleepers(machine)
        reconcile(machine, "--yes", status=1, timeout=300)
        equal(sleepers(machine), before, "processes that hang")
    with scenario.step("once the guest is gone all is well"):
        machine.run(f"kill {holder}")
        wait_for(lambda: not sleepers(machine), "the write to return")
        reconcile(machine, "--yes", status=0)
        equal((count(machine, pf), drivers(machine, pf)), ("2", ["vfio-pci"] * 2), "VFs and their drivers")
    with scenario.step("our own write hangs, as it was allowed: the run ends by its deadline"):
        holder = hold(machine, vf)
        taken = f'version: 1\nmodules: [vfio_pci]\nsriov: [{{device: "{pf}", vfs: 2}}]\nallow: [{{device: "{vf}", because: guest}}]\n'
        machine.write(DOCUMENT, taken)
        text = reconcile(machine, "--yes", status=1, timeout=600).stdout
        for word in ("unbind has not returned", "was left behind", "vfio_unregister_group_dev", f"pid {holder}"):
            check(word in text, f"not said: {word}\n{text}")
    with scenario.step("a second run does not join it"):
        before = sleepers(machine)
        equal(len(before), 1, "processes that hang")
        text = reconcile(machine, "--yes", status=1, timeout=300).stdout
        check("has not returned" in text and f"pid {holder}" in text, text)
        equal(sleepers(machine), before, "processes that hang")
    with scenario.step("once the guest is gone all is well"):
        machine.run(f"kill {holder}")
        wait_for(lambda: not sleepers(machine), "the write to return")
        reconcile(machine, "--yes", status=0)
        equal(drivers(machine, pf), ["igbvf"] * 2, "drivers of the VFs")


def sleepers(machine):
    """The processes that have an attribute open which is being written or read under a lock."""
    listed = machine.out("for process in /proc/[0-9]*; do ls -l $process/fd 2>/dev/null | grep -q -E ' /sys/.*/(sriov_numvfs|unbind)$' "
                         "&& basename $process; done; true")
    return set(listed.split())
