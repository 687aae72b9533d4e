"""ACPI, SMBIOS and MP tables: as their own tools and a guest's search find them."""

import re
import shutil
import struct
import subprocess

import pytest
from unit import images

MIB = 1 << 20
TABLES = "DSDT FACP APIC FACS RSDT XSDT".split()
needs_iasl = pytest.mark.skipif(
    shutil.which("iasl") is None, reason="no iasl: install acpica-tools")


@pytest.fixture
def guest(world):
    import hv

    world.modules = {"k": images.elf64()}
    g = hv.Guest("g", memory="64M").load("k")
    return g


def search(g, signature, first, last=0x100000):
    """The one place in [first, last) where a structure with this signature starts."""
    data = g.memory[first:last]
    found = [first + at for at in range(0, len(data), 16)
             if data[at : at + len(signature)] == signature]
    assert len(found) == 1, found
    return found[0]


def acpi_table(g, at):
    size = g.memory.u32[at + 4]
    data = g.memory[at : at + size]
    if data[:4] != b"FACS":
        assert sum(data) & 0xFF == 0, data[:4]
    return data


def acpi_tables(g):
    """Every table by its signature, found as an operating system finds them."""
    at = search(g, b"RSD PTR ", 0xE0000)
    pointer = g.memory[at : at + 36]
    assert sum(pointer[:20]) & 0xFF == 0 and sum(pointer) & 0xFF == 0
    revision, rsdt, length, xsdt = struct.unpack_from("<BIIQ", pointer, 15)
    assert (revision, length) == (2, 36)
    out = {"RSDT": acpi_table(g, rsdt), "XSDT": acpi_table(g, xsdt)}
    narrow = [struct.unpack_from("<I", out["RSDT"], i)[0] for i in range(36, len(out["RSDT"]), 4)]
    wide = [struct.unpack_from("<Q", out["XSDT"], i)[0] for i in range(36, len(out["XSDT"]), 8)]
    assert narrow == wide
    for place in wide:
        data = acpi_table(g, place)
        out[data[:4].decode()] = data
    facs, dsdt = struct.unpack_from("<II", out["FACP"], 36)
    assert facs % 64 == 0
    out["FACS"], out["DSDT"] = acpi_table(g, facs), acpi_table(g, dsdt)
    return out


def test_acpi_tables_are_found(guest):
    tables = acpi_tables(guest)
    assert set(tables) == {"RSDT", "XSDT", "FACP", "FACS", "DSDT", "APIC"}


def test_tables_lie_in_reserved_memory_and_do_not_overlap(guest):
    from hv.loaders import layout

    spans = sorted((at, at + len(data)) for at, data in guest._tables())
    for (_, end), (start, _) in zip(spans, spans[1:], strict=False):
        assert end <= start
    reserved = [(base, base + size) for base, size, kind in layout.e820(64 * MIB) if kind == 2]
    for start, end in spans:
        assert any(low <= start and end <= high for low, high in reserved)


def test_fadt_agrees_with_the_devices(guest):
    fadt = acpi_tables(guest)["FACP"]
    assert struct.unpack_from("<H", fadt, 46)[0] == 9
    assert struct.unpack_from("<I", fadt, 48)[0] == 0  # no SMI command port
    assert struct.unpack_from("<I", fadt, 56)[0] == 0x600
    assert struct.unpack_from("<I", fadt, 64)[0] == 0x604
    assert struct.unpack_from("<I", fadt, 76)[0] == 0x608
    assert fadt[88:92] == b"\x04\x02\x00\x04"
    flags = struct.unpack_from("<I", fadt, 112)[0]
    assert flags >> 10 & 1 and not flags >> 8 & 1  # a reset register; a 24-bit timer
    assert not fadt[109] >> 1 & 1  # no 8042
    assert fadt[116:128] == struct.pack("<BBBBQ", 1, 8, 0, 1, 0xCF9) and fadt[128] == 6


def entries(data, at):
    while at < len(data):
        yield data[at : at + data[at + 1]]
        at += data[at + 1]


