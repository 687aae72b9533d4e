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

__all__ = ["Doorbell", "Scratch", "Uart", "Watchdog", "connect", "testdev"]

# In place of the core's own, for g.replace(): name -> class.
CORE = {"uart": Uart}


def add(guest, name):
    """What rules.reader.PYTHON_DEVICES names."""
    if name == "python-uart":
        if "uart" not in guest.devices:
            guest.replace("uart")
    elif name == "python-testdev":
        if "echo" not in guest.devices:
            testdev(guest)
    elif "watchdog" not in guest.devices:
        guest.attach(Watchdog(), ports=(0x570, 0x577))
