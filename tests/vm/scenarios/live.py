"""Each resource alone on a running machine; every apply does what its dry run predicted."""

from lab.prediction import apply
from lab.scenario import DOCUMENT, EMPTY, check, equal, reconcile, report, shared, wait_for

from .fresh import vfio


def count(machine, pf):
    return machine.read(f"/sys/bus/pci/devices/{pf}/sriov_numvfs")


def drivers(machine, pf):
    """The drivers of a PF's VFs, in order."""
    return of_vfs(machine, pf, 'basename "$(readlink $vf/driver)"').split("\n")[:-1]


def vfs(machine, pf):
    return of_vfs(machine, pf, "basename $(readlink $vf)").split()


def of_vfs(machine, pf, command):
    return machine.run(f"cd /sys/bus/pci/devices/{pf} && for vf in $(ls -d virtfn* | sort -V); do {command}; done", check=False).stdout


def hold(machine, address, gives_back=False):
    """A process that has the function open through VFIO, as a guest would; it `gives_back` what the kernel wants back, or
    does not. Its id."""
    vfio(machine, address)
    log = f"/run/hold-{address}"
    machine.run(f"rm -f {log}")
    pid = machine.begin(f"exec python3 /var/tmp/vfio_open.py {address} {'give-back' if gives_back else 'hold'} > {log} 2>&1")
    wait_for(lambda: "viable" in machine.read(log), f"{address} to be opened")
    return pid


@shared
def vf_counts(scenario, machine):
    """VFs 0 to 4, 4 to 2 with a driver, taken back: on igb and on NVMe, whose VFs have the PF's own id."""
    for name in ("igb0", "nvme"):
        pf = machine.address(name)
        with scenario.step(f"{name}: no VFs to 4"):
            apply(machine, f'version: 1\nmodules: [vfio_pci]\nsriov: [{{device: "{pf}", vfs: 4}}]\n', 0)
            equal(count(machine, pf), "4", "VF count")
        with scenario.step(f"{name}: 4 to 2, to vfio-pci"):
            apply(machine, f'version: 1\nmodules: [vfio_pci]\nsriov: [{{device: "{pf}", vfs: 2, driver: vfio-pci}}]\n', 0)
            equal(drivers(machine, pf), ["vfio-pci", "vfio-pci"], "drivers of the VFs")
            check("viable" in vfio(machine, vfs(machine, pf)[1]), "the VF does not open")
        with scenario.step(f"{name}: taken back"):
            apply(machine, EMPTY, 0)
            equal(count(machine, pf), "0", "VF count")
            equal(machine.read(f"/sys/bus/pci/devices/{pf}/sriov_drivers_autoprobe"), "1", "autoprobe")


