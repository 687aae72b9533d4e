"""Pages made from what they describe, which `make reference` writes and a test compares: here
commands from the parser, rules from their table and examples, the keys of partition files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import pages, partition, paths, rule_examples
from .schema import schema

_MADE = "<!-- Made by `make reference`; a test compares. -->"
KEYS_BEGIN, KEYS_END = "<!-- keys: made -->", "<!-- keys: end -->"
_GROUPS = {
    "file": "Files", "toml": "TOML", "version": "The file's format", "key": "Keys",
    "type": "Keys", "machine": "The machine", "board": "The machine", "guest": "Guests",
    "name": "Names", "size": "Memory", "memory": "Memory", "cpus": "CPUs", "cpu": "CPUs",
    "hide": "CPUs", "kind": "Images", "image": "Images", "device": "Devices",
    "initrd": "Initrds and modules",
    "modules": "Initrds and modules", "cmdline": "Command lines", "policy": "Policies",
    "connect": "Connections", "share": "Connections", "path": "Paths",
    "cpuid": "CPUID and MSRs", "msr": "CPUID and MSRs",
    "symbols": "Symbols", "format": "The file's format",
}


# --- the command line ---


def cli() -> str:
    """Every command with its arguments and options."""
    from .cli import build_parser  # it imports this package's commands
    from .cli.completion import commands_of

    lines = ["# Every command and option", "", _MADE, "",
             "What the commands are for is in [cli.md](cli.md). Every command has `--help`.", ""]
    for name, (text, parser) in commands_of(build_parser()).items():
        lines += [f"## hv {name}", "", _sentence(parser.description or text), ""]
        lines += [f"    {line}" for line in usage(name, parser)]
        rows = list(_rows(parser))
        if rows:
            lines += ["", "| argument | means |", "|---|---|", *rows]
        lines.append("")
    return "\n".join(lines)


def _sentence(text: str) -> str:
    text = " ".join(text.split()).replace("%%", "%")
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?")) else text + "."


def _shown(action: argparse.Action) -> str:
    """An argument as a usage line shows it."""
    value = str(action.metavar or (
        "|".join(map(str, action.choices)) if action.choices else action.dest.upper()))
    if not action.option_strings:
        return value
    name = action.option_strings[0]
    return name if action.nargs == 0 else f"{name} {value}"


def usage(name: str, parser: argparse.ArgumentParser) -> list[str]:
    """The usage in lines of a page's width."""
    if parser.usage is not None:
        return [parser.usage]
    words = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        shown = _shown(action)
        if not action.option_strings:
            words.append({"?": f"[{shown}]", "*": f"[{shown}...]"}.get(str(action.nargs), shown))
        else:
            words.append(shown if action.required else f"[{shown}]")
    head = f"hv {name}"
    lines, line = [], head
    for word in words:
        if len(line) + 1 + len(word) > 90:
            lines.append(line)
            line = " " * len(head)
        line += " " + word
    return [*lines, line]


def _rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest == "help":
            continue
        value = _shown(action).partition(" ")[2] if action.option_strings else ""
        names = ", ".join(action.option_strings) or _shown(action)
        text = (action.help or _obvious(action)).replace("%%", "%")
        if isinstance(action.default, (int, float, str)) and not isinstance(action.default, bool):
            if action.default != "" and action.nargs != 0:
                shown = f"{action.default:g}" if isinstance(action.default, float) else (
                    action.default)
                text += f" (default {shown})"
        names = f"{names} {value}".strip()
        yield f"| `{_cell(names)}` | {_cell(text)} |"


def _obvious(action: argparse.Action) -> str:
    """What an argument without help means by its name."""
    known = {
        "json": "print JSON", "machine": "which running machine", "timeout": "seconds to wait",
        "file": "the file", "guest": "the guest's name", "image": "the guest's image",
        "memory": "the guest's memory", "cpus": "how many CPUs", "backend": "AMD-V or VT-x",
        "interval": "seconds between two looks", "count": "how many looks", "name": "its name",
        "initrd": "an initrd; may be given several times", "shell": "the shell",
        "module": "a further file, for multiboot kernels; may be given several times",
        "device": "an optional device; may be given several times",
        "words": "what to explain", "code": "the code",
    }
    return known.get(action.dest, action.dest.replace("_", " "))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# --- the rules ---


