"""On which line a key of a TOML file stands: the parsers do not say.

A scanner for files that a TOML parser has accepted. It follows tables, arrays of
tables, dotted and quoted keys, and the keys of inline tables; it does not read values.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_KEY = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")


def key_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of each table and key, by its path."""
    return _Scanner(text).run()


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest thing around it that the file mentions."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}  # entries so far of each array of tables

    def run(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip_blank():
            line = self._line()
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
                continue
            self.lines.setdefault(table, line)
        return self.lines

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _skip_blank(self) -> bool:
        """To the next thing that is neither space nor comment; False at the end."""
        while self.at < len(self.text):
            c = self.text[self.at]
            if c == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif c.isspace():
                self.at += 1
            else:
                return True
        return False

    def _dotted(self) -> list[str]:
        keys: list[str] = []
        while True:
            match = _KEY.match(self.text, self.at)
            if match is None:
                self.at += 1  # not TOML; the parser has said so
                return keys
            keys.append(next(g for g in match.groups() if g is not None))
            self.at = match.end()
            if self.text[self.at : self.at + 1] != ".":
                return keys
            self.at += 1

    def _header(self) -> Path:
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        keys = self._dotted()
        end = self.text.find("]", self.at)
        self.at = len(self.text) if end < 0 else end + (2 if double else 1)
        path: Path = ()
        for i, key in enumerate(keys):
            path += (key,)
            last = i == len(keys) - 1
            if last and double:
                self.lines.setdefault(path, self._line())
                self.arrays[path] = self.arrays.get(path, -1) + 1
            if path in self.arrays:
                path += (self.arrays[path],)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._dotted():
            path += (key,)
            self.lines.setdefault(path, line)
        if self.text[self.at : self.at + 1] == "=":
            self.at += 1
            self._value(path)

    def _value(self, path: Path) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1
        c = self.text[self.at : self.at + 1]
        if c == "{":
            self.at += 1
            while self._skip_blank() and self.text[self.at] != "}":
                if self.text[self.at] == ",":
                    self.at += 1
                else:
                    self._pair(path)
            self.at += 1
        elif c == "[":
            self.at += 1
            index = 0
            while self._skip_blank() and self.text[self.at] != "]":
                if self.text[self.at] == ",":
                    self.at += 1
                else:
                    self.lines.setdefault(path + (index,), self._line())
                    self._value(path + (index,))
                    index += 1
            self.at += 1
        elif c in ('"', "'"):
            self._string(c)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _string(self, quote: str) -> None:
        fence = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(fence)
        while self.at < len(self.text) and not self.text.startswith(fence, self.at):
            self.at += 2 if self.text[self.at] == "\\" and quote == '"' else 1
        self.at += len(fence)
        while len(fence) == 3 and self.text.startswith(quote, self.at):
            self.at += 1  # quotes that end the text just before the fence
