"""Module machine: the machine itself, beside its guests (firmware/modules/machine.py).

An address that nothing backs is an OSError; what is written to a port or to device memory is
written.
"""

from typing import NoReturn

class _Memory:
    def __getitem__(self, address: int) -> int: ...
    def __setitem__(self, address: int, value: int) -> None: ...

mem8: _Memory
mem16: _Memory
mem32: _Memory
mem64: _Memory

class Port:
    """An I/O port of the machine, of size 1, 2 or 4."""

    port: int
    size: int
    def __init__(self, port: int, size: int = 1) -> None: ...
    def read(self) -> int: ...
    def write(self, value: int) -> None: ...

class RTC:
    """The time of day: the monitor's, and the CMOS clock's."""

    def datetime(
        self, new: tuple[int, int, int, int, int, int, int, int] | None = None
    ) -> tuple[int, int, int, int, int, int, int, int] | None:
        """(year, month, day, weekday, hour, minute, second, microsecond); given, it is set."""
    def init(self, new: tuple[int, int, int, int, int, int, int, int]) -> None: ...

def freq(new: None = None) -> int:
    """Cycles of the time-stamp counter a second."""

def unique_id() -> bytes:
    """The system's UUID of SMBIOS, 16 bytes; b"" where the firmware has none."""

def idle() -> None:
    """Waits for the next event."""

def soft_reset() -> NoReturn:
    """Python starts anew, as by Ctrl-D; guests run on."""

def reset() -> NoReturn:
    """The machine starts anew, and its guests are gone."""

def reset_cause() -> int:
    """0: a PC does not tell."""
