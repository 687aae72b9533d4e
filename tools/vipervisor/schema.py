"""A JSON Schema of partition files, made from the rules, for editors that check TOML."""

from __future__ import annotations

from typing import Any

from . import partition

_ID = "https://json-schema.org/draft/2020-12/schema"
_SIZE = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[KMGTkmgt](i?[Bb])?\s*$"}
_TIME = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m)\s*$"}
_PATH = {"type": "string", "minLength": 1}
_TEXTS = {
    "name": "the guest's name, and its variable at the prompt",
    "cpus": "a count (any free CPUs), or a list of CPU numbers; [0] runs in slices",
    "memory": "a multiple of 2M, with a unit",
    "image": "the file to boot, relative to this file",
    "kind": "what the image is, when it is not to be detected",
    "initrd": "a file or a list of files",
    "cmdline": "the guest's command line",
    "paravirt": "show the clock page that stock kernels know",
    "symbols": "names of addresses: a System.map, an ELF file or a Linux kernel",
    "modules": "further files, for multiboot images",
    "devices": "names of optional devices",
    "on_crash": "what follows a crash",
    "on_poweroff": "what follows a power-off",
    "on_reboot": "what follows a reset that the guest asked for",
}


def schema() -> dict[str, Any]:
    """The schema; every name and every limit in it is the rules' own."""
    rules = partition.rules
    reader, names = rules.reader, rules.names
    reserved = sorted({*names.RESERVED, *names.KEYWORDS, *names.BUILTINS})
    files = {"oneOf": [_PATH, {"type": "array", "items": _PATH}]}
    policy = {
        "oneOf": [
            {"enum": list(reader.POLICIES)},
            {
                "type": "object",
                "properties": {
                    "do": {"enum": list(reader.POLICIES)},
                    "max": {"type": "integer", "minimum": 1},
                    "delay": _TIME,
                },
                "required": ["do"],
                "additionalProperties": False,
            },
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
        "image": _PATH,
        "kind": {"enum": list(rules.KINDS)},
        "initrd": files,
        "modules": files,
        "cmdline": {"type": "string", "maxLength": rules.cmdline.CMDLINE_MAX},
        "symbols": {"type": "string"},
        "devices": {"type": "array", "items": {"enum": list(reader.DEVICES)}},
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
    machine = {"cpus": count, "memory": _SIZE}
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
    return {
        "$schema": _ID,
        "title": "Vipervisor partition",
        "type": "object",
        "properties": {key: top.get(key, {}) for key in reader.TOML.top},
        "required": ["version", "guest"],
        "additionalProperties": False,
    }
