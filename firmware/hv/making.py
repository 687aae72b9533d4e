"""What a guest is made of: its CPUs, memory and devices, and what CPUID and MSRs answer."""

import _hv
from hv import clock, cpuid, fwcfg, msr, text
from hv.loaders import layout
from hv.rules import devices as named

MEMORY_STEP = 2 << 20
ENOMEM, EBUSY, ENODEV = 12, 16, 19
SMALLEST = 2 << 20
CPUID_MAX_EXTENDED = 0x8000_0000
CPUID_FEATURES = 0x8000_0001
CPUID_ADDRESS_SIZES = 0x8000_0008
VCPUS_MAX = 8  # GUEST_VCPUS of virt/guest.h


def size_of(memory):
    if isinstance(memory, str):
        memory = text.parse_size(memory)
    if not isinstance(memory, int):
        raise TypeError("memory=%r is no size; write \"64M\"" % (memory,))
    if memory < SMALLEST or memory % MEMORY_STEP:
        raise ValueError("memory %s is not a multiple of 2M" % text.size_text(memory))
    return memory


def owners():
    """The guests of each CPU, started or not: {cpu: [names]}."""
    out = {}
    for guest_id in _hv.guest_ids():
        info = _hv.guest_info(guest_id)
        for row in info["vcpus"]:
            out.setdefault(row[0], []).append(info["name"])
    return out


def _choose(cpus):
    """CPU numbers for a count or a list; an error says what is free."""
    if not isinstance(cpus, (int, list, tuple, range)):
        raise TypeError("cpus=%r is no count and no list of CPUs: cpus=1, cpus=[2]" % (cpus,))
    taken = owners()
    states = {row[0]: row[2] for row in _hv.cpus()}
    # A CPU that has just lost its guest still says "guest" until it looks.
    free = sorted([n for n in states if states[n] in ("idle", "guest") and n not in taken])
    count = cpus if isinstance(cpus, int) else len(cpus)
    if count < 1 or count > VCPUS_MAX:
        raise ValueError("%s cpus; a guest has 1 to %d" % (count, VCPUS_MAX))
    if isinstance(cpus, int):
        if not free:
            raise OSError(EBUSY, "no cpu is free; destroy() a guest, or say cpus=[0] for slices")
        if len(free) < count:
            raise OSError(EBUSY, "%d cpus are wanted; free: %s" % (
                count, ", ".join([str(n) for n in free])))
        return free[:count]
    if len(set(cpus)) < count:
        raise ValueError("cpus=%s names a cpu twice" % (cpus,))
    if 0 in cpus and count > 1:
        raise ValueError("cpus=%s: a guest on cpu 0 runs in slices and has no other cpu" % (
            cpus,))
    for cpu in cpus:
        if cpu not in states:
            raise ValueError("no cpu %s; this machine has 0 to %d" % (cpu, max(states)))
        if cpu != 0 and cpu not in free:
            owner = " and ".join(taken.get(cpu, [])) or "nobody: it is %s" % states[cpu]
            raise OSError(EBUSY, "cpu %d is taken by %s; free: %s" % (
                cpu, owner, ", ".join([str(n) for n in free]) or "none"))
    return list(cpus)


def _add_ram(guest_id, memory):
    """RAM in as few extents as the machine's free memory allows."""
    for gpa, size in layout.ram(memory):
        while size:
            part = min(size, _hv.memory()["largest"] // MEMORY_STEP * MEMORY_STEP)
            if not part:
                raise OSError(ENOMEM)
            _hv.guest_add_ram(guest_id, gpa, part)
            gpa += part
            size -= part


def hidden(names):
    """The names of `hide`, with all that stands on them."""
    from hv.rules import features

    for name in names:
        if name not in features.NAMES:
            raise ValueError(text.unknown("CPUID feature", name, features.NAMES))
        if name in features.NEEDED:
            raise ValueError("%s cannot be hidden: no kernel starts without it" % name)
    return tuple(features.whole(names)) if names else ()


def _read(look, *more):
    """What `look` makes of it by the rules of a partition file; ValueError: a rule is broken."""
    from hv.rules import reader

    read = reader.Reader(reader.TOML)
    found = look(read, *more)
    if read.findings:
        raise ValueError(str(read.findings[0]))
    return found


def own(key, rows):
    """Answers of CPUID leaves and MSRs as in a partition file."""
    from hv.rules import answers

    rows = list(rows) if isinstance(rows, tuple) else rows
    return tuple(_read(getattr(answers, key), rows, (key,)))


def devices(entries):
    """The entries of `devices`."""
    return _read(named.read, {"devices": list(entries)}, ())


def create(guest, name, cpus, memory, entries):
    """Makes it in the core, or nothing of it; returns its number there."""
    missing = _hv.missing()
    if _hv.backend() is None or missing:
        raise OSError(ENODEV, "this machine cannot run guests; it lacks %s" % (
            ", ".join(missing) or "AMD-V and VT-x"))
    chosen = _choose(cpus)
    guest_id = _hv.guest_create(name)
    try:
        _add_ram(guest_id, memory)
        for cpu in chosen:
            _hv.guest_add_vcpu(guest_id, cpu)
        give_answers(guest, guest_id, len(chosen))
        power_on(guest_id, memory)
        for device in entries:
            if named.name_of(device) not in named.PYTHON:
                _hv.guest_device(guest_id, named.name_of(device))
    except (OSError, ValueError) as e:
        _hv.guest_destroy(guest_id)
        if e.args and e.args[0] == ENOMEM:
            raise OSError(ENOMEM, "no memory for %s: %s are free" % (
                text.size_text(memory), text.size_text(_hv.memory()["free"])))
        raise
    return guest_id


def power_on(guest_id, memory):
    _hv.guest_platform(guest_id, clock.wall())
    _hv.guest_firmware(guest_id, fwcfg.build(memory))


def give_answers(guest, guest_id, vcpus):
    caps = _hv.caps()
    table = cpuid.build(
        _hv.cpuid, caps, _hv.tsc_hz(), guest_id, vcpus, guest.paravirt, guest.hide,
        guest.cpuid)
    _hv.guest_set_cpuid(guest_id, table)
    bits = 36
    if _hv.cpuid(CPUID_MAX_EXTENDED, 0)[0] >= CPUID_ADDRESS_SIZES:
        bits = _hv.cpuid(CPUID_ADDRESS_SIZES, 0)[0] & 0xFF
    shown = _hv.cpuid(CPUID_FEATURES, 0)[3] & ~caps.get("cpuid_hide_80000001_edx", 0)
    rdtscp = bool(shown & cpuid.EDX_RDTSCP)
    _hv.guest_set_msrs(guest_id, msr.build(
        _hv.backend() == "svm", bits, rdtscp, guest.paravirt, guest.msr))
