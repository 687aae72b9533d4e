"""Sharing a machine: the process that owns it serves its channel and its prompt to every
other command, and its prompt on a pseudo-terminal to programs that want a serial port."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import threading
import tty
from collections.abc import Callable
from pathlib import Path

from . import channel
from .channel import Decoder, Frame, Type, json_frame
from .errors import HostError, MonitorError
from .link import Link, close_socket
from .transcript import Transcript

_BACKLOG_LIMIT = 16 << 20  # bytes that a client may be behind before it is dropped
_EXEC_LIMIT = 24 * 3600.0  # the client decides how long it waits
_PTY_STALL = 5.0  # seconds in which a program on the pty must read


class Outlet:
    """A queue and a thread in front of a client that may be slow."""

    def __init__(self, write: Callable[[bytes], None], name: str) -> None:
        self._write = write
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._behind = 0
        self.dead = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        if self.dead or not data:
            return
        self._behind += len(data)
        if self._behind > _BACKLOG_LIMIT:
            self.dead = True
            self._queue.put(None)
            return
        self._queue.put(data)

    def _run(self) -> None:
        while True:
            data = self._queue.get()
            if data is None:
                return
            self._behind -= len(data)
            try:
                self._write(data)
            except OSError:
                self.dead = True
                return

    def close(self, drain: float = 2.0) -> None:
        self._queue.put(None)
        self._thread.join(drain)
        self.dead = True


class ChannelClient:
    """One client of the channel: the monitor's protocol, spoken by this process."""

    def __init__(self, link: Link, sock: socket.socket) -> None:
        self._link = link
        self._sock = sock
        self._out = Outlet(sock.sendall, "channel client")
        self._decoder = Decoder()
        self._code: dict[int, bytearray] = {}
        self._runs: dict[int, threading.Event] = {}  # set: given up
        self._taken: dict[int, int] = {}
        self._consoles: dict[int, Callable[[bytes], None]] = {}
        self._greeted = False
        link.listen(self._forward)

    def serve(self) -> None:
        """Until the client leaves."""
        try:
            while not self._out.dead:
                data = self._sock.recv(65536)
                if not data:
                    return
                for frame in self._decoder.feed(data):
                    self._take(frame)
        except OSError:
            return
        finally:
            self.close()

    def close(self) -> None:
        self._link.unlisten(self._forward)
        for given_up in list(self._runs.values()):
            given_up.set()
        for stream, listener in self._consoles.items():
            self._link.console(stream).unlisten(listener)
        self._out.close()
        close_socket(self._sock)

    def _send(self, frame: Frame) -> None:
        self._out.put(frame.encode())

    def _forward(self, frame: Frame) -> None:
        if self._greeted and frame.type in (Type.EVENT, Type.HELLO):
            self._send(frame)

    def _take(self, frame: Frame) -> None:
        if frame.type == Type.HELLO:
            self._greet()
        elif frame.type == Type.ATTACH:
            self._attach(frame.stream, bool(frame.payload[:1] != b"\0"))
        elif frame.type == Type.CONSOLE_IN:
            self._type_at(frame)
        elif frame.type == Type.EXEC:
            self._exec(frame)
        elif frame.type == Type.EXEC_STOP:
            if frame.stream in self._runs:
                self._runs[frame.stream].set()
        elif frame.type == Type.QUIT:
            with contextlib.suppress(HostError):
                self._link.quit()

    def _greet(self) -> None:
        link = self._link
        with link.bell:
            self._greeted = True
            if link.hello is None:
                return  # it is forwarded when it comes
            hello = dict(link.hello.raw)
            hello["guests"] = [vars(guest) for guest in link.guests.values()]
            self._send(json_frame(Type.HELLO, hello))
            for end in link.last.values():
                self._send(json_frame(Type.EVENT, end.json()))
            if link.booted:
                self._send(json_frame(Type.EVENT, {"event": "boot"}))
            if link.error is not None:
                self._send(json_frame(Type.EVENT, {"event": "error", "message": link.error}))

    def _attach(self, stream: int, on: bool) -> None:
        console = self._link.console(stream)
        old = self._consoles.pop(stream, None)
        if old is not None:
            console.unlisten(old)
        if not on:
            return

        def forward(data: bytes) -> None:
            for piece in channel.split(data):
                self._send(Frame(Type.CONSOLE_OUT, stream, piece))

        self._consoles[stream] = forward
        console.listen(forward)

    def _type_at(self, frame: Frame) -> None:
        with contextlib.suppress(HostError):  # a guest that ended takes nothing
            self._link.type_at(frame.stream, frame.payload)
        taken = self._taken[frame.stream] = self._taken.get(frame.stream, 0) + len(frame.payload)
        self._send(
            Frame(Type.CONSOLE_ACK, frame.stream, (taken & 0xFFFFFFFF).to_bytes(4, "little"))
        )

    def _exec(self, frame: Frame) -> None:
        if frame.payload:
            self._code.setdefault(frame.stream, bytearray()).extend(frame.payload)
            return
        code = bytes(self._code.pop(frame.stream, b"")).decode("utf-8", "replace")
        given_up = self._runs[frame.stream] = threading.Event()
        threading.Thread(
            target=self._run, args=(frame.stream, code, given_up), name="exec", daemon=True
        ).start()

    def _run(self, stream: int, code: str, given_up: threading.Event) -> None:
        def output(data: bytes) -> None:
            self._send(Frame(Type.EXEC_OUT, stream, data))

        reply: dict[str, object] = {"ok": True}
        try:
            self._link.exec(code, _EXEC_LIMIT, output, given_up)
        except (MonitorError, HostError) as error:
            reply = {"ok": False, "error": str(error)}
        finally:
            self._runs.pop(stream, None)
        text = json_frame(Type.EXEC_END, reply, stream)
        if len(text.payload) > channel.MAX_PAYLOAD:
            short = str(reply["error"])[-700:]
            text = json_frame(Type.EXEC_END, {"ok": False, "error": "..." + short}, stream)
        self._send(text)


