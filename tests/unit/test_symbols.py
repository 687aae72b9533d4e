"""Tables of symbols: made on the host, searched on the target."""

import struct
from pathlib import Path

import pytest
from vipervisor import kallsyms, symbols
from vipervisor.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
MAP = b"""\
0000000000000000 D fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000040 t native_safe_halt
ffffffff81000080 T entry_SYSCALL_64
ffffffff82000000 D jiffies
"""
BASE = 0xFFFF_FFFF_8100_0000


@pytest.fixture
def table(world, tmp_path):
    from hv.symbols import Symbols

    (tmp_path / "System.map").write_bytes(MAP)
    world.modules["linux.sym"] = symbols.pack(symbols.read(tmp_path / "System.map"))
    return Symbols("linux.sym")


def test_addresses_and_names(table):
    assert len(table) == 3 and table.module == "linux.sym"
    assert table.find(BASE) == ("_text", 0) and table.find(BASE + 0x3F) == ("_text", 0x3F)
    assert table.find(BASE + 0x4F) == ("native_safe_halt", 0xF)
    assert table.find(BASE + 0x80 + 4095) == ("entry_SYSCALL_64", 4095)
    assert table.find(BASE + 0x80 + 4096) is None and table.find(BASE - 1) is None
    assert table.find(5) is None
    for name, offset in (("_text", 0), ("native_safe_halt", 0x40), ("entry_SYSCALL_64", 0x80)):
        assert table.address(name) == BASE + offset
    with pytest.raises(ValueError, match="no symbol jiffies in linux.sym"):
        table.address("jiffies")
    with pytest.raises(ValueError, match="boot module"):
        type(table)("linux.sim")


class Vcpu:
    lstar = 0


def test_the_slide_of_linux_is_seen_once_it_has_set_lstar(table):
    table.look_for_slide(Vcpu)
    assert table.slide == 0
    Vcpu.lstar = BASE + 0x80 + 0x1E00_0000
    table.look_for_slide(Vcpu)
    assert table.slide == 0x1E00_0000 and table.say(BASE + 0x1E00_004F) == "native_safe_halt+0xf"
    assert table.address("_text") == BASE + 0x1E00_0000
    table.reset()
    assert table.slide == 0


def test_many_symbols_are_found(world):
    from hv.symbols import Symbols

    every = [(0x10_0000 + 16 * i, f"function_{i}") for i in range(10_000)]
    world.modules["many.sym"] = symbols.pack(reversed(every))
    table = Symbols("many.sym")
    for i in (0, 1, 255, 4095, 5000, 9999):
        assert table.find(0x10_0000 + 16 * i + 3) == (f"function_{i}", 3)
        assert table.address(f"function_{i}") == 0x10_0000 + 16 * i


def kernel(names, base=BASE):
    """What kallsyms.c reads: offsets, base, count, names, markers, tokens."""
    tokens = b"".join(bytes((c,)) + b"\0" if 32 < c < 127 else b"\1\0" for c in range(256))
    entries = [bytes((len(n) + 1,)) + b"T" + n.encode() for n in names]
    offsets = b"".join(struct.pack("<i", -1 - 16 * i) for i in range(len(names)))
    markers = [sum(map(len, entries[:i])) for i in range(0, len(names), 256)]
    packed = b"".join(entries)
    out = b"\x7fELF" + bytes(60) + offsets + bytes(-len(offsets) % 8)
    out += struct.pack("<QII", base, len(names), 0) + packed + bytes(-len(packed) % 8)
    return out + struct.pack(f"<{len(markers)}I", *markers) + bytes(5) + tokens


def test_the_table_inside_a_kernel():
    names = [f"sys_{i:x}" for i in range(1000)]
    found = kallsyms.symbols(kernel(names))
    assert found == [(BASE + 16 * i, "T", name) for i, name in enumerate(names)]
    with pytest.raises(UsageError, match="no table of symbols"):
        kallsyms.symbols(kernel(names)[:-3000])
    with pytest.raises(UsageError, match="no table"):
        kallsyms.symbols(b"\x7fELF" + bytes(10000))


def test_lz4_blocks():
    literal = b"abcd" * 3
    block = bytes((0xC4,)) + literal + b"\x04\x00" + b"\x10X"  # a match of 8, four back
    frame = b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block + struct.pack("<I", 99)
    assert kallsyms._lz4(frame) == literal + b"abcdabcd" + b"X"


def test_elf_files_and_what_has_no_symbols(tmp_path):
    guest = ROOT / "build" / "guests" / "obj" / "beat" / "beat.elf"
    if guest.is_file():
        assert "guest_main" in [name for _, name in symbols.read(guest)]
    for content in (b"", b"notes\n", bytes(4096), b"\x7fELF" + bytes(100)):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(UsageError, match="x: no "):
            symbols.read(tmp_path / "x")
    with pytest.raises(UsageError, match="none"):
        symbols.read(tmp_path / "none")


def test_a_table_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "map").write_bytes(MAP)
    first = symbols.compiled(tmp_path / "map")
    assert first.read_bytes().startswith(symbols.MAGIC)
    monkeypatch.setattr(symbols, "read", None)
    assert symbols.compiled(tmp_path / "map") == first
