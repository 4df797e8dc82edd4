"""What the host looks like, from outside of the product: files, attributes, system calls."""

import difflib
import re

from .machine import Failed

# Everything that an operator would call configuration, or that the next boot reads. Contents, owners, modes and times.
FILES = "/etc /boot /var/lib/reconcile /usr/lib/modprobe.d /run/reconcile"
SNAPSHOT = f"""
find {FILES} -xdev -printf '%p %y %m %U:%G %s %T@ %C@ %i %l\\n' 2>/dev/null | sort
find {FILES} -xdev -type f -exec sha256sum {{}} + 2>/dev/null | sort -k 2
"""
ATTRIBUTES = r"""
for device in /sys/bus/pci/devices/*; do
  echo "$(basename $device) $(basename "$(readlink $device/driver)") $(cat $device/driver_override) \
$(cat $device/sriov_numvfs $device/sriov_drivers_autoprobe 2>/dev/null | tr '\n' ' ') $(basename "$(readlink $device/iommu_group)")"
done
ls /sys/module /sys/kernel/iommu_groups /dev/vfio 2>/dev/null
cat /sys/module/vfio_pci/parameters/* 2>/dev/null || true
"""


def files(machine):
    return machine.out(SNAPSHOT, timeout=300)


def attributes(machine):
    return machine.out(ATTRIBUTES)


def difference(before, after):
    """Lines of either side only."""
    old, new = set(before.splitlines()), set(after.splitlines())
    return [f"- {line}" for line in sorted(old - new)] + [f"+ {line}" for line in sorted(new - old)]


OPENED = re.compile(r'open(?:at)?2?\((?:AT_FDCWD(?:<[^>]*>)?|\d+(?:<([^>]*)>)?), "((?:[^"\\]|\\.)*)", (.*)')
RENAMED = re.compile(r'rename(?:at2?)?\((.*)\) = 0')


def strace(machine, arguments, log="/var/tmp/strace", timeout=900):
    """Runs the product under strace, with its children; returns what ended and the lines of the trace."""
    calls = "openat,openat2,open,creat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,execve," \
            "linkat,link,symlinkat,symlink,fchmod,fchmodat,fchown,fchownat,chmod,chown,truncate,ftruncate,utimensat"
    done = machine.run(
        f"rm -f {log}; strace -f -y -qq -s 256 -e trace={calls} -e signal=none -o {log} reconcile {arguments}",
        check=False, timeout=timeout,
    )
    lines = machine.out(f"grep -v -E 'O_RDONLY|ENOENT' {log}; true", timeout=120).splitlines()
    if "did not" in done.stderr:
        raise Failed(repr(done))
    return done, lines


def attribute_writes(lines):
    """(attribute, value) in order, by whichever process wrote it."""
    writes = []
    for line in lines:
        found = re.search(r'\bp?write(?:64)?\(\d+<(/sys/[^>]+)>, "((?:[^"\\]|\\.)*)"', line)
        if found:
            value = found[2].encode().decode("unicode_escape").rstrip("\n")
            writes.append((found[1], value))
    return writes


def touched(lines, *directories):
    """Trace lines that change something below these directories."""
    changing = re.compile(r"\b(p?write(64)?|creat|rename(at2?)?|unlink(at)?|mkdir(at)?|(sym)?link(at)?|f?ch(mod|own)(at)?|"
                          r"f?truncate|utimensat)\(|O_(WRONLY|RDWR|CREAT|TRUNC)")
    hits = []
    for line in lines:
        call = line.split(" = ")[0]
        if changing.search(call) and any(re.search(rf'[<"]{re.escape(name)}(/|[>"])', call) for name in directories):
            hits.append(line)
    return hits


def listing(wanted, found):
    """A diff of two sequences."""
    return "\n".join(difflib.unified_diff([str(item) for item in wanted], [str(item) for item in found], lineterm="", n=2))
