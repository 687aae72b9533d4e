"""Which accelerators this host has; every "no" comes with its reason."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .errors import Unavailable, UsageError

BACKENDS = ("svm", "vmx")
ACCELS = ("tcg", "kvm", "bochs")
_KVM_GET_API_VERSION = 0xAE00
_KVM_API_VERSION = 12
_FLAGS = {"svm": "kvm_amd", "vmx": "kvm_intel"}


def host_backend(cpuinfo: str | None = None) -> str | None:
    """The virtualisation extension that this host's CPU shows."""
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            return None
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            words = line.split()
            return next((flag for flag in _FLAGS if flag in words), None)
    return None


def kvm_backend() -> str:
    """The back end that a guest of this host's KVM can use, or Unavailable."""
    try:
        device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"KVM cannot be used: /dev/kvm: {error.strerror}") from None
    try:
        version = fcntl.ioctl(device, _KVM_GET_API_VERSION)
    except OSError as error:
        raise Unavailable(f"KVM cannot be used: /dev/kvm: {error.strerror}") from None
    finally:
        os.close(device)
    if version != _KVM_API_VERSION:
        raise Unavailable(f"KVM cannot be used: its API version is {version}")
    backend = host_backend()
    if backend is None:
        raise Unavailable(
            "KVM cannot nest here: this host's CPU shows neither VT-x nor AMD-V (it is a "
            "virtual machine itself)"
        )
    parameter = Path(f"/sys/module/{_FLAGS[backend]}/parameters/nested")
    try:
        nested = parameter.read_text().strip()
    except OSError:
        raise Unavailable(f"KVM cannot nest here: {parameter} does not exist") from None
    if nested not in ("1", "Y"):
        raise Unavailable(
            f"KVM cannot nest here: {parameter} is {nested} (load the module with nested=1)"
        )
    return backend


def choose(backend: str | None, accel: str | None) -> tuple[str, str]:
    """The back end and the accelerator for what was asked, either of which may be None."""
    if accel == "kvm":
        has = kvm_backend()
        if backend not in (None, has):
            raise Unavailable(f"KVM offers {has} on this host, not {backend}")
        return has, accel
    if backend is None:
        backend = "vmx" if accel == "bochs" else "svm"
    if accel is None:
        accel = "tcg" if backend == "svm" else "bochs"
    if backend not in BACKENDS:
        raise UsageError(f"there is no back end {backend} (there are: {', '.join(BACKENDS)})")
    if accel not in ACCELS:
        raise UsageError(f"there is no accelerator {accel} (there are: {', '.join(ACCELS)})")
    if accel == "tcg" and backend == "vmx":
        raise UsageError("QEMU's TCG has no VT-x: use --accel bochs (or kvm) for vmx")
    return backend, accel
