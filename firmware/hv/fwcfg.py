"""The files of the firmware configuration device (QEMU's docs/specs/fw_cfg.rst)."""

import struct

from hv.loaders import layout

FIRST_KEY = 0x20


def pack(files):
    """The directory, all numbers big-endian, and what the (name, bytes) hold."""
    directory, contents = [struct.pack(">I", len(files))], []
    for i, (name, data) in enumerate(sorted(files)):
        directory.append(struct.pack(">IHH56s", len(data), FIRST_KEY + i, 0, name.encode()))
        contents.append(data)
    return b"".join(directory + contents)


def build(memory):
    """What a guest with that much memory finds there."""
    rows = [struct.pack("<QQI", *row) for row in layout.e820(memory)]
    return pack([("etc/e820", b"".join(rows))])
