"""Looking into a vCPU: page walks, guest-virtual memory, code, control structures."""

import struct

import _hv
from hv import text

EFAULT, ENODEV = 14, 19
PAGE = 4096
READ, WRITE, FETCH = 1, 2, 4
LEVEL_NAMES = {1: "pte", 2: "pde", 3: "pdpte", 4: "pml4e", 5: "pml5e"}
FLAGS = ((0, "P"), (1, "W"), (2, "U"), (3, "PWT"), (4, "PCD"), (5, "A"), (6, "D"), (7, "PS"),
         (8, "G"), (63, "NX"))
NESTED_SIZES = {1: "4K", 2: "2M", 3: "1G"}
LME, PAE, LA57, LONG, BIG = 1 << 8, 1 << 5, 1 << 12, 1 << 13, 1 << 14
ERROR_BITS = ((0, "present"), (1, "write"), (2, "user"), (3, "reserved bit"), (4, "fetch"))


def flags(entry):
    return " ".join([name for bit, name in FLAGS if entry >> bit & 1]) or "not present"


class Walk:
    """A page walk: .gpa (None where it fails), .why, .levels of (gpa of entry, entry)."""

    def __init__(self, gva, gpa, why, levels, top):
        self._top = top
        self.gva = gva
        self.gpa = gpa
        self.error = why
        self.levels = levels

    @property
    def why(self):
        """Why it ended without an address, in words; None when it did not."""
        if self.error is None:
            return None
        if isinstance(self.error, int):
            names = [n for bit, n in ERROR_BITS if self.error >> bit & 1]
            if not self.error & 1:
                names.insert(0, "not present")
            return "page fault (%s)" % ", ".join(names)
        return {"hole": "its tables lie where the guest has no memory",
                "noncanonical": "the address is not canonical",
                "changing": "its tables keep changing"}.get(self.error, self.error)

    def __repr__(self):
        rows = [("level", "at", "entry", "")]
        for i, (at, entry) in enumerate(self.levels):
            rows.append((LEVEL_NAMES.get(self._top - i, "?"), "%#x" % at, "%#018x" % entry,
                         flags(entry)))
        end = "%#x -> %s" % (self.gva, self.why if self.gpa is None else "%#x" % self.gpa)
        return (text.table(rows) + "\n" if self.levels else "") + end


class NestedWalk:
    """Which page of the guest's nested tables maps an address."""

    def __init__(self, gpa, entry, level):
        self.gpa = gpa
        self.entry = entry
        self.level = level
        size = PAGE << 9 * max(level - 1, 0)
        mask = 0x000F_FFFF_FFFF_F000
        self.hpa = (entry & mask & ~(size - 1)) + gpa % size if level else None

    def __repr__(self):
        if not self.level:
            return "%#x -> no memory" % self.gpa
        return "%#x -> host-physical %#x by a %s page, entry %#x" % (
            self.gpa, self.hpa, NESTED_SIZES[self.level], self.entry)


class Nested:
    """g.nested.walk(gpa): the tables below the guest's own."""

    def __init__(self, guest_id):
        self._id = guest_id

    def walk(self, gpa):
        return NestedWalk(gpa, *_hv.nested_walk(self._id, gpa))

    def __repr__(self):
        return "<nested tables: walk(gpa)>"


def walk(guest_id, vcpu, gva, access=READ):
    gpa, why, levels = _hv.guest_walk(guest_id, vcpu, gva, access)
    return Walk(gva, gpa, why, levels, _levels(guest_id, vcpu))


def _levels(guest_id, vcpu):
    cr4 = _hv.reg_get(guest_id, vcpu, _hv.REG_CR4)
    if _hv.reg_get(guest_id, vcpu, _hv.REG_EFER) & LME << 2:
        return 5 if cr4 & LA57 else 4
    return 3 if cr4 & PAE else 2


class VirtualWords:
    def __init__(self, memory, form):
        self._memory = memory
        self._form = form
        self._size = struct.calcsize(form)

    def __getitem__(self, gva):
        return struct.unpack(self._form, self._memory.read(gva, self._size))[0]

    def __setitem__(self, gva, value):
        if not 0 <= value < 1 << 8 * self._size:
            raise ValueError("%d does not fit into %d bytes" % (value, self._size))
        self._memory.write(gva, struct.pack(self._form, value))

    def __repr__(self):
        return "<u%d view of a vCPU's linear memory>" % (8 * self._size)


