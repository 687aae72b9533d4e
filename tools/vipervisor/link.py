"""The host's end of the channel: one reader thread that sorts frames into consoles,
events and replies, and plain calls for everything that goes the other way."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from . import channel
from .channel import CONSOLE_WINDOW, Decoder, End, Frame, GuestInfo, Hello, Type, json_frame
from .errors import EmulatorError, HostError, MonitorError, PartitionError, UsageError
from .transcript import Transcript
from .waiting import Bell

_SEND_LIMIT = 15.0  # seconds in which the other end must take a frame
_STOP_LIMIT = 3.0  # seconds in which interrupted code should end
_IDLE = 24 * 3600.0  # the reader's socket limit: it only ever ends by EOF or close


class Reader(threading.Thread):
    """Hands every chunk that arrives on a socket to `sink`, until it ends."""

    def __init__(
        self,
        sock: socket.socket,
        sink: Callable[[bytes], None],
        name: str,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._at_end = at_end
        self._sock = sock.dup()
        self._sock.settimeout(_IDLE)
        self._sink = sink

    def run(self) -> None:
        with self._sock:
            while True:
                try:
                    data = self._sock.recv(65536)
                except OSError:
                    break
                if not data:
                    break
                self._sink(data)
        if self._at_end:
            self._at_end()


def close_socket(sock: socket.socket) -> None:
    """Close for good: a thread that reads from a duplicate wakes up too."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class Console(Transcript):
    """A guest's console."""

    def __init__(self, link: Link, guest: GuestInfo) -> None:
        super().__init__(link.bell, f"guest {guest.name}", self._send)
        self._link = link
        self.guest = guest

    def _send(self, data: bytes) -> None:
        self._link.type_at(self.guest.id, data)


class _Exec:
    """One EXEC under way."""

    def __init__(self, on_output: Callable[[bytes], None] | None) -> None:
        self.on_output = on_output
        self.output = bytearray()
        self.reply: dict[str, Any] | None = None


