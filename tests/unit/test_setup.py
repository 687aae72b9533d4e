"""Set-up: reading apt's sources, checking tarballs, saying what went wrong. No network."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest
from prepare import aptlists, linux, packages, pyenv, sources
from prepare.__main__ import STAGES, check_folders
from prepare.plan import SOURCES, Source
from prepare.ui import Screen, SetupError

ROOT = Path(__file__).resolve().parents[2]

ONE_LINE = """
# a comment
deb http://mirror.example/pub/deb bookworm main contrib  # the archive
deb [arch=amd64 signed-by=/k/x.gpg] http://mirror.example/pub/deb bookworm-updates main
deb-src http://mirror.example/pub/deb bookworm main
deb [signed-by=/k.gpg] http://other.example/ stable-tool main
deb http://security.example/sec bookworm-security main
"""

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/pub/deb
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/off
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://security.example/sec
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

UBUNTU = """\
Types: deb
URIs: http://ubuntu.example/ubuntu/
Suites: noble noble-updates
Components: main restricted universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


def parsed(stanzas: str) -> list[aptlists.Entry]:
    return aptlists.parse_deb822(stanzas)


def test_one_line_sources_become_one_source_entry_for_the_pinned_suite() -> None:
    entries = aptlists.parse_one_line(ONE_LINE)
    assert len(entries) == 5
    assert entries[1].options == {"Signed-By": "/k/x.gpg"}
    (entry,) = parsed(aptlists.source_stanzas(entries, "trixie"))
    assert entry.types == ("deb-src",)
    assert entry.uris == ("http://mirror.example/pub/deb",)
    assert entry.suites == ("trixie",)
    assert entry.components == ("main",)
    assert entry.options == {}


def test_deb822_keeps_the_embedded_key_and_skips_disabled_and_security() -> None:
    (entry,) = parsed(aptlists.source_stanzas(aptlists.parse_deb822(DEB822), "trixie"))
    assert entry.uris == ("http://mirror.example/pub/deb",)
    assert entry.suites == ("trixie",)
    assert entry.options["Signed-By"].splitlines()[1:] == [
        " -----BEGIN PGP PUBLIC KEY BLOCK-----",
        " .",
        " mQINBF",
        " -----END PGP PUBLIC KEY BLOCK-----",
    ]


def test_other_distributions_are_asked_for_their_own_suites() -> None:
    (entry,) = parsed(aptlists.source_stanzas(aptlists.parse_deb822(UBUNTU), "trixie"))
    assert entry.suites == ("noble", "noble-updates")
    assert entry.components == ("main", "universe")


def test_no_sources_give_no_stanza() -> None:
    assert aptlists.source_stanzas([], "trixie") == ""


