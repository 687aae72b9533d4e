"""Loaders: what lies in a guest's memory and in its registers after load()."""

import gzip
import os
import struct
from pathlib import Path

import pytest
from unit import fake_hv, images

KERNELS = [Path(os.environ["KERNEL"])] if os.environ.get("KERNEL") else []
KERNELS += sorted(Path("/boot").glob("vmlinuz-*")) + sorted(
    (Path(__file__).resolve().parents[2] / "build" / "guests" / "linux").glob("vmlinuz*"))
MIB = 1 << 20


@pytest.fixture
def boot(world):
    import hv

    def make(image, memory="64M", **options):
        files = {name: bytes(data) for name, data in options.pop("files", {}).items()}
        world.modules = {"image": image, **files}
        paravirt = options.pop("paravirt", True)
        return hv.Guest("g", memory=memory, paravirt=paravirt).load("image", **options)

    return make


def u32(g, at):
    return g.memory.u32[at]


def cstring(g, at):
    return g.memory[at : at + 300].split(b"\0")[0].decode()


def e820_rows(g, at, count, form="<QQI"):
    size = struct.calcsize(form)
    return [struct.unpack(form, g.memory[at + i * size : at + (i + 1) * size])
            for i in range(count)]


@pytest.mark.parametrize(("image", "kind"), [
    (images.bzimage(), "linux"),
    (images.multiboot2_elf(), "multiboot2"),
    (images.multiboot1_elf(), "multiboot1"),
    (images.elf64(notes=images.pvh_note(0x100010)), "pvh"),
    (images.elf64(), "elf64"),
    (images.elf32(), "elf32"),
    (b"\x90" * 600, None),
    (b"", None),
])
def test_detect(world, image, kind):
    from hv import loaders

    assert loaders.detect(image) == kind
    assert loaders.detect(memoryview(image)) == kind


def test_linux_64(boot):
    g = boot(images.bzimage(kernel=b"K" * 8192), cmdline="console=ttyS0",
             initrd="rd", files={"rd": b"R" * 5000})
    v = g.vcpus[0]
    assert v.rip == 16 * MIB + 0x200
    assert g.memory[16 * MIB : 16 * MIB + 8192] == b"K" * 8192
    assert v.efer == 0x500 and v.cr0 & 0x80000001 == 0x80000001 and v.cr4 == 0x20
    assert (v.cs.selector, v.ds.selector, v.cs.attributes & 0x2000) == (0x10, 0x18, 0x2000)
    assert v.rflags == 2
    # Identity map: the last 2 MiB below 4 GiB through all three levels.
    m = g.memory.u64
    pdpt = m[v.cr3] & ~0xFFF
    directory = m[pdpt + 3 * 8] & ~0xFFF
    assert m[directory + 511 * 8] == 0xFFE00000 | 0x83
    # The GDT holds what the selectors say.
    assert m[v.gdt_base + 0x10] >> 53 & 1 == 1
    page = v.rsi
    assert g.memory[page + 0x202 : page + 0x206] == b"HdrS"
    assert g.memory.u8[page + 0x210] == 0xFF
    assert cstring(g, u32(g, page + 0x228)).split()[0] == "console=ttyS0"
    at, size = u32(g, page + 0x218), u32(g, page + 0x21C)
    assert size == 5000 and at % 4096 == 0 and at + size <= 64 * MIB
    assert at > 60 * MIB
    assert g.memory[at : at + size] == b"R" * 5000
    rows = e820_rows(g, page + 0x2D0, g.memory.u8[page + 0x1E8])
    assert (MIB, 63 * MIB, 1) in rows and (0, 0x9FC00, 1) in rows
    assert all(kind == 2 for base, _, kind in rows if 0x9FC00 <= base < MIB)
    assert g.memory.u16[0x40E] == 0x9FC0


