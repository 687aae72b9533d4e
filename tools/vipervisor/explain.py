"""`hv explain`: rules, exit kinds, statuses, exit reasons, registers and leaves in words."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import partition, rule_examples

# One table for the prompt, this command and docs/fields.md.
fields = importlib.import_module(partition.rules.__name__ + ".fields")
bits = importlib.import_module(partition.rules.__name__ + ".bits")
exits = importlib.import_module(partition.rules.__name__ + ".exits")
registers = importlib.import_module(partition.rules.__name__ + ".registers")
kinds = importlib.import_module(partition.rules.__name__ + ".kinds")
rows = exits.rows
# Kind -> (what it means, what Vipervisor does).
KINDS = {**kinds.KINDS, "none": exits.NONE}

# Exit statuses of `hv run`, and of the other commands.
STATUSES = {
    "0": ("success", "the guest wrote 0 to port 0xF4 or powered off; with --until, a match"),
    "1": ("failure", "of every command but `hv run`, where it is the guest's own status"),
    "2": ("wrong usage", "of every command but `hv run`, where it is the guest's own status"),
    "119": ("the guest's status, cut", "it wrote 119 or more to port 0xF4; stderr has the value"),
    "121": ("reset", "the guest reset itself and --reboot was not given"),
    "123": ("ended first", "the guest ended before --until's match, or before its command did"),
    "124": ("timeout", "--timeout ran out"),
    "125": ("not the guest's fault", "usage, files, an image that is none, the emulator"),
    "126": ("crash", "the guest crashed; stderr has the crash record"),
    "129": ("hang-up", "the terminal went away"),
    "130": ("Ctrl-C", "the run was interrupted"),
    "143": ("SIGTERM", "the run was asked to end"),
}


@dataclass(frozen=True)
class Topic:
    """One thing that can be explained."""

    kind: str  # rule, exit kind, status, ...
    name: str
    lines: tuple[str, ...]
    source: str = ""  # the manual's section

    def text(self) -> str:
        source = f" ({self.source})" if self.source else ""
        return "\n".join([f"{self.name}: {self.kind}{source}", *("  " + x for x in self.lines)])

    def json(self) -> dict[str, object]:
        text = list(self.lines)
        return {"kind": self.kind, "name": self.name, "text": text, "source": self.source}


def explain(words: str) -> list[Topic]:
    """Everything that `words` may mean; empty when it is nothing known here."""
    text = words.strip().lower()
    found: list[Topic] = []
    for look in _LOOKS:
        found += look(text)
    return found


def known() -> dict[str, list[str]]:
    """What can be explained, by heading."""
    return {
        "rules of `hv check`": list(partition.rules.RULES),
        "exit kinds": list(KINDS),
        "exit statuses": [f"status {number}" for number in STATUSES],
        "VMX exit reasons": [f"vmx {number}" for number, *_ in rows(exits.VMX)],
        "SVM exit codes": [
            f"svm {number:#x}" for number, *_ in (*exits.SVM_RANGES, *rows(exits.SVM))
        ],
        "VM-instruction errors": [f"error {number}" for number, _ in rows(exits.VM_ERRORS)],
        "model-specific registers": [f"msr {index:#x}" for index, *_ in rows(registers.MSRS)],
        "fields of the VMCS": list(fields.VMCS),
        "fields of the VMCB": list(fields.VMCB),
        "CPUID leaves": [f"cpuid {leaf:#x}" for leaf, *_ in rows(registers.LEAVES)],
        "CPUID bits": bits.names(),
    }


def nearest(words: str) -> str | None:
    msrs = [name.lower() for _, name, *_ in rows(registers.MSRS)]
    names = [*partition.rules.RULES, *KINDS, *bits.names(), *msrs]
    near: str | None = partition.rules.names.nearest(words.strip().lower(), names)
    return near


def _rule(text: str) -> Iterator[Topic]:
    if text not in partition.rules.RULES:
        return
    why, remedy = partition.rules.RULES[text]
    lines = [f"why      {why}", f"remedy   {remedy}"]
    wrong, right = rule_examples.change(text)
    lines += [f"wrong    {line}" for line in wrong]
    lines += [f"right    {line}" for line in right]
    yield Topic("a rule of `hv check`", text, tuple(lines), "docs/partition.md")


def _kind(text: str) -> Iterator[Topic]:
    name = text.replace("-", "_").replace(" ", "_")
    if name in KINDS:
        what, does = KINDS[name]
        raw = [f"vmx {n} {title}" for n, title, kind in rows(exits.VMX) if kind == name]
        raw += [f"svm {n:#x} {title}" for n, title, kind in rows(exits.SVM) if kind == name]
        raw += [f"svm {a:#x}-{b:#x}" for a, b, _, kind in exits.SVM_RANGES if kind == name]
        lines = [f"meaning  {what}", f"here     {does}"]
        lines += [f"from     {', '.join(raw)}"] if raw else []
        yield Topic("an exit kind", name, tuple(lines), "docs/python.md")


def _status(text: str) -> Iterator[Topic]:
    number = exits.number(text, ("exit status", "status"))
    if number is None:
        return
    name = str(number)
    if name in STATUSES:
        title, what = STATUSES[name]
        yield Topic("an exit status", f"status {name}", (f"{title}: {what}",), "docs/cli.md")
    elif 0 < number < 119:
        line = "the value that the guest wrote to port 0xF4, or the status of its command"
        yield Topic("an exit status", f"status {name}", (line,), "docs/cli.md")


def _number(text: str) -> Iterator[Topic]:
    for look in (exits.look, registers.look):
        for kind, name, lines, source in look(text):
            yield Topic(kind, name, lines, source)


def _bit(text: str) -> Iterator[Topic]:
    for title, lines in bits.look(text):
        yield Topic("a CPUID bit", title, tuple(lines), bits.SOURCE)


def _field(text: str) -> Iterator[Topic]:
    for structure, name, lines in fields.look(text):
        title = f"{structure.upper()} {name}"
        yield Topic("a field", title, tuple(lines), fields.source(structure, name))


_LOOKS: tuple[Callable[[str], Iterator[Topic]], ...] = (
    _rule, _kind, _status, _number, _bit, _field,
)
