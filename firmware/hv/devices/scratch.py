"""Memory of a device: what is written is read back, in any size."""

from hv.device import ONES, Device


class Scratch(Device):
    """Scratch(size) remembers bytes; a write to the last one raises its interrupt.
    g.attach(Scratch(4096), mmio=0xd0000000, size=4096, irq=11)"""

    def __init__(self, size=4096):
        self.bytes = bytearray(size)

    def read(self, offset, size):
        if offset + size > len(self.bytes):
            return ONES
        return int.from_bytes(self.bytes[offset : offset + size], "little")

    def write(self, offset, size, value):
        if offset + size > len(self.bytes):
            return
        self.bytes[offset : offset + size] = value.to_bytes(size, "little")
        if self.line is not None and offset + size == len(self.bytes):
            self.pulse()

    def reset(self):
        self.bytes = bytearray(len(self.bytes))

    def save(self):
        return bytes(self.bytes)

    def load(self, state):
        self.bytes = bytearray(state)