def test_linux_is_told_the_frequency_only_where_it_cannot_learn_it(boot, world):
    g = boot(images.bzimage(), cmdline="quiet")
    assert cstring(g, u32(g, g.vcpus[0].rsi + 0x228)) == "quiet"  # the clock page tells
    g.destroy()
    g = boot(images.bzimage(), cmdline="quiet -- -s", paravirt=False)
    text = cstring(g, u32(g, g.vcpus[0].rsi + 0x228))
    assert text == "quiet tsc_early_khz=1000000 -- -s"
    g.destroy()
    g = boot(images.bzimage(), cmdline="tsc_early_khz=5", paravirt=False)
    assert cstring(g, u32(g, g.vcpus[0].rsi + 0x228)) == "tsc_early_khz=5"
    world.reset(backend="vmx")
    g = boot(images.bzimage(), cmdline="quiet", paravirt=False)
    assert cstring(g, u32(g, g.vcpus[0].rsi + 0x228)) == "quiet"


def test_a_line_that_is_full_is_left_as_it_is(boot):
    g = boot(images.bzimage(cmdline_max=20), cmdline="x" * 20, paravirt=False)
    assert cstring(g, u32(g, g.vcpus[0].rsi + 0x228)) == "x" * 20


def test_linux_without_a_64_bit_entry(boot):
    g = boot(images.bzimage(wide=False, preferred=MIB))
    v = g.vcpus[0]
    assert (v.rip, v.efer, v.cr0 & 0x80000001) == (MIB, 0, 1)
    assert v.cs.attributes == 0xC09B and v.rsi != 0


def test_linux_several_initrds_follow_each_other(boot):
    g = boot(images.bzimage(), initrd=["a", "b"], files={"a": b"A" * 5, "b": b"B" * 4096})
    page = g.vcpus[0].rsi
    at, size = u32(g, page + 0x218), u32(g, page + 0x21C)
    assert size == 8 + 4096
    assert g.memory[at : at + 12] == b"AAAAA\0\0\0BBBB"


def test_linux_initrd_stays_below_the_kernels_limit(boot):
    g = boot(images.bzimage(initrd_max=32 * MIB - 1), initrd="rd", files={"rd": b"R" * 4096})
    assert u32(g, g.vcpus[0].rsi + 0x218) == 32 * MIB - 4096


def test_linux_memory_above_the_hole(world, boot):
    world.reset(memory=8 << 30)
    g = boot(images.bzimage(), memory="4G")
    page = g.vcpus[0].rsi
    rows = e820_rows(g, page + 0x2D0, g.memory.u8[page + 0x1E8])
    assert (1 << 32, 1 << 30, 1) in rows
    assert (MIB, (3 << 30) - MIB, 1) in rows
    g.memory.u32[(1 << 32) + 4096] = 7
    assert g.memory.u32[(1 << 32) + 4096] == 7
    with pytest.raises(OSError):
        g.memory.u32[0xC0000000]


