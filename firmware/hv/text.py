"""Small text helpers: sizes, tables, nearest names."""

from hv.rules.names import nearest
from hv.rules.sizes import parse_size, size_text

__all__ = ["Text", "nearest", "parse_size", "size_text", "table", "unknown"]


SHOWN = 60  # of known names


class Text:
    """Text that the prompt shows as it is."""

    def __init__(self, said):
        self.said = said

    def __repr__(self):
        return self.said


def pad(text, width):
    return text + " " * (width - len(text))


def table(rows, indent=""):
    """Columns of text, left-aligned; the first row is the head."""
    widths = [max([len(str(row[i])) for row in rows]) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [pad(str(cell), width) for cell, width in zip(row, widths)]
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def unknown(what, name, known):
    """The sentence for a name that does not exist."""
    known = sorted(known)
    if not known:
        return "no %s %r; there is none yet" % (what, name)
    close = nearest(str(name), known)
    hint = "did you mean %s? " % close if close else ""
    if len(known) > SHOWN:
        known = [n for n in known if n[:1] == str(name)[:1]][:SHOWN] + ["..."]
    return "no %s %r; %sknown: %s" % (what, name, hint, ", ".join(known))
