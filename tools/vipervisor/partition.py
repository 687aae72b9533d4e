"""Partition files: read, checked by the rules that run again at boot, compiled.

`load(path)` reads a TOML file, `single_guest(...)` describes what `hv run` boots; both
return the description in the form of partition.json, the boot modules it names, and
every finding at once.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from . import initrd, symbols, toml_errors
from .errors import UsageError
from .toml_lines import key_lines, line_of

if sys.version_info >= (3, 11):  # noqa: UP036
    import tomllib
else:
    import tomli as tomllib

Description = dict[str, Any]
KeyPath = tuple[str | int, ...]
ForRules = Callable[[int], dict[str, Any]]  # what a machine has, by the images' size

_HERE = Path(__file__).resolve().parent
# In the source tree, or beside this file in an installed package.
_RULES = (_HERE.parents[1] / "firmware" / "hv" / "rules", _HERE / "_rules")
_PAGE = 4096
_MODULE_NAME = 55  # bytes of a boot module's name
_LARGEST_FILE = 1 << 20  # bytes of a partition file: no person writes more
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MODULES_MAX = 48  # BOOT_MODULES of boot/bootinfo.h
SHOWN = 50  # findings that people are shown
_FIXED_NAMES = {"partition.json", "boot.py", "main.py"}
# The keys of a guest as options of `hv run`.
_OPTIONS = {"image": "IMAGE", "cpus": "--cpus", "memory": "--memory", "kind": "--kind",
            "initrd": "--initrd", "cmdline": "--cmdline", "devices": "--device",
            "hide": "--hide", "symbols": "--symbols"}


def _load_rules() -> ModuleType:
    """The rules package of the firmware, without the rest of it (which needs `_hv`)."""
    name = __package__ + "._rules" if __package__ else "_rules"
    if name in sys.modules:
        return sys.modules[name]
    for folder in _RULES:
        start = folder / "__init__.py"
        if start.is_file():
            spec = importlib.util.spec_from_file_location(
                name, start, submodule_search_locations=[str(folder)]
            )
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            return module
    raise ImportError(f"the partition rules are missing: {_RULES[0]}")


rules = _load_rules()


@dataclass(frozen=True)
class Found:
    """A finding with its place; str() is the line that `hv check` prints."""

    file: str
    line: int | None
    rule: str
    place: str
    text: str  # "rule: what: why; remedy"
    level: str = "error"  # or "warning": the partition can be used as it is

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else f"{self.file}"
        return f"{where}: {'' if self.level == 'error' else 'warning: '}{self.text}"


def more(findings: Sequence[Found]) -> list[str]:
    """A line about the findings that are not shown, if there are any."""
    left = len(findings) - SHOWN
    return [f"and {left} more: `hv check --json {findings[0].file}` lists all"] if left > 0 else []


@dataclass(frozen=True)
class Loaded:
    """A partition: `description` is None when there are findings."""

    description: Description | None
    modules: dict[str, Path] = field(default_factory=dict)
    findings: list[Found] = field(default_factory=list)
    warnings: list[Found] = field(default_factory=list)  # of a partition without findings

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def said(self) -> str:
        """The findings as lines, no more than a person reads."""
        return "\n".join([*map(str, self.findings[:SHOWN]), *more(self.findings)])

    @property
    def files(self) -> dict[str, Path]:
        """The boot modules, under the name that `Machine` gives them."""
        return self.modules

    def json(self) -> bytes:
        """The boot module partition.json."""
        assert self.description is not None
        return json.dumps(self.description, indent=1).encode() + b"\n"


def load(path: Path | str, machine: ForRules | None = None) -> Loaded:
    """Reads and checks a partition file, files that it names included; against a machine
    that there really is, when `machine` says what it has beside images of some size."""
    path = Path(path)
    shown = str(path)
    text, wrong = _text(path)
    if wrong is not None:
        return Loaded(None, {}, [Found(shown, None, wrong.rule, "", wrong.text())])
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Loaded(None, {}, [_syntax(shown, str(error), text)])
    except RecursionError:
        return Loaded(None, {}, [_syntax(shown, "brackets in brackets, too many of them", text)])
    except ValueError:
        # Python reads no number of more than some thousand digits.
        return Loaded(None, {}, [_syntax(shown, "a number has too many digits", text)])
    lines = key_lines(text)

    def found(finding: Any) -> Found:
        line = line_of(lines, finding.path)
        return Found(shown, line, finding.rule, finding.place(), finding.text(), finding.level)

    def in_order(findings: list[Any]) -> list[Found]:
        # What concerns the whole file comes first.
        return sorted(map(found, findings), key=lambda f: f.line or 0)

    description, modules, findings = _compile(table, path.parent, machine)
    if findings:
        return Loaded(None, {}, in_order(findings))
    images = sum(file.stat().st_size for file in modules.values())
    warnings = rules.warnings(description, table.get("machine", ()), "guest", images)
    return Loaded({"format": 1, "name": path.stem, **description}, modules, [], in_order(warnings))


def single_guest(
    image: Path | str,
    *,
    kind: str | None = None,
    cmdline: str = "",
    initrd: Sequence[Path | str] = (),
    modules: Sequence[Path | str] = (),
    cpus: int = 1,
    memory: str = "256M",
    devices: Sequence[str] = (),
    hide: Sequence[str] = (),
    symbols_of: Path | str | None = None,
    paravirt: bool = True,
    reboot: bool = False,
    control: bool = False,
    name: str = "guest",
) -> Loaded:
    """The partition of `hv run`: one guest. `control` puts it on the control CPU, in
    slices, for a machine with a single CPU; `reboot` starts it again when it resets."""
    guest: Description = {
        "name": name,
        "cpus": [0] if control and cpus == 1 else cpus,
        "memory": memory,
        "image": str(image),
        "initrd": [str(p) for p in initrd],
        "modules": [str(p) for p in modules],
        "cmdline": cmdline,
        "devices": list(devices),
        "hide": list(hide),
        "paravirt": paravirt,
        "on_reboot": "restart" if reboot else "stop",
    }
    if kind is not None:
        guest["kind"] = kind
    if symbols_of is not None:
        guest["symbols"] = str(symbols_of)
    table = {"version": 1, "guest": [guest]}
    description, files, findings = _compile(table, Path())

    def found(finding: Any) -> Found:
        key = finding.path[2] if len(finding.path) > 2 else ""
        option = _OPTIONS.get(str(key), str(key) or "hv run")
        return Found(option, None, finding.rule, finding.place(), finding.text())

    if findings:
        return Loaded(None, {}, [found(f) for f in findings])
    run = {"single": True}
    return Loaded({"format": 1, "name": name, **description, "run": run}, files, [])


def render_map(description: Description) -> str:
    """Who owns which CPU and how much memory, as text."""
    guests = description["guests"]
    owners: dict[int, list[str]] = {0: ["Python"]}
    for guest, cpus in zip(guests, rules.assign(description), strict=True):
        for cpu in cpus:
            owners.setdefault(cpu, []).append(guest["name"] + (" (slices)" if cpu == 0 else ""))
    machine = description["machine"]
    lines = [
        f"cpu {cpu}  {' + '.join(owners.get(cpu, ['free']))}"
        + (", control CPU" if cpu == 0 else "")
        for cpu in range(machine["cpus"])
    ]
    rest = machine["memory"] - sum(g["memory"] for g in guests)
    width = max(len(g["name"]) for g in guests)
    lines.append(f"memory {rules.size_text(machine['memory'])}")
    for guest in guests:
        image = f"{guest['image']} ({guest['kind']})"
        lines.append(f"  {guest['name']:<{width}}  {rules.size_text(guest['memory']):>6}  {image}")
    lines.append(f"  {'':<{width}}  {rules.size_text(rest):>6}  the monitor, the images, free")
    return "\n".join(lines)


def _text(path: Path) -> tuple[str, Any]:
    """A partition file's text, or what is wrong with the file as a whole."""

    def bad(rule: str, what: str, remedy: str | None = None) -> tuple[str, Any]:
        why = "" if rule == "file-unreadable" else None
        return "", rules.Finding(rule, (), what, remedy, why)

    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            return bad("file-special", "it is a device, a pipe or a socket")
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        return bad("file-unreadable", str(error.strerror))
    if not data.startswith(_UTF16) and _is_image(data):
        return bad("file-image", "it is an image", f"boot it by `hv run {path}`")
    if data.startswith(_UTF16):
        return bad("file-encoding", "it is UTF-16")
    if data.startswith(_BOM):
        return bad("file-bom", "it begins with a byte-order mark")
    if len(data) > _LARGEST_FILE:
        what = f"it is larger than {rules.size_text(_LARGEST_FILE)}"
        return bad("file-image", what, "give the partition file")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(0)) + 1
        return bad("file-encoding", f"there is a zero byte in line {line}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"the byte {data[error.start]:#04x} in line {line} is not UTF-8"
        return bad("file-encoding", what)
    if text.lstrip().startswith("{"):
        return bad("file-json", "it is JSON")
    return text.replace("\r\n", "\n"), None


def _is_image(data: bytes) -> bool:
    """True for what is a guest's image, or something that people take for one."""
    if rules.mistaken.is_text(data):
        return False
    try:
        return rules.detect(data) is not None or rules.mistaken.image(data) is not None
    except rules.ImageError:
        return True


def _syntax(shown: str, message: str, text: str) -> Found:
    found = toml_errors.problem(message, text)
    finding = rules.Finding(found.rule, (), found.what, found.remedy)
    return Found(shown, found.line, finding.rule, "", finding.text())


def _compile(
    table: Any, folder: Path, machine: ForRules | None = None
) -> tuple[Description, dict[str, Path], list[Any]]:
    """Rules over the table, then over the files; modules by the names that they get."""
    draft, findings = rules.compile_(table)
    bad = {f.path for f in findings}
    files = _Files(folder)
    for i, guest in enumerate(draft["guests"]):
        files.guest(guest, ("guest", i), bad)
    if len(files.modules) + 1 > _MODULES_MAX:
        what = f"{len(files.modules)} files and partition.json"
        files.findings.append(rules.Finding("modules-many", (), what))
    findings = findings + files.findings
    total = sum(path.stat().st_size for path in files.modules.values())
    # Once more with the images' sizes, for the sum of memory.
    description, again = rules.compile_(table, total)
    known = {(f.rule, f.path) for f in findings}
    findings += [f for f in again if (f.rule, f.path) not in known]
    if machine is not None and not findings:
        findings += rules.judge(description, "guest", machine(total))
    description["guests"] = draft["guests"]
    description.pop("format", None)
    return description, files.modules, findings


class _Files:
    """The files that guests name: checked, and given names as boot modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, Path] = {}
        self.findings: list[Any] = []

    def _symbols(self, guest: Description, path: KeyPath) -> None:
        """The table of the file's symbols takes its place."""
        file = self._file(guest["symbols"], path)
        if file is None:
            return
        try:
            made = symbols.compiled(file)
        except UsageError as error:
            self._find("symbols-none", path, str(error).removeprefix(f"{file}: "))
            return
        name = f"{guest['name']}.sym"
        self.modules[name] = made
        guest["symbols"] = name

    def guest(self, guest: Description, path: KeyPath, bad: set[KeyPath]) -> None:
        """Replaces the paths of a guest by module names and fills in its kind."""
        beside, complete = 0, True
        found_files: dict[str, list[Path]] = {}
        for key in ("initrd", "modules"):
            names = []
            for file in guest[key]:
                found = self._file(file, (*path, key))
                if found is None:
                    complete = False
                    continue
                found_files.setdefault(key, []).append(found)
                beside += (found.stat().st_size + _PAGE - 1) // _PAGE * _PAGE
                names.append(self._name(found, guest["name"]))
            guest[key] = names
        if guest.get("symbols"):
            self._symbols(guest, (*path, "symbols"))
        file = self._file(guest["image"], (*path, "image")) if guest["image"] else None
        if file is None or (*path, "kind") in bad:
            return
        initrds = found_files.get("initrd", [])
        if any(other.samefile(file) for other in initrds):
            self._find("file-twice", (*path, "initrd"), f"{file} is the image and the initrd")
            return
        draft = dict(guest)
        if (*path, "memory") in bad:
            draft["memory"] = None
        with _content(file) as data:
            image, findings = rules.check_image(data, draft, beside if complete else None, path)
        if image is not None and image.kind == "linux" and not findings and complete:
            findings += self._initrd(image, draft, initrds, path)
        self.findings += findings
        guest["kind"] = image.kind if image is not None else None
        guest["image"] = self._name(file, guest["name"])

    @staticmethod
    def _initrd(image: Any, guest: Description, files: list[Path], path: KeyPath) -> list[Any]:
        """Whether Linux can make something of the initrd, and has room to."""
        findings: list[Any] = []
        packed = whole = 0
        for file in files:
            with _content(file) as data:
                wrong = rules.mistaken.initrd(data)
                size = None if wrong else initrd.unpacked_size(data)
                packed += len(data)
            if wrong is None and size is None:
                wrong = "initrd-truncated", "it is packed by gzip and breaks off", None
            if wrong:
                rule, what, remedy = wrong
                findings.append(
                    rules.Finding(rule, (*path, "initrd"), f"{file}: {what}", remedy))
            whole += size or 0
        if not findings and guest["memory"] is not None:
            findings += rules.check_linux_memory(image, guest, packed, whole, path)
        return findings

    def _file(self, text: str, path: KeyPath) -> Path | None:
        file = Path(os.path.normpath(self.folder / text))
        try:
            if file.is_dir():
                self._find("file-directory", path, f"{file} is a directory")
                return None
            if file.exists() and not file.is_file():
                what = f"{file} is a device, a pipe or a socket"
                self._find("file-special", path, what)
                return None
            with open(file, "rb") as f:
                f.read(1)
        except FileNotFoundError:
            self._find("file-missing", path, f"there is no {file}", self._remedy(file))
            return None
        except OSError as error:
            self._find("file-unreadable", path, f"{file}: {error.strerror}")
            return None
        return file

    def _find(self, rule: str, path: KeyPath, what: str, remedy: str | None = None) -> None:
        self.findings.append(rules.Finding(rule, path, what, remedy))

    @staticmethod
    def _remedy(file: Path) -> str | None:
        if "build" in file.parts and "guests" in file.parts:
            return "run `make guests`, which builds it"
        folder = file.parent
        if not folder.is_dir():
            return f"there is no folder {folder} either; mend the path"
        near = rules.names.nearest(file.name, [p.name for p in folder.iterdir()])
        return f"did you mean {near}?" if near else None

    def _name(self, file: Path, guest: str | None) -> str:
        """The boot-module name of a file: its base name, made unique and plain."""
        file = file.resolve()
        for name, known in self.modules.items():
            if known == file:
                return name
        plain = re.sub(r"[^A-Za-z0-9._+-]", "_", file.name)[-_MODULE_NAME:]
        name, count = plain, 1
        while name in self.modules or name in _FIXED_NAMES:
            tail = f"{guest or 'guest'}-{plain}" if count == 1 else f"{count}-{plain}"
            name = tail[-_MODULE_NAME:]
            count += 1
        self.modules[name] = file
        return name


@contextmanager
def _content(path: Path) -> Iterator[Any]:
    """A file's bytes without reading it all."""
    with open(path, "rb") as f:
        try:
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            yield b""
            return
        with data:
            yield data
