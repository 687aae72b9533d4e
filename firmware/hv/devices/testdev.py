"""QEMU's pc-testdev in Python, as the core's `testdev` in C (hypervisor/dev/testdev.c): its
guest sees no difference. An echo, a port that takes anything, interrupt lines to raise and
lower, and memory that is reached by exits only."""

import _hv
from hv.device import ONES, Device
from hv.devices.scratch import Scratch

ECHO, FLUSH = 0, 4  # offsets from port 0xE0
ECHO_SIZE = 4
PORTS = (0xE0, 0xE4)
LINES = (0x2000, 0x2017)  # one port a line: bit 0 is its level
MEMORY, MEMORY_SIZE = 0xFF00_0000, 0x1_0000


class Echo(Device):
    """Reads back what was written, as a whole or in parts; FLUSH takes writes."""

    def __init__(self):
        self.bytes = bytearray(ECHO_SIZE)

    def read(self, offset, size):
        if offset + size > ECHO_SIZE:
            return ONES
        return int.from_bytes(self.bytes[offset : offset + size], "little")

    def write(self, offset, size, value):
        if offset + size <= ECHO_SIZE:
            self.bytes[offset : offset + size] = value.to_bytes(size, "little")

    def reset(self):
        self.bytes = bytearray(ECHO_SIZE)

    def save(self):
        return bytes(self.bytes)

    def load(self, state):
        self.bytes = bytearray(state)


class Lines(Device):
    """Moves the interrupt lines of the guest's board."""

    def write(self, offset, size, value):
        _hv.guest_line(self.guest.id, offset, value & 1)


def testdev(guest):
    """Gives the guest all of it, as (echo, lines, memory)."""
    return (
        guest.attach(Echo(), ports=PORTS, name="echo"),
        guest.attach(Lines(), ports=LINES, name="lines"),
        guest.attach(Scratch(MEMORY_SIZE), mmio=MEMORY, size=MEMORY_SIZE, name="memory"),
    )
