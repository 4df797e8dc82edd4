"""What a dry run predicted, against what the apply did as seen from outside: its system calls and its children's."""

import json
import os
import re

from . import observe
from .machine import Failed
from .scenario import DOCUMENT, check, reconcile, report

# No openat: update-initramfs makes tens of thousands, and `-y` names the file at the write.
CALLS = "write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,execve,clone,clone3,fork,vfork"
TRACE = "/var/tmp/strace"
OURS = ("/var/lib/reconcile", "/run/reconcile")
CLONES = ("clone", "clone3", "fork", "vfork")
LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
STRING = r'"((?:[^"\\]|\\.)*)"'
PLACE = rf"(?:AT_FDCWD(?:<([^>]*)>)?|\d+<([^>]*)>), {STRING}"


def attribute(path):
    """`/sys` reaches an attribute by several ways: its last two names say which it is."""
    return "/".join(path.split("/")[-2:])


def predicted(found):
    """The dry run's changes and follow-ups, in order, each as a tuple."""
    events = []
    for change in found["changes"]:
        step, target = change["step"], change["target"]
        if step == "write_attr":
            events.append(("attribute", attribute(target), change["after"]))
        elif step == "write_file":
            events.append(("file", target))
        elif step == "remove_file":
            events.append(("remove", target))
        elif step == "run":
            events.append(("run", target))
        else:
            raise Failed(f"the report has a step of an unknown kind: {change}")
    events += [("run", " ".join(followup["argv"])) for followup in found["followups"]]
    return events


def executed(lines):
    """What the traced process itself did (its re-executed children count as itself), and which programs it started."""
    own, foreign, events, unfinished = set(), set(), [], {}
    for line in lines:
        if resumed := RESUMED.match(line):
            pid, call, rest = resumed.groups()
            rest = unfinished.pop((pid, call), "") + rest
        elif matched := LINE.match(line):
            pid, call, rest = matched.groups()
            if rest.endswith("<unfinished ...>"):
                unfinished[pid, call] = rest.removesuffix("<unfinished ...>").rstrip()
                continue
        else:
            continue
        if pid not in own and pid not in foreign and (not own or any(
                parent in own and call in CLONES for parent, call in unfinished)):
            # The first process of all, or a child that is seen before the call that made it has returned.
            own.add(pid)
        if call in CLONES:
            if pid in own and (child := re.search(r"= (\d+)(?:<[^>]*>)?$", rest)) and child[1] not in foreign:
                own.add(child[1])
        elif call == "execve" and pid in own and rest.endswith("= 0"):
            argv = [unescape(text) for text in re.findall(STRING, rest.partition("[")[2].partition("]")[0])]
            program = os.path.basename(argv[0])
            if program != "reconcile" and "/proc/self/exe" not in rest:
                own.discard(pid)
                foreign.add(pid)
                events.append(("run", " ".join([program, *argv[1:]])))
        elif pid in own:
            events += done_by_us(call, rest)
    return events


def done_by_us(call, rest):
    if " = -1 " in rest and not call.startswith(("write", "pwrite")):
        return []
    if call in ("write", "pwrite64"):
        found = re.match(rf"\d+<(/sys/[^>]*)>, {STRING}", rest)
        return [("attribute", attribute(found[1]), unescape(found[2]).rstrip("\n"))] if found else []
    places = [os.path.join(left or right or "/", unescape(name)) for left, right, name in re.findall(PLACE, rest)]
    if not places and (plain := re.findall(STRING, rest)):
        places = [unescape(name) for name in plain]
    places = [os.path.normpath(place) for place in places]
    if not places or places[-1].startswith(OURS):
        return []
    return [("file" if call.startswith("rename") else "remove", places[-1])]


def unescape(text):
    return text.encode().decode("unicode_escape")


def keep_out_of_the_trace(machine):
    """update-initramfs makes a million system calls: traced, it would take an hour. Its start is seen all the same; the
    real one then runs under PID 1, out of strace's sight."""
    machine.write("/var/tmp/update-initramfs", "#!/bin/sh\nexec systemd-run --quiet --wait --pipe /var/tmp/update-initramfs.real \"$@\"\n")
    machine.run("[ -e /var/tmp/update-initramfs.real ] || { cp -p /usr/sbin/update-initramfs /var/tmp/update-initramfs.real; "
                "chmod 755 /var/tmp/update-initramfs; mount --bind /var/tmp/update-initramfs /usr/sbin/update-initramfs; }")


def apply(machine, document=None, status=None, timeout=1800):
    """Writes the document, predicts, applies under strace, and compares. Returns the apply's report."""
    if document is not None:
        machine.write(DOCUMENT, document)
    forecast = report(machine)
    keep_out_of_the_trace(machine)
    done = machine.run(
        f"strace -f --seccomp-bpf -y -qq -s 200 -e trace={CALLS} -e signal=none -o {TRACE} "
        f"reconcile --yes -o json > {TRACE}.json",
        check=False, timeout=timeout,
    )
    # What the programs wrote that it started is theirs.
    lines = machine.out(f"grep -E 'execve|clone|fork|/sys/|rename|unlink' {TRACE} | grep -v -F '/var/tmp/mkinitramfs' || true", timeout=timeout)
    try:
        result = json.loads(machine.read(f"{TRACE}.json"))
    except ValueError:
        raise Failed(f"no report: {done!r}") from None
    expected = {status} if isinstance(status, int) else status
    check(expected is None or done.status in expected, lambda: f"expected status {status}: {done!r} {brief(result)}")
    wanted, found = predicted(forecast), executed(lines.splitlines())
    if wanted != found:
        listing = observe.listing(wanted, found)
        raise Failed(f"the apply did something else than was predicted (- predicted, + done)\n{listing}\n{brief(result)}")
    contents(machine, forecast)
    return result


def contents(machine, forecast):
    """Each file ends as its last prediction says; a named unknown stands for its one real value."""
    last = {}
    for change in forecast["changes"]:
        if change["step"] in ("write_file", "remove_file"):
            last[change["target"]] = change["after"]
    for path, text in last.items():
        if text is None:
            check(machine.run(f"test -e {path}", check=False).status != 0, f"{path} is still there")
            continue
        for unknown in sorted(set(re.findall(r"<group of ([0-9a-f:.]+)>", text))):
            text = text.replace(f"<group of {unknown}>", machine.group(unknown))
        real = machine.run(["/bin/cat", path]).stdout
        if real != text:
            listing = observe.listing(text.splitlines(), real.splitlines())
            raise Failed(f"{path} is not what was predicted (- predicted, + real)\n{listing}")


def brief(result):
    return {key: result[key] for key in ("summary", "errors", "blocked", "refused")}
