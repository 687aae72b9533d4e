"""Devices in Python: subclass Device, g.attach(device, ports=..., mmio=..., irq=...)."""

import _hv
from hv import exits, text

EINVAL, EBUSY = 22, 16
ONES = 0xFFFF_FFFF_FFFF_FFFF


class Device:
    """A device of a guest. read(offset, size) answers, write(offset, size, value) takes;
    offsets count from the start of what g.attach() said. self.guest is its guest, whose
    memory (self.guest.memory) is checked; irq(level) and pulse() move its interrupt line,
    after(ms, function) calls back. reset() runs with the guest's; save() and load(state)
    carry what is worth keeping."""

    guest = None
    line = None  # interrupt line of the guest's board
    name = None

    def read(self, offset, size):
        """What a guest reads, a number of `size` bytes, `offset` bytes behind the beginning of
        the device. Ones where it is not overridden."""
        return ONES

    def write(self, offset, size, value):
        """A guest writes a number of `size` bytes, `offset` bytes behind the beginning."""

    def reset(self):
        """The guest is reset."""

    def attached(self):
        """Behind g.attach(): self.guest, self.line and self.name are there."""

    def detached(self):
        """Before g.detach() or a soft reset takes them away."""

    def console_event(self):
        """Something was typed for the guest, or its console has room again."""

    def save(self):
        """What is worth keeping, for load() of the next version; None: nothing."""
        return None

    def load(self, state):
        """What save() of the version before gave."""

    def irq(self, level):
        """Raises or lowers the interrupt line. OSError: it has none, or is not attached."""
        if self.line is None:
            raise OSError(EINVAL, "%s has no interrupt line; say attach(..., irq=9)" % self.name)
        _hv.guest_line(self.guest.id, self.line, level)

    def pulse(self):
        """Raises and lowers it: one interrupt for an edge-triggered input."""
        self.irq(1)
        self.irq(0)

    def after(self, milliseconds, function):
        """Calls function() once, later; a second call replaces the first."""
        from hv import timers

        timers.after((self, "after"), milliseconds, self._alive(function))

    def cancel(self):
        """No call of after() any more."""
        from hv import timers

        timers.cancel((self, "after"))

    def _alive(self, function):
        guest = self.guest

        def call():
            if self.guest is not guest or guest is None or not guest.exists():
                return
            _called(self, "a timer", function)

        return call

    def __repr__(self):
        where = self.guest.name if self.guest is not None else "not attached"
        return "<%s %s, %s>" % (type(self).__name__, self.name or "", where)


def _called(device, what, function):
    """Calls what a program wrote, from the pump: when it fails, its guest is paused."""
    guest, name = device.guest, device.name
    try:
        _hv.interruptible(function)
    except BaseException as e:
        from hv import events

        if guest.exists() and guest.state == "running":
            guest.pause()
        events.complain("[%s] paused: %s of %s failed\n%s" % (
            guest.name, what, name, events.traceback(e).strip()))


# Two alike: each runs at every access, and a name looked up there would cost more than it saves.


def _ports(device, base):
    read, write = device.read, device.write

    def port(x):
        if x.write:
            write(x.port - base, x.size, x.value)
            x.skip()
        else:
            x.value = read(x.port - base, x.size)

    return port


def _memory(device, base):
    read, write = device.read, device.write

    def memory(x):
        if x.write:
            write(x.gpa - base, x.size, x.value)
            x.skip()
        else:
            x.value = read(x.gpa - base, x.size)

    return memory


