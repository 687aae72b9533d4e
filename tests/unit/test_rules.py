"""Every rule has an example that breaks it alone, and the remedied file passes."""

import pytest
from unit import images
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


# rule -> (a file that breaks it, the same with the remedy, the line it is found on or None)
EXAMPLES = {
    "toml-syntax": ("version = \n" + guest(), text()),
    "version-missing": (text(head=""), text()),
    "version-unknown": (text(head="version = 2"), text()),
    "key-unknown": (text(guest(more='cmdlin = "x"')), text(guest(more='cmdline = "x"'))),
    "key-missing": (text(guest().replace('memory = "16M"', "")), text()),
    "type-wrong": (text(guest(more="cmdline = 3")), text(guest(more='cmdline = "3"'))),
    "guest-table": (text(guest().replace("[[guest]]", "[guest]")), text()),
    "guest-none": ("version = 1\n", text()),
    "guest-many": (
        text(*[guest(f"g{i}", "1", "2M", "tiny.bin", 'kind = "flat"') for i in range(17)]),
        text(*[guest(f"g{i}", "1", "2M", "tiny.bin", 'kind = "flat"') for i in range(16)]),
    ),
    "name-invalid": (text(guest("my guest")), text(guest("my_guest"))),
    "name-reserved": (text(guest("hv")), text(guest("hv1"))),
    "name-duplicate": (text(guest("a"), guest("a")), text(guest("a"), guest("b"))),
    "size-unit": (text(guest().replace('"16M"', "16")), text()),
    "size-bad": (text(guest(memory="lots")), text(guest(memory="32M"))),
    "memory-step": (text(guest(memory="17M")), text(guest(memory="18M"))),
    "memory-small": (text(guest(memory="512K")), text()),
    "memory-sum": (
        text(guest(memory="256M"), machine='[machine]\nmemory = "256M"'),
        text(guest(memory="256M"), machine='[machine]\nmemory = "512M"'),
    ),
    "cpus-bad": (text(guest(cpus="0")), text(guest(cpus="1"))),
    "cpus-many": (text(guest(cpus="9")), text(guest(cpus="8"))),
    "cpu-repeated": (text(guest(cpus="[1, 1]")), text(guest(cpus="[1]"))),
    "cpu-beyond": (
        text(guest(cpus="[3]"), machine="[machine]\ncpus = 3"),
        text(guest(cpus="[2]"), machine="[machine]\ncpus = 3"),
    ),
    "cpu-shared": (
        text(guest("a", "[1]"), guest("b", "[1]")),
        text(guest("a", "[1]"), guest("b", "[2]")),
    ),
    "cpu-control": (text(guest(cpus="[0, 1]")), text(guest(cpus="[0]"))),
    "cpu-sum": (
        text(guest("a"), guest("b"), machine="[machine]\ncpus = 2"),
        text(guest("a"), guest("b"), machine="[machine]\ncpus = 3"),
    ),
    "kind-unknown": (text(guest(more='kind = "elf46"')), text(guest(more='kind = "elf64"'))),
    "device-unknown": (text(guest(more='devices = ["disk"]')), text(guest(more="devices = []"))),
    "initrd-unused": (
        text(guest(image="tiny.bin", more='kind = "flat"\ninitrd = "tiny.bin"')),
        text(guest(image="tiny.bin", more='kind = "flat"')),
    ),
    "cmdline-long": (text(guest(more=f'cmdline = "{"x" * 4095}"')),
                     text(guest(more=f'cmdline = "{"x" * 4094}"'))),
    "cmdline-control": (text(guest(more='cmdline = "a\\nb"')), text(guest(more='cmdline = "a b"'))),
    "policy-unknown": (text(guest(more='on_crash = "explode"')),
                       text(guest(more='on_crash = "restart"'))),
    "policy-value": (
        text(guest(more='on_crash = { do = "restart", delay = "soon" }')),
        text(guest(more='on_crash = { do = "restart", max = 5, delay = "1s" }')),
    ),
    "path-empty": (text(guest(image="")), text()),
    "file-missing": (text(guest(image="kernel.elk")), text()),
    "file-directory": (text(guest(image="folder")), text(guest(image="folder/kernel.elf"))),
    "image-unknown": (text(guest(image="tiny.bin")),
                      text(guest(image="tiny.bin", more='kind = "flat"'))),
    "image-invalid": (text(guest(image="arm.elf")), text()),
    "image-truncated": (text(guest(image="short.elf")), text()),
    "image-place": (text(guest(image="low.elf")), text()),
    "image-too-big": (text(guest(image="big.elf", memory="16M")),
                      text(guest(image="big.elf", memory="34M"))),
}

# Rules that a TOML file cannot break; their tests are below.
ELSEWHERE = {"file-unreadable", "format-unknown"}


@pytest.fixture
def folder(tmp_path):
    whole = images.elf64()
    files = {
        "kernel.elf": whole,
        "folder/kernel.elf": whole,
        "tiny.bin": b"\xfa\xf4\xeb\xfe",
        "arm.elf": images.elf64(machine=183),
        "short.elf": whole[:-10],
        "low.elf": images.elf64(paddr=0x8000, vaddr=0x8000, entry=0x8000),
        "big.elf": images.elf64(memsz=32 << 20),
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def check(folder, content):
    path = folder / "p.toml"
    path.write_text(content)
    return load(path)


def test_every_rule_has_an_example():
    assert set(EXAMPLES) | ELSEWHERE == set(rules.RULES)


@pytest.mark.parametrize("rule", sorted(EXAMPLES))
def test_example_breaks_its_rule_alone(folder, rule):
    loaded = check(folder, EXAMPLES[rule][0])
    assert [f.rule for f in loaded.findings] == [rule]
    assert loaded.description is None
    line = str(loaded.findings[0])
    assert line.startswith(f"{folder / 'p.toml'}:{loaded.findings[0].line}: {rule}: ")
    assert ";" in line  # the remedy


@pytest.mark.parametrize("rule", sorted(EXAMPLES))
def test_remedy_passes(folder, rule):
    loaded = check(folder, EXAMPLES[rule][1])
    assert [str(f) for f in loaded.findings] == []
    assert loaded.description is not None


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
        "version-unknown", "key-unknown", "name-reserved", "cpu-beyond", "memory-step",
        "file-missing", "name-reserved", "name-duplicate", "cpu-beyond", "size-unit",
        "key-unknown", "image-invalid"])
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


def test_what_the_host_compiles_passes_at_boot(folder):
    for rule in sorted(EXAMPLES):
        loaded = check(folder, EXAMPLES[rule][1])
        machine = {"cpus": loaded.description["machine"]["cpus"], "memory": 1 << 40}
        assert rules.check_compiled(loaded.description, machine) == [], rule


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