def test_madt(world):
    from hv import acpi

    data = acpi.madt(3)
    assert struct.unpack_from("<II", data, 36) == (0xFEE00000, 1)
    rows = list(entries(data, 44))
    cpus = [struct.unpack("<BBBBI", r)[2:] for r in rows if r[0] == 0]
    assert cpus == [(0, 0, 1), (1, 1, 1), (2, 2, 1)]
    assert [struct.unpack("<BBBBII", r)[2:] for r in rows if r[0] == 1] == [(3, 0, 0xFEC00000, 0)]
    overrides = [struct.unpack("<BBBBIH", r)[3:] for r in rows if r[0] == 2]
    assert overrides == [(0, 2, 0x5), (9, 9, 0xD)]
    assert [r for r in rows if r[0] == 4] == [b"\x04\x06\xff\x05\x00\x01"]


@needs_iasl
def test_iasl_understands_every_table(guest, tmp_path):
    for name, data in acpi_tables(guest).items():
        (tmp_path / f"{name}.dat").write_bytes(data)
        done = subprocess.run(["iasl", "-d", f"{name}.dat"], cwd=tmp_path, capture_output=True,
                              text=True, timeout=60)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        text = (tmp_path / f"{name}.dsl").read_text()
        assert not re.search(r"Incorrect checksum|Invalid|Unknown|\*\*\*", said + text), said


