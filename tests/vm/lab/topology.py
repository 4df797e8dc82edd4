"""What the machines consist of. Every function sits behind a root port of its own, which has ACS: an IOMMU group each."""

import os
import shutil

from .recipe import UPLINK_MAC


def port(slot, *behind, acs=True):
    """A root port as function 0 of device `slot` on bus 0, and what is behind it (`BUS` stands for its bus)."""
    options = "" if acs else ",disable-acs=on"
    arguments = ["-device", f"pcie-root-port,id=port{slot},bus=pcie.0,addr={slot:#x},chassis={slot},slot={slot}{options}"]
    for device in behind:
        arguments += ["-device", device.replace("BUS", f"port{slot}")]
    return arguments


def nvme(name, vfs):
    """An NVMe controller with VFs: one pair of queues and one vector for each VF, the rest for the PF."""
    return (
        f"nvme-subsys,id={name},nqn={name}",
        f"nvme,serial={name},subsys={name},bus=BUS,sriov_max_vfs={vfs},sriov_vq_flexible={2 * vfs},"
        f"sriov_vi_flexible={vfs},max_ioqpairs={max(64, 2 * vfs + 2)},msix_qsize={vfs + 65}",
    )


# Device number of the root port on bus 0, by the name that scenarios use.
SLOTS = {
    "before": 1,
    "disk": 2,
    "uplink": 3,
    "igb0": 4,
    "igb1": 5,
    "nvme": 6,
    "e1000e": 7,
    "bridge": 8,
    "gpu": 9,
    "xhci": 10,
    "noacs": 11,
    "behind": 12,
}
FIRMWARE = "/usr/share/OVMF"
IOMMU = ["-device", "intel-iommu,intremap=on"]


def base(disk):
    """Root disk and the only routed network card, as functions of their own."""
    return [
        *port(SLOTS["disk"], "virtio-blk-pci,bus=BUS,drive=root,bootindex=1"),
        "-drive", f"if=none,id=root,file={disk},format=qcow2,cache=unsafe,discard=unmap",
        *port(SLOTS["uplink"], f"virtio-net-pci,bus=BUS,netdev=uplink,romfile=,mac={UPLINK_MAC}"),
        "-netdev", "user,id=uplink,restrict=on",
    ]


def full(disk):
    """The whole lab: twins with VFs, an NVMe with VFs, shared groups of every kind."""
    return [
        *IOMMU,
        *base(disk),
        *port(SLOTS["igb0"], "igb,bus=BUS,romfile=,mac=52:54:00:00:01:00"),
        *port(SLOTS["igb1"], "igb,bus=BUS,romfile=,mac=52:54:00:00:02:00"),
        *port(SLOTS["nvme"], *nvme("store", 4)),
        *port(SLOTS["e1000e"], "e1000e,bus=BUS,romfile=,mac=52:54:00:00:03:00"),
        *port(
            SLOTS["bridge"],
            "pcie-pci-bridge,bus=BUS,id=conventional",
            "e1000,bus=conventional,addr=1,romfile=,mac=52:54:00:00:04:00",
            "edu,bus=conventional,addr=2",
            "pci-testdev,bus=conventional,addr=3",
        ),
        *port(SLOTS["gpu"], "bochs-display,bus=BUS,addr=0.0,multifunction=on", "intel-hda,bus=BUS,addr=0.1"),
        *port(SLOTS["xhci"], "qemu-xhci,bus=BUS"),
        *port(SLOTS["noacs"], "e1000e,bus=BUS,romfile=,mac=52:54:00:00:05:00", acs=False),
    ]


def cards(disk):
    """Of the lab what a boot chain is tried with: twins, an NVMe and an igb."""
    return [
        *IOMMU,
        *base(disk),
        *port(SLOTS["igb0"], "igb,bus=BUS,romfile=,mac=52:54:00:00:01:00"),
        *port(SLOTS["nvme"], *nvme("store", 4)),
        *port(SLOTS["e1000e"], "e1000e,bus=BUS,romfile=,mac=52:54:00:00:03:00"),
        *port(SLOTS["noacs"], "e1000e,bus=BUS,romfile=,mac=52:54:00:00:05:00", acs=False),
    ]


def durable(disk):
    """Its disk loses what was not flushed when QEMU is killed, and only that: metadata of the overlay is written at a flush."""
    return [argument.replace("cache=unsafe", "cache=writeback") for argument in full(disk)]


def card_behind(disk):
    """One more card on the last bus: every address stays, the numbers of IOMMU groups move."""
    return [*full(disk), *port(SLOTS["behind"], "qemu-xhci,bus=BUS")]


def card_before(disk):
    """One more card on the first bus: every address behind a root port moves by one bus."""
    return [*full(disk), *port(SLOTS["before"], "qemu-xhci,bus=BUS")]


# Names of the NVMe controllers of the large machine, each on a root port of its own after the base's.
STORES = {f"store{index}": 16 + index for index in range(4)}
SLOTS.update(STORES)


def large(disk):
    """Several hundred VFs."""
    stores = [argument for name, slot in STORES.items() for argument in port(slot, *nvme(name, 127))]
    return [*IOMMU, *base(disk), *stores]


def without_iommu(disk):
    """No IOMMU anywhere: nothing can be given to a guest."""
    return [*base(disk), *port(SLOTS["igb0"], "igb,bus=BUS,romfile=,mac=52:54:00:00:01:00")]


def uefi(devices):
    """The machine with UEFI firmware, whose variables are kept beside the disk."""

    def with_firmware(disk):
        variables = os.path.join(os.path.dirname(disk), "variables.fd")
        if not os.path.exists(variables):
            shutil.copy(f"{FIRMWARE}/OVMF_VARS_4M.fd", variables)
        return [
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd",
            "-drive", f"if=pflash,unit=1,format=raw,file={variables}",
            *devices(disk),
        ]

    return with_firmware
