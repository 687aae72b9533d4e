"""Vipervisor from its own prompt: help(hv) there, docs/python.md here."""

import _hv

ABI = 1
if _hv.ABI != ABI:
    raise ImportError("hv was built for ABI %d and the core has %d: build both from one tree" % (
        ABI, _hv.ABI))

from hv import events  # noqa: E402
from hv.clock import TimeoutError  # noqa: E402
from hv.device import Device  # noqa: E402
from hv.explain import cost, explain, why  # noqa: E402
from hv.vm import Guest, guest, guests  # noqa: E402
from hv.snippet import guest_from  # noqa: E402
from hv.host import Machine  # noqa: E402
from hv.moves import states  # noqa: E402
from hv.live import policies, policy  # noqa: E402
from hv.partition import Partition, PartitionError  # noqa: E402

machine = Machine()
handler_limit = 1000  # milliseconds that a handler may take; 0: no limit

__all__ = [
    "ABI", "Device", "Guest", "Partition", "PartitionError", "TimeoutError", "after", "cost",
    "every", "explain", "guest", "guest_from", "guests", "handler_limit", "machine",
    "policies", "policy", "probe", "states", "tour", "why",
]


def probe():
    """What this machine has and lacks, and for what: a table; .toml() describes the board."""
    from hv import board

    return board.Board()


def after(milliseconds, function):
    """Calls function() once, later; returns a timer with cancel()."""
    from hv import timers

    return timers.timer(milliseconds, function, False)


def every(milliseconds, function):
    """Calls function() again and again; returns a timer with cancel()."""
    from hv import timers

    return timers.timer(milliseconds, function, True)


def tour():
    """Ten steps at the prompt, five minutes: each is typed and checked."""
    from hv import steps

    steps.tour()


def _init(namespace):
    """Called by the port with __main__'s names whenever Python starts."""
    import builtins
    import sys

    from hv import boot
    from hv import help as texts

    events.namespace = namespace
    namespace["hv"] = sys.modules["hv"]
    texts.install(namespace["hv"], namespace, builtins.help)
    again = not _hv.first_start()
    if again:
        boot.again()
    boot.variables()
    _hv.handler_names(namespace["hv"].__dict__)
    if again:
        from hv import live

        live.again()
    events.listen()


def _start():
    """Called by the port on the first boot: starts the partition."""
    import sys

    import __main__

    from hv import boot

    events.namespace = __main__.__dict__
    events.namespace["hv"] = sys.modules["hv"]
    boot.start()


def _leave():
    """Called by the port before a soft reset."""
    from hv import device

    device.give_back_all()
