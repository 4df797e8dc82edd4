"""One virtual machine: start, commands, files in and out, real reboots, its console."""

import contextlib
import glob
import json
import os
import shlex
import socket
import subprocess
import tarfile
import tempfile
import time

from . import topology
from .agent import Agent, AgentError, Done
from .tools import QEMU

MACHINE = "q35,kernel-irqchip=split,vmport=off,smbus=off"
CPU = {"tcg": ["-accel", "tcg,thread=multi", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt"],
       "kvm": ["-accel", "kvm", "-cpu", "host"]}
# Thirty times what an idle machine needs.
BOOT_DEADLINE = 900
SILENCE = 120


class Failed(Exception):
    """The guest did not do what the scenario asks for."""


def arguments(directory, accel, memory="2G"):
    """QEMU without anything on PCI but q35's own functions; console, agent and control on sockets and files."""
    return [
        QEMU, "-machine", MACHINE, *CPU[accel], "-m", memory, "-smp", "2",
        "-nodefaults", "-no-user-config", "-display", "none",
        "-chardev", f"file,id=console,path={directory}/console.log,append=on", "-serial", "chardev:console",
        "-chardev", f"socket,id=agent,path={directory}/agent,server=on,wait=off",
        "-device", "isa-serial,chardev=agent,index=1",
        "-qmp", f"unix:{directory}/qmp,server=on,wait=off",
        # q35's own AHCI: adds no PCI function.
        "-device", "ide-cd,id=cd,bus=ide.0",
    ]


class Machine:
    """`devices` makes QEMU's arguments from the path of the disk: a function of `topology`."""

    def __init__(self, image, devices=topology.full, accel="tcg", memory="2G", log=print):
        self.directory = tempfile.mkdtemp(prefix="reconcile-vm-")
        self.disk = os.path.join(self.directory, "disk.qcow2")
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, self.disk], check=True
        )
        self.devices, self.accel, self.memory, self.log = devices, accel, memory, log
        self.process, self.agent, self.boot_id = None, None, None

    # Life

    def start(self, extra=()):
        """`extra`: more of QEMU's arguments."""
        self.extra = extra
        self.launch()
        self.agent = Agent(os.path.join(self.directory, "agent"))
        self.wait_for_boot()

    def launch(self):
        argv = [*arguments(self.directory, self.accel, self.memory), *self.devices(self.disk), *self.extra]
        with open(os.path.join(self.directory, "qemu.log"), "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_for_boot(self, timeout=BOOT_DEADLINE):
        """Until the agent answers under another boot id than before; once, a hung boot is reset, or a crash of QEMU itself
        made good."""
        started, silence = time.monotonic(), self.silence()
        reset, crashed = False, False
        while True:
            if self.process.poll() is not None and self.process.returncode < 0 and not crashed:
                # Seen under TCG while the firmware or the kernel moves BARs: "iotlb_to_section: Assertion failed".
                self.log(f"QEMU was killed by signal {-self.process.returncode} during a boot, once more: {self.tail('qemu.log', 1)}")
                crashed = True
                self.launch()
            if self.process.poll() is not None:
                raise Failed(f"QEMU ended with {self.process.returncode}: {self.tail('qemu.log')}")
            try:
                self.agent.connect(time.monotonic() + 5)
                boot_id = self.read("/proc/sys/kernel/random/boot_id")
                if boot_id != self.boot_id:
                    self.boot_id = boot_id
                    return
            except (AgentError, OSError):
                pass
            if time.monotonic() - started > timeout:
                raise Failed(f"no boot within {timeout} s")
            panic = "end Kernel panic" in self.tail(lines=3)
            if (panic or next(silence) > SILENCE) and not reset:
                # Under TCG the kernel loses an interrupt once in tens of boots and stops at its first disk read.
                self.log("the kernel panicked: one reset" if panic else f"the console has been silent for {SILENCE} s: one reset")
                self.qmp("system_reset")
                reset, silence = True, self.silence()

    def silence(self):
        """Seconds in which the console has said nothing although QEMU's processors ran, or had nothing to run: what other
        work on this machine took from them does not count."""
        begun, delayed, size = time.monotonic(), self.delayed(), -1
        while True:
            length = os.path.getsize(self.path("console.log")) if os.path.exists(self.path("console.log")) else 0
            if length != size:
                begun, delayed, size = time.monotonic(), self.delayed(), length
            yield time.monotonic() - begun - (self.delayed() - delayed)

    def delayed(self):
        """Seconds that the thread which waited most for a processor has waited (proc_pid_schedstat)."""
        longest = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path) as file:
                longest = max(longest, int(file.read().split()[1]))
        return longest / 1e9

    def settle(self):
        """The agent answers before systemd and udev have finished."""
        self.run("systemctl is-system-running --wait; udevadm settle", check=False, timeout=BOOT_DEADLINE)

    def reboot(self):
        """Through the boot loader, as an operator does it."""
        self.leave("reboot")
        self.wait_for_boot()
        self.settle()

    def restart(self, devices):
        """Off, and on again with other hardware."""
        self.power_off()
        self.devices = devices
        self.start()
        self.settle()

    def leave(self, how):
        """The agent may be gone before it can say how the command ended: nobody asks."""
        self.agent.call("guest-exec", path="/bin/systemctl", arg=[how, "--no-block"])

    def power_off(self):
        self.leave("poweroff")
        self.process.wait(timeout=BOOT_DEADLINE)
        self.process = None

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def qmp(self, command, **values):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(20)
            control.connect(self.path("qmp"))
            with control.makefile("rw") as pipe:
                pipe.readline()
                for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": values}):
                    pipe.write(json.dumps(request) + "\n")
                    pipe.flush()
                    answer = json.loads(pipe.readline())
                    while "event" in answer:
                        answer = json.loads(pipe.readline())
                    if "error" in answer:
                        raise Failed(f"{command}: {answer['error']['desc']}")
                return answer["return"]

    # Commands and files

    def run(self, command, check=True, timeout=180, stdin=None) -> Done:
        """A shell command line (or an argv) in the guest."""
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        done = self.agent.execute(argv, timeout, stdin)
        done.command = command if isinstance(command, str) else shlex.join(command)
        if check and done.status != 0:
            raise Failed(repr(done))
        return done

    def begin(self, command):
        """Begins a shell command line in the guest and waits for nothing; its process id."""
        return str(self.agent.call("guest-exec", path="/bin/sh", arg=["-c", command])["pid"])

    def out(self, command, **options):
        return self.run(command, **options).stdout.strip()

    def read(self, path):
        return self.agent.execute(["/bin/cat", path]).stdout.strip()

    def write(self, path, text):
        """A small file; `push` for large ones."""
        quoted = shlex.quote(path)
        self.run(f"mkdir -p $(dirname {quoted}) && cat > {quoted}", stdin=text.encode())

    def push(self, files):
        """Files of this machine by their path in the guest: as a tar on the virtual CD, the serial port is slow."""
        medium = self.path("medium.tar")
        with tarfile.open(medium, "w", bufsize=2048) as archive:
            for target, source in files.items():
                archive.add(source, arcname=target.lstrip("/"))
        with open(medium, "ab") as archive:
            archive.write(b"\0" * (-archive.tell() % 65536))
        self.qmp("blockdev-change-medium", id="cd", filename=medium, format="raw", force=True)
        self.run("modprobe sr_mod; for i in 1 2 3 4 5 6 7 8 9; do head -c 1 /dev/sr0 >/dev/null 2>&1 && break; sleep 1; "
                 "done; tar -C / --no-same-owner -xf /dev/sr0")

    # Facts

    def address(self, name, function="00.0"):
        """The function behind a named root port: its bus number is the firmware's to give."""
        device = f"/sys/bus/pci/devices/0000:00:{topology.SLOTS[name]:02x}.0"
        bus = int(self.read(f"{device}/secondary_bus_number"))
        return f"0000:{bus:02x}:{function}"

    def driver(self, address):
        return self.out(f"basename $(readlink /sys/bus/pci/devices/{address}/driver) 2>/dev/null", check=False)

    def group(self, address):
        return self.out(f"basename $(readlink /sys/bus/pci/devices/{address}/iommu_group)")

    def kernel_log(self):
        return self.out("dmesg")

    # When something went wrong

    def path(self, name):
        return os.path.join(self.directory, name)

    def tail(self, name="console.log", lines=60):
        if not os.path.exists(self.path(name)):
            return ""
        with open(self.path(name), "rb") as file:
            file.seek(max(0, os.path.getsize(self.path(name)) - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
