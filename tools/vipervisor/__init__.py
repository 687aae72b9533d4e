"""Vipervisor on the host: machines, images, partitions and the command line `hv`.

from vipervisor import Machine

with Machine.load("partition.toml", backend="svm") as machine:
    machine.console("linux").expect("login:", timeout=60)
    print(machine.exec("print(hv.guests())"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import VERSION as __version__

if TYPE_CHECKING:
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

# Loaded when they are asked for: `hv` must own its signals before the rest is imported.
_HOMES = {
    "Console": "link",
    "End": "channel",
    "Guest": "guest",
    "GuestInfo": "channel",
    "Hello": "channel",
    "Machine": "machine",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("." + _HOMES.get(name, "errors"), __name__), name)
    globals()[name] = value
    return value
