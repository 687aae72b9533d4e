"""A bootable ISO image with GRUB: BIOS and UEFI, from a CD and from a USB stick. The same
input makes the same bytes: every date and every serial number is fixed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import HostError
from .image import Module, readable
from .scratch import Scratch

EPOCH = 946684800  # 2000-01-01: every date in an image, unless SOURCE_DATE_EPOCH says another
LABEL = "VIPERVISOR"
_FAT_SERIAL = "56495052"
_GUID = "56495045-5256-4953-4f52-000000000001"
_FAT_TRACK = 32 * 1024  # mformat's geometry below: one head, 64 sectors a track
_LIMIT = 300  # seconds for one tool; a large image on a slow disk takes a few

_COMMON = (
    "part_msdos part_gpt search search_fs_file configfile normal multiboot2 serial terminal "
    "echo test cat ls reboot halt iso9660"
).split()
_BIOS_MODULES = ["biosdisk", *_COMMON]
_EFI_MODULES = ["fat", "efi_gop", *_COMMON]

# What `hv build` runs, and the package of each.
PROGRAMS = {
    "grub-mkimage": "grub-common",
    "xorriso": "xorriso",
    "mformat": "mtools",
    "mcopy": "mtools",
}
_GRUB = {
    "i386-pc/boot_hybrid.img": "grub-pc-bin",
    "x86_64-efi/multiboot2.mod": "grub-efi-amd64-bin",
}
_GRUB_FOLDERS = ("/usr/lib/grub", "/usr/local/lib/grub", "/usr/share/grub2", "/usr/lib64/grub")

# Run by GRUB from memory, before it knows which medium it came from.
_EARLY = """\
search --no-floppy --set=root --file {mark}
serial --unit=0 --speed=115200
terminal_output console serial
configfile ($root)/boot/grub.cfg
"""
_MENU = """\
set timeout=0
menuentry "Vipervisor" {{
    echo "Vipervisor: loading"
    multiboot2 /boot/vipervisor.elf {cmdline}
{modules}    if [ "$grub_platform" = pc ]; then set gfxpayload=text; fi
    boot
}}
"""


@dataclass(frozen=True)
class Part:
    """One part of an image and how many bytes it has."""

    name: str
    size: int


def missing_packages(grub: Path | None = None) -> list[str]:
    """The distribution packages that building an ISO lacks here."""
    lacks = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    folder = grub or _grub_folder()
    for file, package in _GRUB.items():
        if folder is None or not (folder / file).is_file():
            lacks.append(package)
    return list(dict.fromkeys(lacks))


def _grub_folder() -> Path | None:
    chosen = os.environ.get("VIPERVISOR_GRUB")
    if chosen:
        return Path(chosen)
    return next((Path(f) for f in _GRUB_FOLDERS if Path(f).is_dir()), None)


def _require() -> Path:
    lacks = missing_packages()
    if lacks:
        raise HostError(
            "building an ISO needs GRUB, xorriso and mtools, and some are missing here: "
            f"sudo apt-get install {' '.join(lacks)}"
        )
    folder = _grub_folder()
    assert folder is not None
    return folder


def source_date() -> int:
    """The date in the image, in seconds since 1970."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return EPOCH
    if not text.isdecimal():
        raise HostError(f"SOURCE_DATE_EPOCH is {text!r}, which is no number of seconds")
    return int(text)


def quote(word: str) -> str:
    """A word for GRUB's script language."""
    return "'" + word.replace("'", "'\\''") + "'"


def menu(modules: Sequence[Module], cmdline: str) -> str:
    """grub.cfg. A module's first word is its name: GRUB passes on what follows the file."""
    lines = "".join(
        f"    module2 /boot/modules/{number} "
        + " ".join(quote(word) for word in [module.name, *module.args.split()])
        + "\n"
        for number, module in enumerate(modules)
    )
    return _MENU.format(cmdline=" ".join(map(quote, cmdline.split())), modules=lines)


def write_iso(
    target: Path, *, monitor: Path, modules: Sequence[Module], cmdline: str = ""
) -> list[Part]:
    """Write the image; returns its parts, the largest files included."""
    grub = _require()
    scratch = Scratch()
    try:
        return _write(target, grub, scratch.path, monitor, modules, cmdline)
    finally:
        scratch.remove()


