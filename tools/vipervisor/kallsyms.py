"""The symbol table that a Linux kernel carries for itself (kernel/kallsyms.c), out of its
image: distributions keep System.map in packages of a gigabyte."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator

from .errors import UsageError

_SETUP_MAGIC, _SETUP_MAGIC_AT = b"HdrS", 0x202
_SETUP_SECTORS_AT, _PAYLOAD_AT = 0x1F1, 0x248
_SECTOR = 512
_MARKER_EVERY = 256  # names between two markers
_LONGEST_TOKEN = 64
_BIG = 0x80  # a length of two bytes (since Linux 6.1)
# The base of the addresses, which is where the kernel is linked, and the number of names.
_BASE_AND_COUNT = re.compile(rb"\0\0\0[\x80-\x9f]\xff{4}[\s\S]{3}\0{5}")
_ZSTD = b"\x28\xb5\x2f\xfd"
_LZ4 = b"\x02\x21\x4c\x18"


def unpack(image: bytes) -> bytes:
    """The kernel proper out of a bzImage; anything else as it is."""
    if image[_SETUP_MAGIC_AT : _SETUP_MAGIC_AT + 4] != _SETUP_MAGIC:
        return image
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    start = ((image[_SETUP_SECTORS_AT] or 4) + 1) * _SECTOR + offset
    payload = image[start : start + length]
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(b"\x5d\x00\x00"):
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload)
    if payload.startswith(_LZ4):
        return _lz4(payload)
    if payload.startswith(_ZSTD) and shutil.which("zstd"):
        done = subprocess.run(["zstd", "-dc"], input=payload, capture_output=True, check=False)
        if done.stdout:  # four bytes of the size behind the data make it complain
            return done.stdout
    how = "zstd is not installed" if payload.startswith(_ZSTD) else "its packing is not known here"
    raise UsageError(f"the kernel cannot be unpacked: {how}; give its System.map or its vmlinux")


def _lz4(payload: bytes) -> bytes:
    """LZ4's legacy frames: blocks with their sizes (lz4_Frame_format.md, lz4_Block_format.md)."""
    out, at = bytearray(), len(_LZ4)
    while at + 4 <= len(payload):
        size = int.from_bytes(payload[at : at + 4], "little")
        if size == 0 or at + 4 + size > len(payload):
            break  # the size of it all stands last
        out += _lz4_block(payload[at + 4 : at + 4 + size])
        at += 4 + size
    return bytes(out)


def _lz4_block(block: bytes) -> bytes:
    out, at, end = bytearray(), 0, len(block)
    while at < end:
        token = block[at]
        literals, at = _lz4_length(block, token >> 4, at + 1)
        out += block[at : at + literals]
        at += literals
        if at >= end:
            break  # the last sequence has no match
        back = block[at] | block[at + 1] << 8
        length, at = _lz4_length(block, token & 15, at + 2)
        length += 4
        start = len(out) - back
        if back >= length:
            out += out[start : start + length]
        else:
            pattern = bytes(out[start:])
            out += (pattern * (length // back + 1))[:length]
    return bytes(out)


def _lz4_length(block: bytes, length: int, at: int) -> tuple[int, int]:
    """A length of four bits, to which 15 adds the bytes at `at` up to one that is not 255."""
    more = 255 if length == 15 else 0
    while more == 255:
        more = block[at]
        at += 1
        length += more
    return length, at


def symbols(kernel: bytes) -> list[tuple[int, str, str]]:
    """(address, type, name) of every symbol; UsageError where the kernel has no table."""
    for match in _BASE_AND_COUNT.finditer(kernel):
        if match.start() % 8 == 0:
            table = _Table(kernel, match.start())
            if table.holds():
                return list(table.read())
    raise UsageError(
        "no table of symbols was found in it (Linux up to 6.3 is known); give its System.map"
    )


class _Table:
    """Addresses below `at`, then the base, the count, names, markers, further behind tokens."""

    def __init__(self, kernel: bytes, at: int) -> None:
        self._kernel = kernel
        self._base, self._count = struct.unpack_from("<QI", kernel, at)
        self._names = at + 16
        self._offsets = at - (4 * self._count + 7) // 8 * 8
        self._behind = 0  # the markers

    def holds(self) -> bool:
        """The names have as many as they say, and the first marker stands behind them."""
        if self._count < 2 * _MARKER_EVERY or self._offsets < 0:
            return False
        at, marker = self._names, 0
        for i in range(self._count):
            if i == _MARKER_EVERY:
                marker = at - self._names
            at = self._entry(at)[1]
            if at >= len(self._kernel) - 8:
                return False
        markers = (at + 7) & ~7
        self._behind = markers + 4 * ((self._count + _MARKER_EVERY - 1) // _MARKER_EVERY)
        return struct.unpack_from("<II", self._kernel, markers) == (0, marker)

    def _entry(self, at: int) -> tuple[int, int]:
        """(first byte, behind the last) of the name at `at`."""
        length = self._kernel[at]
        if length < _BIG:
            return at + 1, at + 1 + length
        length = length & ~_BIG | self._kernel[at + 1] << 7
        return at + 2, at + 2 + length

    def _tokens(self) -> list[str]:
        """256 zero-ended tokens; those of digits are the digits."""
        digits = b"\0" + b"".join(b"%d\0" % d for d in range(10))
        at = self._kernel.find(digits, self._behind)
        if at < 0:
            raise UsageError("its table of symbols ends without tokens; give its System.map")
        at += 1
        for _ in range(ord("0")):
            at = self._kernel.rfind(b"\0", max(at - _LONGEST_TOKEN, 0), at - 1) + 1
        out = []
        for _ in range(256):
            end = self._kernel.index(b"\0", at)
            out.append(self._kernel[at:end].decode("latin-1"))
            at = end + 1
        return out

    def read(self) -> Iterator[tuple[int, str, str]]:
        kernel, tokens, at = self._kernel, self._tokens(), self._names
        for offset in struct.unpack_from(f"<{self._count}i", kernel, self._offsets):
            start, at = self._entry(at)
            name = "".join([tokens[b] for b in kernel[start:at]])
            # Not below zero: absolute, where per-CPU variables are (KALLSYMS_ABSOLUTE_PERCPU).
            yield (self._base - 1 - offset if offset < 0 else offset), name[:1], name[1:]
