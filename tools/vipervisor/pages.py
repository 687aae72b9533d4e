"""The generated pages about the monitor: control-structure fields from their table, package
`hv` from its stubs and docstrings. reference.py has those about the host, and the list of all."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .explain import fields
from .paths import ROOT

HV = ROOT / "firmware" / "hv"
STUB = ROOT / "firmware" / "stubs" / "hv.pyi"


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
    sources = _Sources()
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
    tree = ast.parse(STUB.read_text())
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    names = [n for n in tree.body if isinstance(n, ast.AnnAssign)]
    out += ["", "## Names of the module", ""]
    out += [f"- `hv.{_text(n)}`" for n in names]
    for function in functions:
        out += _entry("hv." + _signature(function), sources.of(function.name), function)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            out += _class(node, sources)
    return "\n".join(out) + "\n"


def _class(node: ast.ClassDef, sources: _Sources) -> list[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    out = ["", f"## class {node.name}" + (f"({bases})" if bases else "")]
    doc, place = sources.of(node.name)
    doc = doc or ast.get_docstring(node) or ""
    out += ["", doc] if doc else []
    out += ["", f"Source: `{place}`"] if place else []
    attributes = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    if attributes:
        out += [""] + [f"- `{_text(n)}`" for n in attributes]
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


class _Sources:
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
