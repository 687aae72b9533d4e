"""The channel's frames and the client's sorting of them."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

import pytest
from vipervisor.channel import (
    MAX_PAYLOAD,
    OVERHEAD,
    Decoder,
    End,
    Frame,
    Type,
    crc16,
    describe_crash,
    json_frame,
    split,
)
from vipervisor.errors import (
    EmulatorError,
    HostError,
    MonitorError,
    PartitionError,
    UsageError,
    WaitTimeout,
)
from vipervisor.link import Link


def test_crc_is_ccitt_false() -> None:
    assert crc16(b"123456789") == 0x29B1  # the catalogue's check value


def test_frame_bytes() -> None:
    data = Frame(Type.EXEC, 7, b"ab").encode()
    assert data[:7] == b"\x7e\x06\x07\x02\x00ab"
    assert data[7:] == crc16(data[1:7]).to_bytes(2, "little")
    assert len(data) == OVERHEAD + 2


def test_payload_limit() -> None:
    assert len(Frame(2, 0, b"x" * MAX_PAYLOAD).encode()) == MAX_PAYLOAD + OVERHEAD
    with pytest.raises(ValueError, match="1024"):
        Frame(2, 0, b"x" * (MAX_PAYLOAD + 1)).encode()


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_decode_in_any_chunks(chunk: int) -> None:
    frames = [Frame(2, i, bytes(range(256)) * (i % 5)) for i in range(20)]
    stream = b"".join(frame.encode() for frame in frames)
    decoder = Decoder()
    found: list[Frame] = []
    for piece in split(stream, chunk):
        found += decoder.feed(piece)
    assert found == frames
    assert decoder.dropped == 0


def test_decoder_skips_what_is_no_frame() -> None:
    good = Frame(5, 1, b"{}")
    decoder = Decoder()
    assert decoder.feed(b"boot noise " + good.encode() + b"~~~" + good.encode()) == [good, good]
    assert decoder.dropped == len(b"boot noise ") + 3


def test_decoder_finds_a_frame_inside_a_bad_one() -> None:
    good = Frame(2, 3, b"hello").encode()
    cut = Frame(2, 3, b"y" * 20).encode()[:10]  # its tail was lost
    decoder = Decoder()
    found = decoder.feed(cut + good + good + good)
    assert found == [Frame(2, 3, b"hello")] * 3


def test_decoder_refuses_a_long_length_at_once() -> None:
    decoder = Decoder()
    good = Frame(2, 0, b"ok")
    assert decoder.feed(b"\x7e\x02\x00\xff\xff" + good.encode()) == [good]


def test_decoder_survives_damage() -> None:
    rng = random.Random(7)
    good = Frame(2, 0, b"\x7e\x7e end")
    for _ in range(300):
        data = bytearray(Frame(2, 1, rng.randbytes(rng.randrange(40))).encode())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        decoder = Decoder()
        decoder.feed(bytes(data))
        # A damaged length may swallow up to a frame of what follows, never more.
        found = decoder.feed(good.encode() * (MAX_PAYLOAD // len(good.payload)))
        assert found and set(found) == {good}


def test_end_round_trip() -> None:
    end = End(1, "linux", "crashed", "crash", None, {"why": "triple fault"}, {"io": 3})
    assert End.parse(end.json()) == end
    assert end.final
    assert "linux is crashed (crash): triple fault" == end.describe()


def test_crash_text_is_hexadecimal() -> None:
    text = describe_crash({"why": "w", "rip": 0x1234567, "regs": {"rax": 5}, "bytes": "0f 0b"})
    assert "crash: w" in text and "  rip           0x1234567\n" in text and "    rax 0x5" in text


class Peer:
    """The other end of a link, driven by the test."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.sock = theirs
        self.sock.settimeout(5)
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.link = Link(ours)

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            self.sock.sendall(frame.encode())

    def receive(self) -> Frame:
        while not self.frames:
            data = self.sock.recv(4096)
            assert data, "the link closed"
            self.frames += self.decoder.feed(data)
        return self.frames.pop(0)

    def hello(self) -> None:
        guests = [{"id": 0, "name": "a", "state": "new", "cpus": [1], "memory": 1 << 24}]
        self.send(
            json_frame(
                Type.HELLO,
                {"version": 1, "abi": 1, "backend": "svm", "cpus": 2, "guests": guests},
            )
        )
        assert self.receive() == Frame(Type.ATTACH, 0, b"\1")


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.link.close()
    peer.sock.close()


def state(name: str, value: str, **more: object) -> Frame:
    return json_frame(
        Type.EVENT, {"event": "state", "id": 0, "guest": name, "state": value, **more}
    )


def test_hello_attaches_every_guest(peer: Peer) -> None:
    peer.hello()
    hello = peer.link.wait_hello(5)
    assert hello.backend == "svm" and [g.name for g in hello.guests] == ["a"]


def test_guest_made_later_is_attached(peer: Peer) -> None:
    peer.send(state("late", "new"))
    assert peer.receive() == Frame(Type.ATTACH, 0, b"\1")
    assert peer.receive().type == Type.HELLO  # asks for its CPUs and memory
    assert peer.link.wait_guest("late", 5).id == 0


