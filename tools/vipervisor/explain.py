"""`hv explain`: rules, exit kinds, statuses, exit reasons, registers and leaves in words."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import partition, rule_examples
from .explain_exits import KINDS, SVM, SVM_RANGES, VM_ERRORS, VMX, svm
from .explain_regs import LEAVES, MSRS, msr

# One table for the prompt, this command and docs/fields.md.
fields = importlib.import_module(partition.rules.__name__ + ".fields")
bits = importlib.import_module(partition.rules.__name__ + ".bits")

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
        "VMX exit reasons": [f"vmx {number}" for number in VMX],
        "SVM exit codes": [f"svm {number:#x}" for number in [*(r[0] for r in SVM_RANGES), *SVM]],
        "VM-instruction errors": [f"error {number}" for number in VM_ERRORS],
        "model-specific registers": [f"msr {index:#x}" for index in MSRS],
        "fields of the VMCS": list(fields.VMCS),
        "fields of the VMCB": list(fields.VMCB),
        "CPUID leaves": [f"cpuid {leaf:#x}" for leaf in LEAVES],
        "CPUID bits": bits.names(),
    }


def nearest(words: str) -> str | None:
    msrs = [name.lower() for name, *_ in MSRS.values()]
    names = [*partition.rules.RULES, *KINDS, *bits.names(), *msrs]
    near: str | None = partition.rules.names.nearest(words.strip().lower(), names)
    return near


def _number(text: str, word: str) -> int | None:
    """N of "word N" or of a bare N, in decimal or hex."""
    match = re.fullmatch(rf"(?:{word}[ -]*)?(0x[0-9a-f]+|[0-9]+)", text)
    return int(match[1], 0) if match and not match[1].startswith("00") else None


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
        raw = [f"vmx {n} {title}" for n, (title, kind) in VMX.items() if kind == name]
        raw += [f"svm {n:#x} {title}" for n, (title, kind) in SVM.items() if kind == name]
        raw += [f"svm {a:#x}-{b:#x}" for a, b, _, kind in SVM_RANGES if kind == name]
        lines = [f"meaning  {what}", f"here     {does}"]
        lines += [f"from     {', '.join(raw)}"] if raw else []
        yield Topic("an exit kind", name, tuple(lines), "docs/python.md")


def _status(text: str) -> Iterator[Topic]:
    number = _number(text, "(?:exit )?status")
    if number is None:
        return
    name = str(number)
    if name in STATUSES:
        title, what = STATUSES[name]
        yield Topic("an exit status", f"status {name}", (f"{title}: {what}",), "docs/cli.md")
    elif 0 < number < 119:
        line = "the value that the guest wrote to port 0xF4, or the status of its command"
        yield Topic("an exit status", f"status {name}", (line,), "docs/cli.md")


def _exit(name: str, title: str, kind: str, source: str) -> Topic:
    what, does = KINDS[kind]
    lines = (f"name     {title}", f"kind     {kind}: {what}", f"here     {does}")
    return Topic("an exit", name, lines, source)


def _vmx(text: str) -> Iterator[Topic]:
    number = _number(text, "(?:vmx|vmcs|exit reason|reason)")
    if number is not None and number & 0xFFFF in VMX and text != "0":
        basic = number & 0xFFFF  # the upper bits say how it happened
        title, kind = VMX[basic]
        yield _exit(f"VMX exit reason {basic}", title, kind, "Intel SDM vol. 3, appendix C")


def _svm(text: str) -> Iterator[Topic]:
    name = text.removeprefix("vmexit_").upper()
    for code, (title, kind) in SVM.items():
        if title == name and text.replace("-", "_") not in KINDS:
            yield _exit(f"SVM exit code {code:#x}", title, kind, "AMD APM vol. 2, appendix C")
    number = _number(text, "(?:svm|vmcb|vmexit|exitcode)")
    found = svm(number) if number is not None and text != "0" else None
    if found is not None:
        yield _exit(f"SVM exit code {number:#x}", *found, "AMD APM vol. 2, appendix C")


def _error(text: str) -> Iterator[Topic]:
    number = _number(text, "(?:vm[- ]instruction )?error")
    if number in VM_ERRORS and not text.isdecimal():
        line = VM_ERRORS[number]
        here = "the guest crashes; its record names the field that breaks the manual's rule"
        yield Topic("a VM-instruction error", f"error {number}", (line, f"here     {here}"),
                    "Intel SDM vol. 3, 31.4")


def _msr(text: str) -> Iterator[Topic]:
    number = _number(text, "msr")
    for index, (name, what, does) in MSRS.items():
        if re.sub("^(ia32|msr)_", "", text) == re.sub("^(ia32|msr)_", "", name.lower()):
            yield _msr_topic(index, name, what, does)
    found = msr(number) if number is not None and not text.isdecimal() else None
    if found is not None and number is not None:
        yield _msr_topic(number, *found)


def _msr_topic(index: int, name: str, what: str, does: str) -> Topic:
    amd = index >> 16 == 0xC001 or name in ("EFER", "STAR", "LSTAR", "CSTAR", "SFMASK", "TSC_AUX")
    source = "AMD APM vol. 2, appendix A" if amd else "Intel SDM vol. 4, chapter 2"
    source = "Linux Documentation/virt/kvm/x86/msr.rst" if "KVM" in name else source
    lines = (f"meaning  {what}", f"here     {does}")
    return Topic("a model-specific register", f"MSR {index:#x} {name}", lines, source)


def _leaf(text: str) -> Iterator[Topic]:
    number = _number(text, "(?:cpuid|leaf|cpuid leaf)")
    if number not in LEAVES or text.isdecimal():
        return
    what, shows = LEAVES[number]
    lines = (f"meaning  {what}", f"here     {shows}")
    yield Topic("a CPUID leaf", f"CPUID leaf {number:#x}", lines,
                "Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E")


def _bit(text: str) -> Iterator[Topic]:
    for title, lines in bits.look(text):
        yield Topic("a CPUID bit", title, tuple(lines), bits.SOURCE)


def _field(text: str) -> Iterator[Topic]:
    for structure, name, lines in fields.look(text):
        title = f"{structure.upper()} {name}"
        yield Topic("a field", title, tuple(lines), fields.source(structure, name))


_LOOKS: tuple[Callable[[str], Iterator[Topic]], ...] = (
    _rule, _kind, _status, _vmx, _svm, _error, _msr, _leaf, _bit, _field,
)
