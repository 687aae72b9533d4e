"""What a TOML parser's complaint means: the line, a rule of its own for each usual mistake,
and the remedy for that very line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_PAIR = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=\s*(.*?)\s*(?:#.*)?$")
_BARE = re.compile(r"[A-Za-z0-9_./~-][A-Za-z0-9_./~ -]*$")
_COLON = re.compile(r"\s*([A-Za-z0-9_-]+)\s*:\s*(\S.*)$")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')
_TYPOGRAPHIC = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
_BOOLEANS = {"true": "true", "yes": "true", "on": "true",
             "false": "false", "no": "false", "off": "false"}


@dataclass(frozen=True)
class SyntaxProblem:
    rule: str
    line: int
    what: str
    remedy: str | None


def problem(message: str, text: str) -> SyntaxProblem:
    """The parser's message on `text` in our words."""
    lines = text.split("\n")
    match = _AT.search(message)
    number = int(match[1]) if match and match[1] else 0
    what = _AT.sub("", message)
    what = what[:1].lower() + what[1:]
    for look in _LOOKS:
        found = look(what, number, lines)
        if found is not None:
            return found
    return SyntaxProblem("toml-syntax", number or _last(lines), what, None)


def _last(lines: list[str]) -> int:
    """The number of the last line that says something."""
    return max((n for n, line in enumerate(lines, 1) if line.strip()), default=1)


def _here(number: int, lines: list[str]) -> tuple[int, str]:
    number = number or _last(lines)
    return number, lines[number - 1] if number <= len(lines) else ""


def _quotes(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    at, line = _here(number, lines)
    found = [c for c in line.split("#")[0] if c in _TYPOGRAPHIC]
    if not found:
        return None
    return SyntaxProblem("toml-quotes", at, f"{found[0]} is no quotation mark of TOML", None)


def _duplicate(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    if "cannot overwrite" not in what and "twice" not in what and "already" not in what:
        return None
    seen: dict[str, int] = {}
    table = ""
    for at, line in enumerate(lines, 1):
        header = re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]", line)
        pair = _PAIR.match(line)
        if header:
            # Each [[x]] begins a table of its own; [x] may stand once.
            table = f"{header[2]} {at}" if header[1] == "[[" else header[2]
            word = f"[{header[2]}]"
            if header[1] == "[[":
                if seen.get(word):
                    return _twice(at, word, seen[word])
                continue
        elif pair:
            word = f"{pair[1]}"
        else:
            continue
        key = word if header else f"{table}/{word}"
        if key in seen:
            return _twice(at, word, seen[key])
        seen[key] = at
    return SyntaxProblem("toml-duplicate", _here(number, lines)[0], what, None)


def _twice(at: int, word: str, first: int) -> SyntaxProblem:
    return SyntaxProblem("toml-duplicate", at, f"{word} stands in line {first} already", None)


def _unclosed(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    """A string that does not end on its line, or a list or a table that does not end."""
    for at, line in enumerate(lines[: number or None], 1):
        pair = re.match(r"\s*[A-Za-z0-9_.-]+\s*=\s*(.*)$", line)
        if pair is None or '"""' in line or "'''" in line:
            continue
        value = pair[1]
        quote = value[:1]
        if quote in ('"', "'") and not _STRING.match(value):
            return SyntaxProblem("toml-unclosed", at, "the string does not end on its line",
                                 f"write {quote} at its end")
        opened = _open_bracket(value)
        if opened and not _closed_later(opened, at, lines):
            closing = "]" if opened == "[" else "}"
            thing = "list" if opened == "[" else "table"
            return SyntaxProblem("toml-unclosed", at, f"the {thing} is not closed",
                                 f"write {closing} at its end")
    return None


def _plain(value: str) -> str:
    """Without strings and comments."""
    return _STRING.sub("", value).split("#")[0]


def _open_bracket(value: str) -> str | None:
    plain = _plain(value)
    for opening, closing in ("[]", "{}"):
        if plain.startswith(opening) and plain.count(opening) > plain.count(closing):
            return opening
    return None


def _closed_later(opened: str, at: int, lines: list[str]) -> bool:
    """Whether a list that began in line `at` ends before the next key or table."""
    closing = "]" if opened == "[" else "}"
    for line in lines[at:]:
        plain = _plain(line)
        if _PAIR.match(plain) or re.match(r"\s*\[+[A-Za-z]", plain):
            return False
        if closing in plain:
            return True
    return False


def _colon(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    at, line = _here(number, lines)
    match = _COLON.match(line)
    if match is None or "=" in line.split(":")[0]:
        return None
    remedy = f"write {match[1]} = {match[2].split('#')[0].rstrip(', ')}"
    return SyntaxProblem("toml-colon", at, f"there is a : behind {match[1]}", remedy)


def _header(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    at, line = _here(number, lines)
    match = re.match(r"\s*(\[+)\s*([A-Za-z0-9_. -]*?)\s*(\]*)\s*(?:#.*)?$", line)
    if match is None or "=" in line or not match[2] or len(match[1]) == len(match[3]):
        return None
    double = max(len(match[1]), len(match[3])) > 1
    right = f"[[{match[2]}]]" if double else f"[{match[2]}]"
    return SyntaxProblem("toml-header", at, f"the header {line.strip()} is not closed",
                         f"write {right}")


def _backslash(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    if not re.search("escape|hex value", what, re.IGNORECASE):
        return None
    at, line = _here(number, lines)
    match = re.search(r'"([^"]*\\[^"]*)"', line)
    remedy = f"write '{match[1]}'" if match else None
    return SyntaxProblem("toml-backslash", at, "there is a \\ in double quotes", remedy)


def _value(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    """A value that is no TOML value: a word, a size, another language's boolean."""
    at, line = _here(number, lines)
    pair = _PAIR.match(line)
    if pair is None or not pair[2] or not _BARE.match(pair[2]):
        return None
    key, value = pair[1], pair[2]
    if value.lower() in _BOOLEANS:
        right = _BOOLEANS[value.lower()]
        return SyntaxProblem("toml-boolean", at, f"{key} is {value}", f"write {key} = {right}")
    if re.fullmatch(r"[0-9.+-]+", value):
        return None
    return SyntaxProblem("toml-unquoted", at, f"{key} is {value}, without quotes",
                         f'write {key} = "{value}"')


def _key(what: str, number: int, lines: list[str]) -> SyntaxProblem | None:
    """A key without quotes has ASCII letters, digits, _ and -."""
    at, line = _here(number, lines)
    match = re.match(r"\s*([^\s=\"'#\[\]]+)\s*=", line)
    if match is None or match[1].isascii():
        return None
    return SyntaxProblem("toml-syntax", at, f"the key {match[1]} has letters beyond ASCII",
                         "write the key as docs/partition.md has it")


_Look = Callable[[str, int, list[str]], "SyntaxProblem | None"]
_LOOKS: tuple[_Look, ...] = (
    _quotes, _duplicate, _backslash, _header, _colon, _key, _value, _unclosed,
)
