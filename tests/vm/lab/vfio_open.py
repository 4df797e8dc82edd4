"""Opens a function through VFIO as QEMU does, and reads its identity from its own configuration space.

Runs in the guest: vfio_open.py ADDRESS [--hold SECONDS]
"""

import fcntl
import os
import struct
import sys
import time

# linux/vfio.h: _IO(';', 100 + n)
BASE = ord(";") << 8 | 100
GET_API_VERSION, SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD = (
    BASE + 0, BASE + 2, BASE + 3, BASE + 4, BASE + 6)
DEVICE_GET_REGION_INFO = BASE + 8
VIABLE, TYPE1V2, CONFIG_REGION = 1, 3, 7


def main(address, hold=0):
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
    print(f"group {number} viable, {address} is {vendor:04x}:{product:04x}", flush=True)
    time.sleep(hold)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[3]) if len(sys.argv) > 3 else 0)
