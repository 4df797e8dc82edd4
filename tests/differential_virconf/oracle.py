"""Reads files with libvirt's own virConf parser and prints, for each, one line of JSON.

Usage: oracle.py FILE...

`{"error": [LINE, MESSAGE]}` where libvirt rejects the file; else `{"settings": [[NAME, VALUE], ...], "acl": LIST}`:
numbers as they are, strings as {"hex": ...}, lists as lists; "acl" is what libvirt's QEMU driver would get for
cgroup_device_acl, null where it is not set, false where it is no list of strings.
"""

import ctypes
import json
import sys

CHAR_PP = ctypes.POINTER(ctypes.c_char_p)
libvirt = ctypes.CDLL("libvirt.so.0")


class Value(ctypes.Structure):
    pass


ValueP = ctypes.POINTER(Value)
Value._fields_ = [
    ("type", ctypes.c_int),
    ("next", ValueP),
    ("number", ctypes.c_longlong),
    ("string", ctypes.c_char_p),
    ("list", ValueP),
]
ErrorHandler = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
Walker = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ValueP, ctypes.c_void_p)

libvirt.virConfReadFile.restype = ctypes.c_void_p
libvirt.virConfReadFile.argtypes = [ctypes.c_char_p, ctypes.c_uint]
libvirt.virConfWalk.argtypes = [ctypes.c_void_p, Walker, ctypes.c_void_p]
libvirt.virConfFree.argtypes = [ctypes.c_void_p]
libvirt.virGetLastErrorMessage.restype = ctypes.c_char_p
libvirt.virConfGetValueStringList.argtypes = [
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_bool,
    ctypes.POINTER(CHAR_PP),
]


def decode(value):
    if value.type in (1, 2):
        return value.number
    if value.type == 3:
        return {"hex": (value.string or b"").hex()}
    elements, element = [], value.list
    while element:
        elements.append(decode(element.contents))
        element = element.contents.next
    return elements


def acl(conf):
    strings = CHAR_PP()
    found = libvirt.virConfGetValueStringList(conf, b"cgroup_device_acl", False, ctypes.byref(strings))
    if found <= 0:
        return None if found == 0 else False
    result = []
    while strings[len(result)] is not None:
        result.append(strings[len(result)].hex())
    return result


def read(path):
    libvirt.virResetLastError()
    conf = libvirt.virConfReadFile(path.encode(), 0)
    if not conf:
        message = libvirt.virGetLastErrorMessage().decode()
        _, _, rest = message.partition(path + ":")
        line, _, problem = rest.partition(": ")
        return {"error": [int(line) if line else 0, problem or message]}
    settings = []

    def walk(name, value, _opaque):
        settings.append([name.decode(), decode(value.contents)])
        return 0

    libvirt.virConfWalk(conf, Walker(walk), None)
    result = {"settings": settings, "acl": acl(conf)}
    libvirt.virConfFree(conf)
    return result


handler = ErrorHandler(lambda _data, _error: None)
libvirt.virSetErrorFunc(None, handler)
if libvirt.virInitialize() != 0:
    sys.exit("libvirt does not initialise")
for path in sys.argv[1:]:
    print(json.dumps(read(path)))
