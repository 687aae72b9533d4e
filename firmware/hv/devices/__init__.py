"""Devices to use and to read: each shows one thing that a hv.Device can do.

    from hv.devices import Scratch, Uart, Watchdog, connect, testdev

`devices = ["python-uart"]` in a partition file, or hv.Guest(..., devices=["watchdog"]),
attaches the one of that name where it usually is.
"""

from hv.devices.doorbell import Doorbell, connect
from hv.devices.scratch import Scratch
from hv.devices.testdev import testdev
from hv.devices.uart import Uart
from hv.devices.watchdog import Watchdog
from hv.rules import devices as named

__all__ = ["Doorbell", "Scratch", "Uart", "Watchdog", "connect", "testdev"]

# In place of the core's own, for g.replace(): name -> class.
CORE = {"uart": Uart}


def add(guest, entry):
    """A name of rules.devices.PYTHON, or a table of one with its options."""
    name = named.name_of(entry)
    if name == "python-uart":
        if "uart" not in guest.devices:
            guest.replace("uart")
    elif name == "python-testdev":
        if "echo" not in guest.devices:
            testdev(guest)
    elif name in guest.devices:
        return
    elif name == "watchdog":
        ports = named.option(entry, "ports")
        guest.attach(Watchdog(), ports=(ports, ports + named.PORTS[name] - 1))
    else:
        size = named.option(entry, "size")
        guest.attach(Scratch(size), mmio=named.option(entry, "at"), size=size,
                     irq=named.option(entry, "irq"))