def _write(
    target: Path,
    grub: Path,
    work: Path,
    monitor: Path,
    modules: Sequence[Module],
    cmdline: str,
) -> list[Part]:
    tree = work / "tree"
    boot = tree / "boot"
    (boot / "modules").mkdir(parents=True)
    shutil.copyfile(readable(monitor, "monitor"), boot / "vipervisor.elf")
    digest = hashlib.sha256((boot / "vipervisor.elf").read_bytes())
    for number, module in enumerate(modules):
        copy = boot / "modules" / str(number)
        shutil.copyfile(readable(module.path, f"module {module.name}"), copy)
        with copy.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    text = menu(modules, cmdline)
    digest.update(text.encode())
    (boot / "grub.cfg").write_text(text)
    # GRUB finds its medium by this name, whatever else is plugged in.
    mark = f"/.vipervisor-{digest.hexdigest()[:16]}"
    (tree / mark[1:]).write_text("")
    early = work / "early.cfg"
    early.write_text(_EARLY.format(mark=mark))
    bios, efi = boot / "bios.img", work / "BOOTX64.EFI"
    _image(grub / "i386-pc", "i386-pc-eltorito", early, _BIOS_MODULES, bios)
    _image(grub / "x86_64-efi", "x86_64-efi", early, _EFI_MODULES, efi)
    esp = _fat(work, efi)
    _xorriso(target, tree, grub / "i386-pc" / "boot_hybrid.img", esp)
    parts = [Part("monitor", monitor.stat().st_size)]
    parts += [Part(module.name, module.path.stat().st_size) for module in modules]
    parts += [Part("GRUB for BIOS", bios.stat().st_size), Part("GRUB for UEFI", esp.stat().st_size)]
    rest = target.stat().st_size - sum(part.size for part in parts)
    return [*parts, Part("file system", rest)]


def _image(folder: Path, target: str, early: Path, modules: Sequence[str], out: Path) -> None:
    _tool([
        "grub-mkimage", "-O", target, "-d", folder, "-p", "/boot", "-c", early, "-o", out, *modules
    ])


def _fat(work: Path, efi: Path) -> Path:
    """The EFI system partition: a FAT image with the one file."""
    tracks = -(-efi.stat().st_size // _FAT_TRACK) + 4
    esp = work / "esp.img"
    esp.write_bytes(bytes(tracks * _FAT_TRACK))
    # FAT12 takes at most 4084 clusters; 4 sectors a cluster is enough for 8 MiB.
    _tool(["mformat", "-i", esp, "-t", str(tracks), "-h", "1", "-s", "64", "-c", "4",
           "-N", _FAT_SERIAL, "-v", LABEL, "::"])
    _tool(["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"])
    os.utime(efi, (source_date(), source_date()))
    _tool(["mcopy", "-m", "-i", esp, efi, "::/EFI/BOOT/BOOTX64.EFI"])
    return esp


def _xorriso(target: Path, tree: Path, hybrid: Path, esp: Path) -> None:
    date = source_date()
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (date, date))
    with_target = target.with_name(target.name + ".new")
    try:
        _tool([
            "xorriso", "-as", "mkisofs", "-quiet", "-r", "-J", "-V", LABEL,
            "--sort-weight", "0", "/", "--sort-weight", "1", "/boot",
            "-b", "boot/bios.img", "-no-emul-boot", "-boot-load-size", "4",
            "-boot-info-table", "--grub2-boot-info", "--grub2-mbr", hybrid, "--mbr-force-bootable",
            "-appended_part_as_gpt", "--gpt_disk_guid", _GUID.replace("-", ""),
            "-append_partition", "2", "0xef", esp,
            "-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
            "-o", with_target, tree,
        ])
        with_target.replace(target)
    finally:
        with_target.unlink(missing_ok=True)


# How xorriso and mtools say that the disk is full.
_FULL = ("exceeds free space", "No space left on device", "Disk full")


def _tool(words: Sequence[str | Path]) -> None:
    environment: Mapping[str, str] = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(source_date()),
        "TZ": "UTC",
        "LC_ALL": "C",
        "MTOOLS_SKIP_CHECK": "1",
    }
    try:
        done = subprocess.run(
            [str(word) for word in words],
            env=environment, capture_output=True, text=True, errors="replace",
            timeout=_LIMIT, stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise HostError(f"cannot run {words[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"{words[0]} did not end within {_LIMIT} s") from None
    if done.returncode != 0:
        if any(said in done.stderr for said in _FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise HostError(f"{words[0]} failed with status {done.returncode}; it said:\n{said}")
