"""The guest's disk: Debian from packages, built once for each recipe, without loop devices."""

import os
import shutil
import subprocess
import tempfile
import time

from . import machine, tools, topology
from .recipe import CUSTOMIZE, LAYOUT, ROOT_OFFSET, SIZE, SUITE, UUID

def cache():
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "reconcile-vm")
    directory = os.environ.get("RECONCILE_VM_CACHE") or default
    os.makedirs(directory, exist_ok=True)
    return directory


def image(log, variant):
    """The path of the variant's image; builds it if there is none of this recipe."""
    path = os.path.join(cache(), f"{SUITE}-{variant.name}-{variant.fingerprint()}.qcow2")
    if not os.path.exists(path):
        started = time.monotonic()
        log(f"building the image {os.path.basename(path)}")
        with tempfile.TemporaryDirectory(dir=cache(), prefix="build-") as directory:
            build(directory, variant, log)
            os.replace(os.path.join(directory, "image.qcow2"), path)
        log(f"the image was built in {time.monotonic() - started:.0f} s")
    return path


def build(directory, variant, log):
    root, disk = os.path.join(directory, "root"), os.path.join(directory, "disk.raw")
    bootstrap(directory, root, variant)
    with open(disk, "wb") as file:
        file.truncate(SIZE)
    subprocess.run(["/sbin/sfdisk", "-q", disk], input=LAYOUT.format(second=variant.second), text=True, check=True)
    blocks = (SIZE - ROOT_OFFSET - (1 << 20)) // 4096
    subprocess.run(
        ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", UUID, "-O", "^orphan_file,^metadata_csum_seed",
         "-E", f"offset={ROOT_OFFSET},lazy_itable_init=1", "-d", root, disk, str(blocks)],
        check=True,
    )
    kernel = os.path.join(directory, "vmlinuz")
    initrd = os.path.join(directory, "initrd")
    for link, copy in (("vmlinuz", kernel), ("initrd.img", initrd)):
        shutil.copy(os.path.join(root, os.readlink(os.path.join(root, link)).lstrip("/")), copy)
    shutil.rmtree(root)
    image = os.path.join(directory, "image.qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image], check=True)
    os.unlink(disk)
    accel = acceleration(kernel, initrd, log)
    install_boot_loader(image, variant, kernel, initrd, accel, log)


def bootstrap(directory, root, variant):
    uri, keyring = tools.mirror()
    debs = os.path.join(cache(), "debs")
    os.makedirs(debs, exist_ok=True)
    overlay = os.path.join(directory, "overlay")
    for name, text in variant.files:
        path = overlay + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    customize = os.path.join(directory, "customize")
    with open(customize, "w") as file:
        file.write("#!/bin/sh\n" + CUSTOMIZE)
    os.chmod(customize, 0o755)
    preseed = "grub-pc grub-pc/install_devices_empty boolean true"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(variant.packages)}",
         "--skip=download/empty", "--skip=essential/unlink",
         "--setup-hook=mkdir -p \"$1/var/cache/apt/archives\"",
         f"--setup-hook=sync-in {debs} /var/cache/apt/archives/",
         f"--essential-hook=echo {preseed} | chroot \"$1\" debconf-set-selections",
         f"--customize-hook=sync-in {overlay} /",
         f"--customize-hook={customize}",
         f"--customize-hook=sync-out /var/cache/apt/archives {debs}",
         SUITE, root, f"deb [signed-by={keyring}] {uri} {SUITE} main"],
        check=True,
    )


def install_boot_loader(image, variant, kernel, initrd, accel, log):
    """The guest itself installs its boot loader, in the one boot that does not go through it."""
    guest = machine.Machine(image, topology.base, accel, log=log)
    try:
        append = f"root=UUID={UUID} console=ttyS0,115200 no_timer_check"
        guest.start(["-kernel", kernel, "-initrd", initrd, "-append", append])
        guest.settle()
        guest.run(f"set -e; {variant.boot_loader}\nsync", timeout=600)
        guest.power_off()
        subprocess.run(["qemu-img", "commit", "-q", guest.disk], check=True)
    except Exception:
        log(guest.tail())
        raise
    finally:
        guest.stop()
        shutil.rmtree(guest.directory)


def acceleration(kernel=None, initrd=None, log=print):
    """`kvm` where a trial boot under it gets as far as the kernel's first lines, `tcg` elsewhere.

    `/dev/kvm` may open and still be unable to run a stock guest. The answer is kept until this machine's next boot.
    """
    chosen = os.environ.get("RECONCILE_VM_ACCEL")
    if chosen:
        return chosen
    with open("/proc/sys/kernel/random/boot_id") as file:
        remembered = os.path.join(cache(), f"accel-{file.read().strip()}")
    if os.path.exists(remembered):
        with open(remembered) as file:
            return file.read()
    accel = "tcg"
    kept = os.path.join(cache(), "trial-kernel")
    if kernel is not None:
        shutil.copy(kernel, kept)
    if os.access("/dev/kvm", os.R_OK | os.W_OK) and os.path.exists(kept) and boots_under_kvm(kept):
        accel = "kvm"
    log(f"machines run under {accel.upper()}")
    with open(remembered, "w") as file:
        file.write(accel)
    return accel


def boots_under_kvm(kernel):
    """The kernel panics without a root file system: that far it has to come."""
    with tempfile.TemporaryDirectory() as directory:
        argv = [*machine.arguments(directory, "kvm"), *topology.IOMMU, "-no-reboot",
                "-kernel", kernel, "-append", "console=ttyS0,115200 panic=-1"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        console = os.path.join(directory, "console.log")
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until and process.poll() is None:
                time.sleep(0.5)
                if os.path.exists(console):
                    with open(console, errors="replace") as file:
                        if "VFS: Unable to mount root" in file.read():
                            return True
            if os.path.exists(console):
                with open(console, errors="replace") as file:
                    return "VFS: Unable to mount root" in file.read()
            return False
        finally:
            process.kill()
            process.wait()
