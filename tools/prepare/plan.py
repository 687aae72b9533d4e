"""What is needed, pinned: the one place to change a version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A distribution package, and a path that shows it is there where dpkg is not."""

    name: str
    probe: str


@dataclass(frozen=True)
class Source:
    """A source tarball from the distribution's archive."""

    name: str  # of the source package
    tarball: str
    sha256: str
    megabytes: float
    variable: str  # how a person gives another folder: make VARIABLE=...
    probe: str  # a file that such a folder must hold


# Installed by apt-get when missing; nothing else on the machine is changed.
PACKAGES = (
    Package("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    Package("bochs", "/usr/bin/bochs"),
    Package("bochsbios", "/usr/share/bochs/BIOS-bochs-latest"),
    Package("vgabios", "/usr/share/vgabios/vgabios.bin"),
    Package("gcc", "/usr/bin/gcc"),
    Package("libc6-dev", "/usr/include/stdio.h"),
    Package("binutils", "/usr/bin/ld"),
    Package("make", "/usr/bin/make"),
    Package("xz-utils", "/usr/bin/xz"),
    Package("dpkg-dev", "/usr/bin/dpkg-source"),
    Package("grub-common", "/usr/bin/grub-mkrescue"),
    Package("grub-pc-bin", "/usr/lib/grub/i386-pc/multiboot2.mod"),
    Package("grub-efi-amd64-bin", "/usr/lib/grub/x86_64-efi/multiboot2.mod"),
    Package("xorriso", "/usr/bin/xorriso"),
    Package("mtools", "/usr/bin/mformat"),
    Package("acpica-tools", "/usr/bin/iasl"),
    Package("ovmf", "/usr/share/ovmf/OVMF.fd"),
)
# What set-up itself is run with: there on every desktop, missing in a bare container.
BOOTSTRAP = ("ca-certificates", "make", "python3", "python3-venv")
# Only where python3 cannot make a virtual environment by itself.
VENV_PACKAGE = Package("python3-venv", "/usr/bin/python3")

# All of PACKAGES and what they need, measured on a minimal Debian 12: for the estimate
# where the package lists are missing or too old to ask.
ALL_PACKAGES = 241
ALL_MEGABYTES = 160

# The suite that holds these versions. The tarballs lie in the distribution's
# archive; Debian's patches are not used.
SOURCE_SUITE = "trixie"
SOURCES = (
    Source(
        "micropython",
        "micropython_1.25.0+ds.orig.tar.xz",
        "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea",
        6.0,
        "MICROPY_DIR",
        "py/mpconfig.h",
    ),
    Source(
        "zydis",
        "zydis_4.1.1.orig.tar.gz",
        "dcc31180a31e7f568d79d55f8181bd961981559a5666bf6fac43a69ad8b406bf",
        0.8,
        "ZYDIS_DIR",
        "include/Zydis/Zydis.h",
    ),
    Source(
        "zycore-c",
        "zycore-c_1.5.2.orig.tar.gz",
        "828f2e2e502c4a339c53162b865afd13de80fdfa068a9ba18032e743243027ea",
        0.1,
        "ZYCORE_DIR",
        "include/Zycore/Types.h",
    ),
)

# Downloaded and unpacked into .cache/, never installed. The first metapackage that
# the machine's archive knows names the kernel: Debian's, then Ubuntu's.
KERNEL_METAPACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-generic")
KERNEL_MEGABYTES = 27
BUSYBOX_PACKAGE = "busybox-static"
BUSYBOX_MEGABYTES = 1

PYTHON_MEGABYTES = 40


@dataclass(frozen=True)
class Stock:
    """A program for bare PCs as the distribution ships it, kept as .cache/stock/NAME."""

    name: str
    packages: tuple[str, ...]  # the first that the archive knows
    member: str  # a pattern of the file in the package


STOCK = (
    Stock("vmlinuz-generic", ("linux-image-amd64", "linux-image-generic"), "boot/vmlinuz-*"),
    Stock("memtest86+.bin", ("memtest86+",), "boot/memtest86+x64.bin"),
    Stock("invaders.exec", ("grub-invaders",), "boot/invaders.exec"),
    Stock("gnumach.gz", ("gnumach-image-1.8-486",), "boot/gnumach-*.gz"),
)
