"""What a wrong image raises, and reading a field of it."""

import struct

from .sizes import size_text
from .table import RULES


class ImageError(ValueError):
    """A bad image: `rule` (an id of the rules), one sentence, and what to do."""

    def __init__(self, rule, what, remedy=None):
        if remedy is None:
            remedy = RULES[rule][1]
        super().__init__("%s: %s" % (what, remedy))
        self.rule = rule
        self.what = what
        self.remedy = remedy


def field(data, at, form):
    size = struct.calcsize(form)
    part = bytes(data[at : at + size])
    if len(part) < size:
        raise ImageError(
            "image-truncated", "the file ends at %s, inside its header" % size_text(len(data)))
    return struct.unpack(form, part)


def invalid(kind, why):
    return ImageError("image-invalid", "no valid %s image: %s" % (kind, why))


def other_kind(kind, why):
    return ImageError(
        "kind-wrong", "no %s image: %s" % (kind, why), "leave kind out, it is detected")


def entered(address, segments):
    """`address`, when one of the segments holds it."""
    for gpa, _, _, size in segments:
        if gpa <= address < gpa + size:
            return address
    raise ImageError("image-entry", "its entry %#x is in none of its segments" % address)
