# Module `machine`: what the C part has (mem8 to mem64, reset, idle), and what of MicroPython's
# other boards makes sense on a PC.
import _hv
import time as _time
from umachine import *

_CMOS_INDEX, _CMOS_DATA = 0x70, 0x71
_NMI_OFF = 0x80
_STATUS_B = 0x0B
_B_24H, _B_BINARY, _B_SET = 0x02, 0x04, 0x80
_PM = 0x80
# Year, month, day, hour, minute, second (MC146818A).
_FIELDS = 0x09, 0x08, 0x07, 0x04, 0x02, 0x00
_WEEKDAY = 0x06

_SMBIOS_FIRST, _SMBIOS_END = 0xF0000, 0x100000
_SYSTEM, _END_OF_TABLE = 1, 127
# UEFI 2.10, 4.3: EFI_SYSTEM_TABLE, its size, its count of tables and where they are; 4.6: the
# GUIDs of SMBIOS' entry points.
_EFI_SIGNATURE, _EFI_SIZE, _EFI_TABLES = b"IBI SYST", 120, 104
_EFI_SMBIOS = (b"\x44\x15\xfd\xf2\x94\x97\x2c\x4a\x99\x2e\xe5\xbb\xcf\x20\xe3\x94",
               b"\x31\x2d\x9d\xeb\x88\x2d\xd3\x11\x9a\x16\x00\x90\x27\x3f\xc1\x4d")


class Port:
    """An I/O port of the machine: read() and write(value), of size 1, 2 or 4."""

    def __init__(self, port, size=1):
        if size not in (1, 2, 4):
            raise ValueError("a port has 1, 2 or 4 bytes, not %r" % (size,))
        if not 0 <= port <= 0x10000 - size:
            raise ValueError("port %r is outside 0 to %#x" % (port, 0x10000 - size))
        self.port = port
        self.size = size

    def read(self):
        read = _hv.inb if self.size == 1 else _hv.inw if self.size == 2 else _hv.inl
        return read(self.port)

    def write(self, value):
        write = _hv.outb if self.size == 1 else _hv.outw if self.size == 2 else _hv.outl
        write(self.port, value & ((1 << 8 * self.size) - 1))

    def __repr__(self):
        return "Port(%#x, size=%d)" % (self.port, self.size)


class RTC:
    """The time of day: the monitor's, and the CMOS clock's."""

    def datetime(self, new=None):
        """(year, month, day, weekday, hour, minute, second, microsecond); given, it is set."""
        if new is None:
            now = _time.time_ns()
            y, month, d, h, m, s, weekday, _ = _time.gmtime(now // 1_000_000_000)
            return y, month, d, weekday, h, m, s, now // 1000 % 1_000_000
        y, month, d, _, h, m, s, us = new
        seconds = _time.mktime((y, month, d, h, m, s, 0, 0))
        if _time.gmtime(seconds)[:6] != (y, month, d, h, m, s) or not 2000 <= y < 2100:
            raise ValueError("%r is no time from 2000 to 2099" % (new,))
        _hv.clock_set(seconds * 1_000_000_000 + us * 1000)
        _cmos_set(_time.gmtime(seconds))

    def init(self, new):
        self.datetime(new)


def _cmos(index):
    _hv.outb(_CMOS_INDEX, _NMI_OFF | index)
    return _hv.inb(_CMOS_DATA)


def _cmos_write(index, value):
    _hv.outb(_CMOS_INDEX, _NMI_OFF | index)
    _hv.outb(_CMOS_DATA, value)


def _cmos_set(now):
    mode = _cmos(_STATUS_B)
    _cmos_write(_STATUS_B, mode | _B_SET)

    def put(index, value, flag=0):
        if not mode & _B_BINARY:
            value = value // 10 << 4 | value % 10
        _cmos_write(index, value | flag)

    for index, value in zip(_FIELDS, now):
        flag = 0
        if index == 0x09:
            value %= 100
        elif index == 0x04 and not mode & _B_24H:
            flag = _PM if value >= 12 else 0
            value = value % 12 or 12
        put(index, value, flag)
    put(_WEEKDAY, (now[6] + 1) % 7 + 1)  # the chip's week begins with Sunday, 1
    _cmos_write(_STATUS_B, mode)
    _hv.outb(_CMOS_INDEX, 0)  # NMI on again


def freq(new=None):
    """Cycles of the time-stamp counter a second."""
    if new is not None:
        raise ValueError("the frequency cannot be set")
    return _hv.tsc_hz()


def unique_id():
    """The system's UUID of SMBIOS, 16 bytes; b"" where the firmware has none."""
    for structure in _smbios():
        if structure[0] == _SYSTEM and structure[1] >= 0x19:
            uuid = structure[8:24]
            return b"" if uuid in (bytes(16), b"\xff" * 16) else uuid
    return b""


def _entries():
    """Where SMBIOS' entry point may be: as UEFI says, else in the BIOS' memory."""
    efi = _hv.memory()["efi"]
    if efi:
        header = _hv.peek(efi, _EFI_SIZE)
        if header[:8] == _EFI_SIGNATURE:
            count = int.from_bytes(header[_EFI_TABLES : _EFI_TABLES + 4], "little")
            at = int.from_bytes(header[_EFI_TABLES + 8 : _EFI_TABLES + 16], "little")
            tables = _hv.peek(at, 24 * min(count, 256))
            for guid in _EFI_SMBIOS:
                for row in range(0, len(tables), 24):
                    if tables[row : row + 16] == guid:
                        yield int.from_bytes(tables[row + 16 : row + 24], "little")
    for address in range(_SMBIOS_FIRST, _SMBIOS_END, 16):
        yield address


def _table():
    """The table that the first entry point names."""
    for address in _entries():
        anchor = _hv.peek(address, 5)
        if anchor == b"_SM3_":
            entry = _hv.peek(address, 24)
            size = int.from_bytes(entry[12:16], "little")
            place = int.from_bytes(entry[16:24], "little")
        elif anchor[:4] == b"_SM_":
            entry = _hv.peek(address, 31)
            size = int.from_bytes(entry[22:24], "little")
            place = int.from_bytes(entry[24:28], "little")
        else:
            continue
        return _hv.peek(place, min(size, 65536))
    return b""


def _smbios():
    """The structures of SMBIOS' table."""
    try:
        table = _table()
    except OSError:
        return  # in memory that nothing maps
    at = 0
    while at + 4 <= len(table):
        length = table[at + 1]
        if length < 4:
            return
        yield table[at : at + length]
        if table[at] == _END_OF_TABLE:
            return
        at = table.find(b"\0\0", at + length) + 2  # behind the strings
        if at < 2:
            return
