"""What goes into the guest's disk. A change of this file builds a new image."""

SUITE = "trixie"
PACKAGES = """
    linux-image-amd64 systemd-sysv udev kmod dbus initramfs-tools zstd grub-pc pciutils iproute2 busybox-static
    qemu-guest-agent qemu-system-x86 libvirt-daemon-system libvirt-clients python3 strace
""".split()
# Another kernel of the same release; its .deb lies in the image, for a scenario that installs it.
SECOND_KERNEL = "linux-image-rt-amd64"
SECOND_KERNEL_AT = "/usr/local/share/second-kernel"
# GPT: 1 MiB for GRUB's core image, room for an ESP, the rest for the root file system. Only where there is an ESP has its
# partition that type: systemd mounts what has it as soon as somebody looks at /efi.
LAYOUT = """\
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=4096, size=1048576, type={second}
start=1052672, type=linux
"""
ROOT_OFFSET, SIZE = 1052672 * 512, 5 << 30
UUID = "6d2f0f0a-3a4e-4b5e-9a86-0d7c2f1d8a11"

UPLINK_MAC = "52:54:00:00:00:01"

FILES = {
    "/etc/hostname": "hypervisor\n",
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 hypervisor\n",
    "/etc/fstab": f"UUID={UUID} / ext4 errors=remount-ro 0 1\n",
    "/etc/systemd/network/10-uplink.network": f"""\
[Match]
MACAddress={UPLINK_MAC}
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
""",
    # As Debian's installer leaves it, with the console on the serial port. Under KVM the kernel leaves out its check of
    # the timer by itself; an emulated processor that has to wait for a real one fails it ("timer doesn't work through
    # Interrupt-remapped IO-APIC").
    "/etc/default/grub": """\
# If you change this file, run 'update-grub' afterwards to update
# /boot/grub/grub.cfg.
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=`( . /etc/os-release && echo ${NAME} )`
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=ttyS0,115200 no_timer_check"
GRUB_TERMINAL=serial
""",
    # An emulated processor packs an image at this level in a third of the time.
    "/etc/initramfs-tools/conf.d/level": "COMPRESSLEVEL=1\n",
    # The lab's command channel. It is there before everything that a test looks at, and needs none of it.
    "/etc/systemd/system/lab-agent.service": """\
[Unit]
Description=Command channel of the tests
DefaultDependencies=no
After=systemd-remount-fs.service systemd-tmpfiles-setup-dev.service
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=/usr/sbin/qemu-ga --method=isa-serial --path=/dev/ttyS1 --statedir=/run
Restart=always
# Commands that a test started end with the scenario, not with the agent.
KillMode=process
[Install]
WantedBy=sysinit.target
""",
}
# What the guest itself runs in its first boot.
BOOT_LOADER = "grub-install --target=i386-pc /dev/vda && update-grub"
CUSTOMIZE = f"""
set -e
chroot "$1" apt-get install -qq --download-only --no-install-recommends {SECOND_KERNEL} >/dev/null
mkdir "$1{SECOND_KERNEL_AT}"
cp "$1"/var/cache/apt/archives/linux-image-*rt-amd64_*.deb "$1{SECOND_KERNEL_AT}"
""" + """
chroot "$1" passwd -d root >/dev/null
chroot "$1" systemctl enable --quiet lab-agent.service systemd-networkd.service serial-getty@ttyS0.service
chroot "$1" systemctl mask --quiet qemu-guest-agent.service apt-daily.timer apt-daily-upgrade.timer \
  systemd-networkd-wait-online.service libvirt-guests.service
rm -f "$1/etc/resolv.conf" "$1/etc/machine-id"
touch "$1/etc/machine-id"
"""
