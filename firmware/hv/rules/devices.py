"""`devices` of a guest: names, or tables of a name and where the device is."""

from . import connect
from .names import nearest
from .table import Finding
from .values import is_int

# What hv.devices adds, by name: the options that it takes, with what they are unless said.
PYTHON = {
    "python-testdev": {},
    "python-uart": {},
    "watchdog": {"ports": 0x570},
    "scratch": {"at": 0xD000_0000, "size": 4096, "irq": None},
}
ONE = ("testdev", "python-testdev")  # the core's, and the same in Python
NAMES = ("testdev",) + tuple(sorted(PYTHON))
PORTS = {"watchdog": 8}  # how many a device has
KEYS = ("name", "ports", "at", "size", "irq")
PAGE = connect.PAGE


def read(reader, row, path):
    """Names, and tables with options, as far as they are right."""
    value, path = row.get("devices", []), path + ("devices",)
    if not isinstance(value, list):
        reader.find("type-wrong", path, "devices is %r" % (value,), "write a list of names")
        return []
    out, seen = [], []
    for i, entry in enumerate(value):
        table = entry if isinstance(entry, dict) else {"name": entry}
        at = path + (i,) if isinstance(entry, dict) else path
        name = table.get("name")
        if name not in NAMES:
            _unknown(reader, table, at)
            continue
        if name in seen:
            if seen.count(name) == 1:
                reader.find("device-twice", at, "device %s is named twice" % name)
            seen.append(name)
            continue
        if name in ONE and any(n in ONE for n in seen):
            reader.find("device-twice", at, "%s are one device" % " and ".join(ONE),
                        "name one of them")
            continue
        seen.append(name)
        options = _options(reader, table, name, at)
        out.append(dict(options, name=name) if options else name)
    return out


def _unknown(reader, table, at):
    if "name" not in table:
        reader.find("key-missing", at, "a device has no name", 'write name = "watchdog"')
        return
    name = table["name"]
    close = nearest(name, NAMES) if isinstance(name, str) else None
    remedy = "did you mean %s?" % close if close else "known besides a plain PC's: %s" % (
        ", ".join(NAMES))
    reader.find("device-unknown", at, "device %r" % (name,), remedy)


def _options(reader, table, name, at):
    reader._keys(table, KEYS, at)
    known, out = PYTHON.get(name, {}), {}
    for key in KEYS[1:]:
        if key not in table:
            continue
        value = table[key]
        if key not in known:
            reader.find("device-option", at + (key,), "%s of %s" % (key, name),
                        "%s takes %s" % (name, ", ".join(sorted(known)) or "no options"))
            continue
        if key == "ports":
            rule, right = "device-ports", is_int(value) and 0 <= value <= 0x10000 - PORTS[name]
        elif key == "irq":
            rule, right = "device-irq", connect.is_free(value)
        else:
            value = connect.pages(key, value)
            rule, right = "device-step", value is not None
        if right:
            out[key] = value
        else:
            reader.find(rule, at + (key,), "%s is %r" % (key, table[key]))
    return out


def option(entry, key):
    """An option of an entry of `devices`, said or not."""
    if isinstance(entry, str):
        return PYTHON.get(entry, {}).get(key)
    return entry.get(key, PYTHON[entry["name"]].get(key))


def name_of(entry):
    return entry if isinstance(entry, str) else entry["name"]


def judge(out, partition, key):
    """Findings about places that are not free: in a guest's memory, or another device's."""
    doorbells = {}
    for row in partition.get("connect") or ():
        for name in row["guests"]:
            doorbells.setdefault(name, []).append(row)
    for i, guest in enumerate(partition["guests"]):
        joined = doorbells.get(guest["name"], [])
        for j, entry in enumerate(guest.get("devices") or ()):
            path = (key, i, "devices") + (() if isinstance(entry, str) else (j,))
            name = name_of(entry)
            ports, irq, at = [option(entry, k) for k in ("ports", "irq", "at")]
            for row in joined:
                if ports is not None and abs(row["ports"] - ports) < connect.SPAN:
                    what = "ports %#x of %s are a doorbell's" % (ports, name)
                    out.append(Finding("device-ports", path, what))
                if irq is not None and row["irq"] == irq:
                    out.append(Finding("device-irq", path, "irq %d of %s is a doorbell's" % (
                        irq, name)))
            if at is not None:
                said = not isinstance(entry, str) and "at" in entry
                if said:
                    path += ("at",)
                _free(out, path, name, at, at + option(entry, "size"), guest, joined)


def _free(out, path, name, start, end, guest, joined):
    taken = end > connect.FOUR_GIB or bool(
        guest["memory"] and connect.touches(start, end, guest["memory"]))
    for row in joined:
        if "at" in row and row["guests"][1] == guest["name"]:
            taken = taken or start < row["at"] + row["size"] and row["at"] < end
    if taken:
        out.append(Finding("device-place", path, "%#x to %#x of %s is not free" % (
            start, end, name)))
