"""A watchdog: a guest that does not write in time is started again, or worse."""

from hv.device import Device

ARM, PET = 0, 4  # offsets: a time in milliseconds (0: off); any write starts it anew


class Watchdog(Device):
    """Watchdog() starts the guest again when its time runs out; Watchdog(function) calls
    function(guest) instead. g.attach(Watchdog(), ports=(0x570, 0x577))"""

    def __init__(self, expired=None):
        self.expired = expired
        self.timeout = 0
        self.fired = 0

    def read(self, offset, size):
        return self.timeout if offset == ARM else self.fired

    def write(self, offset, size, value):
        if offset == ARM:
            self.timeout = value
        if self.timeout:
            self.after(self.timeout, self._fire)
        else:
            self.cancel()

    def _fire(self):
        guest = self.guest
        if guest.state != "running":
            return
        self.fired += 1
        self.timeout = 0
        if self.expired is not None:
            self.expired(guest)
            return
        from hv import events

        events.notice("[%s] the watchdog starts it again" % guest.name)
        guest.reset()
        guest.start()

    def reset(self):
        self.timeout = 0

    def save(self):
        return self.timeout

    def load(self, state):
        self.timeout = state
