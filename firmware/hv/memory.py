"""Guest-physical memory: `g.memory[0x1000:0x1010]`, `g.memory.u32[0x1000]`."""

import struct

import _hv


class Words:
    """Little-endian integers of one size at guest-physical addresses."""

    def __init__(self, guest_id, form):
        self._id = guest_id
        self._form = form
        self._size = struct.calcsize(form)

    def __getitem__(self, gpa):
        """The integer at a guest-physical address. OSError(EFAULT): no memory there."""
        return struct.unpack(self._form, _hv.guest_read(self._id, gpa, self._size))[0]

    def __setitem__(self, gpa, value):
        """Writes it. ValueError: it is too large; TypeError: no number; OSError(EFAULT): no memory
        there."""
        if not isinstance(value, (int, bool)):
            raise TypeError("%r is no number" % (value,))
        if not 0 <= value < 1 << 8 * self._size:
            raise ValueError("%d does not fit into %d bytes" % (value, self._size))
        _hv.guest_write(self._id, gpa, struct.pack(self._form, value))

    def __repr__(self):
        return "<u%d view of guest memory>" % (8 * self._size)


class Memory:
    """A guest's physical memory. Slices read and write bytes, an index one byte;
    u8, u16, u32 and u64 index integers; dump() prints."""

    def __init__(self, guest_id, size):
        self._id = guest_id
        self.size = size
        self.u8 = Words(guest_id, "<B")
        self.u16 = Words(guest_id, "<H")
        self.u32 = Words(guest_id, "<I")
        self.u64 = Words(guest_id, "<Q")

    def _range(self, key):
        start = key.start or 0
        if key.stop is None or key.step not in (None, 1):
            raise ValueError("give a start and an end: memory[0x1000:0x1010]")
        if key.stop < start:
            raise ValueError("%#x to %#x ends before it starts" % (start, key.stop))
        return start, key.stop - start

    def __getitem__(self, key):
        """[a:b] is bytes, [a] one byte. ValueError: a range without an end or with a step;
        OSError(EFAULT): no memory there."""
        if isinstance(key, slice):
            return _hv.guest_read(self._id, *self._range(key))
        return self.u8[key]

    def __setitem__(self, key, value):
        """Writes them. ValueError: more or fewer bytes than the range has; OSError(EFAULT): no
        memory there."""
        if not isinstance(key, slice):
            self.u8[key] = value
            return
        start, size = self._range(key)
        if len(value) != size:
            raise ValueError("%d bytes for a range of %d" % (len(value), size))
        _hv.guest_write(self._id, start, value)

    def find(self, what, start=0, end=None):
        """The address of the first `what` (bytes) at or above start, or None. TypeError: no
        bytes."""
        if not isinstance(what, (bytes, bytearray)):
            raise TypeError("%r is no bytes; write find(b\"text\")" % (what,))
        end = min(self.size, 0xC000_0000) if end is None else end
        step = 1 << 16
        while start < end:
            size = min(step + len(what) - 1, end - start)
            at = _hv.guest_read(self._id, start, size).find(what)
            if at >= 0:
                return start + at
            start += step
        return None

    def dump(self, gpa, size=128):
        """Prints memory as hex and text, 16 bytes a line."""
        for at in range(gpa, gpa + size, 16):
            row = _hv.guest_read(self._id, at, min(16, gpa + size - at))
            text = "".join([chr(b) if 32 <= b < 127 else "." for b in row])
            print("%08x  %-47s  %s" % (at, " ".join(["%02x" % b for b in row]), text))

    def __repr__(self):
        return "<guest memory, %d MiB from 0: memory[a:b], .u32[a], .dump(a), .find(bytes)>" % (
            self.size >> 20)
