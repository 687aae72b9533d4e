"""Vipervisor on the host: machines, images, partitions and the command line `hv`.

from vipervisor import Machine

with Machine(partition, files, backend="svm") as machine:
    machine.console("linux").expect("login:", timeout=60)
    print(machine.exec("print(hv.guests())"))
"""

from .channel import End, GuestInfo, Hello
from .errors import (
    EmulatorError,
    HostError,
    MonitorError,
    PartitionError,
    Unavailable,
    UsageError,
    WaitTimeout,
)
from .link import Console
from .machine import Machine

__all__ = [
    "Console",
    "EmulatorError",
    "End",
    "GuestInfo",
    "Hello",
    "HostError",
    "Machine",
    "MonitorError",
    "PartitionError",
    "Unavailable",
    "UsageError",
    "WaitTimeout",
]
