"""Every rule has an example in the tree that breaks it alone, and the mended file passes."""

import gzip
import random
import re
import struct

import pytest
from unit import images
from vipervisor import caret, initrd, rule_examples
from vipervisor.partition import load, rules

GUEST = """
[[guest]]
name = "{name}"
cpus = {cpus}
memory = "{memory}"
image = "{image}"
{more}
"""


def guest(name="one", cpus="1", memory="16M", image="kernel.elf", more=""):
    return GUEST.format(name=name, cpus=cpus, memory=memory, image=image, more=more)


def text(*guests, head="version = 1", machine=""):
    return "\n".join([head, machine, *(guests or (guest(),))])


# Rules that a file in the tree cannot break; their tests are below.
ELSEWHERE = {"file-unreadable", "format-unknown", "machine-missing", "board-invalid"}
EXAMPLES = sorted(set(rules.RULES) - ELSEWHERE - set(rules.WARNINGS))

MIB = 1 << 20
CPIO = b"070701" + b"0" * 104


def elf(kind=2, segments=((0x100000, 64),), entry=0x100000, interpreter=b"", order=1):
    """An ELF64 file of any type with any segments."""
    headers = len(segments) + bool(interpreter)
    offset = 64 + 56 * headers
    out = b"\x7fELF\x02" + bytes([order]) + b"\x01" + bytes(9)
    out += struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, entry, 64, 0, 0, 64, 56, headers, 0, 0, 0)
    body = b""
    for address, size in segments:
        out += struct.pack(
            "<IIQQQQQQ", 1, 7, offset + len(body), address, address, size, size, 4096)
        body += b"\xf4" * size
    if interpreter:
        out += struct.pack("<IIQQQQQQ", 3, 4, offset + len(body), 0, 0, len(interpreter),
                           len(interpreter), 1)
    return out + body + interpreter


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A folder with every file that the examples name."""
    whole = images.elf64()
    files = {
        "kernel.elf": whole,
        "folder/kernel.elf": whole,
        "kernel32.elf": images.elf32(),
        "multiboot.elf": images.multiboot1_elf(),
        "vmlinuz": images.bzimage(),
        "vmlinuz-old": images.bzimage(version=0x204),
        "rd.cpio": CPIO,
        "rd.cpio.gz": gzip.compress(CPIO),
        "short.cpio.gz": gzip.compress(random.Random(1).randbytes(4096))[:-900],
        "large.cpio.gz": gzip.compress(CPIO + bytes(86 * MIB), 1),
        "empty.bin": b"",
        "tiny.bin": b"\xfa\xf4\xeb\xfe",
        "System.map": b"ffffffff81000000 T _text\nffffffff81000010 T entry_SYSCALL_64\n",
        "notes.txt": b"only words\n" * 100,
        "kernel.elf.xz": b"\xfd7zXZ\0" + bytes(100),
        "broken.gz": gzip.compress(whole * 100)[:-20] + whole[:20],
        "disk.qcow2": b"QFI\xfb" + bytes(600),
        "loader.efi": b"MZ" + bytes(600),
        "lib.a": b"!<arch>\n" + b"x" * 100,
        "sector.bin": b"\xfa\xf4" + bytes(508) + b"\x55\xaa",
        "arm.elf": images.elf64(machine=183),
        "bigendian.elf": elf(order=2),
        "kernel.o": elf(kind=1),
        "program.elf": elf(interpreter=b"/lib64/ld-linux-x86-64.so.2\0"),
        "demanding.elf": images.multiboot1_elf(flags=0x8003),
        "astray.elf": elf(entry=0x200000),
        "overlap.elf": elf(segments=((0x100000, 64), (0x100020, 64))),
        "short.elf": whole[:-10],
        "unaligned.elf": images.elf32(head=b"\0\0" + images.multiboot1()),
        "low.elf": images.elf64(paddr=0x9F800, vaddr=0x9F800, entry=0x9F800),
        "high.elf": elf(segments=((0xC0000000, 64),), entry=0xC0000000),
        "big.elf": images.elf64(memsz=32 << 20),
        **{f"m{i}": b"module" for i in range(47)},
    }
    folder = tmp_path_factory.mktemp("material")
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path, material):
    for file in material.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def check(folder, content):
    path = folder / "p.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(path)


def test_every_rule_has_an_example():
    there = {file.stem for file in rule_examples.FOLDER.glob("*.toml")}
    assert there == {*EXAMPLES, *rules.WARNINGS}
    assert len(rules.RULES) >= 80


@pytest.mark.parametrize("rule", EXAMPLES)
def test_example_breaks_its_rule_alone(folder, rule):
    wrong = rule_examples.path(rule).read_bytes()
    loaded = check(folder, wrong)
    assert [f.rule for f in loaded.findings] == [rule]
    assert loaded.description is None
    (found,) = loaded.findings
    line = str(found)
    place = f":{found.line}" if found.line else ""
    assert line.startswith(f"{folder / 'p.toml'}{place}: {rule}: ")
    assert ";" in line  # the remedy
    # The line shown is the one that the remedy changes, where there is such a line.
    lines = wrong.split(b"\n")
    changed = [n for n, row in enumerate(lines, 1) if b"  # becomes:" in row]
    if found.line and changed and rule not in NEARBY:
        assert found.line in changed, line
    if found.line:
        shown = caret.show(folder / "p.toml", found)
        assert re.search(r"\n +\| +\^+$", shown), shown


# Found at a place that is not the one the example mends.
NEARBY = {"modules-many", "cmdline-root"}


@pytest.mark.parametrize("rule", EXAMPLES)
def test_remedy_passes(folder, rule):
    loaded = check(folder, rule_examples.mended(rule_examples.path(rule).read_bytes()))
    assert [str(f) for f in loaded.findings] == []
    assert loaded.description is not None


@pytest.mark.parametrize("rule", sorted(rules.WARNINGS))
def test_a_warning_fails_nothing(folder, rule):
    wrong = rule_examples.path(rule).read_bytes()
    loaded = check(folder, wrong)
    assert loaded.ok and loaded.description is not None
    (found,) = loaded.warnings
    assert (found.rule, found.level) == (rule, "warning")
    assert f": warning: {rule}: " in str(found) and ";" in str(found)
    changed = [n for n, row in enumerate(wrong.split(b"\n"), 1) if b"  # becomes:" in row]
    assert [found.line] == changed
    assert check(folder, rule_examples.mended(wrong)).warnings == []


@pytest.mark.parametrize("rule", EXAMPLES)
def test_what_the_host_compiles_passes_at_boot(folder, rule):
    loaded = check(folder, rule_examples.mended(rule_examples.path(rule).read_bytes()))
    machine = {"cpus": loaded.description["machine"]["cpus"], "memory": 1 << 50}
    assert rules.check_compiled(loaded.description, machine) == []


def test_unreadable_file(tmp_path):
    loaded = load(tmp_path / "none.toml")
    assert [f.rule for f in loaded.findings] == ["file-unreadable"]
    assert "No such file" in str(loaded.findings[0])


def test_all_findings_at_once(folder):
    loaded = check(folder, text(
        guest("if", "[9]", "17M", "none.elf"), guest("if", "[9]", "5", "arm.elf", 'cmdlime = "x"'),
        head="version = 3", machine="[machine]\ncpus = 2\nmemroy = 5"))
    found = [f.rule for f in loaded.findings]
    assert sorted(found) == sorted([
        "version-unknown", "key-unknown", "name-keyword", "cpu-beyond", "memory-step",
        "file-missing", "name-keyword", "name-duplicate", "cpu-beyond", "size-unit",
        "key-unknown", "image-machine"])
    assert [f.line for f in loaded.findings] == sorted(f.line for f in loaded.findings)
    assert "did you mean memory?" in "\n".join(map(str, loaded.findings))
    assert "did you mean cmdline?" in "\n".join(map(str, loaded.findings))


COMPILED = {
    "format": 1, "name": "x", "machine": {"cpus": 2, "memory": 0},
    "guests": [{"name": "a-b", "cpus": 1, "memory": 16 << 20, "image": "k", "kind": None,
                "initrd": [], "cmdline": "", "modules": [], "devices": [],
                "on_crash": {"do": "restart", "max": 1, "delay": 0.5}}],
    "run": {"single": True},
}
REAL = {"cpus": 2, "memory": 100 << 20}


def test_compiled_form_passes():
    assert rules.check_compiled(COMPILED, REAL) == []


@pytest.mark.parametrize(("change", "real", "rule"), [
    ({"format": 2}, REAL, "format-unknown"),
    ({"guests": []}, REAL, "guest-none"),
    ({}, {"cpus": 1, "memory": 100 << 20}, "cpu-sum"),
    ({}, {"cpus": 2, "memory": 8 << 20}, "memory-sum"),
])
def test_compiled_form_against_the_machine(change, real, rule):
    assert [f.rule for f in rules.check_compiled({**COMPILED, **change}, real)] == [rule]


@pytest.mark.parametrize(("text", "size"), [
    ("256M", 256 << 20), ("1G", 1 << 30), ("1.5G", 3 << 29), ("64KiB", 1 << 16), (" 2MB ", 2 << 20),
])
def test_sizes(text, size):
    assert rules.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "M", "-1M", "0M", "nanM", "1e999M", "xG", "1 foo"])
def test_bad_sizes(text):
    with pytest.raises(ValueError):
        rules.parse_size(text)


def test_nearest_name():
    assert rules.names.nearest("lniux", ["beat", "linux"]) == "linux"
    assert rules.names.nearest("zzz", ["beat", "linux"]) is None


def test_cpus_that_others_list_are_left_alone():
    guests = [{"cpus": 1}, {"cpus": [1]}, {"cpus": [0]}, {"cpus": 1}]
    assert rules.assign({"guests": guests}) == [[2], [1], [0], [3]]


@pytest.mark.parametrize(("text", "rule", "line", "says"), [
    ('version = 1\nname = "one\n', "toml-unclosed", 2, 'write " at its end'),
    ("a = 'x\nb = 1", "toml-unclosed", 1, "write ' at its end"),
    ("a = [1,\n  2\nb = 3\n", "toml-unclosed", 1, "the list is not closed"),
    ('a = { b = 1\nc = 2\n', "toml-unclosed", 1, "the table is not closed"),
    ("[[guest]]\nname = linux\n", "toml-unquoted", 2, 'write name = "linux"'),
    ("memory = 256M\n", "toml-unquoted", 1, 'write memory = "256M"'),
    ("image = build/a.elf  # mine\n", "toml-unquoted", 1, 'write image = "build/a.elf"'),
    ("paravirt = No\n", "toml-boolean", 1, "write paravirt = false"),
    ('[guest]]\nname = "x"\n', "toml-header", 1, "write [[guest]]"),
    ("[machine\ncpus = 3\n", "toml-header", 1, "write [machine]"),
    ('name: "x"\n', "toml-colon", 1, 'write name = "x"'),
    ('a = 1\nb = 2\na = 3\n', "toml-duplicate", 3, "a stands in line 1 already"),
    ("[machine]\ncpus = 1\n[machine]\n", "toml-duplicate", 3, "[machine] stands in line 1"),
    ('[[guest]]\nname = "a"\n[[guest]]\nname = "b"\nname = "c"\n', "toml-duplicate", 5, "line 4"),
    ('p = "C:\\images"\n', "toml-backslash", 1, "write 'C:\\images'"),
    ("a = \u201cx\u201d\n", "toml-quotes", 1, "straight quotes"),
    ("= 1\n", "toml-syntax", 1, "invalid statement"),
    ("a = 08\n", "toml-syntax", 1, "mend the line"),
    ("x", "toml-syntax", 1, "mend the line"),
])
def test_a_parsers_complaint_in_our_words(tmp_path, text, rule, line, says):
    path = tmp_path / "p.toml"
    path.write_text(text)
    (found,) = load(path).findings
    assert (found.rule, found.line) == (rule, line), found
    assert says in str(found)


def test_initrds_are_measured_as_linux_unpacks_them():
    cpio = CPIO + bytes(402)
    assert initrd.unpacked_size(cpio) == len(cpio)
    assert initrd.unpacked_size(gzip.compress(cpio)) == len(cpio)
    assert initrd.unpacked_size(gzip.compress(cpio) + gzip.compress(bytes(3 * MIB))) == (
        len(cpio) + 3 * MIB)
    # An archive of microcode before the packed one, with padding between.
    assert initrd.unpacked_size(bytes(512) + gzip.compress(cpio)) == 512 + len(cpio)
    assert initrd.unpacked_size(gzip.compress(random.Random(2).randbytes(9000))[:-4000]) is None


@pytest.mark.parametrize(("start", "rule"), [
    (b"BZh9", "image-packed"), (b"\x28\xb5\x2f\xfd", "image-packed"),
    (b"PK\x03\x04", "image-archive"),
    (bytes(0x8001) + b"CD001", "image-disk"), (bytes(257) + b"ustar", "image-archive"),
    (bytes(446) + b"\x80" + bytes(3) + b"\x83" + bytes(59) + b"\x55\xaa", "image-disk"),
    (b"070701", "image-initrd"), (b"\x00" * 40, "image-unknown"),
])
def test_what_people_take_for_an_image(start, rule):
    guest = {"kind": None, "memory": 16 * MIB, "cmdline": ""}
    image, (found,) = rules.check_image(start + bytes(600), guest, 0, ("guest", 0))
    assert image is None and found.rule == rule
