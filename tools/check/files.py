"""Which files the checks look at, and small helpers to read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

SKIPPED = {"build", ".git", ".venv", ".cache", "__pycache__", ".mypy_cache", ".ruff_cache"}


def walk(root: Path, folders: Iterable[str], suffixes: Iterable[str]) -> Iterator[Path]:
    """Files with one of the suffixes below the folders, sorted."""
    wanted = set(suffixes)
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and path.suffix in wanted and not SKIPPED.intersection(parts):
                yield path


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(path.read_text(errors="replace").splitlines(), start=1)


def place(root: Path, path: Path, line: int) -> str:
    return f"{path.relative_to(root)}:{line}"
