"""ELF files for x86: what their headers say, and what is wrong with them."""

from .errors import ImageError, entered, field, invalid
from .sizes import size_text

ELF_MAGIC = b"\x7fELF"
ELFCLASS32, ELFCLASS64, ELFDATA2LSB = 1, 2, 1
EM_386, EM_X86_64 = 3, 62
MACHINES = {8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "Arm", 43: "SPARC",
            183: "Arm 64", 243: "RISC-V", 258: "LoongArch"}
ET_REL = 1
PT_LOAD, PT_INTERP, PT_NOTE = 1, 3, 4
XEN_ELFNOTE_PHYS32_ENTRY = 18


class Elf:
    """The program headers of an ELF file for x86."""

    def __init__(self, data):
        if bytes(data[:4]) != ELF_MAGIC:
            raise invalid("elf", "no ELF magic")
        bits, order = field(data, 4, "<BB")
        if bits not in (ELFCLASS32, ELFCLASS64) or order != ELFDATA2LSB:
            raise invalid("elf", "not a little-endian 32- or 64-bit file")
        self.data = data
        self.wide = bits == ELFCLASS64
        machine = field(data, 18, "<H")[0]
        if machine not in (EM_386, EM_X86_64):
            name = MACHINES.get(machine, "machine %d" % machine)
            raise ImageError("image-machine", "an ELF file for %s" % name)
        if self.wide:
            self.entry, phoff = field(data, 24, "<QQ")
            phentsize, phnum = field(data, 54, "<HH")
        else:
            self.entry, phoff = field(data, 24, "<II")
            phentsize, phnum = field(data, 42, "<HH")
        self.headers = [self._header(phoff + i * phentsize) for i in range(phnum)]
        self.segments = []
        if field(data, 16, "<H")[0] == ET_REL:
            raise ImageError("image-object", "an object file, not yet linked")
        for kind, offset, _, paddr, filesz, memsz in self.headers:
            if kind == PT_LOAD and memsz:
                self._inside(offset, filesz)
                self.segments.append((paddr, offset, filesz, memsz))
        if not self.segments:
            raise ImageError("image-object", "the ELF file has nothing to load")
        self._apart()

    def _apart(self):
        end, before = 0, None
        for paddr, _, _, memsz in sorted(self.segments):
            if before is not None and paddr < end:
                raise ImageError(
                    "image-overlap", "the segments at %#x and %#x overlap" % (before, paddr))
            before, end = paddr, paddr + memsz

    def interpreter(self):
        """The dynamic linker that it asks for, or None."""
        for kind, offset, _, _, filesz, _ in self.headers:
            if kind == PT_INTERP:
                name = bytes(self.data[offset : offset + filesz]).split(b"\0")[0]
                return str(name, "utf-8")
        return None

    def is_program(self):
        """True for a program of an operating system (some kernels name a linker, too,
        that does not exist)."""
        name = self.interpreter()
        return name is not None and name[:4] == "/lib"

    def _inside(self, offset, size):
        if offset + size > len(self.data):
            raise ImageError(
                "image-truncated",
                "the file is %s and its program headers need %s"
                % (size_text(len(self.data)), size_text(offset + size)))

    def _header(self, at):
        # kind, offset, virtual address, physical address, file size, memory size
        if self.wide:
            kind, _, offset, vaddr, paddr, filesz, memsz = field(self.data, at, "<IIQQQQQ")
        else:
            kind, offset, vaddr, paddr, filesz, memsz = field(self.data, at, "<IIIIII")
        return kind, offset, vaddr, paddr, filesz, memsz

    def physical_entry(self):
        """The entry point as a physical address (it may be given as a virtual one)."""
        for kind, _, vaddr, paddr, _, memsz in self.headers:
            if kind == PT_LOAD and vaddr <= self.entry < vaddr + memsz:
                return entered(self.entry - vaddr + paddr, self.segments)
        return entered(self.entry, self.segments)

    def pvh_entry(self):
        """The 32-bit entry that a Xen PHYS32_ENTRY note names, or None."""
        for kind, offset, _, _, filesz, _ in self.headers:
            if kind != PT_NOTE:
                continue
            self._inside(offset, filesz)
            at, end = offset, offset + filesz
            while at + 12 <= end:
                namesz, descsz, note = field(self.data, at, "<III")
                name = at + 12
                desc = name + ((namesz + 3) & ~3)
                if note == XEN_ELFNOTE_PHYS32_ENTRY and bytes(self.data[name : name + 3]) == b"Xen":
                    return field(self.data, desc, "<I")[0]
                at = desc + ((descsz + 3) & ~3)
        return None