class PromptShare:
    """COM1 for several readers and writers; a program on the pty has it alone while it
    holds it, since two talkers would spoil each other's replies."""

    def __init__(self, prompt: Transcript) -> None:
        self.prompt = prompt
        self._lock = prompt.bell  # the prompt's listeners are called under it
        self._outlets: list[Outlet] = []
        self.taken_by: str | None = None
        prompt.listen(self._output, replay=False)

    def join(self, outlet: Outlet, replay: bool = False) -> None:
        """Have `outlet` see the prompt from its present line on, or from power-on."""
        with self._lock:
            text = self.prompt.raw if replay else self.prompt.text.rpartition("\n")[2].encode()
            outlet.put(text)
            self._outlets.append(outlet)

    def leave(self, outlet: Outlet) -> None:
        with self._lock:
            if outlet in self._outlets:
                self._outlets.remove(outlet)

    def _output(self, data: bytes) -> None:
        if self.taken_by is None:
            with self._lock:
                for outlet in self._outlets:
                    outlet.put(data)

    def type(self, data: bytes) -> None:
        """What a person typed; ignored while a program has the prompt."""
        if self.taken_by is None:
            with contextlib.suppress(OSError):
                self.prompt.write(data)

    def take(self, name: str | None) -> None:
        """A program takes the prompt (`name`) or gives it back (None)."""
        notice = f"\r\n[{name} has the prompt now]\r\n" if name else "\r\n[the prompt is back]\r\n"
        with self._lock:
            if (self.taken_by is None) == (name is None):
                return
            self.taken_by = name
            for outlet in self._outlets:
                outlet.put(notice.encode())


class Pty:
    """The prompt as a pseudo-terminal, for mpremote and terminal programs."""

    def __init__(self, share: PromptShare) -> None:
        self._share = share
        self._master, slave = os.openpty()
        tty.setraw(slave)  # an echo would type the monitor's own output at it
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._wake_read, self._wake_write = os.pipe()
        self._out = Outlet(self._write, "pty")
        share.prompt.listen(self._output, replay=False)
        self._thread = threading.Thread(target=self._run, name="pty reader", daemon=True)
        self._thread.start()

    def _output(self, data: bytes) -> None:
        if self._share.taken_by == self.path:
            self._out.put(data)

    def _write(self, data: bytes) -> None:
        while data:
            if not select.select([], [self._master], [], _PTY_STALL)[1]:
                return  # its program does not read: the rest of this is lost to it
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                continue
            except OSError:
                return

    def _run(self) -> None:
        """Edges only: with no program on the other side the pty would be ready for ever.
        A program takes the prompt with its first byte and gives it back by leaving."""
        with select.epoll() as poll:
            poll.register(self._master, select.EPOLLIN | select.EPOLLHUP | select.EPOLLET)
            poll.register(self._wake_read, select.EPOLLIN)
            while True:
                for number, _ in poll.poll():
                    if number == self._wake_read:
                        return
                    self._drain()

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except BlockingIOError:
                return
            except OSError:  # EIO: nobody has the other side open
                self._share.take(None)
                return
            if not data:
                return
            self._share.take(self.path)
            with contextlib.suppress(OSError):
                self._share.prompt.write(data)

    def close(self) -> None:
        os.write(self._wake_write, b"x")
        self._thread.join(2)
        self._out.close()
        for number in (self._master, self._wake_read, self._wake_write):
            os.close(number)


class Hub:
    """Serves one machine from a folder until closed."""

    def __init__(self, link: Link, prompt: Transcript, folder: Path) -> None:
        self._link = link
        self.share = PromptShare(prompt)
        self.pty = Pty(self.share)
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listeners = [
            self._listen(folder / "channel", self._serve_channel),
            self._listen(folder / "prompt", self._serve_prompt),
        ]

    def _listen(self, path: Path, serve: Callable[[socket.socket], None]) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
        except OSError as error:
            listener.close()
            raise HostError(f"cannot listen on {path}: {error.strerror or error}") from None
        listener.listen(8)
        name = f"hub {path.name}"
        threading.Thread(
            target=self._accept, args=(listener, serve, name), name=name, daemon=True
        ).start()
        return listener

    def _accept(
        self, listener: socket.socket, serve: Callable[[socket.socket], None], name: str
    ) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._clients.add(sock)
            threading.Thread(
                target=self._serve, args=(sock, serve), name=name + " client", daemon=True
            ).start()

    def _serve(self, sock: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        try:
            serve(sock)
        finally:
            with self._lock:
                self._clients.discard(sock)
            close_socket(sock)

    def _serve_channel(self, sock: socket.socket) -> None:
        ChannelClient(self._link, sock).serve()

    def _serve_prompt(self, sock: socket.socket) -> None:
        outlet = Outlet(sock.sendall, "prompt client")
        taken = self.share.taken_by
        if taken is not None:
            outlet.put(f"[{taken} has the prompt now]\r\n".encode())
        self.share.join(outlet)
        try:
            while True:
                data = sock.recv(65536)
                if not data:
                    return
                self.share.type(data)
        except OSError:
            return
        finally:
            self.share.leave(outlet)
            outlet.close()

    def close(self) -> None:
        for listener in self._listeners:
            close_socket(listener)
        with self._lock:
            clients = list(self._clients)
        for sock in clients:
            close_socket(sock)
        self.pty.close()
