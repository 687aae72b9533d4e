"""A JSON Schema of partition files, made from the rules, for editors that check TOML."""

from __future__ import annotations

from typing import Any

from . import partition

_ID = "https://json-schema.org/draft/2020-12/schema"
_SIZE = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[KMGTkmgt](i?[Bb])?\s*$"}
_TIME = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m)\s*$"}
_PATH = {"type": "string", "minLength": 1}
_TEXTS = {
    "name": "letters, digits and `_`, at most 31; the guest's variable at the prompt",
    "cpus": "a count (any free CPU), or a list: `[2]` is CPU 2, `[0]` runs in slices on the "
    "control CPU; at most 8",
    "memory": 'a multiple of 2M, with a unit: `"256M"`, `"1G"`',
    "image": "the file to boot; paths are relative to this file",
    "kind": "detected; `linux`, `multiboot2`, `multiboot1`, `pvh`, `elf64`, `elf32` to insist; "
    "`flat`, `flat32`, `flat64` for raw code, which cannot be detected",
    "initrd": "a file or a list of files, loaded one after the other",
    "cmdline": "the guest's command line",
    "modules": "a file or a list of further files, for multiboot images",
    "devices": "optional devices: `testdev` (ports 0xE0, 0xE4 and 0x2000-0x2017 of "
    "QEMU's pc-testdev, and 64 KiB of device memory at 0xFF000000), and in Python "
    "`python-testdev` (the same), `python-uart` (COM1, in the core's place), `watchdog` (8 ports) "
    "and `scratch` (memory that remembers); a name, or a table that says where the device is",
    "paravirt": "show the KVM-compatible block at CPUID 0x40000100: the clock page that stock "
    "kernels know, no port delays; with `false` a kernel has to calibrate its clock by the timer",
    "hide": "CPUID features that the guest does not see: `avx2`, `aes`, ...; what is not in "
    "the machine is hidden anyway",
    "cpuid": "answers of single CPUID leaves, in place of what would be shown",
    "msr": "answers of single model-specific registers, in place of what would be answered",
    "symbols": "names of addresses at the prompt and in crash records: a System.map, an ELF file "
    "with symbols, or a Linux kernel, whose own table is taken out of it",
    "on_crash": "what follows a crash",
    "on_poweroff": "what follows a power-off, or a value written to port 0xF4",
    "on_reboot": "what follows a reset that the guest asked for",
}
_POLICY_TEXTS = {
    "do": '`"stop"`: it stays ended, its memory can be looked at; `"restart"`: its image is '
    'loaded again and it starts; `"pause"`: its image is loaded again and it waits for `start()`',
    "max": "at most so many restarts",
    "delay": 'time before a restart: `"500ms"`, `"1s"`, `"2m"`',
}
_CONNECT_TEXTS = {
    "guests": "the names of the two; the first one's memory is shared",
    "ports": "the first of 8 ports of either's doorbell: a write to the first rings at the other, "
    "a read counts rings here and ends them",
    "irq": "its interrupt line, pulsed by a ring",
    "memory": "shared memory: its address in the first guest",
    "size": 'its size, a multiple of 4K: `"64K"`',
    "at": "its address in the second guest, where that has nothing: from 0xC0000000 to 0xFE000000",
}
_DEVICE_TEXTS = {
    "name": "which device",
    "ports": "`watchdog`: its first port; 0x570 unless said",
    "at": "`scratch`: its address in the guest, from 0xC0000000 to 0xFE000000; 0xD0000000 unless "
    "said",
    "size": '`scratch`: its size, a multiple of 4K; `"4K"` unless said',
    "irq": "`scratch`: the interrupt line that a write to its last byte pulses",
}
_CPUID_TEXTS = {
    "leaf": "the leaf, EAX of the instruction",
    "subleaf": "ECX, for the leaves 0x4, 0x7 and 0xB; all of a leaf unless said",
    "eax": "the register's value; not for registers of feature bits",
    "hide_eax": "bits of it that read 0",
}
_MSR_TEXTS = {
    "index": "which one, ECX of the instruction; none that the core keeps itself (TSC, APIC, EFER, "
    "PAT, segment bases, SYSCALL's and SYSENTER's)",
    "count": "how many from there on have this answer",
    "value": "what a read gives, and at first a stored one",
    "read": '`"answer"`, or `"refuse"`: #GP',
    "write": '`"refuse"`: #GP, `"ignore"`, or `"store"`: the guest reads what it wrote last',
}
_MACHINE_TEXTS = {
    "cpus": "CPUs that the machine has at least, CPU 0 included; at most 16",
    "memory": "its memory at least, for the guests, the monitor (64M) and the images",
}


def _connect(rules: Any) -> dict[str, Any]:
    connect = rules.connect
    pages = {"type": "integer", "minimum": 0, "multipleOf": connect.PAGE}
    keys: dict[str, Any] = {
        "guests": {"type": "array", "minItems": 2, "maxItems": 2, "uniqueItems": True,
                   "items": {"type": "string"}},
        "ports": {"type": "integer", "default": connect.PORTS, "minimum": 0,
                  "maximum": 0x10000 - connect.SPAN},
        "irq": {"type": "integer", "default": connect.IRQ, "minimum": 0,
                "maximum": connect.LINES - 1},
        "memory": pages,
        "size": {"oneOf": [_SIZE, pages]},
        "at": pages,
    }
    return {"type": "array", "items": _table(keys, _CONNECT_TEXTS, ["guests"])}


