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
UNKNOWN = re.compile(r"<group of ([0-9a-f:.]+)>")
PLACE = rf"(?:AT_FDCWD(?:<([^>]*)>)?|\d+<([^>]*)>), {STRING}"


def attribute(path):
    """`/sys` reaches an attribute by several ways: its last two names say which it is."""
    return "/".join(path.split("/")[-2:])


def predicted(found, group_of):
    """The dry run's changes and follow-ups, in order, each as a tuple; and each file's last content (None: no file).

    A named unknown stands for the one value that `group_of` its function turned out to be. Where that is the value that
    it was to replace, the file is not written, and what only such writes owe is not run.
    """
    def known(text):
        return UNKNOWN.sub(lambda unknown: group_of(unknown[1]), text)

    def entries(text):
        return sorted(line.rstrip(",") for line in known(text).splitlines())

    events, contents, written, void = [], {}, set(), set()
    for change in found["changes"]:
        step, target, item = change["step"], change["target"], f"{change['resource']}: {change['item']}"
        if step == "write_file" and UNKNOWN.search(change["after"]) and entries(change["before"]) == entries(change["after"]):
            void.add(item)
            continue
        written.add(item)
        if step == "write_attr":
            events.append(("attribute", attribute(target), change["after"]))
        elif step == "write_file":
            events.append(("file", target))
            contents[target] = known(change["after"])
        elif step == "remove_file":
            events.append(("remove", target))
            contents[target] = None
        elif step == "run":
            events.append(("run", target))
        else:
            raise Failed(f"the report has a step of an unknown kind: {change}")
    events += [("run", " ".join(followup["argv"])) for followup in found["followups"]
               if not set(followup["because"]) <= void - written]
    return events, contents


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
    """These make a million system calls: traced, each would take an hour. Their start is seen all the same; the real one
    then runs under PID 1, out of strace's sight."""
    for program in "/usr/sbin/update-initramfs", "/usr/bin/dracut", "/usr/bin/kernel-install":
        aside = f"/var/tmp/{os.path.basename(program)}"
        machine.write(aside, f"#!/bin/sh\nexec systemd-run --quiet --wait --pipe {aside}.real \"$@\"\n")
        machine.run(f"[ ! -e {program} ] || [ -e {aside}.real ] || {{ cp -p {program} {aside}.real; "
                    f"chmod 755 {aside}; mount --bind {aside} {program}; }}")


def apply(machine, document=None, status=None, predictor="reconcile"):
    """Writes the document, has `predictor` predict, applies under strace, and compares. Returns the apply's report."""
    wanted, found, contents, result = both(machine, document, status, predictor)
    if wanted != found:
        listing = observe.listing(wanted, found)
        raise Diverged(f"the apply did something else than was predicted (- predicted, + done)\n{listing}\n{brief(result)}")
    compare_contents(machine, contents)
    return result


class Diverged(Failed):
    """Prediction and execution differ."""


def both(machine, document=None, status=None, predictor="reconcile", timeout=1800):
    """Events predicted and events done, the contents predicted, and the report of the apply."""
    if document is not None:
        machine.write(DOCUMENT, document)
    forecast = report(machine, program=predictor)
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
    wanted, contents = predicted(forecast, machine.group)
    return wanted, executed(lines.splitlines()), contents, result


def compare_contents(machine, contents):
    """Each file ends as its last prediction says."""
    for path, text in contents.items():
        if text is None:
            check(machine.run(f"test -e {path}", check=False).status != 0, f"{path} is still there")
            continue
        real = machine.run(["/bin/cat", path]).stdout
        if real != text:
            listing = observe.listing(text.splitlines(), real.splitlines())
            raise Diverged(f"{path} is not what was predicted (- predicted, + real)\n{listing}")


def brief(result):
    return {key: result[key] for key in ("summary", "errors", "blocked", "refused")}
