"""One-line guests: what the assembler makes of them, and how its errors are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from vipervisor import UsageError, assemble

END = "f4ebfd"


@pytest.mark.parametrize(
    "mode, source, code",
    [
        (64, "mov $0,%eax; cpuid; hlt", "b8000000000fa2f4"),
        (64, 'jmp 1f; .ascii "a;b"; 1: hlt # no; code\nnop', "eb03613b62f490"),
        (64, "/* a; b\n c */ nop; jmp there; there: hlt", "90eb00f4"),
        (64, ".intel_syntax noprefix; mov rax, [rbx+rcx*4+8]", "488b448b08"),
        (32, "mov $1,%eax; inc %eax", "b80100000040"),
        (16, "mov $1,%ax; int $0x10", "b80100cd10"),
        (16, "mov $1,%eax; jmp *1f; 1: .word 5", "66b801000000ff260a7c0500"),
    ],
)
def test_code(tmp_path: Path, mode: int, source: str, code: str) -> None:
    image, _ = assemble.assemble(source, mode, tmp_path)
    assert image.read_bytes().hex() == code + END


@pytest.mark.parametrize(
    "source, said, line, caret",
    [
        ("nop; movv $0,%eax; hlt", "no such instruction", "nop; movv $0,%eax; hlt", (5, 12)),
        ("mov $0,%eax; mov %rax,%ebx", "operand", "mov $0,%eax; mov %rax,%ebx", (13, 3)),
        ("hlt\n\tnop; push %foo\nnop", "bad register name `%foo'", "\tnop; push %foo", (11, 4)),
        ("jmp foo; hlt", "nothing here is called foo", "jmp foo; hlt", (4, 3)),
    ],
)
def test_errors_have_their_place(
    tmp_path: Path, source: str, said: str, line: str, caret: tuple[int, int]
) -> None:
    with pytest.raises(UsageError) as raised:
        assemble.assemble(source, 64, tmp_path)
    first, second, third = str(raised.value).splitlines()
    assert said in first and second == f"  {line}"
    lead = "".join("\t" if c == "\t" else " " for c in line[: caret[0]])
    assert third == "  " + lead + "^" * caret[1]


@pytest.mark.parametrize("source", ["", " ; ;", "# hlt"])
def test_no_instruction(tmp_path: Path, source: str) -> None:
    with pytest.raises(UsageError, match="-e has no instruction"):
        assemble.assemble(source, 64, tmp_path)
