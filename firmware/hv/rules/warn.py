"""What is not wrong with a partition, and seldom meant: findings of the level "warning"."""

from .cmdline import words
from .judge import assign, needs
from .sizes import size_text
from .table import Finding

MIB = 1 << 20
SPARE = 256 * MIB  # that nobody asks about: the next round size is rarely exact


def find(partition, asked, key, images=0):
    """Warnings about a partition without findings; `asked` has the keys of [machine] that were
    written."""
    out = []
    machine = partition["machine"]
    if "cpus" in asked:
        taken = set([0])
        for numbers in assign(partition):
            taken.update(numbers)
        free = [n for n in range(machine["cpus"]) if n not in taken]
        if free:
            out.append(Finding("cpus-unused", ("machine", "cpus"), "cpu %s of %d" % (
                ", ".join([str(n) for n in free]), machine["cpus"])))
    if "memory" in asked:
        rest = machine["memory"] - needs(partition, images)[1]
        if rest >= SPARE:
            out.append(Finding("memory-unused", ("machine", "memory"), "%s of %s" % (
                size_text(rest), size_text(machine["memory"]))))
    for i, guest in enumerate(partition["guests"]):
        _guest(out, guest, (key, i))
    return out


def _guest(out, guest, path):
    if guest["kind"] == "linux":
        said = [word for word in words(guest["cmdline"]) if word[:8] == "console="]
        if not [word for word in said if word[:13] == "console=ttyS0"]:
            what = "%s without a console" % guest["name"] if not said else "%s with %s" % (
                guest["name"], " ".join(said))
            out.append(Finding("console-none", path + (
                ("cmdline",) if guest["cmdline"] else ()), what))
    crash = guest["on_crash"]
    if crash["do"] == "restart" and "max" not in crash and not crash.get("delay"):
        out.append(Finding("restart-endless", path + ("on_crash",),
                           "%s restarts without max and delay" % guest["name"]))
