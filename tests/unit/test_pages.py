"""One table of control-structure fields, and pages that are generated from what they describe."""

import re
import subprocess
from pathlib import Path

import pytest
from vipervisor import reference
from vipervisor.explain import explain, fields

ROOT = Path(__file__).resolve().parents[2]
VIRT = ROOT / "hypervisor" / "virt"
# Groups of bits in the headers, and the fields that they are bits of.
GROUPS = {"PIN_": "PIN_BASED_CONTROLS", "CPU_": "PRIMARY_CONTROLS", "CPU2_": "SECONDARY_CONTROLS",
          "EXIT_CTL_": "EXIT_CONTROLS", "ENTRY_CTL_": "ENTRY_CONTROLS"}
BIT = r"#define {}(\w+) \(UINT32_C\(1\) << (\d+)\)"


@pytest.mark.parametrize("path", reference.PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_current(path):
    assert path.read_text() == reference.PAGES[path](), "run `make reference`"


def test_every_vmcs_field_of_the_core_is_in_the_table_as_it_is_there():
    text = (VIRT / "vmx_defs.h").read_text()
    found = {n: int(v, 16) for n, v in re.findall(r"^    VMCS_(\w+) = (0x\w+),", text, re.M)}
    assert len(found) > 80
    for name, encoding in found.items():
        other = "VMCS_" + name if "VMCS_" + name in fields.VMCS else name
        assert fields.VMCS[other] == encoding, name


def test_every_vmcb_field_lies_where_the_core_has_it(tmp_path):
    rows = []
    for name, (offset, size) in fields.VMCB.items():
        segment = re.fullmatch(r"([CDEFGS]S|[GIL]DTR|TR)_(SELECTOR|ATTRIBUTES|LIMIT|BASE)", name)
        member = f"{segment[1]}.{segment[2]}".lower() if segment else name.lower()
        rows.append(f"A({member}, {offset}, {size})")
    source = tmp_path / "check.c"
    source.write_text(
        '#include "virt/svm_vmcb.h"\n'
        "#define A(m, o, n) _Static_assert(offsetof(struct vmcb, m) == o"
        " && sizeof(((struct vmcb *)0)->m) == n, #m);\n" + "\n".join(rows) + "\n"
    )
    command = ["gcc", "-std=c11", "-fsyntax-only", "-I", str(ROOT / "hypervisor"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(rows) > 80


def test_bits_are_those_of_the_headers():
    vmx = (VIRT / "vmx_defs.h").read_text()
    for prefix, name in GROUPS.items():
        found = {text: int(bit) for text, bit in re.findall(BIT.format(prefix), vmx)}
        assert found and found == {text: bit for bit, text in fields.BITS[name]}
    svm = (VIRT / "svm_vmcb.h").read_text()
    for part in re.split(r"(?=// Intercept vector \d)", svm)[1:]:
        number, block = part[20:21], part.split("\n\n")[0]
        found = {t: int(b) for t, b in re.findall(BIT.format("INTERCEPT_"), block)}
        assert found == {t: bit for bit, t in fields.BITS[f"INTERCEPT_VECTOR{number}"]}


def test_control_words_are_packed_and_unpacked():
    word = fields.pack("PRIMARY_CONTROLS", ["HLT", "SECONDARY", 1])
    assert word == 1 << 7 | 1 << 31 | 1 << 1
    assert fields.unpack("PRIMARY_CONTROLS", word) == [1, "HLT", "SECONDARY"]
    with pytest.raises(ValueError, match="PIN_BASED_CONTROLS has no bit HLT; it has"):
        fields.pack("PIN_BASED_CONTROLS", ["HLT"])
    assert fields.unpack("GUEST_RIP", 5) == [0, 2]


def test_widths_and_sources():
    expected = {"VPID": 2, "TSC_OFFSET": 8, "EXIT_REASON": 4, "GUEST_RIP": 8}
    assert {name: fields.width("vmcs", name) for name in expected} == expected
    assert fields.source("vmcs", "EXIT_REASON").startswith("read-only data (Intel SDM")
    assert fields.source("vmcs", "HOST_RIP").startswith("host state")
    assert fields.source("vmcb", "RIP").startswith("state save area (AMD APM")


@pytest.mark.parametrize("words", ["GUEST_CR3", "vmcs guest-cr3", "guest_cr3"])
def test_explain_a_field(words):
    (topic,) = explain(words)
    assert topic.name == "VMCS GUEST_CR3" and "encoding 0x6802, 8 bytes" in topic.text()


def test_explain_a_field_that_both_have():
    assert {t.name for t in explain("TSC_OFFSET")} == {"VMCS TSC_OFFSET", "VMCB TSC_OFFSET"}
    (topic,) = explain("vmcb exitcode")
    assert "offset 0x70, 8 bytes" in topic.text()
    assert "7 HLT" in explain("PRIMARY_CONTROLS")[0].text()