def attach(guest, device, ports, mmio, size, irq, name):
    """g.attach()."""
    policy = exits.recording
    if not isinstance(device, Device):
        raise TypeError("%r is no hv.Device; give one, as in g.attach(Adder(), ports=0x560)" % (
            device,))
    if device.guest is not None and not (policy and policy.leaves(device)):
        raise OSError(EBUSY, "%r is attached already" % device)
    if ports is None and mmio is None and irq is None:
        raise ValueError("say where the device is: ports=0x510, mmio=0xfeb00000 with size=, irq=9")
    mine = exits.slots(guest)
    name = name or type(device).__name__.lower()
    there = mine.devices.get(name)
    if policy is not None:
        if policy.device_of(guest, name) or (there and not policy.leaves(there[0])):
            there = there or policy
        else:
            there = None
    if there is not None:
        raise ValueError("%s has a device %s already; give this one a name=" % (guest.name, name))
    spans = []
    if ports is not None:
        low, high = exits.span(ports, "port")
        if isinstance(ports, int) and size and mmio is None:
            low, high = exits.span((low, low + size - 1), "port")
        spans.append(("io", "port", low, high, _ports))
    if mmio is not None:
        low, high = exits.span(mmio, "mmio")
        if isinstance(mmio, int):
            if not size:
                raise ValueError("mmio=%#x needs size=" % mmio)
            high = low + size - 1
        spans.append(("mmio", "gpa", low, high, _memory))
    if irq is not None and not 0 <= irq < 24:
        raise ValueError("irq %d is outside 0 to 23" % irq)
    made = []
    for kind, key, low, high, wrap in spans:
        made.append(exits.Handler(guest, "%s (%s)" % (name, kind), kind, "instead",
                                  {key: (low, high)}, wrap(device, low)))
    if policy is not None:
        return policy.add_device(guest, device, name, irq, made)
    try:
        for handler in made:
            low, high = handler.claims()[0][1:3]
            handler.on()
    except OSError as e:
        for handler in made:
            handler.off()
        if e.args[0] == 17:
            raise OSError(17, "%#x to %#x is memory or another device of %s" % (
                low, high, guest.name))
        raise
    return settle(guest, device, name, irq, made)


def settle(guest, device, name, irq, made):
    """The device is the guest's now."""
    mine = exits.slots(guest)
    device.guest = guest
    device.line = irq
    device.name = name
    mine.devices[name] = (device, made)
    for handler in made:
        mine.named[handler.name] = handler
    device.attached()
    return device


def replace(guest, name, device):
    """g.replace(): a device in Python in the place of one of the core's."""
    from hv import devices

    if name not in devices.CORE:
        raise ValueError(text.unknown("device of the core to replace", name, list(devices.CORE)))
    device = devices.CORE[name]() if device is None else device
    with guest.paused():  # it must not see the one without the other's state
        return attach(guest, device, device.ports, None, None, device.line_of_board, name)


def console_event(guest_id):
    from hv import vm

    guest = vm.by_id(guest_id)
    if guest._slots:
        for device, _ in list(guest._slots.devices.values()):
            if device.guest is guest:  # not detached by one before it
                _called(device, "console_event()", device.console_event)


def detach(guest, device):
    """g.detach(): the device by itself or by its name."""
    mine = exits.slots(guest)
    name = device if isinstance(device, str) else getattr(device, "name", device)
    if name not in mine.devices:
        raise ValueError(text.unknown("device", name, list(mine.devices)))
    device, made = mine.devices.pop(name)
    with guest.paused():
        try:
            device.detached()
        finally:  # whatever that is worth, it is the guest's no more
            for handler in made:
                handler.remove()
            device.cancel()
            device.guest = None


def reset_all(guest):
    """With the guest's reset."""
    if guest._slots:
        for device, _ in list(guest._slots.devices.values()):
            device.cancel()
            _hv.interruptible(device.reset)


def forget_all(guest):
    """Before the guest is destroyed: nothing of a device calls back any more."""
    if guest._slots:
        for device, _ in list(guest._slots.devices.values()):
            device.cancel()
            device.guest = None


def give_back_all():
    """Before Python ends: what stands in the core's place gives it back as its guest knows it."""
    from hv import vm

    for guest in vm.guests():
        for device, _ in list(guest._slots.devices.values()) if guest._slots else ():
            _called(device, "detached()", lambda: detach(guest, device))
