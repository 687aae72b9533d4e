"""Names of addresses in a guest: g.load_symbols(module), v.where().

The host makes the table (tools/vipervisor/symbols.py); it is searched in the boot module,
nothing of it is copied.
"""

import struct

import _hv
from hv import text

MAGIC = b"VIPERSYM"
HEAD = 24
LONGEST = 512
PAGE = 4096
CHUNK = 1 << 16
# What Linux writes into LSTAR; the distance to where it was linked is its slide (KASLR).
SYSCALL = "entry_SYSCALL_64"


class Symbols:
    """A table of symbols: find(address) -> (name, offset), address(name), slide."""

    def __init__(self, module, slide=None):
        try:
            self._data = _hv.module(module)
        except (OSError, ValueError):
            raise ValueError(text.unknown("boot module", module, [m[0] for m in _hv.modules()]))
        if bytes(self._data[: len(MAGIC)]) != MAGIC:
            raise ValueError("%s is no table of symbols; give it by --symbols or symbols =, or "
                             "make one by vipervisor.symbols.compiled()" % module)
        self.module = module
        self._base, self._count, self._size = struct.unpack_from("<QII", self._data, len(MAGIC))
        self._names = HEAD + 8 * self._count
        self.slide = slide or 0  # added to the addresses of the table
        self._known = slide is not None

    def _offset(self, index):
        return struct.unpack_from("<I", self._data, HEAD + 4 * index)[0]

    def _place(self, index):
        return struct.unpack_from("<I", self._data, HEAD + 4 * (self._count + index))[0]

    def _name(self, index):
        at = self._names + self._place(index)
        end = min(at + LONGEST, self._names + self._size)
        return str(bytes(self._data[at:end]).split(b"\0", 1)[0], "utf-8")

    def find(self, address):
        """(name, offset) of the symbol at or below an address, or None."""
        wanted = address - self.slide - self._base
        if wanted < 0 or not self._count:
            return None
        low, high = 0, self._count  # the last one not above lies in [low, high)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) <= wanted:
                low = middle
            else:
                high = middle
        offset = wanted - self._offset(low)
        if wanted < self._offset(low) or (low == self._count - 1 and offset >= PAGE):
            return None
        return self._name(low), offset

    def address(self, name):
        """The address of a symbol; ValueError when there is none of that name."""
        wanted = b"\0" + name.encode() + b"\0"
        at, end = self._names - 1, self._names + self._size
        while at < end:
            part = bytes(self._data[at : min(at + CHUNK + len(wanted), end)])
            if at < self._names:
                part = b"\0" + part[1:]  # the first name has no zero before it
            found = part.find(wanted)
            if found >= 0:
                return self._base + self.slide + self._offset(
                    self._index(at + found + 1 - self._names))
            at += CHUNK
        raise ValueError("no symbol %s in %s" % (name, self.module))

    def _index(self, place):
        low, high = 0, self._count
        while high - low > 1:
            middle = (low + high) // 2
            if self._place(middle) <= place:
                low = middle
            else:
                high = middle
        return low

    def look_for_slide(self, vcpu):
        """Linux tells by LSTAR where it has put itself; once it has been seen it stays."""
        if self._known:
            return
        try:
            lstar = vcpu.lstar
            at = self.address(SYSCALL)
        except (OSError, ValueError):
            return  # running, or no Linux
        if lstar and (lstar - at) % PAGE == 0:
            self.slide = lstar - at
            self._known = True

    def reset(self):
        """With the guest's: it may put itself elsewhere."""
        self.slide = 0
        self._known = False

    def say(self, address):
        """"name+0xf", or the bare number where no symbol is."""
        found = self.find(address)
        return "%#x" % address if found is None else "%s+%#x" % found

    def __len__(self):
        return self._count

    def __repr__(self):
        return "<%d symbols of %s, slide %#x>" % (self._count, self.module, self.slide)


class Where:
    """An address by name: .address, .name, .offset, .table; the repr says it."""

    def __init__(self, address, symbols):
        self.address = address
        self.table = symbols.module if symbols is not None else None
        found = symbols.find(address) if symbols is not None else None
        self.name, self.offset = found or (None, None)

    def __str__(self):
        return self.__repr__()

    def __repr__(self):
        if self.name is None:
            return "%#x" % self.address
        return "%s+%#x (%s)" % (self.name, self.offset, self.table)


def where(guest, vcpu, address):
    symbols = guest.symbols
    if symbols is not None:
        symbols.look_for_slide(vcpu)
    return Where(address, symbols)
