"""A host file onto the monitor's RAM disk, checked by its CRC-32, and there at once or not
at all."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from pathlib import Path

from .errors import HostError, MonitorError, UsageError
from .image import readable
from .link import Link

_PIECE = 4096
_NAME_LIMIT = 255
_WRITE = """\
import binascii as _b
with open({part!r}, {mode!r}) as _f: _f.write(_b.a2b_base64({data!r}))
"""
_FINISH = """\
import binascii as _b, os as _o
_c, _n = 0, 0
with open({part!r}, "rb") as _f:
    while True:
        _d = _f.read(4096)
        if not _d: break
        _c, _n = _b.crc32(_d, _c), _n + len(_d)
if (_n, _c) != ({size}, {crc}): raise OSError("%d bytes with CRC %08x arrived" % (_n, _c))
try: _o.remove({name!r})
except OSError: pass
_o.rename({part!r}, {name!r})
"""
_FREE = "import os as _o, json as _j; _s = _o.statvfs('/'); print(_j.dumps(_s[1] * _s[4]))"
_TIDY = "import os as _o\ntry: _o.remove({part!r})\nexcept OSError: pass\n"


def push(
    link: Link,
    file: Path,
    name: str,
    timeout: float,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Copy `file`; returns its size in bytes."""
    if file.is_dir():
        raise HostError(f"{file} is a folder: give a file in it")
    data = readable(file).read_bytes()
    plain = name.strip("/")
    if not plain or "/" in plain or len(plain.encode()) > _NAME_LIMIT:
        raise UsageError(f"{name!r} cannot name a file of the monitor: the RAM disk has no folders")
    name = plain
    free = int(json.loads(link.exec(_FREE, timeout)))
    if len(data) > free:
        raise HostError(
            f"{file} has {len(data):,} bytes and the monitor's RAM disk {free:,} free: remove "
            "files there (`hv exec 'import os; os.remove(NAME)'`)"
        )
    part = "." + name + ".part"
    try:
        for start in range(0, max(len(data), 1), _PIECE):
            piece = binascii.b2a_base64(data[start : start + _PIECE], newline=False)
            code = _WRITE.format(part=part, mode="ab" if start else "wb", data=piece)
            link.exec(code, timeout)
            if progress:
                progress(min(start + _PIECE, len(data)), len(data))
        crc = binascii.crc32(data)
        link.exec(_FINISH.format(part=part, name=name, size=len(data), crc=crc), timeout)
    except MonitorError as error:
        link.exec(_TIDY.format(part=part), timeout)
        last = str(error).strip().splitlines()[-1]
        raise HostError(f"{file} could not be written on the monitor: {last}") from None
    return len(data)
