"""[[connect]]: two guests with a doorbell each, and memory of the first in the second."""

from .names import nearest
from .sizes import parse_size
from .table import Finding
from .values import is_int

KEYS = ("guests", "ports", "irq", "memory", "size", "at")
PORTS, IRQ = 0x580, 10  # where the doorbells are unless said
SPAN = 8  # ports of a doorbell
PAGE = 4096
LINES = 24
# Interrupt lines of a PC's own devices: timer, keyboard, cascade, COM1, RTC, ACPI.
TAKEN = {0: "the timer", 1: "the keyboard", 2: "the second 8259", 4: "COM1", 8: "the clock",
         9: "ACPI"}
HOLE, FOUR_GIB = 0xC000_0000, 1 << 32
APICS, APICS_END = 0xFEC0_0000, 0xFEF0_0000
HIGHEST = 1 << 40


def read(reader, description):
    """The connections of a description; findings go to the reader."""
    rows = description.get("connect")
    if rows is None:
        return []
    if not isinstance(rows, list):
        reader.find("connect-table", ("connect",), "connect is one table")
        return []
    out = []
    for i, row in enumerate(rows):
        if isinstance(row, dict):
            out.append(_row(reader, row, ("connect", i)))
        else:
            reader.find("connect-table", ("connect", i), "a connection is %r" % (row,))
    return out


def _row(reader, row, path):
    reader._keys(row, KEYS, path)
    guests = row.get("guests")
    if not isinstance(guests, list) or len(guests) != 2 or guests[0] == guests[1]:
        reader.find("connect-guests", path + (("guests",) if "guests" in row else ()),
                    "guests is %r" % (guests,))
        guests = []
    out = {"guests": guests, "ports": PORTS, "irq": IRQ}
    ports, irq = row.get("ports", PORTS), row.get("irq", IRQ)
    if not is_int(ports) or not 0 <= ports <= 0x10000 - SPAN:
        reader.find("connect-ports", path + ("ports",), "ports is %r" % (ports,))
    else:
        out["ports"] = ports
    if not is_free(irq):
        what = "irq %r" % (irq,)
        if is_int(irq) and irq in TAKEN:
            what += " is %s" % TAKEN[irq]
        reader.find("connect-irq", path + ("irq",), what)
    else:
        out["irq"] = irq
    _memory(reader, row, path, out)
    return out


def _memory(reader, row, path, out):
    said = [key for key in ("memory", "size", "at") if key in row]
    if not said:
        return
    if len(said) < 3:
        reader.find("share-whole", path + (said[0],), "%s without the others" % " and ".join(said))
        return
    values = {}
    for key in said:
        value = pages(key, row[key])
        if value is None:
            reader.find("share-step", path + (key,), "%s is %r" % (key, row[key]))
            return
        values[key] = value
    out.update(values)


def pages(key, value):
    """An address, or a `size` with its unit or in bytes, of whole pages; None: it is none."""
    if key == "size" and isinstance(value, str):
        try:
            value = parse_size(value)
        except ValueError:
            return None
    if not is_int(value) or value < (PAGE if key == "size" else 0) or value % PAGE:
        return None
    return value


def is_free(irq):
    """True for an interrupt line that no device of a PC has."""
    return is_int(irq) and 0 <= irq < LINES and irq not in TAKEN


def judge(out, partition):
    """Findings about connections and the guests that they join."""
    guests = {g["name"]: g for g in partition["guests"] if g["name"]}
    ports, lines, areas = {}, {}, {}
    for i, row in enumerate(partition.get("connect") or ()):
        path = ("connect", i)
        for name in row["guests"]:
            if name not in guests:
                close = nearest(name, guests) if isinstance(name, str) else None
                out.append(Finding(
                    "connect-guests", path + ("guests",), "there is no guest %s" % name,
                    "did you mean %s?" % close if close else None))
                continue
            _clash(out, path + ("ports",), ports.setdefault(name, []), row["ports"], SPAN,
                   "connect-ports", "ports %#x of %s are another connection's" % (
                       row["ports"], name))
            _clash(out, path + ("irq",), lines.setdefault(name, []), row["irq"], 1,
                   "connect-irq", "irq %d of %s is another connection's" % (row["irq"], name))
        if "memory" in row and len(row["guests"]) == 2:
            _shared(out, path, row, guests, areas)


def _clash(out, path, taken, start, size, rule, what):
    for other, length in taken:
        if start < other + length and other < start + size:
            out.append(Finding(rule, path, what))
            return
    taken.append((start, size))


def _shared(out, path, row, guests, areas):
    owner, other = [guests.get(name) for name in row["guests"]]
    start, end, at = row["memory"], row["memory"] + row["size"], row["at"]
    if owner and owner["memory"] and not _inside(start, end, owner["memory"]):
        out.append(Finding(
            "share-outside", path + ("memory",),
            "%#x to %#x is not all memory of %s" % (start, end, owner["name"])))
    if other is None or not other["memory"]:
        return
    if touches(at, at + row["size"], other["memory"]) or at + row["size"] > HIGHEST:
        out.append(Finding(
            "share-over", path + ("at",),
            "%#x to %#x is not free in %s" % (at, at + row["size"], other["name"])))
        return
    _clash(out, path + ("at",), areas.setdefault(other["name"], []), at, row["size"],
           "share-over", "%#x of %s is another connection's" % (at, other["name"]))


def _ram(memory):
    if memory <= HOLE:
        return [(0, memory)]
    return [(0, HOLE), (FOUR_GIB, FOUR_GIB + memory - HOLE)]


def _inside(start, end, memory):
    for low, high in _ram(memory):
        if low <= start and end <= high:
            return True
    return False


def touches(start, end, memory):
    for low, high in _ram(memory) + [(APICS, APICS_END)]:
        if start < high and low < end:
            return True
    return False
