"""The hosts that images are made of: the recipe's, and what others have in its place. Each has an image of its own."""

import hashlib
from dataclasses import dataclass

from . import recipe
from .recipe import BOOT_LOADER, FILES, PACKAGES


@dataclass(frozen=True)
class Variant:
    """`name` is in the file name of the image, `boot_loader` what the guest itself runs in its first boot, `second` the
    type of the disk's second partition."""

    name: str
    packages: tuple
    files: tuple
    boot_loader: str
    second: str

    def fingerprint(self):
        """Changes with everything that goes into the image."""
        with open(recipe.__file__, "rb") as source:
            return hashlib.sha256(source.read() + repr(self).encode()).hexdigest()[:16]


def like_base(name, without=(), packages=(), files=None, boot_loader=BOOT_LOADER, second="linux"):
    """The recipe's host without these packages or files, and with these."""
    kept = {path: text for path, text in FILES.items() if not path.startswith(without)}
    return Variant(name, tuple(package for package in PACKAGES if package not in without) + packages,
                   tuple(sorted({**kept, **(files or {})}.items())), boot_loader, second)


VIRTUALISATION = ("qemu-system-x86", "libvirt-daemon-system", "libvirt-clients", "python3")

BASE = like_base("base")
DRACUT = like_base(
    "dracut",
    without=("initramfs-tools", "/etc/initramfs-tools", *VIRTUALISATION),
    packages=("dracut",),
    # Debian's image is generic: it holds no /etc/modprobe.d. An emulated processor spends minutes on packing it.
    files={"/etc/dracut.conf.d/lab.conf": 'compress="cat"\n'},
)
SYSTEMD_BOOT = like_base(
    "systemd-boot",
    without=("grub-pc", "/etc/default/grub", *VIRTUALISATION),
    packages=("systemd-boot", "dosfstools"),
    second="uefi",
    boot_loader="""
mkfs.vfat -n ESP /dev/vda2
mkdir /boot/efi
echo 'LABEL=ESP /boot/efi vfat umask=0077 0 1' >> /etc/fstab
mount /boot/efi
bootctl install --no-variables
kernel-install add "$(uname -r)" "/boot/vmlinuz-$(uname -r)"
""",
)


def on(variant):
    """Of a scenario whose machines are of this variant."""

    def mark(function):
        function.variant = variant
        return function

    return mark


def of(function):
    return getattr(function, "variant", BASE)