def test_multiboot1(boot):
    g = boot(images.multiboot1_elf(body=b"B" * 100, memsz=5000), cmdline="x y",
             modules=["m1", "m2"], files={"m1": b"1" * 10, "m2": b"2" * 5000})
    v = g.vcpus[0]
    assert (v.rip, v.rax, v.cr0 & 0x80000001, v.efer) == (0x10000C, 0x2BADB002, 1, 0)
    assert v.cs.attributes == 0xC09B and v.cs.limit == 0xFFFFFFFF
    info = v.rbx
    flags, lower, upper = (u32(g, info + 4 * i) for i in range(3))
    assert flags & 0x24D == 0x24D and not flags & 0x30
    assert (lower, upper) == (639, 63 * 1024)
    assert cstring(g, u32(g, info + 16)) == "image x y"
    assert cstring(g, u32(g, info + 64)) == "Vipervisor"
    assert u32(g, info + 20) == 2
    second = u32(g, info + 24) + 16
    start, end, name = (u32(g, second + 4 * i) for i in range(3))
    assert start % 4096 == 0 and end - start == 5000 and start >= 0x100000 + 5000
    assert g.memory[start:end] == b"2" * 5000 and cstring(g, name) == "m2"
    length, at = u32(g, info + 44), u32(g, info + 48)
    rows = e820_rows(g, at, length // 24, "<IQQI")
    assert (20, MIB, 63 * MIB, 1) in rows


def test_an_image_in_the_loaders_place_moves_its_tables(boot):
    head = images.multiboot1(0)
    image = images.elf32(entry=0x800C, paddr=0x8000, body=b"L" * 5000, memsz=6000, head=head)
    g = boot(image, cmdline="x y", modules=["m1"], files={"m1": b"1" * 10})
    v = g.vcpus[0]
    assert (v.rip, v.rax) == (0x800C, 0x2BADB002)
    assert g.memory[0x8000 : 0x8000 + 12 + 5000] == head + b"L" * 5000
    assert 0x90000 <= v.rbx < v.rsp <= 0x9F000 and 0x90000 <= v.gdt_base < 0x9F000
    assert g.memory.u64[v.gdt_base + 0x10] == 0x00CF9B000000FFFF
    assert 0x90000 <= u32(g, v.rbx + 48) < 0x9F000
    assert cstring(g, u32(g, v.rbx + 16)) == "image x y"
    start = u32(g, u32(g, v.rbx + 24))
    assert start >= MIB and g.memory[start : start + 10] == b"1" * 10


def test_multiboot1_with_address_fields(boot):
    # header, load, load end, bss end, entry; the header is 16 bytes into the file.
    fields = struct.pack("<5I", 0x200010, 0x200000, 0x200000 + 100, 0x200000 + 9000, 0x200040)
    image = bytes(16) + images.multiboot1(1 << 16, fields)
    image += b"Z" * (100 - len(image)) + b"symbols"
    g = boot(image)
    assert g.vcpus[0].rip == 0x200040
    assert g.memory[0x200060 : 0x200068] == b"ZZZZ\0\0\0\0"
    assert g.image.high == 0x200000 + 9000


BIG = bytes(range(256)) * 1200  # more than the part of a packed image that is kept


@pytest.mark.parametrize(("image", "kind"), [
    (images.multiboot1_elf(body=BIG, memsz=len(BIG) + 5000), "multiboot1"),
    (images.elf64(body=BIG, memsz=len(BIG) + 5000), "elf64"),
    (images.bzimage(kernel=BIG), "linux"),
])
def test_packed_images_load_as_unpacked_ones(boot, image, kind):
    plain = boot(image, cmdline="x")
    packed = boot_named(plain, "packed", gzip.compress(image), "x")
    assert packed.image.kind == plain.image.kind == kind
    low, high = plain.image.low, plain.image.high
    assert packed.memory[low:high] == plain.memory[low:high]
    assert BIG in packed.memory[low:high]
    assert packed.vcpus[0].rip == plain.vcpus[0].rip
    packed.memory[low : low + 4] = b"junk"
    packed.reset()
    assert packed.memory[low:high] == plain.memory[low:high]


def boot_named(like, name, image, cmdline):
    import hv

    fake_hv.WORLD.modules[name] = image
    return hv.Guest(name, memory=like.memory_size).load(name, cmdline=cmdline)


def test_a_packed_image_is_read_anywhere(world):
    from hv.rules import image as rules

    data = rules.unpacked(gzip.compress(BIG))
    assert len(data) == len(BIG) and data[5:9] == BIG[5:9] and data[:3] == BIG[:3]
    assert data[200_000:200_300] == BIG[200_000:200_300] and data[len(BIG) - 2 :] == BIG[-2:]
    assert data[65_530:65_540] == BIG[65_530:65_540] and data[len(BIG) : len(BIG) + 4] == b""
    assert b"".join(bytes(piece) for _, piece in data.pieces()) == BIG


@pytest.mark.parametrize("damage", [
    lambda d: d[: len(d) // 2], lambda d: d[:-5], lambda d: d[:40] + bytes(40) + d[80:],
    lambda d: d[:-4] + b"\1\0\0\0", lambda d: d[:30],
])
def test_a_damaged_packed_image_is_told(boot, damage):
    with pytest.raises(ValueError, match="packed by gzip and cannot be unpacked: get the whole"):
        boot(damage(gzip.compress(images.elf64(body=os.urandom(100_000), memsz=200_000))))


def test_raw_code_is_never_unpacked(boot):
    data = gzip.compress(b"\xf4" * 600)
    g = boot(data, kind="flat32")
    assert g.memory[MIB : MIB + len(data)] == data


def test_multiboot2(boot):
    g = boot(images.multiboot2_elf(), cmdline="hello", modules="m", files={"m": b"M" * 7})
    v = g.vcpus[0]
    assert (v.rip, v.rax) == (0x100020, 0x36D76289)
    total = u32(g, v.rbx)
    at, tags = v.rbx + 8, {}
    while at < v.rbx + total:
        kind, size = u32(g, at), u32(g, at + 4)
        tags[kind] = g.memory[at + 8 : at + size]
        at += (size + 7) & ~7
    assert tags[1] == b"hello\0" and tags[2] == b"Vipervisor\0" and 0 in tags
    start, end = struct.unpack_from("<2I", tags[3])
    assert g.memory[start:end] == b"M" * 7 and tags[3][8:] == b"m\0"
    assert struct.pack("<QQII", MIB, 63 * MIB, 1, 0) in tags[6]


def test_pvh(boot):
    image = images.elf64(notes=images.pvh_note(0x100010), vaddr=0xFFFFFFFF81000000,
                         entry=0xFFFFFFFF81000000)
    g = boot(image, cmdline="p", initrd="rd", files={"rd": b"R" * 9})
    v = g.vcpus[0]
    assert (v.rip, v.efer, v.cr0 & 0x80000001) == (0x100010, 0, 1)
    fields = struct.unpack("<4I4Q2I", g.memory[v.rbx : v.rbx + 56])
    assert fields[:4] == (0x336EC578, 1, 0, 1)
    start, size = struct.unpack("<2Q", g.memory[fields[4] : fields[4] + 16])
    assert g.memory[start : start + size] == b"R" * 9
    assert cstring(g, fields[5]).split()[0] == "p"
    assert (MIB, 63 * MIB, 1, 0) in e820_rows(g, fields[7], fields[8], "<QQII")


def test_elf_is_placed_by_physical_address_and_entered_there(boot):
    g = boot(images.elf64(vaddr=0xFFFFFFFF80200000, paddr=0x200000, entry=0xFFFFFFFF80200010,
                          body=b"E" * 64))
    assert g.vcpus[0].rip == 0x200010
    assert g.memory[0x200000 : 0x200004] == b"EEEE"


@pytest.mark.parametrize(("kind", "at", "mode"), [
    ("flat", 0x7C00, 0), ("flat32", MIB, 1), ("flat64", MIB, 2)])
def test_flat(boot, kind, at, mode):
    g = boot(b"\xf4\xeb\xfd", kind=kind)
    v = g.vcpus[0]
    assert v.rip == at and g.memory[at : at + 3] == b"\xf4\xeb\xfd"
    assert (v.cr0 & 1) + (v.cr0 >> 31) == mode
    if mode == 0:
        assert v.rdx == 0x80 and v.cs.selector == 0 and v.cs.base == 0
        assert v.cs.limit == 0xFFFF and v.cs.attributes == 0x9B


@pytest.mark.parametrize(("image", "options", "words"), [
    (b"", {}, "empty"),
    (b"\xfa\xf4\xeb\xfe", {}, "starts with fa f4 eb fe"),
    (b"#!/bin/sh", {}, "it is text"),
    (images.elf64()[:70], {}, "inside its header"),
    (images.elf64()[:-1], {}, "its program headers need"),
    (images.bzimage()[:-100], {}, "its header says"),
    (images.bzimage(version=0x204), {}, "too old"),
    (images.multiboot1_elf(flags=0x8003), {}, "features 0x8000"),
    (images.elf64(machine=8), {}, "for MIPS: build it for x86"),
    (images.elf64(), {"kind": "linux"}, "no linux image"),
    (images.elf64(), {"kind": "elf32"}, "it is 64-bit"),
    (images.elf64(memsz=64 * MIB), {}, 'memory = "66M"'),
    (images.elf64(paddr=0x90000, vaddr=0x90000, entry=0x90000, memsz=0x20000), {}, "screen"),
    (images.elf64(paddr=0x2000, vaddr=0x2000, entry=0x2000, memsz=0x90000), {}, "keeps its tables"),
    (images.bzimage(cmdline_max=10), {"cmdline": "x" * 11}, "takes 10"),
    (images.bzimage(), {"initrd": "nope"}, "no boot module 'nope'"),
    (images.bzimage(initrd_max=17 * MIB), {"initrd": "image"}, "does not fit between"),
    (b"\xf4", {"kind": "flat", "initrd": "image"}, "takes no initrd"),
])
def test_bad_images_are_told_in_one_sentence(boot, image, options, words):
    with pytest.raises(ValueError) as e:
        boot(image, **options)
    assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_reset_loads_again_and_clears_bss(boot):
    g = boot(images.elf64(body=b"C" * 64, memsz=200_000))
    g.start()
    g.pause()
    g.memory[0x100000 : 0x100004] = b"junk"
    g.memory.u32[0x100000 + 199_990] = 5
    g.vcpus[0].rip = 7
    g.reset()
    assert g.state == "new" and g.vcpus[0].rip == 0x100000
    assert g.memory[0x100000 : 0x100004] == b"CCCC"
    assert g.memory.u32[0x100000 + 199_990] == 0


@pytest.mark.skipif(not KERNELS, reason="no kernel: set KERNEL, or run make guests")
@pytest.mark.parametrize("path", KERNELS)
def test_a_real_kernel(boot, path):
    g = boot(path.read_bytes(), memory="256M", cmdline="console=ttyS0")
    assert g.image.kind == "linux" and g.image.mode == "long"
    assert fake_hv.guest_read(g.id, g.vcpus[0].rip, 4) != bytes(4)


MB1, MB2 = images.multiboot1(), images.multiboot2()


@pytest.mark.parametrize(("head", "text"), [
    (b"\0\0" + MB1, "at 0x56 of the file is not at a multiple of 4.* write .balign 4 before it"),
    (MB2, "at 0x54 of the file is not at a multiple of 8.* write .balign 8 before it"),
    (bytes(8192) + MB1, "at 0x2054 of the file is not in the first 8 KiB.* have the linker put"),
    (bytes(32772) + MB2, "at 0x8058 of the file is not in the first 32 KiB.* have the linker put"),
    (MB1[:-4] + b"\1\2\3\4",
     'at 0x54 .* a wrong checksum.* make its 3 words .* or say kind = "elf32"'),
])
def test_a_multiboot_header_that_loaders_overlook(head, text):
    from hv.rules.image import ImageError, inspect

    data = images.elf32(head=head)
    with pytest.raises(ImageError, match=text) as error:
        inspect(data)
    assert error.value.rule == "image-header"
    assert inspect(data, "elf32").kind == "elf32"
    assert inspect(images.elf32(head=bytes(13) + MB1[:8] + b"\1")).kind == "elf32"  # no header


def test_headers_that_the_linker_loads_below_1_mib():
    from hv.rules.fitting import fit
    from hv.rules.image import ImageError, inspect

    image = inspect(images.elf32())
    image.segments.insert(0, (0xFF000, 0, 0x94, 0x94))
    with pytest.raises(ImageError, match="its ELF headers, .* cover 0xff000 to 0xff094.* -Wl,-n"):
        fit(image, 16 << 20)
