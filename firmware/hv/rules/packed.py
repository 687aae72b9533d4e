"""Images packed by gzip (RFC 1952), as boot loaders take them: read from the start as
often as needed, so that no whole image lies in memory."""

import struct

MAGIC = b"\x1f\x8b\x08"
TRAILER = 4  # the last bytes: the size before packing, modulo 2^32
HEAD = 64 * 1024  # kept unpacked: headers lie here
PIECE = 16 * 1024
WINDOW_GZIP = 31  # zlib's code for a window of 32 KiB and a gzip header


def is_packed(data):
    return len(data) > 18 and bytes(data[:3]) == MAGIC


class Packed:
    """Slices and has a length as the unpacked bytes do; `pieces()` is the way to read
    all of it. `broken` is raised when the packed data is."""

    def __init__(self, data, broken):
        self._data = data
        self._broken = broken
        self._size = struct.unpack("<I", bytes(data[len(data) - TRAILER :]))[0]
        self._head = self._read(0, min(self._size, HEAD))

    def __len__(self):
        return self._size

    def __getitem__(self, key):
        start = key.start or 0
        stop = self._size if key.stop is None else min(key.stop, self._size)
        if stop <= len(self._head):
            return self._head[start:stop]
        return self._read(start, stop)

    def _read(self, start, stop):
        out = bytearray()
        for at, piece in self.pieces():
            if at >= stop and stop < self._size:
                break  # else on to the end: the trailer may be wrong
            if at + len(piece) > start:
                out += bytes(piece[max(start - at, 0) : stop - at])
        return bytes(out)

    def pieces(self):
        """(offset, bytes) of the unpacked image, in order."""
        at = 0
        try:
            for piece in _unpack(self._data):
                yield at, piece
                at += len(piece)
        except (OSError, EOFError, ValueError):
            raise self._broken
        if at != self._size:
            raise self._broken


try:
    import deflate
    import io

    class _Source(io.IOBase):
        def __init__(self, data):
            self._data = data
            self._at = 0

        def readinto(self, buffer):
            part = self._data[self._at : self._at + len(buffer)]
            buffer[: len(part)] = part
            self._at += len(part)
            return len(part)

    def _unpack(data):
        with deflate.DeflateIO(_Source(memoryview(data)), deflate.GZIP) as stream:
            buffer = bytearray(PIECE)
            view = memoryview(buffer)
            while True:
                size = stream.readinto(buffer)
                if not size:
                    return
                yield view[:size]

except ImportError:
    import zlib

    def _unpack(data):
        unpacker = zlib.decompressobj(WINDOW_GZIP)
        try:
            for at in range(0, len(data), PIECE):
                rest = bytes(data[at : at + PIECE])
                piece = None
                while rest or len(piece) == PIECE:
                    piece = unpacker.decompress(rest, PIECE)
                    yield piece
                    rest = unpacker.unconsumed_tail
                if unpacker.eof:
                    return
        except zlib.error as e:
            raise ValueError(str(e))
