"""The rules of a partition. Imports nothing outside this package; runs on the host
(CPython) and on the target (MicroPython) alike.

check(description)                 all findings of a description as people write it
compile_(description)              (partition.json's form, findings)
check_compiled(partition, machine) the same rules at boot, against the real machine
"""

from .image import KINDS, ImageError, detect, fit, inspect
from .judge import MONITOR, assign, judge, needs
from .reader import JSON, TOML, Reader
from .sizes import parse_size, size_text
from .table import RULES, Finding

__all__ = [
    "KINDS", "MONITOR", "RULES", "Finding", "ImageError", "assign", "check", "check_compiled",
    "check_image", "compile_", "detect", "fit", "inspect", "needs", "parse_size", "size_text",
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


def check_image(data, kind, memory, beside, path):
    """(kind, findings) of an image by its content."""
    try:
        image = inspect(data, kind)
        if memory is not None:
            fit(image, memory, beside)
    except ImageError as e:
        return None, [Finding(e.rule, path, e.what, e.remedy, "")]
    return image.kind, []
