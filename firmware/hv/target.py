"""What the loaders write to: a guest's memory, and boot modules or bytes to fill it with."""

import _hv
from hv import text


class Target:
    """What the loaders write to."""

    def __init__(self, guest, name, fresh):
        self._id = guest.id
        self.memory = guest.memory_size
        self.fresh = fresh
        self.data = None  # the image's bytes; load() sets it
        self.shift = 0  # of the loader's tables; load() sets it

    def module(self, name):
        if not isinstance(name, str):
            return memoryview(name)  # the image itself
        try:
            return _hv.module(name)
        except (OSError, ValueError):
            raise ValueError(text.unknown("boot module", name, [m[0] for m in _hv.modules()]))

    def write(self, gpa, data):
        _hv.guest_write(self._id, gpa, data)

    def load(self, gpa, name, offset, size):
        if not isinstance(name, str):
            _hv.guest_write(self._id, gpa, memoryview(name)[offset : offset + size])
            return
        _hv.guest_load_module(self._id, gpa, name, offset, size)
