"""The generated pages about the monitor: control-structure fields from their table, package
`hv` from its stubs and docstrings. reference.py has those about the host, and the list of all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .explain import fields
from .paths import ROOT

HV = ROOT / "firmware" / "hv"
STUBS = ROOT / "firmware" / "stubs"
PORT = ROOT / "firmware" / "port"


def fields_page() -> str:
    out = [
        "# Fields of the control structures",
        "",
        "Generated from `firmware/hv/rules/fields.py`, which `v.vmcs[\"GUEST_CR3\"]` and "
        '`v.vmcb["CR3"]`',
        "read by (`hv explain GUEST_CR3` on the host). `v.vmcs.bits(\"PRIMARY_CONTROLS\")` names "
        "the bits.",
    ]
    for structure, title in (("vmcs", "VMCS (VT-x)"), ("vmcb", "VMCB (AMD-V)")):
        what = "encoding" if structure == "vmcs" else "offset"
        out += ["", f"## {title}", "", f"| field | {what} | bytes | is |", "|---|---|---|---|"]
        table = fields.VMCS if structure == "vmcs" else fields.VMCB
        for name, place in table.items():
            number = place if structure == "vmcs" else place[0]
            width = fields.width(structure, name)
            out.append(f"| `{name}` | {number:#06x} | {width} | {fields.source(structure, name)} |")
    out += ["", "## Bits of control words", "", "| field | bit | name |", "|---|---|---|"]
    for name, bits in fields.BITS.items():
        out += [f"| `{name}` | {bit} | `{text}` |" for bit, text in bits]
    return "\n".join(out) + "\n"


def reference_page() -> str:
    sources = Sources()
    out = [
        "# Reference of package `hv`",
        "",
        "Generated from `firmware/stubs/hv.pyi` and the docstrings of `firmware/hv`; "
        "[the guide](python.md)",
        "says how the parts belong together. Sizes are bytes, times milliseconds where a name "
        "says no",
        "other, addresses guest-physical where they are not called linear. ValueError: a bad "
        "argument;",
        "OSError: a state or a resource; `hv.TimeoutError`: a wait that ended without.",
    ]
    hv = Stub("hv.pyi")
    out += ["", "## Names of the module", ""]
    out += [f"- `hv.{_text(n)}`{_behind(hv.words(n))}" for n in hv.attributes]
    for function in hv.functions:
        out += _entry("hv." + _signature(function), sources.of(function.name), function)
    for node in hv.classes:
        out += _class(node, sources, hv)
    return "\n".join([*out, *_core()]) + "\n"


def _core() -> list[str]:
    """Module _hv, by what its stub says."""
    stub = Stub("_hv.pyi")
    out = ["", "# Module `_hv`", "", *(ast.get_docstring(stub.tree) or "").splitlines()]
    numbers = [n for n in stub.attributes if stub.words(n)]
    registers = ", ".join(f"`{ast.unparse(n.target)}`" for n in numbers[1:])
    out += ["", f"- `_hv.{_text(numbers[0])}`{_behind(stub.words(numbers[0]))}",
            f"- {stub.words(numbers[1])}: {registers}"]
    where = core_sources()
    named: list[ast.FunctionDef | ast.ClassDef] = [*stub.functions, *stub.classes]
    for node in named:
        doc = " ".join((ast.get_docstring(node) or "").split())
        shown = _signature(node) if isinstance(node, ast.FunctionDef) else f"class {node.name}"
        out.append(f"- `{shown}`{_behind(doc)} ({where.get(node.name, '')})")
    return out


def core_sources() -> dict[str, str]:
    """The file of each function and class of module _hv."""
    found = {"Exit": "`firmware/port/modhv_exit.c`"}
    for path in sorted(PORT.glob("*.c")):
        text = path.read_text()
        lives = [f"guest_{verb}" for verb in re.findall(r"^DEFINE_LIFE\((\w+)\);", text, re.M)]
        for name in lives + re.findall(r"^MP_DEFINE_\w+\(hv_(\w+)_obj,", text, re.M):
            found[name] = f"`{path.relative_to(ROOT)}`"
    return found


class Stub:
    """A stub: its names, and the words behind attributes (comments)."""

    def __init__(self, name: str) -> None:
        text = (STUBS / name).read_text()
        self._lines = text.splitlines()
        self.tree = ast.parse(text)
        self.attributes = [n for n in self.tree.body if isinstance(n, ast.AnnAssign)]
        self.functions = [n for n in self.tree.body if isinstance(n, ast.FunctionDef)]
        self.classes = [n for n in self.tree.body if isinstance(n, ast.ClassDef)]

    def words(self, node: ast.AnnAssign) -> str:
        return self._lines[(node.end_lineno or 0) - 1].partition("  # ")[2]


def _behind(words: str) -> str:
    return f": {words}" if words else ""


def _class(node: ast.ClassDef, sources: Sources, stub: Stub) -> list[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    out = ["", f"## class {node.name}" + (f"({bases})" if bases else "")]
    doc, place = sources.of(node.name)
    doc = doc or ast.get_docstring(node) or ""
    out += ["", doc] if doc else []
    out += ["", f"Source: `{place}`"] if place else []
    attributes = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    if attributes:
        out += [""] + [f"- `{_text(n)}`{_behind(stub.words(n))}" for n in attributes]
    rows = []
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            doc = sources.of(f"{node.name}.{item.name}")[0] or ast.get_docstring(item) or ""
            shown = _signature(item)
            if any(ast.unparse(d) == "property" for d in item.decorator_list):
                result = ast.unparse(item.returns) if item.returns else "Any"
                shown = f"{item.name}: {result}"
            rows.append(f"- `{shown}`" + (f": {' '.join(doc.split())}" if doc else ""))
    return out + ([""] + rows if rows else [])


def _entry(shown: str, found: tuple[str, str], node: ast.FunctionDef) -> list[str]:
    doc, place = found
    doc = doc or ast.get_docstring(node) or ""
    out = ["", f"## {node.name}", "", f"    {shown}", ""]
    out += [doc, ""] if doc else []
    return out + ([f"Source: `{place}`"] if place else [])


def _text(node: ast.AnnAssign) -> str:
    return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"


def _signature(node: ast.FunctionDef) -> str:
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({arguments}){result}"


class Sources:
    """Docstrings of the frozen package by the names of its classes and functions."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, str]] = {}
        for path in sorted(HV.rglob("*.py")):
            place = str(path.relative_to(ROOT))
            for name, doc in _docs(ast.parse(path.read_text()).body, ""):
                self._found.setdefault(name, (doc, place))

    def of(self, name: str) -> tuple[str, str]:
        return self._found.get(name, ("", ""))


def _docs(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield prefix + node.name, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            yield from _docs(node.body, f"{node.name}.")
