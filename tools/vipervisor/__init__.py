"""Vipervisor on the host: machines, images, partitions and the command line `hv`.

from vipervisor import Machine

with Machine.load("partition.toml", backend="svm") as machine:
    machine.console("linux").expect("login:", timeout=60)
    print(machine.exec("print(hv.guests())"))
"""

from .channel import End, GuestInfo, Hello
from .errors import (
    EmulatorError,
    GuestEnded,
    HostError,
    MonitorError,
    PartitionError,
    Unavailable,
    UsageError,
    WaitTimeout,
)
from .guest import Guest
from .link import Console
from .machine import Machine
from .version import VERSION as __version__

__all__ = [
    "Console",
    "EmulatorError",
    "End",
    "Guest",
    "GuestEnded",
    "GuestInfo",
    "Hello",
    "HostError",
    "Machine",
    "MonitorError",
    "PartitionError",
    "Unavailable",
    "UsageError",
    "WaitTimeout",
    "__version__",
]
