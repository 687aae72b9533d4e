"""Dependencies point one way (docs/architecture.md): who may include and import whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from check.files import numbered, place, walk

C_SUFFIXES = (".c", ".h", ".S")
_INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]')
_CONDITION = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b(.*)")
_VENDOR = re.compile(r"\b\w*(?:vmx|svm|vmcs|vmcb)\w*\b", re.IGNORECASE)
_OPS = re.compile(r"\b(?:svm|vmx)_ops\b")

# What the folders of the core may include: their own layer and those below.
LAYERS = {
    "cpu": ("cpu/", "boot/bootinfo.h"),
    "dev": ("dev/", "cpu/"),
    "virt": ("virt/", "dev/", "cpu/", "boot/bootinfo.h"),
    "boot": ("boot/", "virt/", "dev/", "cpu/"),
}
# The one place where both back ends are named, and the generator of assembly offsets.
SEAM = re.compile(r"^virt(?:_\w+)?\.[ch]$|^offsets\w*\.c$")
# The seam itself may declare them.
OPS_SEAM = re.compile(r"^virt\.[ch]$|^vcpu\.[ch]$")


def check(root: Path) -> list[str]:
    return [*core(root), *port_header(root), *guests(root), *python_imports(root)]


def includes(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in numbered(path):
        match = _INCLUDE.match(line)
        if match:
            yield number, match[1]


def backend_of(name: str) -> str | None:
    """The back end that a file belongs to by its name."""
    return next((v for v in ("vmx", "svm") if name.startswith(v)), None)


def core(root: Path) -> Iterator[str]:
    for path in walk(root, ["hypervisor"], C_SUFFIXES):
        layer = path.relative_to(root / "hypervisor").parts[0]
        vendor = backend_of(path.name)
        for number, target in includes(path):
            for what in include_findings(layer, path.name, target):
                yield f"{place(root, path, number)}: {what}"
        if vendor:
            continue
        for number, line in numbered(path):
            condition = _CONDITION.match(line)
            name = condition and _VENDOR.search(condition[1])
            if name and not name[0].startswith("VIPERVISOR_"):
                yield f"{place(root, path, number)}: {name[0]} in a condition above the seam"
            if _OPS.search(line.split("//", 1)[0]) and not OPS_SEAM.match(path.name):
                yield f"{place(root, path, number)}: only virt.c names the operations of a back end"


def include_findings(layer: str, name: str, target: str) -> Iterator[str]:
    """What is wrong with this include in a file of this layer."""
    if "/" in target and layer in LAYERS:
        top = target.split("/")[0]
        if top in LAYERS and not target.startswith(LAYERS[layer]):
            yield f"{layer} includes {target}; it may include {' '.join(LAYERS[layer])}"
    if target.startswith("py/"):
        yield f"{target}: MicroPython's headers belong under firmware/port"
    theirs = backend_of(Path(target).name)
    mine = backend_of(name)
    if theirs and mine and theirs != mine:
        yield f"{name} includes {target}: the back ends never include each other"
    if theirs and not mine and not SEAM.match(name):
        yield f"{target}: only the back end's own files include it"


def port_header(root: Path) -> Iterator[str]:
    """py/*.h only under firmware/port."""
    for path in walk(root, ["guests", "tests/core"], C_SUFFIXES):
        for number, target in includes(path):
            if target.startswith("py/"):
                yield f"{place(root, path, number)}: {target} outside firmware/port"


def guests(root: Path) -> Iterator[str]:
    """Guests share nothing with the core but the documented ABI."""
    own = {p.name for p in walk(root, ["guests"], [".h"])}
    free = {"stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "limits.h"}
    for path in walk(root, ["guests"], C_SUFFIXES):
        for number, target in includes(path):
            if target not in own | free:
                yield f"{place(root, path, number)}: {target} is not part of guests/"


def python_imports(root: Path) -> Iterator[str]:
    """hv.rules imports nothing else of hv; hv knows no host package; tools know hv.rules only."""
    for path in walk(root, ["firmware/hv"], [".py"]):
        inside = path.relative_to(root / "firmware" / "hv").parts
        for line, module, relative in imported(path):
            top = module.split(".")[0]
            where = place(root, path, line)
            if top in ("vipervisor", "prepare", "check", "tests"):
                yield f"{where}: hv imports {module}, which only the host has"
            if inside[0] != "rules":
                continue
            leaves = relative >= len(inside) or (top == "hv" and not module.startswith("hv.rules"))
            if leaves or top == "_hv":
                yield f"{where}: hv.rules imports {module or '..'}; it imports only itself"
    for path in walk(root, ["tools/vipervisor"], [".py"]):
        for line, module, relative in imported(path):
            if relative:
                continue
            top = module.split(".")[0]
            if top == "_hv" or (top == "hv" and not module.startswith("hv.rules")):
                where = place(root, path, line)
                yield f"{where}: the tools import {module}; only hv.rules is theirs"


def imported(path: Path) -> Iterator[tuple[int, str, int]]:
    """(line, module, dots of a relative import) of every import in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            # `from hv import rules` means hv.rules.
            if node.level == 0 and module == "hv":
                for alias in node.names:
                    yield node.lineno, f"hv.{alias.name}", 0
            else:
                yield node.lineno, module, node.level