def test_machine_sources_are_read_from_all_files(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/ trixie main\n")
    (parts / "b.list").write_text("deb http://b.example/ trixie main\n")
    (parts / "c.sources").write_text(UBUNTU)
    (parts / "d.list.save").write_text("deb http://d.example/ trixie main\n")
    uris = [entry.uris[0] for entry in aptlists.read_machine(tmp_path)]
    assert uris == ["http://a.example/", "http://b.example/", "http://ubuntu.example/ubuntu/"]


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    inner = tmp_path / "thing-1.0"
    inner.mkdir()
    (inner / "file.h").write_text("// here\n")
    path = tmp_path / "downloads" / "thing_1.0.orig.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(inner, "thing-1.0")
    return path


def pinned(path: Path, digest: str) -> Source:
    return Source("thing", path.name, digest, 0.1, "THING_DIR", "file.h")


def test_a_wrong_checksum_says_what_was_expected_and_puts_the_file_away(tarball: Path) -> None:
    with pytest.raises(SetupError) as error:
        sources.verify(tarball, pinned(tarball, "0" * 64))
    text = str(error.value)
    assert "thing_1.0.orig.tar.gz does not match its pinned checksum" in text
    assert "0" * 64 in text
    assert "THING_DIR=FOLDER" in text
    assert not tarball.exists()
    assert tarball.with_name(tarball.name + ".wrong").exists()


def test_a_downloaded_tarball_is_unpacked_whole_and_then_not_missing(
    tarball: Path, tmp_path: Path
) -> None:
    source = pinned(tarball, hashlib.sha256(tarball.read_bytes()).hexdigest())
    screen = Screen(tmp_path / "log", 1, True)
    broken = sources.folder(tmp_path, source).with_name("thing-1.0.partial")
    broken.mkdir(parents=True)
    (broken / "left over").write_text("from a run that was interrupted")
    sources.fetch(screen, tmp_path, [source])
    assert [p.name for p in sources.folder(tmp_path, source).iterdir()] == ["file.h"]
    assert not broken.exists()


def test_sources_given_by_hand_are_not_missing_but_checked(tmp_path: Path) -> None:
    given = {s.variable: tmp_path for s in SOURCES}
    assert sources.missing(tmp_path, given) == []
    with pytest.raises(SetupError, match=r"MICROPY_DIR=.*no py/mpconfig.h there"):
        sources.check_overrides(given)
    assert sources.missing(tmp_path, {}) == list(SOURCES)


def test_a_failing_command_prints_itself_its_last_lines_and_its_log(tmp_path: Path) -> None:
    screen = Screen(tmp_path, 1, True)
    screen.stage("Some stage", "ready")
    with pytest.raises(SetupError) as error:
        screen.run(["sh", "-c", "for i in $(seq 40); do echo line $i; done; exit 3"])
    text = str(error.value)
    assert "ended with status 3" in text
    assert "line 40" in text and "line 26\n" in text and "line 25\n" not in text
    assert str(tmp_path / "some-stage.log") in text
    assert "line 1\n" in (tmp_path / "some-stage.log").read_text()


def test_a_command_that_never_ends_is_stopped(tmp_path: Path) -> None:
    screen = Screen(tmp_path, 1, True)
    with pytest.raises(SetupError, match="did not end within 1 s"):
        screen.run(["sleep", "60"], limit=1)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no-such-program is missing"):
        Screen(tmp_path, 1, True).run(["no-such-program"])


def test_sizes_are_read_from_aptgets_list() -> None:
    text = "'http://x.example/a_1%3a2.deb' a_2.deb 1200 MD5Sum:0\nnoise\n'file:/b' b 300 SHA256:1\n"
    assert packages.uri_sizes(text) == [1200, 300]


def test_the_kernel_behind_a_metapackage() -> None:
    depends = (
        "linux-image-virtual\n  Depends: linux-firmware\n  Depends: linux-image-6.8.0-31-generic\n"
    )
    assert linux.kernel_package(depends) == "linux-image-6.8.0-31-generic"
    assert linux.kernel_package("linux-image-x\n  Depends: other\n") is None


def test_an_environment_without_its_stamp_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# pins\na==1\nb==2\n")
    (tmp_path / ".venv").mkdir()
    assert not pyenv.ready(tmp_path)
    (tmp_path / ".venv" / pyenv.STAMP).write_text(pyenv.fingerprint(tmp_path))
    assert pyenv.ready(tmp_path)
    assert pyenv.count(tmp_path) == 2
    (tmp_path / "requirements.txt").write_text("a==2\n")
    assert not pyenv.ready(tmp_path)


def test_the_makefile_counts_setups_stages() -> None:
    text = (ROOT / "Makefile").read_text()
    for total, first in ((7, "Monitor"), (8, "Monitor")):
        assert f"[{STAGES + 1}/{total}] {first}" in text


@pytest.mark.parametrize("name", [".venv", ".cache"])
def test_a_linked_folder_of_another_tree_is_refused(tmp_path: Path, name: str) -> None:
    other, root = tmp_path / "other", tmp_path / "tree"
    other.mkdir()
    root.mkdir()
    check_folders(root)
    (root / name).symlink_to(other)
    with pytest.raises(SetupError, match=f"{name} is a symbolic link to {other}.*rm "):
        check_folders(root)
    assert list(other.iterdir()) == []