class Link:
    """A connection to a monitor, or to the process that owns one."""

    def __init__(
        self,
        sock: socket.socket,
        bell: Bell | None = None,
        *,
        log: BinaryIO | None = None,
        attach: bool = True,
    ) -> None:
        at_end = None if bell else self._lost  # the owner of a bell knows why a line ends
        self.bell = bell or Bell()
        self._sock = sock
        self._sock.settimeout(_SEND_LIMIT)
        self._send_lock = threading.Lock()
        self._log = log
        self._attach = attach
        self._decoder = Decoder()
        self._listeners: list[Callable[[Frame], None]] = []
        self._sequence = 0
        self._execs: dict[int, _Exec] = {}
        self._type_locks: dict[int, threading.Lock] = {}
        self._typed: dict[int, int] = {}
        self._taken: dict[int, int] = {}
        self.hello: Hello | None = None
        self.guests: dict[int, GuestInfo] = {}
        self.consoles: dict[int, Console] = {}
        self.ends: list[End] = []  # every state event, in order
        self.last: dict[int, End] = {}  # the newest of each guest
        self.error: str | None = None  # why the partition could not be started
        self.booted = False  # the monitor said it started the partition
        self.reader = Reader(sock, self._receive, "channel", at_end)
        self.reader.start()

    def _lost(self) -> None:
        self.bell.fail(EmulatorError("the machine has closed its channel"))

    # --- what comes in ---

    def listen(self, listener: Callable[[Frame], None]) -> None:
        """Have `listener` called, on the reader thread, with every frame."""
        with self.bell:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[Frame], None]) -> None:
        with self.bell:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _receive(self, data: bytes) -> None:
        if self._log:
            self._log.write(data)
        for frame in self._decoder.feed(data):
            with self.bell:
                self._take(frame)
                for listener in list(self._listeners):
                    listener(frame)

    def _take(self, frame: Frame) -> None:
        try:
            self._sort(frame)
        except (ValueError, KeyError, TypeError):
            return  # a frame that is no message of this version says nothing

    def _sort(self, frame: Frame) -> None:
        if frame.type == Type.CONSOLE_OUT:
            self._console(frame.stream).feed(frame.payload)
        elif frame.type == Type.CONSOLE_ACK:
            self._taken[frame.stream] = int.from_bytes(frame.payload[:4], "little")
        elif frame.type == Type.HELLO:
            self.hello = Hello.parse(frame.json())
            for guest in self.hello.guests:
                self._meet(guest)
        elif frame.type == Type.EVENT:
            self._event(frame.json())
        elif frame.type in (Type.EXEC_OUT, Type.EXEC_END):
            self._exec_reply(frame)

    def _event(self, value: dict[str, Any]) -> None:
        kind = value.get("event")
        if kind == "state":
            end = End.parse(value)
            self._meet(GuestInfo(end.id, end.guest, end.state))
            self.ends.append(end)
            self.last[end.id] = end
        elif kind == "boot":
            self.booted = True
        elif kind == "error":
            self.error = str(value.get("message"))

    def _exec_reply(self, frame: Frame) -> None:
        pending = self._execs.get(frame.stream)
        if pending is None:
            return
        if frame.type == Type.EXEC_END:
            pending.reply = frame.json()
            return
        pending.output += frame.payload
        if pending.on_output:
            pending.on_output(frame.payload)

    def _meet(self, guest: GuestInfo) -> None:
        known = self.guests.get(guest.id)
        if known is None or known.name != guest.name:
            self.guests[guest.id] = guest
            self._console(guest.id).guest = guest
            self._console(guest.id).name = f"guest {guest.name}"
            if self._attach:
                with contextlib.suppress(EmulatorError):  # then nothing comes any more
                    self.attach(guest.id)
                    if guest.cpus is None:  # an event told of it: HELLO tells more
                        self.say_hello()
            return
        known.state = guest.state
        known.cpus = guest.cpus if guest.cpus is not None else known.cpus
        known.memory = guest.memory or known.memory

    def _console(self, stream: int) -> Console:
        if stream not in self.consoles:
            guest = self.guests.get(stream) or GuestInfo(stream, str(stream))
            self.consoles[stream] = Console(self, guest)
        return self.consoles[stream]

    # --- what goes out ---

    def send(self, frame: Frame) -> None:
        try:
            with self._send_lock:
                self._sock.sendall(frame.encode())
        except TimeoutError:
            raise EmulatorError(
                f"the monitor took no frame on the channel for {_SEND_LIMIT:g} s"
            ) from None
        except OSError as error:
            raise self.bell.fault or EmulatorError(
                f"the channel to the monitor is closed ({error.strerror})"
            ) from None

    def say_hello(self) -> None:
        self.send(json_frame(Type.HELLO, {"version": channel.VERSION}))

    def wait_hello(self, timeout: float) -> Hello:
        """Wait until the monitor's Python is up."""
        return self.bell.wait(lambda: self.hello, timeout, "the monitor's first word (HELLO)")

    def attach(self, guest: int, on: bool = True) -> None:
        """Read this guest's console without loss, from all that its ring still holds."""
        self.send(Frame(Type.ATTACH, guest, bytes([on])))

    def type_at(self, guest: int, data: bytes, timeout: float = 60) -> None:
        """Send `data` to a guest's console, as fast as the guest takes it."""

        def room() -> int:
            end = self.final(guest)
            if end is not None:
                raise UsageError(f"{end.describe()}: nobody reads its console")
            waiting = (self._typed.get(guest, 0) - self._taken.get(guest, 0)) & 0xFFFFFFFF
            return CONSOLE_WINDOW - waiting

        with self._type_locks.setdefault(guest, threading.Lock()):
            self._type_pieces(guest, data, room, timeout)

    def _type_pieces(
        self, guest: int, data: bytes, room: Callable[[], int], timeout: float
    ) -> None:
        while data:
            count = self.bell.wait(
                lambda: room() > 0 and room(),
                timeout,
                lambda: f"{self._console(guest).name} to take what was typed",
            )
            piece, data = data[:count], data[count:]
            self._typed[guest] = self._typed.get(guest, 0) + len(piece)
            self.send(Frame(Type.CONSOLE_IN, guest, piece))

    def exec(
        self,
        code: str,
        timeout: float = 60,
        on_output: Callable[[bytes], None] | None = None,
        stop: threading.Event | None = None,
    ) -> str:
        """Run Python source on the monitor and return what it printed; a traceback there
        is a MonitorError here. What is not waited for any more (a timeout, Ctrl-C, `stop`)
        is interrupted on the monitor, too."""

        def look() -> dict[str, Any] | None:
            if pending.reply is None and stop is not None and stop.is_set():
                raise HostError(f"{_brief(code)} was given up")
            return pending.reply

        with self.bell:
            stream = self._free_stream()
            pending = self._execs[stream] = _Exec(on_output)
        try:
            for piece in channel.split(code.encode()):
                self.send(Frame(Type.EXEC, stream, piece))
            self.send(Frame(Type.EXEC, stream))
            reply = self.bell.wait(
                look,
                timeout,
                lambda: (
                    f"the monitor to finish {_brief(code)}; it printed "
                    + repr(bytes(pending.output[-200:]).decode("utf-8", "replace"))
                ),
            )
        except BaseException:
            with contextlib.suppress(HostError):
                self.send(Frame(Type.EXEC_STOP, stream))
                self.bell.wait(lambda: pending.reply, _STOP_LIMIT, "the interrupted code to end")
            raise
        finally:
            with self.bell:
                self._execs.pop(stream, None)
        if not reply.get("ok"):
            raise MonitorError(str(reply.get("error") or "failed without a traceback").rstrip())
        return pending.output.decode("utf-8", "replace").replace("\r\n", "\n")

    def _free_stream(self) -> int:
        for _ in range(256):
            self._sequence = (self._sequence + 1) % 256
            if self._sequence not in self._execs:
                return self._sequence
        raise UsageError("256 pieces of code are running on the monitor already")

    def quit(self) -> None:
        """Ask the monitor to power the machine off."""
        self.send(Frame(Type.QUIT))

    def close(self) -> None:
        close_socket(self._sock)

    # --- what callers wait for ---

    def console(self, name: str | int) -> Console:
        """A guest's console by name or id."""
        with self.bell:
            if isinstance(name, int):
                return self._console(name)
            for guest in self.guests.values():
                if guest.name == name:
                    return self._console(guest.id)
            known = ", ".join(g.name for g in self.guests.values()) or "none"
        raise UsageError(f"no guest is called {name} (there are: {known})")

    def wait_guest(self, name: str, timeout: float = 60) -> GuestInfo:
        """Wait until the monitor has made this guest."""

        def look() -> GuestInfo | None:
            self.check_started()
            return next((g for g in self.guests.values() if g.name == name), None)

        return self.bell.wait(look, timeout, f"the monitor to make the guest {name}")

    def wait_end(self, name: str, timeout: float = 60, after: int = 0) -> End:
        """Wait for a guest's end record, looking at state events from number `after`."""

        def look() -> End | None:
            self.check_started()
            for end in self.ends[after:]:
                if end.guest == name and end.final:
                    return end
            return None

        return self.bell.wait(look, timeout, lambda: self._not_ended(name))

    def check_started(self) -> None:
        if self.error is not None:
            raise PartitionError(self.error)

    def final(self, guest: int) -> End | None:
        """How a guest has ended, if it has."""
        end = self.last.get(guest)
        return end if end is not None and end.final else None

    def _not_ended(self, name: str) -> str:
        what = f"the guest {name} to end"
        for console in self.consoles.values():
            if console.guest.name == name:
                tail = console.tail()
                what += f"; its last lines:\n{tail}" if tail.strip() else "; it printed nothing"
        return what


def _brief(code: str) -> str:
    line = code.strip().splitlines()[0] if code.strip() else "nothing"
    return repr(line if len(line) <= 60 else line[:57] + "...")