def rules() -> str:
    """Every rule by what it is about, with its example."""
    found: dict[str, list[str]] = {}
    for rule in partition.rules.RULES:
        warning = rule in partition.rules.WARNINGS
        title = "Warnings" if warning else _GROUPS[rule.partition("-")[0]]
        found.setdefault(title, []).append(rule)
    lines = ["# Rules of partition files", "", _MADE, "",
             "`hv check` prints `FILE:line: rule: what: why; remedy`; the ids are stable. The",
             "same rules run again at boot. `hv explain RULE` prints one of them. The examples",
             "are files under `tools/vipervisor/rule_examples/`, and the tests apply their",
             "remedies. Warnings fail only `hv check --strict`.", ""]
    for title, names in found.items():
        lines += [f"## {title}", "", "| rule | why | remedy | wrong | right |",
                  "|---|---|---|---|---|"]
        for rule in names:
            why, remedy = partition.rules.RULES[rule]
            wrong, right = rule_examples.change(rule)
            cells = [f"`{rule}`", why, remedy, _code(wrong), _code(right)]
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _code(lines: list[str]) -> str:
    return "<br>".join(f"`{line}`" for line in lines[:4] if line.strip())


# --- the keys ---


def keys() -> str:
    """The tables of keys of a partition file, from the schema."""
    properties = schema()["properties"]
    guest = properties["guest"]["items"]
    policy = guest["properties"]["on_crash"]["oneOf"][1]["properties"]
    joined = properties["connect"]["items"]
    device = guest["properties"]["devices"]["items"]["oneOf"][1]
    cpuid, msr = (guest["properties"][key]["items"] for key in ("cpuid", "msr"))
    parts = [
        "### `[machine]`", "", "Both keys may be left out; the machine then gets what the guests "
        "need.", "", *_table(properties["machine"]["properties"], []), "",
        "### `[[guest]]`", "", *_table(guest["properties"], guest["required"]), "",
        "The last three are a word or a table:", "", *_table(policy, ["do"]), "",
        "### `[[guest.devices]]`", "",
        "Or, in one line, `devices = [\"testdev\", { name = \"watchdog\", ports = 0x590 }]`.", "",
        *_table(device["properties"], device["required"]), "",
        "### `[[guest.cpuid]]`", "",
        "`cpuid = [{ leaf = 7, hide_ebx = 0x20 }]` in one line; `hide` knows features by name, "
        "with what stands on them.", "",
        *_table(cpuid["properties"], cpuid["required"]), "",
        "### `[[guest.msr]]`", "",
        "One register for all vCPUs of the guest.", "",
        *_table(msr["properties"], msr["required"]), "",
        "### `[[connect]]`", "",
        "Two guests with a doorbell each, and, where the last three keys are given, memory in "
        "common.", "", *_table(joined["properties"], joined["required"]),
    ]
    return "\n".join(parts)


def _table(properties: dict[str, Any], required: list[str]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for key, entry in properties.items():
        default = "must be given" if key in required else ""
        if "default" in entry:
            value = entry["default"]
            default = f"`{value}`" if not isinstance(value, (str, bool)) else (
                f'`"{value}"`' if isinstance(value, str) else f"`{str(value).lower()}`")
        yield f"| `{key}` | {default} | {_cell(entry['description'])} |"


def with_keys(page: str) -> str:
    """The page on partition files with its tables as they are now."""
    before, begin, rest = page.partition(KEYS_BEGIN)
    _, end, after = rest.partition(KEYS_END)
    if not begin or not end:
        raise ValueError(f"the page lacks {KEYS_BEGIN} or {KEYS_END}")
    return f"{before}{begin}\n{keys()}\n{end}{after}"


# --- all of them ---


def partition_page() -> str:
    return with_keys((_DOCS / "partition.md").read_text())


_DOCS = paths.ROOT / "docs"
PAGES: dict[Path, Callable[[], str]] = {
    _DOCS / "cli-reference.md": cli,
    _DOCS / "fields.md": pages.fields_page,
    _DOCS / "partition.md": partition_page,
    _DOCS / "reference.md": pages.reference_page,
    _DOCS / "rules.md": rules,
}


if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(make())
        print(path.relative_to(paths.ROOT))
