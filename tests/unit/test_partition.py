"""Partition files on the host: lines, module names, single guests, the map."""

from pathlib import Path

import pytest
from unit import images
from vipervisor import reference
from vipervisor.cli import build_parser, completion
from vipervisor.partition import load, render_map, rules, single_guest
from vipervisor.toml_lines import key_lines, line_of

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = '''# comment = "not a key"
version = 1
"quoted key".'x y' = 2
text = """
fake = 1
[[guest]]
"""
[machine]   # [[guest]]
cpus = 3

[[guest]]
name = "a#b"
initrd = [ # a list
  "one",
  "two", # [third]
]
on_crash = { do = "restart", max = 5 }
[[guest]]
name = 'c'
  [guest.on_crash]
  do = "stop"
'''


def test_lines_of_keys():
    lines = key_lines(SAMPLE)
    assert lines[("version",)] == 2
    assert lines[("quoted key", "x y")] == 3
    assert ("fake",) not in lines
    assert lines[("machine",)] == 8
    assert lines[("machine", "cpus")] == 9
    assert lines[("guest",)] == 11
    assert lines[("guest", 0, "name")] == 12
    assert lines[("guest", 0, "initrd", 1)] == 15
    assert lines[("guest", 0, "on_crash", "max")] == 17
    assert lines[("guest", 1)] == 18
    assert lines[("guest", 1, "on_crash", "do")] == 21


def test_line_of_what_is_not_there_is_the_nearest_around():
    lines = key_lines(SAMPLE)
    assert line_of(lines, ("guest", 1, "memory")) == 18
    assert line_of(lines, ("nothing",)) == 1


@pytest.mark.parametrize("text", ["", "a", "[", "a = [", "a = {", 'a = "', "= 1", "[[a", 'a."'])
def test_the_scanner_ends_on_anything(text):
    key_lines(text)


def test_module_names_are_plain_and_unique(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my kernel,1.elf").write_bytes(images.elf64())
    (tmp_path / "p.toml").write_text("version = 1\n" + "".join(
        f'[[guest]]\nname = "{n}"\nmemory = "4M"\nimage = "{i}/my kernel,1.elf"\n'
        for n, i in (("x", "a"), ("y", "b"), ("z", "a"))))
    loaded = load(tmp_path / "p.toml")
    assert loaded.ok
    names = [g["image"] for g in loaded.description["guests"]]
    assert names == ["my_kernel_1.elf", "y-my_kernel_1.elf", "my_kernel_1.elf"]
    assert loaded.modules[names[1]] == tmp_path / "b" / "my kernel,1.elf"
    assert loaded.description["machine"]["cpus"] == 4
    assert loaded.description["guests"][0]["kind"] == "elf64"
    assert b'"format": 1' in loaded.json()


def test_fixed_module_names_are_not_taken(tmp_path):
    (tmp_path / "boot.py").write_bytes(images.elf64())
    assert "boot.py" not in single_guest(tmp_path / "boot.py").modules


def test_single_guest(tmp_path):
    image = tmp_path / "k.elf"
    image.write_bytes(images.multiboot1_elf())
    initrd = tmp_path / "rd"
    initrd.write_bytes(b"r" * 5000)
    loaded = single_guest(image, initrd=[initrd], cmdline="a b", memory="32M")
    guest = loaded.description["guests"][0]
    assert loaded.description["run"] == {"single": True}
    assert loaded.description["machine"]["cpus"] == 2
    assert (guest["kind"], guest["initrd"], guest["cmdline"]) == ("multiboot1", ["rd"], "a b")
    assert guest["on_reboot"] == {"do": "stop"}
    assert single_guest(image, hide=["x2apic"]).description["guests"][0]["hide"] == ["x2apic"]
    sliced = single_guest(image, control=True, reboot=True).description
    assert sliced["machine"]["cpus"] == 1
    assert sliced["guests"][0]["cpus"] == [0]
    assert sliced["guests"][0]["on_reboot"] == {"do": "restart"}


def test_single_guest_names_the_option(tmp_path):
    loaded = single_guest(tmp_path / "none", memory="5", cpus=9)
    assert sorted(str(f).split(":")[0] for f in loaded.findings) == ["--cpus", "--memory", "IMAGE"]


def test_a_kernel_too_big_with_its_initrd_is_found_before_boot(tmp_path):
    image = tmp_path / "vmlinuz"
    image.write_bytes(images.bzimage(init_size=40 << 20))
    initrd = tmp_path / "rd"
    initrd.write_bytes(b"070701" + bytes((9 << 20) - 6))
    assert single_guest(image, memory="64M").ok
    found = single_guest(image, memory="64M", initrd=[initrd]).findings
    assert [f.rule for f in found] == ["image-too-big"]
    assert '"66M"' in str(found[0])
    assert single_guest(image, memory="66M", initrd=[initrd]).ok


def test_map(tmp_path):
    image = tmp_path / "k.elf"
    image.write_bytes(images.elf64())
    (tmp_path / "p.toml").write_text(
        'version = 1\n[machine]\ncpus = 4\nmemory = "256M"\n'
        '[[guest]]\nname = "a"\nmemory = "16M"\nimage = "k.elf"\n'
        '[[guest]]\nname = "bee"\nmemory = "16M"\nimage = "k.elf"\ncpus = [1]\n'
        '[[guest]]\nname = "c"\nmemory = "16M"\nimage = "k.elf"\ncpus = [0]\n'
        '[[guest]]\nname = "d"\nmemory = "8M"\nimage = "k.elf"\ncpus = [0]\n')
    lines = render_map(load(tmp_path / "p.toml").description).splitlines()
    assert lines[0] == "cpu 0  Python + c (slices) + d (slices), control CPU"
    assert lines[1:4] == ["cpu 1  bee", "cpu 2  a", "cpu 3  free"]
    assert lines[4] == "memory 256M"
    assert "200M" in lines[-1]


def test_every_command_and_rule_is_on_its_page():
    commands = (ROOT / "docs" / "cli.md").read_text()
    for name in completion.commands_of(build_parser()):
        assert f"hv {name}" in commands or name in ("version", "schema"), name
    page = reference.rules()
    for rule in rules.RULES:
        assert f"| `{rule}` |" in page
    # The usage lines that people wrote name every option of these.
    for name in ("check", "run", "boot", "build", "probe"):
        section = commands.split(f"\n## hv {name}\n")[1].split("\n## ")[0]
        parser = completion.commands_of(build_parser())[name][1]
        for action in completion.options_of(parser):
            option = action.option_strings[-1]
            assert option == "--help" or option in section or action.option_strings[0] in section, (
                name, option)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.toml")))
def test_examples_break_no_rule_but_missing_builds(example):
    rest = {f.rule for f in load(example).findings}
    assert rest <= {"file-missing"}
