"""MicroPython, Zydis and Zycore: source tarballs through apt, checked and unpacked."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from pathlib import Path

from prepare import aptlists
from prepare.plan import SOURCE_SUITE, SOURCES, Source
from prepare.ui import Screen, SetupError


def folder(cache: Path, source: Source) -> Path:
    """Where the unpacked source lies; it exists only once it is complete."""
    version = source.tarball.split("_", 1)[1].split(".orig", 1)[0]
    return cache / "src" / f"{source.name}-{version.split('+', 1)[0]}"


def missing(cache: Path, overrides: dict[str, Path]) -> list[Source]:
    return [s for s in SOURCES if s.variable not in overrides and not folder(cache, s).is_dir()]


def check_overrides(overrides: dict[str, Path]) -> None:
    """A folder given by hand must hold what it is said to hold."""
    for source in SOURCES:
        given = overrides.get(source.variable)
        if given is not None and not (given / source.probe).is_file():
            raise SetupError(
                f"{source.variable}={given}: no {source.probe} there; "
                f"give the folder of the unpacked {source.name} source"
            )


def apt_options(private: Path) -> list[str]:
    """Options that give apt lists and caches of our own: no root, /etc/apt untouched."""
    for name in ("lists/partial", "cache/archives/partial"):
        (private / name).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::Lists": str(private / "lists"),
        "Dir::Cache": str(private / "cache"),
        "Acquire::Languages": "none",
    }
    if os.geteuid() == 0:
        # apt's download user may not be able to enter this folder.
        options["APT::Sandbox::User"] = "root"
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def fetch(screen: Screen, cache: Path, wanted: list[Source]) -> None:
    """Download, verify and unpack what is missing."""
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    to_download = [s for s in wanted if not (downloads / s.tarball).is_file()]
    if to_download:
        _download(screen, cache, to_download)
    for source in wanted:
        verify(downloads / source.tarball, source)
        _unpack(downloads / source.tarball, folder(cache, source))


def _download(screen: Screen, cache: Path, wanted: list[Source]) -> None:
    by_hand = " ".join(f"{s.variable}=FOLDER" for s in wanted)
    stanzas = aptlists.source_stanzas(aptlists.read_machine(), SOURCE_SUITE)
    if not stanzas:
        raise SetupError(
            "this machine's apt sources name no archive with component main; "
            f"unpack the sources by hand and pass make {by_hand}"
        )
    private = cache / "apt"
    options = apt_options(private)
    listing = private / "source.sources"
    listing.write_text(stanzas)
    options += ["-o", f"Dir::Etc::SourceList={listing}", "-o", "Dir::Etc::SourceParts=-"]
    screen.run(["apt-get", *options, "update"], limit=600)
    for source in wanted:
        partial = cache / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        # --tar-only: the archive may have replaced Debian's own part of this version.
        command = ["apt-get", *options, "source", "--download-only", "--tar-only", source.name]
        try:
            screen.run(command, cwd=partial, limit=900)
        except SetupError as error:
            raise SetupError(f"{error}\n{_remedy(source)}") from None
        got = sorted(p.name for p in partial.iterdir())
        if source.tarball not in got:
            raise SetupError(
                f"apt offers {', '.join(got) or 'nothing'}, not {source.tarball}.\n"
                + _remedy(source)
            )
        verify(partial / source.tarball, source)
        os.replace(partial / source.tarball, cache / "downloads" / source.tarball)
        shutil.rmtree(partial)


def _remedy(source: Source) -> str:
    return (
        f"Unpack {source.tarball} (sha256 {source.sha256}) yourself and pass "
        f"make {source.variable}=FOLDER"
    )


def verify(path: Path, source: Source) -> None:
    """The tarball is the pinned one, or an error; a wrong file is put out of the way."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest == source.sha256:
        return
    wrong = path.with_name(path.name + ".wrong")
    os.replace(path, wrong)
    raise SetupError(
        f"{source.tarball} does not match its pinned checksum.\n"
        f"  expected sha256 {source.sha256}\n"
        f"  got      sha256 {digest}\n"
        f"It was kept as {wrong}. Try again, or: {_remedy(source)}"
    )


def _unpack(tarball: Path, to: Path) -> None:
    """Unpack so that `to` appears complete or not at all; the top folder is dropped."""
    temporary = to.with_name(to.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with tarfile.open(tarball) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(temporary, filter="data")
        else:
            archive.extractall(temporary)
    tops = list(temporary.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        raise SetupError(f"{tarball} should hold one folder, has {len(tops)} entries at its top")
    os.replace(tops[0], to)
    shutil.rmtree(temporary)