@shared
def bindings(scenario, machine):
    """By address, leaving the twin alone; {pf, vf}; a group of several functions; the ACL; drift; everything taken back."""
    twin, other = machine.address("e1000e"), machine.address("noacs")
    pf, display, audio = machine.address("igb1"), machine.address("gpu"), machine.address("gpu", "00.1")
    pristine = machine.run("cat /etc/libvirt/qemu.conf").stdout
    with scenario.step("bind by address, {pf, vf}, a group of two, with the ACL"):
        apply(machine, f"""\
version: 1
modules: [vfio_pci]
sriov: [{{device: "{pf}", vfs: 3}}]
vfio_pci:
  devices: ["{twin}", "{display}", "{audio}", {{pf: "{pf}", vf: 2}}]
qemu: {{cgroup_device_acl: {{vfio_groups: true}}}}
allow: [{{device: "{display}", because: console}}]
""", 0)
        equal(machine.driver(twin), "vfio-pci", "driver of the function by address")
        equal(machine.driver(other), "e1000e", "driver of its twin")
        equal(drivers(machine, pf), ["igbvf", "igbvf", "vfio-pci"], "drivers of the VFs")
    with scenario.step("they open through VFIO"):
        for address in (twin, display, audio, vfs(machine, pf)[2]):
            check("viable" in vfio(machine, address), f"{address} does not open")
    with scenario.step("the real libvirtd takes the ACL"):
        # By its socket: Debian's libvirtd ends after two idle minutes.
        check("<capabilities>" in machine.out("virsh -c qemu:///system capabilities", timeout=300), "no QEMU driver")
        text = machine.read("/etc/libvirt/qemu.conf")
        for address in (twin, display, vfs(machine, pf)[2]):
            check(f'"/dev/vfio/{machine.group(address)}"' in text, f"no node of {address}")
    with scenario.step("drift: unbound, VFs destroyed, files edited and removed"):
        machine.run(f"echo {twin} > /sys/bus/pci/devices/{twin}/driver/unbind; "
                    f"echo > /sys/bus/pci/devices/{display}/driver_override; "
                    f"echo 0 > /sys/bus/pci/devices/{pf}/sriov_numvfs; "
                    "sed -i s,/dev/vfio/vfio,/dev/vfio/other, /etc/libvirt/qemu.conf; "
                    "echo '# by hand' >> /etc/modules-load.d/reconcile.conf")
        check(report(machine)["exit_status"] == 2, "drift was not seen")
        apply(machine, status=0)
        equal(machine.driver(twin), "vfio-pci", "driver after drift")
        equal(drivers(machine, pf), ["igbvf", "igbvf", "vfio-pci"], "drivers of the VFs")
        equal(reconcile(machine, "--dry-run").status, 0, "after the drift was mended")
    with scenario.step("everything taken back"):
        machine.run("sed -i /dev.vfio.other/d /etc/libvirt/qemu.conf")
        apply(machine, EMPTY, 0)
        equal([machine.driver(address) for address in (twin, display, audio)], ["e1000e", "bochs-drm", "snd_hda_intel"],
              "drivers after taking back")
        equal(count(machine, pf), "0", "VF count")
        equal(machine.out("ls /etc/udev/rules.d /etc/modules-load.d /etc/modprobe.d | grep reconcile", check=False), "",
              "files of ours")
        equal(machine.run("cat /etc/libvirt/qemu.conf").stdout, pristine, "qemu.conf")


@shared
def unit(scenario, machine):
    """The unit with its sandbox: a restart while libvirtd runs, a device that never comes."""
    e1000e = machine.address("e1000e")
    machine.write(DOCUMENT, f"""\
version: 1
modules: [vfio_pci]
vfio_pci: {{devices: ["{e1000e}"]}}
qemu: {{cgroup_device_acl: {{vfio_groups: true}}}}
""")
    with scenario.step("restart while libvirtd runs"):
        # Debian's libvirtd ends after two idle minutes; a connection has its socket start it.
        machine.run("virsh -c qemu:///system list", timeout=300)
        daemon = machine.out("systemctl show -P MainPID libvirtd")
        machine.run("systemctl restart reconcile.service", timeout=300)
        equal(machine.driver(e1000e), "vfio-pci", "driver")
        # Answered once it has read its configuration.
        machine.run("virsh -c qemu:///system list", timeout=300)
        check(machine.out("systemctl show -P MainPID libvirtd") != daemon, "libvirtd did not read its new configuration")
        check(f"/dev/vfio/{machine.group(e1000e)}" in machine.read("/etc/libvirt/qemu.conf"), "no group in qemu.conf")
    with scenario.step("nothing was written that a boot reads"):
        equal(machine.out("ls /etc/udev/rules.d /etc/modules-load.d | grep reconcile", check=False), "", "files of ours")
    with scenario.step("a device that never comes"):
        machine.write(DOCUMENT, f'version: 1\nmodules: [vfio_pci]\nvfio_pci: {{devices: ["{e1000e}", "0000:7f:00.0"]}}\n')
        done = machine.run("systemctl restart reconcile.service", check=False, timeout=300)
        check(done.status != 0, "the unit did not end degraded")
        journal = machine.out("journalctl -b -u reconcile --no-pager | tail -n 30")
        check("0000:7f:00.0" in journal, journal)
        equal(machine.driver(e1000e), "vfio-pci", "driver of the one that is there")
