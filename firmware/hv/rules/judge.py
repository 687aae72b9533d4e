"""What guests ask for together: names, CPUs, memory. Works on partition.json's form."""

from . import connect, devices
from .sizes import size_text
from .table import Finding

MIB = 1 << 20
CPUS_MAX = 16  # CPU_MAX of cpu/percpu.h
GUESTS_MAX = 16  # GUEST_MAX of virt/guest.h
# What the monitor, its tables and Python's heap take.
MONITOR = 64 * MIB


def needs(partition, images=0):
    """(CPUs, bytes) that a machine for this partition must have at least."""
    listed, counted = set([0]), 0
    memory = MONITOR + images
    for guest in partition["guests"]:
        cpus = guest["cpus"]
        if isinstance(cpus, list):
            listed.update(cpus)
        elif cpus:
            counted += cpus
        memory += guest["memory"] or 0
    count = max(len(listed) + counted, max(listed) + 1)
    memory = (memory + 16 * MIB - 1) // (16 * MIB) * (16 * MIB)
    return count, memory


def assign(partition):
    """The CPU numbers of each guest, in order: those it lists, else the lowest that
    nobody lists. Only for a partition without findings."""
    taken = set([0])
    for guest in partition["guests"]:
        if isinstance(guest["cpus"], list):
            taken.update(guest["cpus"])
    out, nxt = [], 1
    for guest in partition["guests"]:
        cpus = guest["cpus"]
        if not isinstance(cpus, list):
            count, cpus = cpus, []
            while len(cpus) < count:
                if nxt not in taken:
                    cpus.append(nxt)
                nxt += 1
        out.append(cpus)
    return out


def judge(partition, key, machine=None, images=0):
    """Findings; `machine` is what there really is (at boot), else what was asked for.

    `key` is the name of the list of guests; machine is {"cpus": n, "memory": bytes,
    "missing": names of what guests need and it lacks}; its memory is what is left for guests.
    """
    out = []
    guests = partition["guests"]
    _names(out, guests, key)
    have = (machine or partition["machine"]).get("cpus")
    _cpus(out, partition, key, have, machine is not None)
    _memory(out, partition, key, machine, images)
    connect.judge(out, partition)
    devices.judge(out, partition, key)
    if machine is not None:
        for name in machine.get("missing") or ():
            out.append(Finding("machine-missing", (key,), "the machine lacks %s" % name))
    return out


def _names(out, guests, key):
    seen = {}
    for i, guest in enumerate(guests):
        name = guest["name"]
        if name is None:
            continue
        if name in seen:
            out.append(Finding("name-duplicate", (key, i, "name"),
                               "%s is the name of guest %d, too" % (name, seen[name] + 1)))
        else:
            seen[name] = i


def _title(guest, i):
    return guest["name"] or "guest %d" % (i + 1)


def _cpus(out, partition, key, have, real):
    guests = partition["guests"]
    owner = {}
    before = len(out)
    for i, guest in enumerate(guests):
        cpus = guest["cpus"]
        if not isinstance(cpus, list):
            continue
        for cpu in sorted(set(cpus)):
            path = (key, i, "cpus")
            if have is not None and cpu >= have:
                what = "%s wants cpu %d and %s %d, numbered from 0" % (
                    _title(guest, i), cpu, "there are" if real else "the machine has", have)
                out.append(Finding("cpu-beyond", path, what))
            elif cpu in owner:
                what = "cpu %d is given to %s and %s" % (cpu, owner[cpu], _title(guest, i))
                out.append(Finding("cpu-shared", path, what))
            elif cpu != 0:  # there guests take turns
                owner[cpu] = _title(guest, i)
    wanted = needs(partition)[0]
    if len(guests) > GUESTS_MAX:
        return  # guest-many has said it
    if len(out) == before and wanted > CPUS_MAX and not real:
        what = "the guests and Python need %d CPUs" % wanted
        out.append(Finding("machine-cpus", (key,), what, "put some guests on cpus = [0]"))
    elif len(out) == before and have is not None and wanted > have:
        what = "the guests and Python need %d CPUs and the machine has %d" % (wanted, have)
        path = ("machine", "cpus") if not real and "cpus" in partition["machine"] else (key,)
        out.append(Finding("cpu-sum", path, what))


def _memory(out, partition, key, machine, images):
    guests = partition["guests"]
    total = sum([g["memory"] or 0 for g in guests])
    shares = ", ".join(
        ["%s %s" % (_title(g, i), size_text(g["memory"])) for i, g in enumerate(guests)
         if g["memory"]])
    if machine is not None:
        have = machine["memory"]
        if total > have:
            what = "%s: %s together and %s free" % (shares, size_text(total), size_text(have))
            out.append(Finding("memory-sum", (key,), what))
        return
    have = partition["machine"].get("memory")
    if have is None:
        return
    need = needs(partition, images)[1]
    if need > have:
        what = "%s, the monitor %s and the images %s need %s and the machine has %s" % (
            shares, size_text(MONITOR), size_text(images), size_text(need), size_text(have))
        out.append(Finding("memory-sum", ("machine", "memory"), what,
                           'write memory = "%s" or more' % size_text(need)))
