"""Every public name of `hv` and `_hv` says what it is: in words, with the unit of each number,
the errors that it raises, and where it is written. What they say is docs/reference.md."""

import ast
import re

import pytest
from vipervisor import pages
from vipervisor.paths import ROOT

UNITS = re.compile(
    r"\b(bytes?|bits?|ticks?|milliseconds|seconds|nanoseconds|address(es)?|numbers?|selector|"
    r"exits|how many|how much|registers?|place|table)\b", re.I)
# What a parameter of that name is told in.
PARAMETERS = {"timeout": r"\bseconds\b", "milliseconds": r"", "gva": r"linear|translation"}
HV, CORE = pages.Stub("hv.pyi"), pages.Stub("_hv.pyi")
SOURCES = pages.Sources()


def members():
    """(name, node, its words) of each function, method and property."""
    for node in HV.functions:
        yield node.name, node, SOURCES.of(node.name)[0]
    for kind in HV.classes:
        for node in kind.body:
            if isinstance(node, ast.FunctionDef):
                name = f"{kind.name}.{node.name}"
                yield name, node, SOURCES.of(name)[0] or ast.get_docstring(node) or ""
    for node in CORE.functions:
        yield f"_hv.{node.name}", node, ast.get_docstring(node) or ""
    for kind in CORE.classes:
        for node in kind.body:
            if isinstance(node, ast.FunctionDef):
                yield f"_hv.{kind.name}.{node.name}", node, ast.get_docstring(node) or ""


def attributes():
    for stub in (HV, CORE):
        for node in stub.attributes:
            if not ast.unparse(node.target).startswith("_"):
                yield ast.unparse(node.target), node, stub.words(node)
        for kind in stub.classes:
            for node in kind.body:
                if isinstance(node, ast.AnnAssign):
                    yield f"{kind.name}.{ast.unparse(node.target)}", node, stub.words(node)


def is_number(annotation):
    return annotation is not None and re.search(r"\b(int|float)\b", ast.unparse(annotation))


def ids(found):
    return found if isinstance(found, str) else ""


def test_attributes_have_words_and_numbers_have_a_unit():
    found = list(attributes())
    assert len(found) > 180
    assert [name for name, _, words in found if not words] == []
    assert [name for name, node, words in found
            if ast.unparse(node.annotation) in ("int", "float", "int | None", "list[int]")
            and not UNITS.search(words)] == []


def test_functions_have_words():
    found = list(members())
    assert len(found) > 200
    unsaid = ("__init__", "__enter__", "__exit__", "__len__", "__iter__")
    assert [name for name, node, words in found
            if not words and node.name not in unsaid] == []


def test_what_functions_return_and_take_has_a_unit():
    wrong = []
    for name, node, words in members():
        if node.name.startswith("__"):
            continue
        if is_number(node.returns) and not UNITS.search(words):
            wrong.append(f"{name} returns a number of what?")
        for argument in node.args.args + node.args.kwonlyargs:
            unit = PARAMETERS.get(argument.arg)
            if unit is not None and not re.search(unit, words):
                wrong.append(f"{name}: {argument.arg} in what?")
    assert wrong == []


def test_classes_have_words_and_all_is_somewhere():
    for kind in HV.classes:
        words, place = SOURCES.of(kind.name)
        assert words or ast.get_docstring(kind), kind.name
        assert place or "firmware/" in (ast.get_docstring(kind) or ""), kind.name
    for node in HV.functions:
        assert SOURCES.of(node.name)[1], node.name
    missing = {node.name for node in (*CORE.functions, *CORE.classes)} - set(pages.core_sources())
    assert missing == set()


class Raised(ast.NodeVisitor):
    """The exceptions that a function raises, also by helpers of its class or module."""

    def __init__(self, helpers):
        self.names = set()
        self._helpers = helpers

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call):
            self.names.add(ast.unparse(node.exc.func))
        self.generic_visit(node)

    def visit_Call(self, node):
        name = ast.unparse(node.func).removeprefix("self.")
        helper = self._helpers.pop(name, None)
        if name.startswith("_") and helper is not None:
            self.visit(helper)
        self.generic_visit(node)

    def visit_FunctionDef(self, node):
        for statement in node.body:
            self.visit(statement)


def raised():
    """(name, exceptions) of each function and method of the stub, by its source."""
    wanted = {name for name, _, _ in members()}
    for path in sorted(pages.HV.rglob("*.py")):
        tree = ast.parse(path.read_text())
        top = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        kinds = [(n.name + ".", {m.name: m for m in n.body if isinstance(m, ast.FunctionDef)})
                 for n in tree.body if isinstance(n, ast.ClassDef)]
        for prefix, functions in [("", top), *kinds]:
            for name, node in functions.items():
                if prefix + name in wanted and SOURCES.of(prefix + name)[1] == str(
                        path.relative_to(ROOT)):
                    visitor = Raised({**top, **functions})
                    visitor.visit(node)
                    yield prefix + name, visitor.names


@pytest.mark.parametrize(("name", "errors"), list(raised()), ids=ids)
def test_errors_are_named(name, errors):
    words = next(words for known, _, words in members() if known == name)
    if name.endswith(("__getitem__", "__setitem__")):
        kind = name.partition(".")[0]
        words += SOURCES.of(kind)[0]
    known = {e.rpartition(".")[2] for e in errors} - {"NotImplementedError", "SystemExit"}
    assert {e for e in known if not re.search(rf"\b{e}\b", words)} == set()


def test_errors_of_the_core_are_named():
    """A function of module _hv whose C code checks a result says which errors there are."""
    text = "".join(path.read_text() for path in sorted(pages.PORT.glob("modhv*.c")))
    bodies = dict(re.findall(r"^static mp_obj_t hv_(\w+)\([^)]*\) \{\n(.*?)^\}", text, re.M | re.S))
    found = {name: "hv_check(" in body or "OSError" in body for name, body in bodies.items()}
    assert sum(found.values()) > 20
    docs = {node.name: ast.get_docstring(node) or "" for node in CORE.functions}
    wrong = [name for name, can in found.items() if can and name in docs
             and "OSError" not in docs[name]]
    assert wrong == []
