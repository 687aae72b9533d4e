"""Devices to use and to read: each shows one thing that a hv.Device can do.

    from hv.devices import Scratch, Watchdog, connect
"""

from hv.devices.doorbell import Doorbell, connect
from hv.devices.scratch import Scratch
from hv.devices.watchdog import Watchdog

__all__ = ["Doorbell", "Scratch", "Watchdog", "connect"]
