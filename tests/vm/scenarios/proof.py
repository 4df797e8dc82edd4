"""A guest inside the machine that uses what was bound."""

from lab.prediction import apply
from lab.scenario import check, equal, shared

from .live import vfs

# What QEMU's bare q35 has: host bridge, ISA bridge, AHCI, SMBus.
OWN = {"8086:29c0", "8086:2918", "8086:2922", "8086:2930"}
INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
for module in /lib/*.ko; do /bin/busybox insmod $module; done
cd /sys/bus/pci/devices
for device in *; do
  driver=$(/bin/busybox readlink $device/driver)
  echo "FUNCTION $device $(/bin/busybox cat $device/vendor $device/device | /bin/busybox tr '\\n' ' ')${driver##*/}"
done
echo END
/bin/busybox poweroff -f
"""
# Debian's busybox-static, and the VF's driver with what it needs.
BUILD = """
set -e
rm -rf /var/tmp/nested && mkdir -p /var/tmp/nested/bin /var/tmp/nested/lib && cd /var/tmp/nested
cp /bin/busybox bin/
cat > init && chmod 755 init
python3 -c 'import lzma, sys; sys.stdout.buffer.write(lzma.open(sys.argv[1]).read())' $(modinfo -n igbvf) > lib/igbvf.ko
find . | busybox cpio -o -H newc > ../nested.cpio
"""


@shared
def nested_guest(scenario, machine):
    """A guest started with the bound VF, and one with a group of two, see exactly those functions."""
    pf, display, audio = machine.address("igb0"), machine.address("gpu"), machine.address("gpu", "00.1")
    with scenario.step("bind"):
        apply(machine, f"""\
version: 1
modules: [vfio_pci]
sriov: [{{device: "{pf}", vfs: 2}}]
vfio_pci: {{devices: [{{pf: "{pf}", vf: 1}}, "{display}", "{audio}"]}}
allow: [{{device: "{display}", because: console}}]
""", 0)
        vf = vfs(machine, pf)[1]
    with scenario.step("start a guest with the VF and one with the group"):
        machine.run(BUILD, stdin=INIT.encode())
        guests = {"vf": f"-device vfio-pci,host={vf},addr=5",
                  "group": f"-device vfio-pci,host={display},addr=5.0,multifunction=on -device vfio-pci,host={audio},addr=5.1"}
        # A guest inside an emulated one may keep a processor for longer than the kernel likes.
        machine.run("echo 1 > /sys/module/rcupdate/parameters/rcu_cpu_stall_suppress")
        for name, devices in guests.items():
            machine.run(start(name, devices), timeout=900)
    with scenario.step("they see what they were given, and drive it"):
        equal(functions(machine, "vf"), [("0000:00:05.0", "8086:10ca", "igbvf")], "functions of the guest with the VF")
        seen = functions(machine, "group")
        equal([(address, name) for address, name, _ in seen],
              [("0000:00:05.0", "1234:1111"), ("0000:00:05.1", "8086:2668")], "functions of the guest with the group")


def start(name, devices):
    return (f"timeout 800 qemu-system-x86_64 -machine q35 -accel tcg,tb-size=64 -cpu qemu64 -m 192M -nodefaults -no-user-config -display none "
            f"-serial file:/var/tmp/{name}.log -kernel /boot/vmlinuz-$(uname -r) -initrd /var/tmp/nested.cpio "
            f"-append 'console=ttyS0 quiet panic=-1 mitigations=off' -no-reboot {devices} > /var/tmp/{name}.err 2>&1")


def functions(machine, name):
    """(address, id, driver) of those on the guest's bus that are not QEMU's own."""
    log = machine.run(f"cat /var/tmp/{name}.log /var/tmp/{name}.err", check=False).stdout
    check("END" in log, log[-4000:])
    found = []
    for line in log.splitlines():
        if line.startswith("FUNCTION "):
            _, address, vendor, device, *driver = line.split()
            found.append((address, f"{vendor[2:]}:{device[2:]}", " ".join(driver)))
    check(OWN <= {name for _, name, _ in found}, log)
    return [entry for entry in found if entry[1] not in OWN]
