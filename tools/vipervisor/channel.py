"""The framed channel on COM2: its frames and its messages (docs/architecture.md, "Lines")."""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

VERSION = 1
SYNC = 0x7E
MAX_PAYLOAD = 1024
CONSOLE_WINDOW = 1024  # bytes of CONSOLE_IN that may be unacknowledged
_HEADER = struct.Struct("<BBBH")  # sync, type, stream, length
_CRC = struct.Struct("<H")
_TYPES = 0x40  # all types lie below: noise is known sooner
OVERHEAD = _HEADER.size + _CRC.size


class Type(IntEnum):
    """Frame types."""

    HELLO = 0x01
    CONSOLE_OUT = 0x02
    CONSOLE_IN = 0x03
    CONSOLE_ACK = 0x04
    EVENT = 0x05
    EXEC = 0x06
    EXEC_OUT = 0x07
    EXEC_END = 0x08
    ATTACH = 0x09
    QUIT = 0x0A
    EXEC_STOP = 0x0B


@dataclass(frozen=True)
class Frame:
    """One frame; `stream` is a guest id, or a sequence number for EXEC."""

    type: int
    stream: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        if len(self.payload) > MAX_PAYLOAD:
            raise ValueError(f"a frame holds {MAX_PAYLOAD} bytes, not {len(self.payload)}")
        head = _HEADER.pack(SYNC, self.type, self.stream, len(self.payload))
        body = head[1:] + self.payload
        return head[:1] + body + _CRC.pack(crc16(body))

    def json(self) -> dict[str, Any]:
        """The payload as a JSON object; ValueError when it is none."""
        value = json.loads(self.payload.decode("utf-8", "replace"))
        if not isinstance(value, dict):
            raise ValueError(f"a frame of type {self.type:#x} holds no JSON object")
        return value


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start value 0xFFFF, nothing reflected."""
    return binascii.crc_hqx(data, 0xFFFF)


def json_frame(kind: Type, value: Mapping[str, Any], stream: int = 0) -> Frame:
    return Frame(kind, stream, json.dumps(value, separators=(",", ":")).encode())


def split(data: bytes, size: int = MAX_PAYLOAD) -> Iterator[bytes]:
    """`data` in pieces that fit a frame."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Decoder:
    """Bytes in any chunks in, whole frames out; a bad frame costs the bytes up to the
    next sync byte, which may lie inside it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.dropped = 0  # bytes that belonged to no frame

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while True:
            frame = self._next()
            if frame is None:
                return frames
            frames.append(frame)

    def _next(self) -> Frame | None:
        buffer = self._buffer
        while True:
            start = buffer.find(SYNC)
            self._drop(len(buffer) if start < 0 else start)
            if len(buffer) < _HEADER.size:
                return None
            _, kind, stream, length = _HEADER.unpack_from(buffer)
            if length > MAX_PAYLOAD or kind >= _TYPES:
                self._drop(1)
                continue
            end = _HEADER.size + length
            if len(buffer) < end + _CRC.size:
                return None
            if _CRC.unpack_from(buffer, end)[0] != crc16(bytes(buffer[1:end])):
                self._drop(1)
                continue
            payload = bytes(buffer[_HEADER.size : end])
            del buffer[: end + _CRC.size]
            return Frame(kind, stream, payload)

    def _drop(self, count: int) -> None:
        self.dropped += count
        del self._buffer[:count]


@dataclass
class GuestInfo:
    """A guest as the monitor's HELLO and EVENT frames describe it."""

    id: int
    name: str
    state: str = "new"
    cpus: Any = None
    memory: int = 0

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> GuestInfo:
        return cls(
            int(value["id"]),
            str(value["name"]),
            str(value.get("state", "new")),
            value.get("cpus"),
            int(value.get("memory") or 0),
        )


@dataclass
class Hello:
    """What the monitor says about itself once Python is up."""

    version: int
    abi: int
    backend: str | None
    emulator: str
    cpus: Any
    guests: list[GuestInfo] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Hello:
        return cls(
            int(value["version"]),
            int(value.get("abi", 0)),
            value.get("backend"),
            str(value.get("emulator") or ""),
            value.get("cpus"),
            [GuestInfo.parse(g) for g in value.get("guests") or ()],
            value,
        )


@dataclass(frozen=True)
class End:
    """A change of a guest's state; the last one is its end record."""

    id: int
    guest: str
    state: str
    reason: str | None = None
    status: int | None = None
    crash: dict[str, Any] | None = None
    exits: dict[str, int] = field(default_factory=dict)

    FINAL = ("off", "crashed")

    @property
    def final(self) -> bool:
        return self.state in self.FINAL

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> End:
        status = value.get("status")
        return cls(
            int(value["id"]),
            str(value.get("guest") or ""),
            str(value["state"]),
            value.get("reason"),
            None if status is None else int(status),
            value.get("crash") or None,
            dict(value.get("exits") or {}),
        )

    def json(self) -> dict[str, Any]:
        return {
            "event": "state",
            "id": self.id,
            "guest": self.guest,
            "state": self.state,
            "reason": self.reason,
            "status": self.status,
            "crash": self.crash,
            "exits": self.exits,
        }

    def describe(self) -> str:
        """One line for a person."""
        text = f"{self.guest} is {self.state}"
        if self.reason:
            text += f" ({self.reason})"
        if self.status is not None and self.reason == "exit":
            text += f", status {self.status}"
        if self.crash:
            text += f": {self.crash.get('why', 'crash')}"
        return text


def describe_crash(crash: Mapping[str, Any]) -> str:
    """A crash record as lines, hexadecimal where a person expects it."""
    lines = [f"crash: {crash.get('why', 'no reason given')}"]
    plain = {key: value for key, value in crash.items() if not isinstance(value, dict)}
    plain.pop("why", None)
    vcpu = plain.pop("vcpu", None)
    if vcpu is not None:
        lines.append(f"  {'vcpu':<{_LABEL}} {vcpu}")
    lines += [f"  {key:<{_LABEL}} {_crash_value(plain[key])}" for key in sorted(plain)]
    for key, value in crash.items():
        if isinstance(value, dict):
            lines.append(f"  {key}")
            lines += _grid(value)
    return "\n".join(lines)


_LABEL = 13
_COLUMNS = 3
_GENERAL = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()


def _grid(registers: Mapping[str, Any]) -> list[str]:
    """Registers in columns: the general ones as manuals list them, then the others."""
    names = [name for name in _GENERAL if name in registers]
    names += sorted(name for name in registers if name not in names)
    cells = [f"{name:>7} {_crash_value(registers[name]):<18}" for name in names]
    rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    return ["  " + " ".join(row).rstrip() for row in rows]


def _crash_value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}"
    if isinstance(value, list):
        return " ".join(_crash_value(item) for item in value)
    return str(value)