def test_console_text_and_expect(peer: Peer) -> None:
    peer.hello()
    peer.send(Frame(Type.CONSOLE_OUT, 0, b"\x1b[1mhel\x1b["), Frame(Type.CONSOLE_OUT, 0, b"0mlo\r"))
    peer.send(Frame(Type.CONSOLE_OUT, 0, b"\nworld"))
    console = peer.link.console(0)
    assert console.expect("hello$\n", 5).group() == "hello\n"
    assert console.expect("w.*d", 5).group() == "world"
    assert console.text == "hello\nworld"


def test_expect_says_what_it_waited_for(peer: Peer) -> None:
    peer.hello()
    peer.send(Frame(Type.CONSOLE_OUT, 0, b"only this\n"))
    peer.link.console(0).expect("only", 5)
    with pytest.raises(WaitTimeout, match=r"0\.1 s for guest a to print /login/.*\nonly this"):
        peer.link.console(0).expect("login", 0.1)


def test_typing_stops_at_the_window(peer: Peer) -> None:
    peer.hello()
    peer.link.wait_hello(5)
    with pytest.raises(WaitTimeout, match="guest a to take what was typed"):
        peer.link.type_at(0, b"x" * 1500, timeout=0.2)
    first = peer.receive()
    assert first == Frame(Type.CONSOLE_IN, 0, b"x" * 1024)
    peer.send(Frame(Type.CONSOLE_ACK, 0, (1024).to_bytes(4, "little")))
    peer.link.type_at(0, b"y" * 1024, timeout=5)
    assert peer.receive().payload == b"y" * 1024


def test_typing_at_a_guest_that_ended(peer: Peer) -> None:
    peer.hello()
    peer.send(state("a", "off", reason="poweroff"))
    peer.link.wait_end("a", 5)
    with pytest.raises(UsageError, match="a is off"):
        peer.link.type_at(0, b"x")


def answer(peer: Peer, output: list[bytes], reply: dict[str, object]) -> bytes:
    source, stream = b"", 0
    while True:
        frame = peer.receive()
        if frame.type != Type.EXEC:
            continue
        source, stream = source + frame.payload, frame.stream
        if not frame.payload:
            break
    peer.send(*[Frame(Type.EXEC_OUT, stream, piece) for piece in output])
    peer.send(json_frame(Type.EXEC_END, reply, stream))
    return source


def test_exec(peer: Peer) -> None:
    got: list[bytes] = []
    code = "x = 1\n" * 400  # three frames
    thread = threading.Thread(
        target=lambda: got.append(answer(peer, [b"1\r\n", b"2"], {"ok": True}))
    )
    thread.start()
    assert peer.link.exec(code, 5) == "1\n2"
    thread.join(5)
    assert got == [code.encode()]


def test_exec_that_raises(peer: Peer) -> None:
    reply: dict[str, object] = {"ok": False, "error": "Traceback\nValueError: no\n"}
    threading.Thread(target=answer, args=(peer, [], reply), daemon=True).start()
    with pytest.raises(MonitorError, match="ValueError: no$"):
        peer.link.exec("raise", 5)


def test_exec_timeout_names_the_code(peer: Peer) -> None:
    def interrupted() -> None:
        while (frame := peer.receive()).type != Type.EXEC_STOP:
            pass
        peer.send(json_frame(Type.EXEC_END, {"ok": False, "error": "no"}, frame.stream))

    thread = threading.Thread(target=interrupted)
    thread.start()
    with pytest.raises(WaitTimeout, match="finish 'while True: pass'"):
        peer.link.exec("while True: pass", 0.1)
    thread.join(5)
    assert not thread.is_alive()


def test_exec_that_is_given_up(peer: Peer) -> None:
    stop = threading.Event()

    def give_up() -> None:
        peer.receive()
        stop.set()
        while (frame := peer.receive()).type != Type.EXEC_STOP:
            pass
        peer.send(json_frame(Type.EXEC_END, {"ok": False, "error": "no"}, frame.stream))

    threading.Thread(target=give_up, daemon=True).start()
    with pytest.raises(HostError, match="'while True: pass' was given up"):
        peer.link.exec("while True: pass", 60, stop=stop)


def test_ends_and_restart(peer: Peer) -> None:
    peer.hello()
    peer.send(state("a", "off", reason="reset"), state("a", "running"))
    peer.send(state("a", "off", reason="exit", status=4, exits={"io": 2}))
    assert peer.link.wait_end("a", 5).reason == "reset"
    end = peer.link.wait_end("a", 5, after=1)
    assert (end.reason, end.status, end.exits) == ("exit", 4, {"io": 2})


def test_partition_error_ends_waits(peer: Peer) -> None:
    peer.send(json_frame(Type.EVENT, {"event": "error", "message": "a was not started: no"}))
    with pytest.raises(PartitionError, match="a was not started: no"):
        peer.link.wait_end("a", 5)


def test_unknown_guest_lists_the_known(peer: Peer) -> None:
    peer.hello()
    peer.link.wait_hello(5)
    with pytest.raises(UsageError, match=r"no guest is called b \(there are: a\)"):
        peer.link.console("b")


def test_lost_line_ends_waits(peer: Peer) -> None:
    peer.sock.close()
    with pytest.raises(EmulatorError, match="closed its channel"):
        peer.link.wait_hello(5)


def test_nonsense_frames_are_ignored(peer: Peer) -> None:
    peer.send(Frame(Type.HELLO, 0, b"not json"), Frame(Type.EVENT, 0, b"[1]"))
    peer.send(Frame(Type.EVENT, 0, b'{"event":"state"}'), Frame(0x3F, 0, b"?"))
    peer.hello()
    assert peer.link.wait_hello(5).abi == 1
