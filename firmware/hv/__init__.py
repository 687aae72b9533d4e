"""Vipervisor from its own prompt.

hv.machine                     what we booted on: CPUs, memory, back end
hv.guests()                    all guests, a table
hv.guest("linux")              one of them; each is a variable of its name, too
g = hv.Guest("mine", cpus=1, memory="256M")      make one
g.load("vmlinuz", initrd="rd.gz", cmdline="...")  a boot module, any known kind
g.start() g.pause() g.resume() g.reset() g.stop() g.destroy()
g.console.attach()             its console, until Ctrl-\\
g.exits, g.crash               what it left its world for; why it died
g.memory[0x1000:0x1010], g.vcpus[0].rip
g.wait("off", timeout=5)       wait for a state
"""

import _hv

ABI = 1
if _hv.ABI != ABI:
    raise ImportError("hv was built for ABI %d and the core has %d: build both from one tree" % (
        ABI, _hv.ABI))

from hv import events  # noqa: E402
from hv.vm import Guest, guest, guests  # noqa: E402
from hv.host import Machine  # noqa: E402

machine = Machine()

__all__ = ["ABI", "Guest", "guest", "guests", "machine"]


def _variables():
    from hv import boot

    for g in guests():
        events.namespace[boot.variable(g.name)] = g


def _init(namespace):
    """Called by the port with __main__'s names whenever Python starts."""
    import sys

    from hv import boot

    events.namespace = namespace
    namespace["hv"] = sys.modules["hv"]
    boot.again()
    _variables()
    _hv.notify(events.wake)


def _start():
    """Called by the port on the first boot: starts the partition."""
    import __main__

    from hv import boot

    events.namespace = __main__.__dict__
    boot.start()
    _variables()
