"""Opens a function through VFIO as QEMU does, and reads its identity from its own configuration space.

Runs in the guest: vfio_open.py ADDRESS [hold|give-back]. `hold` keeps it open until it is ended; `give-back` until the kernel
asks for it, as a guest does that lets go of a device when it is unplugged.
"""

import fcntl
import os
import signal
import struct
import sys

# linux/vfio.h: _IO(';', 100 + n)
BASE = ord(";") << 8 | 100
GET_API_VERSION, SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD = (
    BASE + 0, BASE + 2, BASE + 3, BASE + 4, BASE + 6)
DEVICE_GET_REGION_INFO = BASE + 8
DEVICE_SET_IRQS = BASE + 10
VIABLE, TYPE1V2, CONFIG_REGION = 1, 3, 7
# VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER; VFIO_PCI_REQ_IRQ_INDEX.
TRIGGERS_EVENTFD, REQUEST_IRQ = 1 << 2 | 1 << 5, 4


def main(address, until=None):
    number = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{address}/iommu_group"))
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    assert fcntl.ioctl(container, GET_API_VERSION) == 0
    group = os.open(f"/dev/vfio/{number}", os.O_RDWR)
    _, flags = struct.unpack("II", fcntl.ioctl(group, GROUP_GET_STATUS, struct.pack("II", 8, 0)))
    assert flags & VIABLE, f"group {number} is not viable"
    fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, SET_IOMMU, TYPE1V2)
    name = bytearray(address.encode() + b"\0")
    device = fcntl.ioctl(group, GROUP_GET_DEVICE_FD, name, True)
    info = bytearray(struct.pack("IIIIQQ", 32, 0, CONFIG_REGION, 0, 0, 0))
    fcntl.ioctl(device, DEVICE_GET_REGION_INFO, info, True)
    offset = struct.unpack("IIIIQQ", info)[5]
    vendor, product = struct.unpack("<HH", os.pread(device, 4, offset))
    asked = os.eventfd(0)
    fcntl.ioctl(device, DEVICE_SET_IRQS, struct.pack("IIIIIi", 24, TRIGGERS_EVENTFD, REQUEST_IRQ, 0, 1, asked))
    print(f"group {number} viable, {address} is {vendor:04x}:{product:04x}", flush=True)
    if until == "hold":
        signal.pause()
    elif until == "give-back":
        os.read(asked, 8)


if __name__ == "__main__":
    main(*sys.argv[1:])
