#!/usr/bin/env python3
"""Write the initramfs: busybox, /init and two device nodes, the same bytes every time.

The "newc" cpio format is described in the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst. Device nodes are only
entries of the archive, so no root is needed.
"""

from __future__ import annotations

import argparse
import gzip
import os
import stat
from pathlib import Path

MAGIC = "070701"
TRAILER = "TRAILER!!!"


def entry(
    number: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    """One archive member: header, name and data, each padded to four bytes."""
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = [
        number,
        mode,
        0,  # uid
        0,  # gid
        links,
        0,  # mtime: fixed, so that the archive is reproducible
        len(data),
        0,  # device that holds the file
        0,
        device[0],
        device[1],
        len(name) + 1,
        0,  # checksum, unused in this format
    ]
    header = MAGIC.encode() + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def archive(busybox: bytes, init: bytes) -> bytes:
    """The whole archive, members sorted by name."""
    members: dict[str, tuple[int, bytes, tuple[int, int]]] = {
        name: (stat.S_IFDIR | 0o755, b"", (0, 0))
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp")
    }
    members["bin/busybox"] = (stat.S_IFREG | 0o755, busybox, (0, 0))
    members["bin/sh"] = (stat.S_IFLNK | 0o777, b"busybox", (0, 0))
    members["dev/console"] = (stat.S_IFCHR | 0o600, b"", (5, 1))
    members["dev/null"] = (stat.S_IFCHR | 0o666, b"", (1, 3))
    members["init"] = (stat.S_IFREG | 0o755, init, (0, 0))
    out = bytearray()
    for number, name in enumerate(sorted(members), start=1):
        mode, data, device = members[name]
        out += entry(number, name, mode, data, device)
    out += entry(0, TRAILER, 0)
    return bytes(out) + b"\0" * (-len(out) % 512)


def main() -> None:
    parser = argparse.ArgumentParser(description="write the initramfs of the Linux guest")
    parser.add_argument("--busybox", type=Path, required=True, help="a static busybox")
    parser.add_argument("--init", type=Path, required=True, help="the script run as process 1")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    data = archive(options.busybox.read_bytes(), options.init.read_bytes())
    temporary = options.output.with_suffix(".tmp")
    temporary.write_bytes(gzip.compress(data, compresslevel=9, mtime=0))
    os.replace(temporary, options.output)


if __name__ == "__main__":
    main()
