"""The first boot: reads partition.json, checks it again, makes and starts the guests."""

import json

import _hv
from hv import channel, events, making
from hv import vm as guests
from hv import host

PARTITION = "partition.json"


def partition():
    """The partition that was booted with, or None."""
    if PARTITION not in [m[0] for m in _hv.modules()]:
        return None
    return json.loads(bytes(_hv.module(PARTITION)))


def start():
    """Starts the partition; a guest that cannot start does not keep the others."""
    try:
        description = partition()
    except ValueError as e:
        _problem("partition.json cannot be read: %s" % e)
        description = None
    events.quiet = bool(description and description.get("run", {}).get("single"))
    channel.hello()
    if description is None:
        host.banner(None)
        return
    if (description.get("run") or {}).get("probe"):
        from hv import board

        board.report()
        channel.booted(description.get("name", ""))
        return
    findings = _findings(description)
    for finding in findings:
        _problem("partition: %s" % finding)
    if not findings:
        from hv import rules

        run = description.get("run") or {}
        made = [_make(row, cpus, run)
                for row, cpus in zip(description["guests"], rules.assign(description))]
        made = [guest for guest in made if guest is not None]
        connect(description.get("connect"), made)
        started = any([_start(guest) for guest in made])
        variables()  # before the host hears of it, who may ask for them at once
        if started:
            channel.booted(description.get("name", ""))
    if not events.quiet:
        host.banner(description)
    events.pump()


def _findings(description):
    from hv import rules

    return rules.check_compiled(description, host.for_rules())


def _problem(text):
    print(text)
    channel.error(text)


def make(row, cpus, single=False):
    """The guest of a row, loaded and not yet started; an error leaves nothing of it."""
    made = guests.Guest(
        row["name"], cpus, row["memory"], row.get("devices") or (), row.get("paravirt", True),
        row.get("hide") or (), row.get("cpuid") or (), row.get("msr") or ())
    try:
        adopt(made, row, single)
        if row.get("symbols"):
            made.load_symbols(row["symbols"])
        made.load(
            row["image"], row.get("initrd") or (), row.get("cmdline") or "", row.get("kind"),
            row.get("modules") or ())
    except BaseException:
        made.destroy()
        raise
    return made


def _make(row, cpus, run):
    """The guest of a row, ready to start; None when that was not possible, which is told."""
    made = None
    try:
        made = make(row, cpus, bool(run.get("single")))
        if run.get("script"):
            _script(run["script"], made)
        return made
    except (ValueError, OSError) as e:
        _problem("%s was not started: %s" % (row.get("name"), events.said(e)))
        if made is not None:
            made.destroy()
        return None


def _start(made):
    """True when the guest was started."""
    try:
        made.start()
        return True
    except (ValueError, OSError) as e:
        _problem("%s was not started: %s" % (made.name, events.said(e)))
        made.destroy()
        return False


def connect(rows, there, share=True):
    """The connections of a partition, as far as both guests are there."""
    if not rows:
        return
    from hv import devices

    for row in rows:
        pair = [g for name in row["guests"] for g in there if g.name == name]
        if len(pair) < 2:
            continue
        memory = row.get("memory") if share else None
        try:
            devices.connect(pair[0], pair[1], memory, row.get("size") or 0, row.get("at"),
                            row["ports"], row["irq"])
        except (ValueError, OSError) as e:
            _problem("%s and %s were not connected: %s" % (
                pair[0].name, pair[1].name, events.said(e)))


def _script(name, guest):
    """Runs `hv run --script` before the guest's first instruction."""
    import sys

    names = events.namespace
    names["hv"] = sys.modules["hv"]
    names[variable(guest.name)] = names["guest"] = guest
    try:
        exec(compile(str(bytes(_hv.module(name)), "utf-8"), name, "exec"), names)
    except SystemExit:
        pass
    except Exception as e:
        raise ValueError("the script failed: %s" % events.traceback(e).strip())


def variable(name):
    """The prompt's name for a guest."""
    return name.replace("-", "_")


def variables():
    """Makes the guests known to the prompt by name."""
    for guest in guests.guests():
        events.namespace[variable(guest.name)] = guest


def adopt(guest, row, single=False):
    """Gives a guest the policies of its row."""
    reboot = {"do": "stop" if single else "restart"}
    guest.policies = {
        "on_crash": row.get("on_crash") or {"do": "stop"},
        "on_poweroff": row.get("on_poweroff") or {"do": "stop"},
        "on_reboot": row.get("on_reboot") or reboot,
    }


def again():
    """After a soft reset: the guests run on; their images and policies are known again."""
    description = partition()
    if description is None:
        return
    events.quiet = bool(description.get("run", {}).get("single"))
    rows = {row["name"]: row for row in description.get("guests", [])}
    for guest in guests.guests():
        row = rows.get(guest.name)
        if row is not None:
            adopt(guest, row, events.quiet)
            guest.paravirt = row.get("paravirt", True)
            guest.hide = tuple(row.get("hide") or ())
            guest.cpuid = making.own("cpuid", row.get("cpuid") or ())
            guest.msr = making.own("msr", row.get("msr") or ())
            guest.add_devices(row.get("devices") or ())
            if row.get("symbols") and guest.symbols is None:
                guest.load_symbols(row["symbols"])
            guest._load = (
                row["image"], tuple(row.get("initrd") or ()), row.get("cmdline") or "",
                row.get("kind"), tuple(row.get("modules") or ()))
    # The memory is shared by the core still.
    connect(description.get("connect"), guests.guests(), share=False)
