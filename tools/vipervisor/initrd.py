"""What an initrd becomes once Linux has unpacked it."""

from __future__ import annotations

import zlib
from typing import Any

_GZIP = b"\x1f\x8b\x08"
_WINDOW = 31  # zlib's code for gzip
_PIECE = 1 << 20
_LIMIT = 4 << 30  # unpacked bytes that are looked at: a bomb ends somewhere


def unpacked_size(data: Any) -> int | None:
    """Bytes of the archives in `data`; None where gzip's stream breaks off. What another
    program packed counts as it is."""
    size, at = 0, 0
    while at < len(data):
        if bytes(data[at : at + len(_GZIP)]) != _GZIP:
            # Linux goes on behind an archive (init/initramfs.c); what follows may be packed.
            following = data.find(_GZIP, at + 1) if bytes(data[at : at + 4]) == b"\0" * 4 else -1
            end = len(data) if following < 0 else following
            size += end - at
            at = end
            continue
        unpacker = zlib.decompressobj(_WINDOW)
        try:
            while not unpacker.eof and size < _LIMIT:
                piece = bytes(unpacker.unconsumed_tail) or bytes(data[at : at + _PIECE])
                if not piece:
                    return None
                if not unpacker.unconsumed_tail:
                    at += len(piece)
                size += len(unpacker.decompress(piece, _PIECE))
        except zlib.error:
            return None
        at -= len(unpacker.unused_data)
        if size >= _LIMIT:
            break
    return size
