"""explain, schema, new, completion, doctor, version, the caret of hv check."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from unit import images
from unit.fake_setup import Hv
from vipervisor import caret, explain, partition, paths, schema
from vipervisor.cli import build_parser, completion
from vipervisor.errors import HostError
from vipervisor.explain import KINDS, exits, registers, rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hv(tmp_path: Path) -> Hv:
    return Hv(tmp_path)


@pytest.mark.parametrize(
    "words, kind, says",
    [
        ("cpu-sum", "a rule of `hv check`", "raise [machine] cpus"),
        ("hlt", "an exit kind", "sleeps until an interrupt"),
        ("nested fault", "an exit kind", "svm 0x400 NPF"),
        ("status 126", "an exit status", "crash"),
        ("vmx 48", "an exit", "EPT violation"),
        ("vmx 0x80000021", "an exit", "invalid guest state"),  # with the failure bit
        ("svm 0x400", "an exit", "NPF"),
        ("svm 0x14", "an exit", "CR4_WRITE"),
        ("VMEXIT_NPF", "an exit", "nested_fault"),
        ("error 7", "a VM-instruction error", "invalid control fields"),
        ("msr 0x1b", "a model-specific register", "local APIC"),
        ("ia32_pat", "a model-specific register", "page attribute table"),
        ("msr 0x268", "a model-specific register", "768 KiB"),
        ("IA32_EFER", "a model-specific register", "long mode"),
        ("cpuid 0x15", "a CPUID leaf", "TSC frequency"),
        ("sse4.2", "a CPUID bit", 'CPUID 0x1 ECX bit 20 sse4.2'),
        ("cpuid 1 ecx 21", "a CPUID bit", "the local APIC by MSRs"),
        ("CPUID.07H:EBX.SMAP[bit 20]", "a CPUID bit", 'hide = ["smap"]'),
        ("cpuid 0x80000001 ecx 2", "a CPUID bit", "hidden: 0 for every guest"),
        ("cpuid 1 ecx 16", "a CPUID bit", "hidden: 0 for every guest"),  # it has no name
    ],
)
def test_explain(words: str, kind: str, says: str) -> None:
    found = explain.explain(words)
    assert [topic.kind for topic in found] == [kind]
    assert says in found[0].text()
    assert found[0].source


def test_the_prompt_explains_numbers_as_the_command_does(world: object) -> None:
    import hv

    words = [name for heading, names in explain.known().items() for name in names
             if heading.startswith(("VMX", "SVM", "VM-", "model", "CPUID leaves"))]  # fmt: skip
    assert len(words) > 200
    for name in [*words, "ia32_efer", "VMEXIT_NPF", "48", "vmx 0x80000021", "leaf 7"]:
        said = str(hv.explain(name))
        for topic in explain.explain(name):
            if topic.kind == "an exit status":  # of `hv run`
                continue
            assert f"{topic.name} ({topic.source})" in said
            assert all("  " + line in said for line in topic.lines), name
    assert str(hv.explain(0x400)).startswith("SVM exit code 0x400 (")  # of this machine
    with pytest.raises(ValueError, match="no exit, rule, error, MSR, field or CPUID bit"):
        hv.explain("vmx 99")


def test_help_is_what_the_option_prints(hv: Hv) -> None:
    """With and without a command, all of them; another word is refused as a command is."""
    for words in ([], ["run"], ["help"]):
        said, meant = hv("help", *words), hv(*words, "--help")
        assert (said.returncode, said.stdout, said.stderr) == (0, meant.stdout, "")
    assert "usage: hv run " in hv("help", "run").stdout
    assert set(completion.commands_of(build_parser())) <= set(hv("help").stdout.split())
    wrong = hv("help", "bogus")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "invalid choice: 'bogus'" in wrong.stderr



@pytest.mark.parametrize("words", ["cpuid 1 ecx 32", "cpuid 1 eax 3", "cpuid 1 ecx", "cpuid ecx 1"])
def test_what_is_no_bit(words: str) -> None:
    assert explain.explain(words) == []


def test_a_bare_number_is_all_it_may_be() -> None:
    assert {topic.name for topic in explain.explain("48")} == {
        "status 48", "VMX exit reason 48", "SVM exit code 0x30",
    }


def test_everything_that_is_listed_is_explained() -> None:
    for names in explain.known().values():
        for name in names:
            assert explain.explain(name), name


def test_kinds_are_the_cores() -> None:
    header = (ROOT / "hypervisor" / "virt" / "exit.h").read_text()
    kinds = {name.lower() for name in re.findall(r"^    EXIT_(\w+),", header, re.MULTILINE)}
    assert kinds - {"kinds"} <= set(KINDS)
    for *_, kind in (*rows(exits.VMX), *rows(exits.SVM), *exits.SVM_RANGES):
        assert kind in KINDS


def test_vm_errors_are_the_cores() -> None:
    text = (ROOT / "hypervisor" / "virt" / "vmx_explain.c").read_text()
    body = text[text.index("*vmx_instruction_error") :]
    numbers = {int(n) for n in re.findall(r"^        \[(\d+)\] = ", body, re.MULTILINE)}
    assert numbers - {0} == {number for number, _ in rows(exits.VM_ERRORS)}


def test_registers_of_the_guests_table_are_known() -> None:
    tree = ast.parse((ROOT / "firmware" / "hv" / "msr.py").read_text())
    named = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.startswith("IA32_")
    }
    assert len(named) > 10
    assert [name for name, index in named.items() if registers.msr(index) is None] == []


def test_a_rule_is_explained_by_its_example() -> None:
    (topic,) = explain.explain("cpu-sum")
    assert "wrong    cpus = 2" in topic.lines and "right    cpus = 3" in topic.lines
    for rule in partition.rules.RULES:
        assert len(max(explain.explain(rule)[0].lines, key=len)) < 120, rule


def test_schema_knows_every_key_and_limit() -> None:
    value = schema.schema()
    guest = value["properties"]["guest"]["items"]
    reader = partition.rules.reader
    assert set(guest["properties"]) == set(reader.GUEST_KEYS)
    assert guest["additionalProperties"] is False
    for key, entry in guest["properties"].items():
        assert entry.get("description"), key
        assert len(entry) > 1 + ("default" in entry), f"{key} may be anything"
    assert set(value["properties"]) == {"version", "machine", "guest", "connect"}
    name = guest["properties"]["name"]
    for text, good in [("linux", True), ("1st", False), ("x" * 32, False), ("_a9", True)]:
        assert bool(re.search(name["pattern"], text)) is good
    assert "hv" in name["not"]["enum"]
    size = guest["properties"]["memory"]["pattern"]
    for text in ("256M", "1G", "64k"):
        assert re.search(size, text)
        partition.rules.parse_size(text)
    assert not re.search(size, "256")
    # Sizes of devices and of shared memory may be bytes; what they are is said once.
    device = guest["properties"]["devices"]["items"]["oneOf"][1]["properties"]
    joined = value["properties"]["connect"]["items"]["properties"]
    for entry in (device["size"], joined["size"]):
        assert [sorted(one) for one in entry["oneOf"]] == [
            ["pattern", "type"], ["minimum", "multipleOf", "type"]]


@pytest.mark.parametrize(
    "line, rule, place, marked",
    [
        ("memory = 256   # mib", "size-unit", "guest[0].memory", "256"),
        ('memroy = "1G"', "key-unknown", "machine.memroy", "memroy"),
        ('on_crash = { do = "stop", max = 5 }', "policy-alone", "guest[0].on_crash.max", "5"),
        ("cpus = [0, 1]", "cpu-control", "guest[0].cpus", "[0, 1]"),
        ('name = "a = b"', "name-invalid", "guest[0].name", '"a = b"'),
        ("[[guest]]", "key-missing", "guest[0]", "guest"),
        ('  name = "one', "toml-unclosed", "", 'name = "one'),
    ],
)
def test_caret(line: str, rule: str, place: str, marked: str) -> None:
    start, end = caret.span(line, partition.Found("f", 1, rule, place, ""))
    assert line[start:end] == marked


def test_check_shows_the_caret_without_colours(hv: Hv) -> None:
    file = hv.folder / "p.toml"
    file.write_text('version = 1\n[[guest]]\nname = "hv"\n')
    done = hv("check", str(file))
    assert '    3 | name = "hv"\n      |        ^^^^\n' in done.stdout
    assert "\x1b" not in done.stdout
    rows = json.loads(hv("check", str(file), "--json").stdout)
    assert {"file", "line", "column", "level", "rule", "place", "text"} == set(rows[0])
    assert [row["column"] for row in rows if row["rule"] == "name-reserved"] == [8]


def test_thousands_of_findings_are_counted(hv: Hv) -> None:
    file = hv.folder / "p.toml"
    file.write_text("version = 1\n" + "".join(f"x{i} = 1\n" for i in range(2000)))
    done = hv("check", str(file))
    found = [line for line in done.stdout.splitlines() if line.startswith(f"{file}:")]
    rows = json.loads(hv("check", str(file), "--json").stdout)
    assert (done.returncode, len(found)) == (1, 50) and len(rows) > 2000
    more = f"and {len(rows) - 50} more: `hv check --json {file}` lists all"
    assert done.stdout.splitlines()[-1] == more
    done = hv("build", str(file), "-o", str(hv.folder / "x.iso"))
    assert done.returncode == 1 and done.stderr.splitlines()[50:] == [more]


def test_a_warning_fails_only_the_strict(hv: Hv) -> None:
    part = Path(hv.partition(one={"lines": ["up"]}))
    assert json.loads(hv("check", str(part), "--json").stdout) == []
    assert hv("check", str(part), "--strict").returncode == 0
    part.write_text(part.read_text() + '[machine]\ncpus = 4\nmemory = "1G"\n')
    done = hv("check", str(part))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"part\.toml:\d+: warning: cpus-unused: cpu 2, 3 of 4: .*; ", done.stdout)
    assert re.search(r"part\.toml:\d+: warning: memory-unused: \d+M of 1G: .*; ", done.stdout)
    assert "cpu 1  one\n" in done.stdout  # the map, all the same
    assert hv("check", str(part), "--strict").stdout == done.stdout
    assert hv("check", str(part), "--strict").returncode == 1
    rows = json.loads(hv("check", str(part), "--json").stdout)
    assert [(row["level"], row["rule"]) for row in rows] == [
        ("warning", "cpus-unused"), ("warning", "memory-unused")]
    part.write_text(part.read_text() + "x = 1\n")
    rows = json.loads(hv("check", str(part), "--json").stdout)
    assert [row["level"] for row in rows] == ["error"]
    # It boots with its warnings.
    part.write_text(part.read_text().replace("x = 1\n", ""))
    assert hv("boot", str(part), "--dry-run").returncode == 0


def test_new_passes_check(hv: Hv) -> None:
    image = hv.folder / "mine.elf"
    image.write_bytes(images.elf64(machine=183))  # for another processor
    done = hv("new", str(hv.folder / "a"), "--image", str(image))
    assert done.returncode == 1 and "image-machine" in done.stderr, done
    assert not (hv.folder / "a.toml").exists()  # nothing is left
    guests = ROOT / "build" / "guests"
    if not (guests / "beat.elf").is_file():
        pytest.skip("the guests are not built")
    for words in ([], ["--linux"]):
        if words and not (guests / "linux" / "vmlinuz").is_file():
            continue
        target = hv.folder / f"p{len(words)}"
        done = hv("new", str(target), *words, VIPERVISOR_BUILD=str(ROOT / "build"))
        assert done.returncode == 0, done.stderr
        assert hv("check", f"{target}.toml").returncode == 0


def test_completion_knows_every_command_and_option() -> None:
    parser = build_parser()
    for write in (completion.bash, completion.zsh, completion.fish):
        text = write(parser)
        for name, (_, sub) in completion.commands_of(parser).items():
            assert re.search(rf"\b{name}\b", text)
            for action in completion.options_of(sub):
                long = [o for o in action.option_strings if o.startswith("--")]
                assert all(o[2:] in text for o in long)


def test_bash_completes(hv: Hv) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    script = hv("completion", "bash").stdout
    script += "COMP_WORDS=(hv boot --backend ''); COMP_CWORD=3; _hv; echo \"${COMPREPLY[@]}\"\n"
    script += "COMP_WORDS=(hv doc); COMP_CWORD=1; _hv; echo \"${COMPREPLY[@]}\"\n"
    for words in ("boot --dry", "boot part", "check --board part", "doctor part", "run --memory p",
                  "completion f"):
        count = len(words.split())
        script += f"COMP_WORDS=(hv {words}); COMP_CWORD={count}; _hv; echo \"${{COMPREPLY[@]}}\"\n"
    (hv.folder / "part.toml").write_text("")
    done = subprocess.run(
        [bash], input=script, capture_output=True, text=True, check=True, cwd=hv.folder)
    assert done.stdout.splitlines() == [
        "svm vmx", "doctor", "--dry-run", "part.toml", "part.toml", "", "", "fish"]


def test_fish_completes(hv: Hv) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish here")
    (hv.folder / "part.toml").write_text("")
    script = hv("completion", "fish").stdout
    for words in ("doc", "boot --backend ", "boot --dry", "boot part", "check --board part",
                  "doctor part", "run --memory p", "completion f"):
        script += f"string join -- ' ' (complete -C 'hv {words}' | string replace -r '\\t.*' '')\n"
    done = subprocess.run(
        [fish, "--no-config"], input=script, capture_output=True, text=True, check=False,
        cwd=hv.folder, env={**os.environ, "HOME": str(hv.folder)})
    assert done.stdout.split("\n")[:-1] == [
        "doctor", "svm vmx", "--dry-run", "part.toml", "part.toml", "fish"], done.stdout


def test_zsh_takes_it(hv: Hv) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("there is no zsh here")
    script = "autoload -Uz compinit; compinit -D -u\n" + hv("completion", "zsh").stdout
    script += "whence -w _hv; print $_comps[hv]\n"
    done = subprocess.run([zsh, "-f"], input=script, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("_hv: function\n_hv\n", "")


def test_doctor_says_what_lacks(hv: Hv) -> None:
    env = {"VIPERVISOR_QEMU": "/no/qemu", "VIPERVISOR_BOCHS": "/no/bochs", "VIPERVISOR_GRUB": "/no"}
    done = hv("doctor", "--json", **env)
    assert done.returncode == 1
    answers = {row["name"]: row for row in json.loads(done.stdout)}
    assert not answers["QEMU"]["ok"] and "/no/qemu" in answers["QEMU"]["text"]
    assert "without QEMU" in answers["svm on QEMU"]["text"]
    assert "apt-get install" in answers["ISO images"]["text"]
    assert "first step" in hv("doctor", **env).stdout
    assert hv.leftovers() == []


def test_version_is_the_packages(hv: Hv) -> None:
    value = json.loads(hv("version", "--json", VIPERVISOR_QEMU="/no/qemu").stdout)
    assert value["hv"] and value["qemu"] is None
    assert value["monitor"].split()[0]


def test_every_command_that_starts_an_emulator_has_a_dry_run(hv: Hv) -> None:
    image = hv.image(lines=["up"])
    bench = hv.folder / "build" / "guests" / "bench.elf"
    bench.parent.mkdir()
    bench.write_bytes(images.multiboot1_elf())
    for words in (("boot", hv.partition(one={"lines": ["up"]})), ("probe",),
                  ("bench", "--backend", "svm"),
                  ("run", image, "--kind", "flat32")):
        done = hv(*words, "--dry-run")
        assert (done.returncode, done.stderr) == (0, ""), words
        assert "fake_qemu" in done.stdout and "-kernel" in done.stdout
    if not (ROOT / "build" / "vipervisor.bin").is_file():
        pytest.skip("the monitor is not built")
    done = hv("diff", image, "--kind", "flat32", "--dry-run", VIPERVISOR_BUILD=str(ROOT / "build"))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^== svm\n(.*\n)+== vmx\n", done.stdout), done.stdout
    assert hv.leftovers() == []


def test_dry_run_starts_nothing(hv: Hv) -> None:
    done = hv.run("--dry-run", lines=["up"])
    assert done.returncode == 0, done.stderr
    assert "-kernel" in done.stdout and "fake_qemu" in done.stdout
    assert "up" not in done.stdout.split()
    assert hv.leftovers() == []


def test_new_with_an_image_of_ones_own(hv: Hv, monkeypatch: pytest.MonkeyPatch) -> None:
    (hv.folder / "my-kernel.elf").write_bytes(images.multiboot1_elf())
    done = hv("new", str(hv.folder / "a"), "--image", str(hv.folder / "my-kernel.elf"))
    assert done.returncode == 0, done.stderr
    text = (hv.folder / "a.toml").read_text()
    assert 'name = "my_kernel"' in text and 'on_crash = "stop"' in text
    done = hv("new", str(hv.folder / "b"), "--image", str(hv.folder / "none.elf"))
    assert done.returncode == 1
    assert "none.elf is missing: name the file that you have built\n" in done.stderr
    # An installed package has no Makefile.
    empty = hv.folder / "installed"
    empty.mkdir()
    monkeypatch.setattr(paths, "_INSTALLED", empty)
    monkeypatch.delenv("VIPERVISOR_BUILD", raising=False)
    with pytest.raises(HostError, match="the installed package has no guests"):
        paths.built("guests/bench.elf")