def _devices(rules: Any) -> dict[str, Any]:
    devices, connect = rules.devices, rules.connect
    pages = {"type": "integer", "minimum": 0, "multipleOf": devices.PAGE}
    keys: dict[str, Any] = {
        "name": {"enum": list(devices.NAMES)},
        "ports": {"type": "integer", "minimum": 0, "maximum": 0xFFFF},
        "at": pages,
        "size": {"oneOf": [_SIZE, pages]},
        "irq": {"type": "integer", "minimum": 0, "maximum": connect.LINES - 1},
    }
    table = _table(keys, _DEVICE_TEXTS, ["name"])
    return {"type": "array", "items": {"oneOf": [{"enum": list(devices.NAMES)}, table]}}


def _answers(rules: Any) -> dict[str, Any]:
    answers = rules.answers
    word: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": answers.WORD - 1}
    texts = {key: _CPUID_TEXTS.get(key, "as eax" if key in answers.REGISTERS else "as hide_eax")
             for key in answers.CPUID_KEYS}
    cpuid = _table({key: word for key in answers.CPUID_KEYS}, texts, ["leaf"])
    msr = _table({
        "index": word,
        "count": {"type": "integer", "minimum": 1, "default": 1},
        "value": {"type": "integer", "minimum": 0, "default": 0},
        "read": {"enum": list(answers.READS), "default": answers.READS[0]},
        "write": {"enum": list(answers.WRITES), "default": answers.WRITES[0]},
    }, _MSR_TEXTS, ["index"])
    return {key: {"type": "array", "maxItems": answers.ROWS_MAX, "items": items}
            for key, items in (("cpuid", cpuid), ("msr", msr))}


def _table(keys: dict[str, Any], texts: dict[str, str], required: list[str]) -> dict[str, Any]:
    """A table with these keys and no others."""
    described = {key: {**entry, "description": texts[key]} for key, entry in keys.items()}
    return {"type": "object", "properties": described, "required": required,
            "additionalProperties": False}


def schema() -> dict[str, Any]:
    """The schema; every name and every limit in it is the rules' own."""
    rules = partition.rules
    reader, names, features = rules.reader, rules.names, rules.features
    reserved = sorted({*names.RESERVED, *names.KEYWORDS, *names.BUILTINS})
    files = {"oneOf": [_PATH, {"type": "array", "items": _PATH}]}
    policy: dict[str, Any] = {
        "oneOf": [
            {"enum": list(reader.POLICIES)},
            _table({
                "do": {"enum": list(reader.POLICIES)},
                "max": {"type": "integer", "minimum": 1},
                "delay": _TIME,
            }, _POLICY_TEXTS, ["do"]),
        ]
    }
    keys: dict[str, Any] = {
        "name": {
            "type": "string",
            "pattern": f"^[A-Za-z_][A-Za-z0-9_]{{0,{names.LONGEST - 1}}}$",
            "not": {"enum": reserved},
        },
        "cpus": {
            "oneOf": [
                {"type": "integer", "minimum": 1, "maximum": reader.VCPUS_MAX},
                {"type": "array", "items": {"type": "integer", "minimum": 0},
                 "minItems": 1, "maxItems": reader.VCPUS_MAX, "uniqueItems": True},
            ],
            "default": 1,
        },
        "memory": _SIZE,
        "paravirt": {"type": "boolean", "default": True},
        "hide": {
            "type": "array", "uniqueItems": True, "default": [],
            "items": {"enum": [n for n in features.NAMES if n not in features.NEEDED]},
        },
        "image": _PATH,
        "kind": {"enum": list(rules.KINDS)},
        "initrd": files,
        "modules": files,
        "cmdline": {"type": "string", "maxLength": rules.cmdline.CMDLINE_MAX},
        "symbols": {"type": "string"},
        "devices": _devices(rules),
        **_answers(rules),
        **{key: policy for key in reader.DEFAULT_POLICY},
    }
    guest = {}
    for key in reader.GUEST_KEYS:
        entry = dict(keys.get(key, {}))  # a key that this page does not know yet may be anything
        if key in _TEXTS:
            entry["description"] = _TEXTS[key]
        if key in reader.DEFAULT_POLICY:
            entry["default"] = reader.DEFAULT_POLICY[key]
        guest[key] = entry
    count = {"type": "integer", "minimum": 1, "maximum": reader.CPUS_MAX}
    machine: dict[str, Any] = {"cpus": count, "memory": dict(_SIZE)}
    for key, entry in machine.items():
        entry["description"] = _MACHINE_TEXTS[key]
    top: dict[str, Any] = {
        "version": {"const": reader.FORMAT},
        "machine": {
            "type": "object",
            "properties": {key: machine.get(key, {}) for key in reader.MACHINE_KEYS},
            "additionalProperties": False,
        },
        "guest": {
            "type": "array",
            "minItems": 1,
            "maxItems": reader.GUESTS_MAX,
            "items": {
                "type": "object",
                "properties": guest,
                "required": ["name", "memory", "image"],
                "additionalProperties": False,
            },
        },
    }
    top["connect"] = _connect(rules)
    return {
        "$schema": _ID,
        "title": "Vipervisor partition",
        "type": "object",
        "properties": {key: top.get(key, {}) for key in reader.TOML.top},
        "required": ["version", "guest"],
        "additionalProperties": False,
    }
