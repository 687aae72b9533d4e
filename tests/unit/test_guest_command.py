"""A command at a guest's shell: marks, echoes, chunks."""

from __future__ import annotations

import pytest
from vipervisor.errors import UsageError
from vipervisor.guest_command import GuestCommand, shell_line


def run(output: bytes, status: int, size: int) -> tuple[bytes, int | None]:
    """What comes out when a shell echoes the line and prints `output`."""
    out = bytearray()
    command = GuestCommand(["x"], out.extend)
    command.feed(b"booting # of things\r\nlogin\r\n\x1b[32m/ # \x1b[6n")
    assert command.ready
    command.typed = True
    token = command.line.split("-")[1]
    text = command.line.encode().replace(b"\n", b"\r\n")
    text += f"vp-{token}-\r\n".encode() + output + f"vp-{token}-{status}\r\n/ # ".encode()
    for start in range(0, len(text), size):
        command.feed(text[start : start + size])
    return bytes(out), command.status


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "output, status",
    [(b"", 0), (b"hello\r\n", 3), (b"no newline", 0), (b"vp-\r\nvp-1\r\n", 255), (b"\xff\x00v", 1)],
)
def test_output_and_status(output: bytes, status: int, size: int) -> None:
    assert run(output, status, size) == (output, status)


def test_piped_input_is_not_echoed() -> None:
    line = GuestCommand(["x"], lambda data: None, echo=False).line
    assert line.startswith("stty -echo 2>/dev/null; echo v''p-")


def test_no_prompt_yet() -> None:
    command = GuestCommand(["x"], lambda data: None)
    for text in (b"[    0.1] # something\r\n", b"more", b" $ x"):
        command.feed(text)
        assert not command.ready


@pytest.mark.parametrize(
    "words, line", [(["echo $HOME"], "echo $HOME"), (["echo", "a b", "$x"], "echo 'a b' '$x'")]
)
def test_words(words: list[str], line: str) -> None:
    assert shell_line(words) == line


@pytest.mark.parametrize("words, says", [([""], "there is none"), (["a\nb"], "must be one line")])
def test_bad_words(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        shell_line(words)


def test_long_line() -> None:
    with pytest.raises(UsageError, match="longer than"):
        GuestCommand(["x" * 1000], lambda data: None)
