"""A 16550A in Python, as the core's own at COM1: National Semiconductor PC16550D data sheet.

g.replace("uart") puts it in the core's place while the guest runs, g.detach("uart") gives
the place back: the guest notices neither.
"""

import _hv
from hv.device import Device

FIFO = 16
TRIGGERS = (1, 4, 8, 14)
DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
IER_ERBFI, IER_ETBEI, IER_ELSI, IER_EDSSI, IER_BITS = 1, 2, 4, 8, 0x0F
IIR_NONE, IIR_MSI, IIR_THRI, IIR_RDI, IIR_RLSI, IIR_TIMEOUT = 1, 0, 2, 4, 6, 0xC
IIR_FIFOS = 0xC0
FCR_ENABLE, FCR_CLEAR_RX, FCR_TRIGGER_SHIFT = 1, 2, 6
LCR_BREAK, LCR_DLAB = 0x40, 0x80
MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP, MCR_BITS = 1, 2, 4, 8, 0x10, 0x1F
LSR_DR, LSR_OE, LSR_BI, LSR_THRE, LSR_TEMT, LSR_FIFO_ERROR = 1, 2, 0x10, 0x20, 0x40, 0x80
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80
MSR_LEVELS, MSR_DELTAS, MSR_TERI = 0xF0, 0x0F, 4
READY = MSR_DCD | MSR_DSR | MSR_CTS  # a terminal is attached and ready
RX = 17  # where the FIFO is in struct uart of the core, its errors behind it


