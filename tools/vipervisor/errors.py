"""What can go wrong on the host, each as one sentence a person can act on."""

from __future__ import annotations


class HostError(Exception):
    """A failure that is not the guest's: a bad file, a missing tool, a dead emulator."""


class UsageError(HostError):
    """The command line or a call asks for something that cannot be."""


class Unavailable(HostError):
    """This machine cannot do what was asked (the reason says why): a test skips on it."""


class EmulatorError(HostError):
    """The emulator did not start, or ended before it should."""


class PartitionError(HostError):
    """The monitor refused to start the partition."""


class MonitorError(HostError):
    """Python on the monitor raised; the text is its traceback."""


class GuestEnded(HostError):
    """What was waited for can no longer come: the guest has ended; the text says how."""


class WaitTimeout(HostError, TimeoutError):
    """A bounded wait ran out; the text says what was waited for."""