class VirtualMemory:
    """Memory as a vCPU sees it, through its own page tables: [a:b], u8[a] ... u64[a]."""

    def __init__(self, guest_id, vcpu):
        self._id = guest_id
        self._vcpu = vcpu
        self.u8 = VirtualWords(self, "<B")
        self.u16 = VirtualWords(self, "<H")
        self.u32 = VirtualWords(self, "<I")
        self.u64 = VirtualWords(self, "<Q")

    def _parts(self, gva, size, access):
        while size:
            step = min(size, PAGE - gva % PAGE)
            found = walk(self._id, self._vcpu, gva, access)
            if found.gpa is None:
                raise OSError(EFAULT, "no memory at %#x: %s" % (gva, found.why))
            yield found.gpa, step
            gva += step
            size -= step

    def read(self, gva, size):
        out = bytearray()
        for gpa, step in self._parts(gva, size, READ):
            out += _hv.guest_read(self._id, gpa, step)
        return bytes(out)

    def write(self, gva, data):
        done = 0
        for gpa, step in list(self._parts(gva, len(data), READ)):
            _hv.guest_write(self._id, gpa, data[done : done + step])
            done += step

    def __getitem__(self, key):
        if not isinstance(key, slice):
            return self.u8[key]
        if key.stop is None or key.stop < (key.start or 0):
            raise ValueError("give a start and an end: memory[0x1000:0x1010]")
        return self.read(key.start or 0, key.stop - (key.start or 0))

    def __setitem__(self, key, value):
        if not isinstance(key, slice):
            self.u8[key] = value
            return
        if key.stop is None or len(value) != key.stop - (key.start or 0):
            raise ValueError("%d bytes do not fit that range" % len(value))
        self.write(key.start or 0, value)

    def __repr__(self):
        return "<linear memory of vcpu %d: memory[a:b], .u32[a]>" % self._vcpu


class Fields:
    """A control structure by the manual's field names."""

    def __init__(self, guest_id, vcpu, backend):
        self._id = guest_id
        self._vcpu = vcpu
        self._backend = backend

    def _table(self):
        from hv.rules import fields

        if _hv.backend() != self._backend:
            raise OSError(ENODEV, "this machine runs on %s: use v.%s" % (
                ("AMD-V", "vmcb") if _hv.backend() == "svm" else ("VT-x", "vmcs")))
        return fields.VMCB if self._backend == "svm" else fields.VMCS

    def __getitem__(self, name):
        table = self._table()
        if name not in table:
            raise KeyError(text.unknown("field", name, list(table)))
        if self._backend == "vmx":
            return _hv.field_get(self._id, self._vcpu, table[name])
        offset, size = table[name]
        return _hv.field_get(self._id, self._vcpu, offset) & (1 << 8 * size) - 1

    def bits(self, name):
        """The names of the bits of a control word that are set."""
        from hv.rules import fields

        return fields.unpack(name, self[name])

    def keys(self):
        return sorted(self._table())

    def __repr__(self):
        rows = []
        for name in self.keys():
            try:
                rows.append((name, "%#x" % self[name]))
            except ValueError:  # a field that this CPU has not
                pass
        return text.table(rows)


def code_bits(vcpu):
    attributes = vcpu.cs.attributes
    if vcpu.efer & LME << 2 and attributes & LONG:
        return 64
    return 32 if attributes & BIG and vcpu.cr0 & 1 else 16


class Listing(list):
    """Instructions: (address, bytes, mnemonic); the repr is a listing."""

    def __str__(self):
        return self.__repr__()

    where = None  # its first address by name

    def __repr__(self):
        head = "%s:\n" % self.where if self.where else ""
        return head + "\n".join(["%012x  %-30s  %s" % (
            a, " ".join(["%02x" % b for b in code]), name) for a, code, name in self])


def disasm(vcpu, count=8, at=None):
    bits = code_bits(vcpu)
    start = vcpu.rip if at is None else at
    base = 0 if bits == 64 else vcpu.cs.base
    out = Listing()
    named = vcpu.where(start)
    out.where = str(named) if named.name else None
    for _ in range(count):
        code = b""
        for size in (15, PAGE - (base + start) % PAGE):
            try:
                code = vcpu.memory.read(base + start, size if size < 15 else 15)
                break
            except OSError:
                continue
        found = _hv.decode(bits, code) if code else None
        if found is None:
            out.append((start, code[:1], "(no instruction)" if code else "(no memory)"))
            break
        out.append((start, code[: found[0]], found[1]))
        start += found[0]
    return out