class Uart(Device):
    """A 16550A whose other side is the guest's console. The transmitter is never seen busy
    except while the console is full."""

    ports = (0x3F8, 0x3FF)  # COM1, and its interrupt
    line_of_board = 4

    def __init__(self):
        self.level = 0
        self.reset()

    def reset(self):
        self.ier = self.lcr = self.mcr = self.scr = self.dlm = self.overrun = 0
        self.dll = 1
        self.msr = READY
        self.fifo = False
        self.trigger = 1
        self.thre = True  # to be told by an interrupt
        self.stalled = False  # the console is full
        self.unsent = b""
        self.rx = []  # (byte, its bits of LSR), the oldest first
        if self.guest is not None:
            self._refresh()

    # -- its place

    def attached(self):
        state = _hv.guest_uart(self.guest.id)
        _hv.console_claim(self.guest.id, True)
        self.load(state)
        self.console_event()

    def detached(self):
        _hv.guest_uart(self.guest.id, self.save())
        _hv.console_claim(self.guest.id, False)

    def save(self):
        rx = bytes([byte for byte, _ in self.rx])
        errors = bytes([error for _, error in self.rx])
        return bytes((self.ier, self.lcr, self.mcr, self.msr, self.scr, self.dll, self.dlm,
                      self.fifo, self.trigger, self.overrun, self.thre, False, self.level, False,
                      True, 0, len(rx))) + (
            rx + bytes(FIFO - len(rx)) + errors + bytes(FIFO - len(rx)))

    def load(self, state):
        (self.ier, self.lcr, self.mcr, self.msr, self.scr, self.dll, self.dlm, fifo,
         self.trigger, self.overrun, thre, _, _, _, _, first, count) = state[:RX]
        self.fifo = bool(fifo)
        self.thre = bool(thre)
        places = [RX + (first + i) % FIFO for i in range(count)]
        self.rx = [(state[at], state[FIFO + at]) for at in places]
        self.level = None  # unknown to this one
        self._refresh()

    # -- interrupts

    def _identify(self):
        """The highest of the interrupts that are both enabled and there (table 5)."""
        ier = self.ier
        if not ier:
            return IIR_NONE
        if ier & IER_ELSI and (self.overrun or (self.rx and self.rx[0][1])):
            return IIR_RLSI
        if ier & IER_ERBFI and self.rx:
            # Fewer than the trigger: nothing more comes soon, so the timeout is now.
            return IIR_RDI if len(self.rx) >= self.trigger else IIR_TIMEOUT
        if ier & IER_ETBEI and self.thre:
            return IIR_THRI
        if ier & IER_EDSSI and self.msr & MSR_DELTAS:
            return IIR_MSI
        return IIR_NONE

    def _refresh(self):
        # In loopback the OUT2 pin is high, so a PC passes no interrupt on.
        passes = self.mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2
        level = 1 if passes and self._identify() != IIR_NONE else 0
        if level != self.level:
            self.level = level
            self.irq(level)

    # -- bytes

    def _receive(self, byte, error):
        if len(self.rx) >= (FIFO if self.fifo else 1):
            self.overrun = LSR_OE
            if self.fifo:
                return  # the shift register is overwritten, the FIFO is not
            self.rx = []
        self.rx.append((byte, error))

    def _refill(self):
        if self.mcr & MCR_LOOP:
            return  # SIN is cut off; what is typed waits
        room = (FIFO if self.fifo else 1) - len(self.rx)
        if room > 0:
            for byte in _hv.console_take(self.guest.id, room):
                self.rx.append((byte, 0))

    def console_event(self):
        """Something was typed, or the console has room again."""
        if self.stalled and self._send(self.unsent):
            self.stalled = False
            self.thre = True
        self._refill()
        self._refresh()

    def _send(self, data):
        taken = _hv.console_put(self.guest.id, data) if data else 0
        self.unsent = data[taken:]
        return not self.unsent

    # -- registers

    def read(self, offset, size):
        value = self._read(offset)
        for i in range(1, size):  # an 8-bit device sees one cycle a byte
            value |= (self._read(offset + i) if offset + i < 8 else 0xFF) << 8 * i
        return value

    def write(self, offset, size, value):
        self._write(offset, value & 0xFF)
        for i in range(1, size):
            if offset + i < 8:
                self._write(offset + i, value >> 8 * i & 0xFF)

    def _read(self, register):
        if register == LSR:
            return self._read_lsr()
        if register == DATA:
            return self.dll if self.lcr & LCR_DLAB else self._read_data()
        if register == IER:
            return self.dlm if self.lcr & LCR_DLAB else self.ier
        if register == IIR:
            value = self._identify()
            if value == IIR_THRI:  # being told clears it
                self.thre = False
                self._refresh()
            return value | (IIR_FIFOS if self.fifo else 0)
        if register == LCR:
            return self.lcr
        if register == MCR:
            return self.mcr
        if register == MSR:
            value = self.msr
            self.msr &= MSR_LEVELS
            self._refresh()
            return value
        return self.scr

    def _read_data(self):
        byte = 0
        if self.rx:
            byte = self.rx.pop(0)[0]
            self._refresh()
        if not self.rx:  # not before: the line must fall in between
            self._refill()
            self._refresh()
        return byte

    def _read_lsr(self):
        if self.stalled or not self.rx:
            self.console_event()
        value = 0 if self.stalled else LSR_THRE | LSR_TEMT
        if not self.rx and not self.overrun:
            return value
        value |= self.overrun
        if self.rx:
            value |= LSR_DR | self.rx[0][1]
            if self.fifo and any([error for _, error in self.rx]):
                value |= LSR_FIFO_ERROR
            self.rx[0] = (self.rx[0][0], 0)  # the read clears OE and the first byte's errors
        self.overrun = 0
        self._refresh()
        return value

    def _write(self, register, value):
        if register == DATA:
            if self.lcr & LCR_DLAB:
                self.dll = value
            else:
                self._write_data(value)
            return
        if register == IER:
            if self.lcr & LCR_DLAB:
                self.dlm = value
                return
            rises = value & ~self.ier & IER_ETBEI
            self.ier = value & IER_BITS
            if rises and not self.stalled:
                self.thre = True  # enabling it while THRE is set tells it again
        elif register == IIR:
            fifo = bool(value & FCR_ENABLE)
            if fifo != self.fifo or (fifo and value & FCR_CLEAR_RX):
                self.rx = []
            self.fifo = fifo
            self.trigger = TRIGGERS[value >> FCR_TRIGGER_SHIFT] if fifo else 1
        elif register == LCR:
            breaks = value & ~self.lcr & LCR_BREAK
            self.lcr = value
            if breaks and self.mcr & MCR_LOOP:
                self._receive(0, LSR_BI)
        elif register == MCR:
            self.mcr = value & MCR_BITS
            self._update_msr()
        else:
            if register == SCR:
                self.scr = value
            return  # LSR and MSR are read only
        self._refill()  # FCR made room, or loopback ended
        self._refresh()

    def _write_data(self, value):
        if self.mcr & MCR_LOOP:
            self._receive(value, 0)
        elif not self._send(self.unsent + bytes((value,))):
            self.stalled = True
        if not self.ier and not self.stalled:
            return  # a polling writer: no interrupt can change
        self.thre = False  # the line drops, so that THRE makes a fresh edge
        self._refresh()
        self.thre = not self.stalled
        self._refresh()

    def _update_msr(self):
        """Modem inputs: from the outputs in loopback, else a terminal that is ready."""
        levels = READY
        if self.mcr & MCR_LOOP:
            levels = 0
            for out, level in ((MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI),
                               (MCR_OUT2, MSR_DCD)):
                if self.mcr & out:
                    levels |= level
        moved = ((self.msr ^ levels) & MSR_LEVELS) >> 4
        if levels & MSR_RI:
            moved &= ~MSR_TERI  # RI tells its trailing edge only
        self.msr = levels | self.msr & MSR_DELTAS | moved
