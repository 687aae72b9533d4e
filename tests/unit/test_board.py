"""Board descriptions: read from a file or from a serial log, told when they are none, and a
partition compared with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit import images
from unit.fake_setup import Hv
from vipervisor import board

GOOD = """board = 1
backend = "svm"
missing = []
cpus = 3
memory = 536870912
free = 402653184
"""
PARTITION = """version = 1

[[guest]]
name = "one"
cpus = {cpus}
memory = "{memory}"
image = "kernel.elf"
"""


@pytest.fixture
def hv(tmp_path: Path) -> Hv:
    (tmp_path / "kernel.elf").write_bytes(images.elf64())
    return Hv(tmp_path)


def check(hv: Hv, text: str, cpus: str = "2", memory: str = "256M") -> tuple[int, str]:
    (hv.folder / "board.toml").write_text(text)
    (hv.folder / "p.toml").write_text(PARTITION.format(cpus=cpus, memory=memory))
    done = hv("check", str(hv.folder / "p.toml"), "--board", str(hv.folder / "board.toml"))
    return done.returncode, done.stdout + done.stderr


def test_a_partition_that_fits_its_board(hv: Hv) -> None:
    status, said = check(hv, GOOD)
    assert status == 0, said
    assert "cpu 1  one" in said


@pytest.mark.parametrize(
    ("change", "cpus", "memory", "says"),
    [
        (("", ""), "3", "256M", "cpu-sum: the guests and Python need 4 CPUs and the machine has 3"),
        (("", ""), "[3]", "256M", "p.toml:5: cpu-beyond: one wants cpu 3 and there are 3"),
        (("", ""), "1", "512M", "memory-sum: one 512M: 512M together and 384.0M free"),
        (("missing = []", 'missing = ["EPT", "VPID"]'), "1", "16M",
         "machine-missing: the machine lacks EPT: guests need it of the machine"),
        (('"svm"', '"none"'), "1", "16M", "machine-missing: the machine lacks AMD-V (SVM) or VT-x"),
    ],
)
def test_a_partition_that_does_not(
    hv: Hv, change: tuple[str, str], cpus: str, memory: str, says: str
) -> None:
    status, said = check(hv, GOOD.replace(*change) if change[0] else GOOD, cpus, memory)
    assert status == 1 and says in said, said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "board-invalid: there is no board = 1 in it"),
        (GOOD.replace("board = 1", "board = 2"), "board-invalid: board is 2 and only 1 is known"),
        (GOOD.replace("cpus = 3", "cpus = 0"), "board-invalid: cpus is 0"),
        (GOOD.replace("missing = []", "missing = 1"), "board-invalid: missing is 1"),
        (GOOD.replace("free = 402653184\n", ""), "board-invalid: neither free nor a range is said"),
        ("board = ", "board-invalid: it is no TOML"),
    ],
)
def test_a_file_that_is_no_board(hv: Hv, text: str, says: str) -> None:
    status, said = check(hv, text)
    assert status == 1 and says in said and "Traceback" not in said, said
    assert "make one by `hv probe -o board.toml`" in said


def test_free_memory_follows_from_the_ranges() -> None:
    text = GOOD.replace("free = 402653184\n", "")
    text += '[[range]]\nbase = 0\nsize = 0x10000000\ntype = "ram"\n'
    text += '[[range]]\nbase = 0x10000000\nsize = 0x1000\ntype = "reserved"\n'
    assert board.parse(text, "x").for_rules(1 << 20)["memory"] == (256 - 64 - 1) << 20


def test_a_serial_log_holds_the_last_board() -> None:
    log = "noise\r\n" + board.BEGIN + "\r\nboard = 9\r\n" + board.END + "\r\n"
    log += "table\r\n" + board.BEGIN + "\r\n" + GOOD.replace("\n", "\r\n") + board.END + "\r\n>>> "
    assert board.parse(log, "log").value["cpus"] == 3
    table, text = board.cut(log)
    assert table.endswith("table\n") and text == GOOD


def test_probe_reads_a_log(hv: Hv) -> None:
    log = hv.folder / "serial.log"
    log.write_text("x\n" + board.BEGIN + "\n" + GOOD + board.END + "\n")
    out = hv.folder / "b.toml"
    done = hv("probe", "--from", str(log), "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text() == GOOD
    assert hv("probe", "--from", str(log)).stdout == GOOD
    log.write_text("x\n")
    done = hv("probe", "--from", str(log))
    assert done.returncode == 1
    assert done.stderr == "hv probe: there is no board description in what the machine said\n"
    assert "kernel" in hv("probe", "--dry-run").stdout
    done = hv("build", "-o", str(hv.folder / "x.iso"))
    assert done.returncode == 2 and "either the partition FILE or --probe" in done.stderr
