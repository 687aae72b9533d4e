"""The checks of `make check` find what they are there to find, and nothing in good text."""

from __future__ import annotations

from pathlib import Path

import pytest
from check import headers, layers, limits, links, objects, sizes, style


@pytest.mark.parametrize(
    "line, what",
    [
        ("    if (x) {", None),
        ("    } else if (x) {", None),
        ("    } else {", None),
        ("    do {", None),
        ("    } while (x);", None),
        ("    } while (0)", None),
        ("    if (long_condition &&", None),
        ('    if (c == \')\' && f("(")) {', None),
        ("    for (;;) { // for ever", None),
        ("    // if (x) y;", None),
        ("#define IF_THERE(x) if (x) { \\", None),
        ("    if (x) y();", "if without"),
        ("    if(x) {", "no space between if and ("),
        ("    while (x)", "while without"),
        ("    else y();", "else without"),
        ("    for (;;);", "for without"),
        ("    if (x) { y(); }", "belongs on its own lines"),
    ],
)
def test_braces(line: str, what: str | None) -> None:
    found = style.brace_finding(line)
    assert (found is None) if what is None else (found is not None and what in found)


def test_columns_tabs_and_trailing_space() -> None:
    assert style.line_findings("x" * style.COLUMNS, True) == []
    assert len(style.line_findings("\t" + "x" * style.COLUMNS + " ", True)) == 3


@pytest.mark.parametrize(
    "layer, name, target, good",
    [
        ("dev", "pic.c", "dev/pic.h", True),
        ("dev", "pic.c", "cpu/string.h", True),
        ("dev", "pic.c", "virt/vcpu.h", False),
        ("cpu", "smp.c", "boot/bootinfo.h", True),
        ("cpu", "smp.c", "boot/multiboot.h", False),
        ("cpu", "smp.c", "dev/uart.h", False),
        ("virt", "vmx.c", "virt/vmx_defs.h", True),
        ("virt", "vmx.c", "virt/svm_vmcb.h", False),
        ("virt", "exits.c", "virt/svm_vmcb.h", False),
        ("virt", "virt.c", "virt/svm.h", True),
        ("virt", "exits.c", "py/runtime.h", False),
        ("virt", "exits.c", "stdint.h", True),
    ],
)
def test_includes(layer: str, name: str, target: str, good: bool) -> None:
    assert (list(layers.include_findings(layer, name, target)) == []) is good


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_vendor_names_stop_at_the_seam(tmp_path: Path) -> None:
    write(tmp_path / "hypervisor/virt/exits.c", "#ifdef WITH_VMX\n#endif\nextern svm_ops;\n")
    write(tmp_path / "hypervisor/virt/virt.c", "const void *all[] = {&svm_ops, &vmx_ops};\n")
    write(tmp_path / "hypervisor/virt/svm.c", "#ifdef SVM_DEBUG\n#endif\nsvm_ops = 0;\n")
    found = layers.check(tmp_path)
    assert [f.split(": ")[0] for f in found] == [
        "hypervisor/virt/exits.c:1",
        "hypervisor/virt/exits.c:3",
    ]


def test_guests_and_python_keep_to_themselves(tmp_path: Path) -> None:
    write(tmp_path / "guests/lib/guest.h", "#include <stdint.h>\n")
    write(tmp_path / "guests/a/a.c", '#include "guest.h"\n#include "virt/vcpu.h"\n')
    write(tmp_path / "firmware/hv/rules/memory.py", "from .table import x\nimport hv.guest\n")
    write(tmp_path / "firmware/hv/guest.py", "import _hv\nimport vipervisor\n")
    write(tmp_path / "tools/vipervisor/a.py", "from hv import rules\nfrom hv import guest\n")
    found = layers.check(tmp_path)
    assert [f.split(": ")[0] for f in found] == [
        "guests/a/a.c:2",
        "firmware/hv/guest.py:2",
        "firmware/hv/rules/memory.py:2",
        "tools/vipervisor/a.py:2",
    ]


