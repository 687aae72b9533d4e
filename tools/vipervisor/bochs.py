"""Bochs: VT-x on its Skylake model, AMD-V on Ryzen as a second opinion."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import time
from pathlib import Path

from . import paths
from .emulator import Emulator, Setup
from .errors import EmulatorError, HostError
from .image import CYLINDER, HEADS, SECTORS_PER_TRACK, elf32_plan, write_disk

MODELS = {"vmx": "corei7_skylake_x", "svm": "ryzen"}
_FAST_IPS = 20_000_000  # with a Linux kernel: timer ticks must not eat the CPU
_SLOW_IPS = 4_000_000  # else: the BIOS waits in virtual time, so fewer instructions a second
_BIG_IMAGE = 4 << 20
_CONNECT_LIMIT = 60.0

_CONFIG = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
romimage: file="{bios}"
vgaromimage: file="{vga}"
megs: {megabytes}
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{com1}
com2: enabled=1, mode=socket-client, dev=127.0.0.1:{com2}
log: bochs.log
panic: action=fatal
error: action=report
info: action=report
clock: sync=none, time0=946684800
speaker: enabled=0
sound: driver=dummy
{drive}
"""
_DISK = """\
ata0-master: type=disk, mode={mode}, path="{path}", cylinders={cylinders}, heads={heads}, spt={spt}
boot: disk"""
_CD = """\
ata0-master: type=cdrom, path="{path}", status=inserted
boot: cdrom"""

_ROM_FOLDERS = ("/usr/share/bochs", "/usr/share/vgabios", "/usr/local/share/bochs")
_NOISE = re.compile(r"ALSA|snd_|libva|^=+$|^\d+[ide]\[|^Bochs is exiting")
_PANIC = re.compile(r">>PANIC<<\s*(.*)")


def find_rom(names: tuple[str, ...]) -> Path:
    """A BIOS image of Bochs."""
    share = os.environ.get("BXSHARE")
    for folder in ((share,) if share else ()) + _ROM_FOLDERS:
        for name in names:
            path = Path(folder) / name
            if path.is_file():
                return path
    raise HostError(f"Bochs lacks {names[0]}: run `make setup`, or set BXSHARE to its folder")


class Bochs(Emulator):
    """bochs-bin in a folder of its own with a disk image of its own."""

    name = "Bochs"

    def __init__(self, setup: Setup, folder: Path) -> None:
        super().__init__(setup, folder)
        self.program = paths.program("VIPERVISOR_BOCHS", ("bochs-bin", "bochs"), "Bochs")
        self.bios = find_rom(("BIOS-bochs-latest",))
        self.vga = find_rom(("vgabios.bin", "VGABIOS-lgpl-latest"))

    def ips(self) -> int:
        if self.setup.image is not None:
            return _FAST_IPS if self.setup.image.stat().st_size >= _BIG_IMAGE else _SLOW_IPS
        big = any(module.path.stat().st_size >= _BIG_IMAGE for module in self.setup.modules)
        return _FAST_IPS if big else _SLOW_IPS

    def start(self) -> None:
        drive = self._drive()
        with _listen() as com1, _listen() as com2:
            self._write_config(com1.getsockname()[1], com2.getsockname()[1], drive)
            self.spawn(self._words())
            self.prompt = self._accept(com1, "COM1")
            self.channel = self._accept(com2, "COM2")

    def _words(self) -> list[str | Path]:
        return [self.program, "-q", "-f", "bochsrc", "-rc", "commands"]

    def describe(self) -> str:
        self._write_config(0, 0, self._drive())
        config = (self.folder / "bochsrc").read_text()
        return shlex.join(str(word) for word in self._words()) + "\nbochsrc:\n" + config.rstrip()

    def _drive(self) -> str:
        """What Bochs boots from: a built image, or a disk made of the modules."""
        image = self.setup.image
        if image is None:
            cylinders = self._make_disk()
            return _DISK.format(mode="flat", path="disk.img", cylinders=cylinders, heads=HEADS,
                                spt=SECTORS_PER_TRACK)
        if '"' in str(image):
            raise HostError(f"Bochs cannot open {image}: its path holds a quotation mark")
        if self.setup.medium == "disk":
            size = image.stat().st_size
            return _DISK.format(mode='volatile, journal="changes"', path=image.absolute(),
                                cylinders=size // CYLINDER, heads=HEADS, spt=SECTORS_PER_TRACK)
        return _CD.format(path=image.absolute())

    def _make_disk(self) -> int:
        return write_disk(
            self.folder / "disk.img",
            bootsector=paths.built("bootsector.bin").read_bytes(),
            monitor=paths.built("vipervisor.bin").read_bytes(),
            plan=elf32_plan(paths.built("vipervisor.elf")),
            modules=self.setup.modules,
            cmdline=self.setup.cmdline,
        )
    def _write_config(self, com1: int, com2: int, drive: str) -> None:
        config = _CONFIG.format(
            bios=self.bios,
            vga=self.vga,
            megabytes=self.setup.megabytes,
            model=self.setup.model or MODELS[self.setup.backend],
            cpus=self.setup.cpus,
            ips=self.ips(),
            com1=com1,
            com2=com2,
            drive=drive,
        )
        (self.folder / "bochsrc").write_text(config)
        # The debugger build stops before the first instruction: continue, and leave
        # instead of waiting for commands when the machine ends.
        (self.folder / "commands").write_text("c\nquit\n")

    def _accept(self, listener: socket.socket, line: str) -> socket.socket:
        assert self.process is not None
        listener.settimeout(0.2)  # a look at the process between two tries
        end = time.monotonic() + _CONNECT_LIMIT
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            if self.process.poll() is not None:
                raise self.died(f"before the machine was powered on{self._panic()}")
        raise EmulatorError(f"Bochs did not connect {line} within {_CONNECT_LIMIT:g} s")

    def _log(self) -> str:
        try:
            return (self.folder / "bochs.log").read_text(errors="replace")
        except OSError:
            return ""

    def _panic(self) -> str:
        found = _PANIC.findall(self._log())
        return f" ({found[-1].strip()})" if found else ""

    def why_ended(self) -> str:
        panic = self._panic()
        if "3rd (" in panic:
            return f"the machine reset itself: a triple fault of the monitor{panic}"
        if "hutdown" in panic or "ACPI" in panic:
            return "the monitor powered the machine off"
        return str(self.died(panic.strip(" ()")))

    def is_noise(self, line: str) -> bool:
        return bool(_NOISE.search(line))


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    return listener
