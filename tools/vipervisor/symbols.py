"""Symbols of a guest for the monitor: from a System.map, an ELF file or a Linux kernel's own
table, code only, sorted, as a table that is searched where it lies.

The file: `char magic[8] = "VIPERSYM"`, `u64 base`, `u32 count`, `u32 size of the names`, then
`u32 address - base` of each symbol, `u32 position of its name`, and the names, each ended by
a zero byte. firmware/hv/symbols.py reads it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

from . import kallsyms
from .errors import UsageError

MAGIC = b"VIPERSYM"
_CODE = "tTwWiv"
_SPAN = 1 << 32
_ELF = b"\x7fELF"
_MAP_LINE = re.compile(rb"^([0-9a-fA-F]{8,16}) ([A-Za-z?]) (\S+)", re.MULTILINE)
_VERSION = b"1"  # of this file's output, for the cache

Symbol = tuple[int, str]


def read(path: Path) -> list[Symbol]:
    """(address, name) of the code in a file of symbols; UsageError says what it lacks."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    try:
        found = _from(data)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if not found:
        raise UsageError(
            f"{path}: no symbol of code is in it; give a System.map, an ELF file "
            "that was not stripped, or a Linux kernel"
        )
    return found


def _from(data: bytes) -> list[Symbol]:
    if _MAP_LINE.match(data):
        return [
            (int(m[1], 16), m[3].decode("latin-1"))
            for m in _MAP_LINE.finditer(data)
            if m[2].decode() in _CODE
        ]
    if data[:4] == _ELF:
        found = _elf(data)
        if found:
            return found
    kernel = kallsyms.unpack(data)
    if kernel[:4] != _ELF:
        return []
    return [(at, name) for at, kind, name in kallsyms.symbols(kernel) if kind in _CODE]


def _elf(data: bytes) -> list[Symbol]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    try:
        elf = ELFFile(io.BytesIO(data))
        tables = [s for s in elf.iter_sections() if isinstance(s, SymbolTableSection)]
        code = {i for i, s in enumerate(elf.iter_sections()) if s["sh_flags"] & 4}  # SHF_EXECINSTR
        return [
            (symbol["st_value"], symbol.name)
            for table in tables
            for symbol in table.iter_symbols()
            if symbol.name
            and symbol["st_shndx"] in code
            and symbol["st_info"]["type"] in ("STT_FUNC", "STT_NOTYPE")
        ]
    except ELFError:
        return []


def pack(symbols: Iterable[Symbol]) -> bytes:
    """The table; of several names of one address the first stays."""
    by_address: dict[int, str] = {}
    for address, name in symbols:
        by_address.setdefault(address, name)
    addresses = sorted(by_address)
    # A kernel's own lie together at the top; what is far from them goes.
    base = addresses[0]
    if addresses[-1] - base >= _SPAN:
        base = next(a for a in addresses if addresses[-1] - a < _SPAN)
        addresses = [a for a in addresses if a >= base]
    names, places = bytearray(), []
    for address in addresses:
        places.append(len(names))
        names += by_address[address].encode("latin-1") + b"\0"
    count = len(addresses)
    return (
        MAGIC
        + struct.pack("<QII", base, count, len(names))
        + struct.pack(f"<{count}I", *[a - base for a in addresses])
        + struct.pack(f"<{count}I", *places)
        + bytes(names)
    )


def compiled(path: Path) -> Path:
    """The table of a file of symbols, made once and kept among the temporary files."""
    try:
        info = path.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    what = f"{path.resolve()} {info.st_size} {info.st_mtime_ns}".encode() + _VERSION
    folder = Path(tempfile.gettempdir()) / f"vipervisor-{os.getuid()}-symbols"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UsageError(f"{folder} belongs to somebody else; remove it, or set TMPDIR")
    made = folder / f"{hashlib.sha256(what).hexdigest()[:24]}.sym"
    if not made.is_file():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(pack(read(path)))
        os.replace(file.name, made)
    return made