def test_a_header_that_leans_on_another_is_found(tmp_path: Path) -> None:
    write(tmp_path / "hypervisor/a.h", "#include <stdint.h>\nuint32_t a(void);\n")
    write(tmp_path / "hypervisor/b.h", "uint32_t b(void);\n")
    (tmp_path / "guests").mkdir()
    (found,) = headers.check(tmp_path)
    assert found.startswith("hypervisor/b.h: does not compile alone")


def test_vector_registers_in_the_core_are_found() -> None:
    listing = (
        "vcpu.o:     file format elf64-x86-64\n\n"
        "0000000000000000 <enter>:\n"
        "   0:\tmov    %rax,%rbx\n"
        "   3:\tmovaps %xmm0,(%rdi)\n"
        "   6:\tfld    %st(1)\n"
    )
    assert objects.uses(listing) == [
        "vcpu.o: enter: movaps %xmm0,(%rdi)",
        "vcpu.o: enter: fld %st(1)",
    ]


def test_the_accessors_of_a_guest_s_vector_registers_are_allowed() -> None:
    listing = (
        "emulate_vector.o:     file format elf64-x86-64\n\n"
        "0000000000000000 <vector_read>:\n"
        "   0:\tmovups %xmm0,(%rsi)\n"
        "0000000000000010 <other>:\n"
        "  10:\tmovups %xmm0,(%rsi)\n"
    )
    assert objects.uses(listing) == ["emulate_vector.o: other: movups %xmm0,(%rsi)"]


def test_code_lines_leave_blank_lines_and_comments_out() -> None:
    assert sizes.code_lines("// a\n\nint x; // b\n    // c\nint y;\n") == 2


def test_a_core_that_grew_too_large_is_found(tmp_path: Path) -> None:
    write(tmp_path / "hypervisor/a.c", "int x;\n" * (sizes.CORE_LINES + 1))
    assert sizes.check(tmp_path) == [
        f"hypervisor/: {sizes.CORE_LINES + 1} lines of C and assembly, at most {sizes.CORE_LINES}"
    ]


def test_limits_need_every_field() -> None:
    whole = {"test": "t", "backend": "svm", "fault": "f", "probe": "p"}
    assert limits.entry_findings({"limit": [whole]}) == []
    assert limits.entry_findings({}) == []
    assert limits.entry_findings({"limit": [{**whole, "probe": " "}]}) == [
        "t: probe is missing or empty"
    ]
    assert "backend 'kvm'" in limits.entry_findings({"limit": [{**whole, "backend": "kvm"}]})[0]
    assert "unknown key" in limits.entry_findings({"limits": [whole]})[0]
    skip = {"guest": "g", "check": "c", "backend": "svm", "fault": "f", "probe": "p"}
    assert limits.entry_findings({"limit": [whole], "skip": [skip]}) == []
    assert limits.entry_findings({"skip": [{**skip, "check": ""}]}) == [
        "g: check is missing or empty"
    ]


def test_limits_name_tests_that_exist(tmp_path: Path) -> None:
    write(tmp_path / "tests/machine/test_a.py", "def test_b(run_guest):\n    pass\n")
    assert limits.test_finding(tmp_path, "tests/machine/test_a.py::test_b") is None
    assert limits.test_finding(tmp_path, "tests/machine/test_a.py::test_c") is not None
    assert limits.test_finding(tmp_path, "tests/machine/test_d.py::test_b") is not None


def test_links(tmp_path: Path) -> None:
    write(tmp_path / "docs/a.md", "# A Title: `code`\n\ntext\n")
    write(
        tmp_path / "README.md",
        "[good](docs/a.md) [heading](docs/a.md#a-title-code) [web](https://x.example/)\n"
        "[gone](docs/b.md)\n"
        "[no heading](docs/a.md#other)\n"
        "`[code](nowhere)`\n```\n[code](nowhere)\n```\n",
    )
    assert links.check(tmp_path) == [
        "README.md:2: docs/b.md: no such file",
        "README.md:3: docs/a.md#other: no such heading",
    ]