@needs_iasl
def test_dsdt_compiles_back_to_itself(guest, tmp_path):
    data = acpi_tables(guest)["DSDT"]
    (tmp_path / "d.dat").write_bytes(data)
    for command in (["iasl", "-d", "d.dat"], ["iasl", "-tc", "-oa", "-ve", "d.dsl"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "0 Errors, 0 Warnings, 0 Remarks" in done.stdout
    # But for the header, where the compiler writes its own name.
    assert (tmp_path / "d.aml").read_bytes()[36:] == data[36:]
    source = (tmp_path / "d.dsl").read_text()
    for word in ("_S5", "PNP0A03", "PNP0501", "_PRT", "0x03F8", "PNP0B00", "PNP0100"):
        assert word in source


@pytest.mark.parametrize("size", [0, 1, 62, 63, 64, 4093, 4094, 4095, 70000, 1 << 20])
def test_aml_lengths(size):
    from hv import aml

    data = aml.length(size)
    more = data[0] >> 6
    assert len(data) == more + 1
    value = data[0] & 0x3F if more == 0 else data[0] & 0xF
    for i in range(more):
        value |= data[1 + i] << 4 + 8 * i
    assert value == size + len(data)


def test_aml_values():
    from hv import aml

    numbers = [aml.integer(n) for n in (0, 1, 2, 255, 256, 65536, 1 << 32)]
    assert [n[0] for n in numbers] == [0, 1, 0xA, 0xA, 0xB, 0xC, 0xE]
    assert aml.eisa_id("PNP0A03") == bytes([0xC, 0x41, 0xD0, 0x0A, 0x03])
    assert aml.name("\\_S5", b"x") == b"\x08\\_S5_x"
    with pytest.raises(ValueError):
        aml.segment("TOOLONG")


def smbios_structures(g):
    at = search(g, b"_SM_", 0xF0000)
    entry = g.memory[at : at + g.memory.u8[at + 5]]
    assert len(entry) == 0x1F and sum(entry) & 0xFF == 0 and sum(entry[16:]) & 0xFF == 0
    assert entry[16:21] == b"_DMI_" and entry[6:8] == b"\x02\x08"
    largest = struct.unpack_from("<H", entry, 8)[0]
    size, place, count = struct.unpack_from("<HIH", entry, 22)
    data, out, at = g.memory[place : place + size], [], 0
    while at < size:
        kind, length, handle = struct.unpack_from("<BBH", data, at)
        end = data.index(b"\0\0", at + length) + 2
        strings = [s.decode() for s in data[at + length : end - 2].split(b"\0")]
        assert end - at <= largest
        out.append((kind, data[at : at + length], strings))
        at = end
    assert at == size and len(out) == count
    assert [struct.unpack_from("<H", row, 2)[0] for _, row, _ in out] == list(range(count))
    return out


def test_smbios(guest):
    rows = {kind: (row, strings) for kind, row, strings in smbios_structures(guest)}
    assert sorted(rows) == [0, 1, 4, 16, 17, 19, 32, 127]
    sizes = {0: 0x18, 1: 0x1B, 4: 0x2A, 16: 0x0F, 17: 0x28, 19: 0x0F, 32: 0x0B, 127: 4}
    assert {kind: len(row) for kind, (row, _) in rows.items()} == sizes
    assert rows[1][1][:2] == ["Vipervisor", "PC"]
    assert struct.unpack_from("<H", rows[17][0], 12)[0] == 64
    assert struct.unpack_from("<II", rows[19][0], 4) == (0, 64 * 1024 - 1)
    assert rows[4][0][35] == 1  # cores
    # A string that a structure names is there.
    for kind, fields in ((0, (4, 5, 8)), (1, (4, 5, 6)), (4, (4, 7)), (17, (16,))):
        row, strings = rows[kind]
        assert all(1 <= row[at] <= len(strings) for at in fields)


def test_smbios_of_much_memory():
    from hv import smbios

    table = smbios.structures(64 << 30, 2, 0, 0, 1000).data
    assert table.count(struct.pack("<IIH", 0, (3 << 20) - 1, 3)) == 1
    assert table.count(struct.pack("<II", 4 << 20, (65 << 20) - 1)) == 1
    assert struct.pack("<I", 64 << 10) in table  # the extended size in MiB


def test_mp_table(guest):
    at = search(guest, b"_MP_", 0xF0000)
    pointer = guest.memory[at : at + 16]
    assert sum(pointer) & 0xFF == 0 and pointer[8:10] == b"\x01\x04"
    place = struct.unpack_from("<I", pointer, 4)[0]
    size = guest.memory.u16[place + 4]
    data = guest.memory[place : place + size]
    assert data[:4] == b"PCMP" and sum(data) & 0xFF == 0
    count, apic = struct.unpack_from("<HI", data, 34)
    rows, at = [], 44
    while at < size:
        length = 20 if data[at] == 0 else 8
        rows.append(data[at : at + length])
        at += length
    assert at == size and len(rows) == count and apic == 0xFEE00000
    assert [r[0] for r in rows] == sorted(r[0] for r in rows)
    assert [r[1:4] for r in rows if r[0] == 0] == [b"\x00\x14\x03"]
    timer = next(r for r in rows if r[0] == 3 and r[4:6] == b"\x01\x00")
    assert timer[6:8] == b"\x01\x02"  # the I/O APIC's id, and its pin 2
    assert {(r[1], r[7]) for r in rows if r[0] == 4} == {(3, 0), (1, 1)}


def rows_of(g, at, count, form):
    size = struct.calcsize(form)
    return [struct.unpack(form, g.memory[at + i * size : at + (i + 1) * size])
            for i in range(count)]


@pytest.mark.parametrize("memory", ["2M", "64M", "3G", "4G"])
def test_all_boot_protocols_tell_the_same_memory_map(world, memory):
    import hv

    world.reset(memory=64 << 30, cpus=6)
    small = {"size": 64} if memory == "2M" else {}
    kernel = b"K" * small.get("size", 4096)
    world.modules = {
        "linux": images.bzimage(kernel=kernel, preferred=MIB),
        "one": images.multiboot1_elf(), "two": images.multiboot2_elf(),
        "pvh": images.elf64(notes=images.pvh_note(0x100010)), "elf": images.elf64(),
    }
    maps = {}
    for name in world.modules:
        if memory == "2M" and name == "linux":
            continue
        g = hv.Guest(name, memory=memory).load(name)
        v, u32 = g.vcpus[0], g.memory.u32
        if name in ("linux", "elf"):
            count = g.memory.u8[v.rsi + 0x1E8]
            maps[name] = rows_of(g, v.rsi + 0x2D0, count, "<QQI")
        elif name == "one":
            found = rows_of(g, u32[v.rbx + 48], u32[v.rbx + 44] // 24, "<IQQI")
            maps[name] = [row[1:] for row in found]
        elif name == "two":
            at = v.rbx + 8
            while u32[at] != 6:
                at += (u32[at + 4] + 7) & ~7
            found = rows_of(g, at + 16, (u32[at + 4] - 16) // 24, "<QQII")
            maps[name] = [row[:3] for row in found]
        else:
            fields = struct.unpack("<4I4Q2I", g.memory[v.rbx : v.rbx + 56])
            maps[name] = [row[:3] for row in rows_of(g, fields[7], fields[8], "<QQII")]
    first = next(iter(maps.values()))
    assert all(rows == first for rows in maps.values()), maps
    total = sum(size for base, size, kind in first if base >= MIB)
    assert total == hv.guests()[0].memory_size - MIB
    ends = [(base, base + size) for base, size, _ in first]
    assert ends == sorted(ends) and all(a[1] <= b[0] for a, b in zip(ends, ends[1:], strict=False))


def test_every_protocol_names_the_rsdp(world):
    import hv

    world.modules = {"linux": images.bzimage(), "two": images.multiboot2_elf(),
                     "pvh": images.elf64(notes=images.pvh_note(0x100010))}
    world.reset(cpus=4, modules=world.modules)
    linux, two, pvh = (hv.Guest(n, memory="64M").load(n) for n in ("linux", "two", "pvh"))
    at = search(linux, b"RSD PTR ", 0xE0000)
    assert linux.memory.u64[linux.vcpus[0].rsi + 0x70] == at
    assert pvh.memory.u64[pvh.vcpus[0].rbx + 32] == at
    tags, place = {}, two.vcpus[0].rbx + 8
    while two.memory.u32[place]:
        size = two.memory.u32[place + 4]
        tags[two.memory.u32[place]] = two.memory[place + 8 : place + size]
        place += (size + 7) & ~7
    assert tags[15] == two.memory[at : at + 36] and tags[14] == tags[15][:20]


def test_a_reset_writes_the_tables_again(guest):
    at = search(guest, b"RSD PTR ", 0xE0000)
    guest.start()
    guest.stop()
    guest.memory[at : at + 8] = bytes(8)
    guest.reset()
    assert search(guest, b"RSD PTR ", 0xE0000) == at


def test_fw_cfg_has_the_map_that_the_loaders_tell(guest, world):
    from hv.loaders import layout

    files = world.guests[guest.id].firmware
    count, size, key, name = struct.unpack_from(">IIH2x56s", files)
    assert (count, key, name.rstrip(b"\0")) == (1, 0x20, b"etc/e820")
    rows = [struct.unpack_from("<QQI", files, at) for at in range(68, len(files), 20)]
    assert rows == layout.e820(guest.memory_size) and size == 20 * len(rows)


def test_help_knows_our_functions(world, capsys):
    import builtins

    import hv
    from hv import help as texts

    names = {}
    texts.install(hv, names, lambda *what: print("built in"))
    g = hv.Guest("a", memory="2M")
    for what, text in ((hv, "g.on, g.watch"), (g, "help(g.on)"), (g.on, "instead=True"),
                       (g.watch, "never"), (g.vcpus[0], "walk(gva)"), (hv.Device, "self.pulse()"),
                       (hv.guest_from, "mode: 64"), (hv.policy, "old:"),
                       (builtins.len, "built in")):
        names["help"](what)
        said = capsys.readouterr().out
        assert text in said and all(len(line) <= 100 for line in said.splitlines()), said
    for name in texts.FUNCTIONS:  # each is there
        assert callable(getattr(hv, name, None) or getattr(g, name, None)), name


def test_verbs_have_one_order():
    from hv import moves

    assert set(moves.VERBS) == set(moves.MOVES)
