"""The rules of a partition. Imports nothing outside this package; runs on the host
(CPython) and on the target (MicroPython) alike.

check(description)                 all findings of a description as people write it
compile_(description)              (partition.json's form, findings)
check_compiled(partition, machine) the same rules at boot, against the real machine
"""

from . import mistaken
from .cmdline import CMDLINE_MAX
from .errors import ImageError
from .fitting import fit, fit_linux
from .image import KINDS, detect, inspect
from .judge import MONITOR, assign, judge, needs
from .reader import JSON, TOML, Reader, uses
from .sizes import parse_size, size_text
from .table import RULES, WARNINGS, Finding
from .warn import find as warnings

__all__ = [
    "KINDS", "MONITOR", "RULES", "WARNINGS", "Finding", "ImageError", "assign", "check",
    "check_compiled",
    "check_image", "check_linux_memory", "compile_", "detect", "fit", "inspect", "judge",
    "mistaken", "needs", "parse_size", "size_text", "warnings",
]


def compile_(description, images=0):
    """The partition.json form of a description, and every finding; `images` is the
    size of all files together, for the sum of memory."""
    reader = Reader(TOML)
    partition = reader.read(description)
    findings = reader.findings + judge(partition, TOML.guests, None, images)
    machine = partition["machine"]
    if not findings:
        cpus, memory = needs(partition, images)
        machine["cpus"] = machine.get("cpus", cpus)
        machine["memory"] = machine.get("memory", memory)
    return partition, findings


def check(description):
    """Every finding of a description, in the order of the file's guests."""
    return compile_(description)[1]


def check_compiled(description, machine=None):
    """Every finding of partition.json; `machine` says what there really is."""
    reader = Reader(JSON)
    partition = reader.read(description)
    return reader.findings + judge(partition, JSON.guests, machine)


def check_image(data, guest, beside, path):
    """(Image or None, findings) of a guest's image by its content; `beside` are the bytes of its
    initrd or modules (None: not known), guest["memory"] None when that is wrong."""
    try:
        image = inspect(data, guest["kind"])
        if guest["memory"] is not None:
            fit(image, guest["memory"], beside or 0)
    except ImageError as e:
        return None, [_finding(e, path)]
    findings = []
    if guest["kind"] is None:
        findings = uses(image.kind, guest, path)
    limit = image.extra.get("cmdline_max")
    if limit is not None and limit < len(guest["cmdline"].encode()) <= CMDLINE_MAX:
        findings.append(Finding(
            "cmdline-kernel", path + ("cmdline",),
            "the command line has %d bytes and the kernel takes %d" % (
                len(guest["cmdline"].encode()), limit)))
    return image, findings


def check_linux_memory(image, guest, packed, whole, path):
    """Whether Linux finds room for itself and its initrd of `packed` bytes, `whole` unpacked."""
    try:
        fit_linux(image, guest["memory"], packed, whole)
    except ImageError as e:
        return [_finding(e, path)]
    return []


def _finding(error, path):
    key = {"memory-linux": "memory", "image-too-big": "memory", "kind-wrong": "kind"}.get(
        error.rule, "image")
    return Finding(error.rule, path + (key,), error.what, error.remedy, "")
