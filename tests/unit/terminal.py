"""A command on a pseudo-terminal, as a person has it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import subprocess
import termios
import time
from typing import Any

LIMIT = 60.0


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, hv: Any, *words: str) -> None:
        self.master, slave = os.openpty()
        self.process = subprocess.Popen(
            hv.command(*words),
            env=hv.env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C works
        )
        os.close(slave)
        self.text = ""
        self.seen = 0

    def expect(self, pattern: str) -> str:
        end = time.monotonic() + LIMIT
        while True:
            match = re.search(pattern, self.text[self.seen :])
            if match:
                self.seen += match.end()
                return match.group()
            assert time.monotonic() < end, f"no /{pattern}/ in {self.text!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    end = 0

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait(self) -> int:
        status = self.process.wait(LIMIT)
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.text += os.read(self.master, 65536).decode()
            except OSError:
                break
        os.close(self.master)
        return status

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
