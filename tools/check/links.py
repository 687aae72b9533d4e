"""Links in Markdown documents lead to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from check.files import SKIPPED

_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def check(root: Path) -> list[str]:
    findings = []
    for path in sorted(root.rglob("*.md")):
        if SKIPPED.intersection(path.relative_to(root).parts):
            continue
        for number, target in links(path.read_text()):
            what = broken(root, path, target)
            if what:
                findings.append(f"{path.relative_to(root)}:{number}: {what}")
    return findings


def links(text: str) -> list[tuple[int, str]]:
    """(line, target) of every link outside code."""
    found = []
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            plain = re.sub(r"`[^`]*`", "", line)
            found += [(number, m[1]) for m in _LINK.finditer(plain)]
            found += [(number, m[1]) for m in _IMAGE.finditer(plain)]
    return found


def broken(root: Path, page: Path, target: str) -> str | None:
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = unquote(target).partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        return f"{target}: no such file"
    if not path.is_relative_to(root):
        return f"{target}: outside the tree"
    if anchor and path.suffix == ".md" and anchor not in anchors(path.read_text()):
        return f"{target}: no such heading"
    return None


def anchors(text: str) -> set[str]:
    """The names that headings get, as the usual renderers make them."""
    names: set[str] = set()
    for line in text.splitlines():
        match = re.match(r"#{1,6}\s+(.*)", line)
        if match:
            plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).strip().lower()
            slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            names.add(slug)
    return names
