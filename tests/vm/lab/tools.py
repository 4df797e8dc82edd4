"""The programs that the machines need, installed from the packages of this machine's own mirror."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

# program or file: package
NEEDED = {
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "/sbin/sfdisk": "fdisk",
    "/sbin/mke2fs": "e2fsprogs",
    "/usr/share/seabios/bios-256k.bin": "seabios",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "lintian": "lintian",
    "strip": "binutils",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
QEMU = "qemu-system-x86_64"


def there(sign):
    return os.path.exists(sign) if sign.startswith("/") else shutil.which(sign) is not None


def has_igb():
    """igb came with QEMU 8.0, without `romfile` on older ones there is nothing to ask."""
    if not there(QEMU):
        return False
    listed = subprocess.run([QEMU, "-device", "help"], capture_output=True, text=True)
    return '"igb"' in listed.stdout


def install():
    """Installs what is missing (needs root for that); does nothing, and asks no network, where all is there."""
    missing = sorted({package for sign, package in NEEDED.items() if not there(sign)})
    if missing:
        apt_get("update", "-qq")
        apt_get("install", "-y", "-qq", "--no-install-recommends", *missing)
    if not has_igb():
        apt_get("update", "-qq")
        apt_get("install", "-y", "-qq", "--no-install-recommends", "qemu-system-x86")
    if not has_igb():
        install_from_backports("qemu-system-x86", "qemu-utils", "seabios")
    if not has_igb():
        raise SystemExit(f"{QEMU} has no igb: install QEMU 8.0 or newer (on Debian 12 from bookworm-backports)")


def apt_get(*arguments):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def install_from_backports(*packages):
    """With package lists of its own, so that the machine's apt set-up stays as it is."""
    uri, keyring = mirror()
    with tempfile.TemporaryDirectory() as directory:
        parts, lists = os.path.join(directory, "parts"), os.path.join(directory, "lists")
        os.makedirs(parts)
        os.makedirs(os.path.join(lists, "partial"))
        with open(os.path.join(parts, "lab.list"), "w") as sources:
            for suite in (codename(), codename() + "-backports"):
                sources.write(f"deb [signed-by={keyring}] {uri} {suite} main\n")
        options = [
            "-o", "Dir::Etc::SourceList=/dev/null",
            "-o", f"Dir::Etc::SourceParts={parts}",
            "-o", f"Dir::State::Lists={lists}",
        ]
        apt_get(*options, "update", "-qq")
        release = codename() + "-backports"
        apt_get(*options, "install", "-y", "-qq", "--no-install-recommends", "-t", release, *packages)


def codename():
    with open("/etc/os-release") as release:
        return re.search(r"^VERSION_CODENAME=(\w+)", release.read(), re.M)[1]


def mirror():
    """The URI and the keyring with which this machine gets its own Debian packages."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    for name in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(name) as file:
            for stanza in file.read().split("\n\n"):
                fields = dict(re.findall(r"^(\w[\w-]*):[ \t]*(.*)$", stanza, re.M))
                suites = fields.get("Suites", "").split()
                if codename() in suites and fields.get("URIs"):
                    return fields["URIs"].split()[0], keyring
    for name in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(name):
            with open(name) as file:
                line = re.search(rf"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+{codename()}\s", file.read(), re.M)
            if line:
                return line[1], keyring
    raise SystemExit(f"no apt source for {codename()} is there to take the packages of the guest from")
