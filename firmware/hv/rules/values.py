"""Single values of a partition file: each function answers what is wrong with one, as
(rule, what, remedy or None), or None."""

from .names import BUILTINS, KEYWORDS, LONGEST, RESERVED, is_identifier
from .sizes import parse_size, parse_time

MACHINE = ("cpus", "memory")
GUEST = (
    "name", "cpus", "memory", "image", "kind", "initrd", "cmdline", "modules", "devices",
    "paravirt", "hide", "cpuid", "msr", "symbols", "on_crash", "on_poweroff", "on_reboot",
)
POLICY = ("do", "max", "delay")


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def home(key, path):
    """The table where a key that is not known in `path` would be right, or None."""
    if key in GUEST:
        return "[[guest]]"
    if key in MACHINE:
        return "[machine]"
    if key == "version" or key in ("machine", "guest") and path:
        return "the top of the file"
    if key in POLICY and path and path[0] == "guest":
        return "on_crash, on_poweroff or on_reboot"
    return None


def name(text, compiled):
    """What is wrong with a guest's name."""
    if not text:
        return "name-empty", "the name is empty", None
    plain = text.replace("-", "_")
    if not is_identifier(plain):
        return "name-invalid", "%r is no name" % text, None
    if plain != text and not compiled:
        return "name-dash", "the name is %s" % text, 'write name = "%s"' % plain
    if len(text) > LONGEST:
        return "name-long", "the name has %d characters" % len(text), None
    if text in KEYWORDS:
        return "name-keyword", "%s is a keyword" % text, None
    if text in RESERVED:
        return "name-reserved", "%s is reserved" % text, None
    if text in BUILTINS:
        return "name-builtin", "%s is a function of Python" % text, None
    return None


def size(value):
    """(bytes, None), or (None, what is wrong)."""
    if isinstance(value, str):
        word = value.strip()
        try:
            return parse_size(word), None
        except ValueError:
            pass
        if word.lstrip("-+").isdigit() and word.strip("-+0"):
            return None, ("size-unit", "memory is %r" % value, 'write "%sM"' % word.lstrip("-+"))
        if _number(word.rstrip("iBbKMGTkmgt")) is not None:
            return None, ("size-zero", "memory is %r" % value, None)
        return None, ("size-bad", "memory is %r" % value, None)
    if is_int(value) or isinstance(value, float) and abs(value) < 1e18:  # nor NaN
        if value <= 0:
            return None, ("size-zero", "memory is %s" % value, None)
        return None, ("size-unit", "memory is the bare number %s" % value, _with_unit(value))
    return None, ("size-bad", "memory is %s" % (value,), None)


def _number(text):
    """A number that is zero or less, else None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number <= 0 else None


def _with_unit(value):
    """The size that a bare number was probably meant to be: bytes, or megabytes."""
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return 'write "%dM"' % (value >> 20)
    return 'write "%sM" or "%sG"' % (value, value)


def cpus_remedy(text):
    """What to write for a count or a list that stands in quotes."""
    word = text.strip()
    if word.isdigit():
        return "write cpus = %s" % word
    first, dash, last = word.partition("-")
    if dash and first.isdigit() and last.isdigit() and int(first) < int(last) < 64:
        numbers = [str(n) for n in range(int(first), int(last) + 1)]
        return "write cpus = [%s]" % ", ".join(numbers)
    numbers = [part.strip() for part in word.split(",")]
    if all([n.isdigit() for n in numbers]):
        return "write cpus = [%s]" % ", ".join(numbers)
    return None


def path(text):
    """What is wrong with the text of a path."""
    if "://" in text:
        return "path-url", "%s is an address" % text, None
    if text == "~" or text[:2] == "~/":
        return "path-home", "the path is %s" % text, None
    at = text.find("$")
    if at >= 0 and (text[at + 1 : at + 2] == "{" or text[at + 1 : at + 2].isalpha()):
        return "path-variable", "the path is %s" % text, None
    for c in text:
        if ord(c) < 32:
            return "path-control", "the path holds %r" % c, None
    return None


def delay(value, compiled):
    """(seconds, None), or (None, what is wrong)."""
    if is_int(value) or isinstance(value, float):
        if compiled and value >= 0:
            return value, None
        remedy = 'write delay = "%ss"' % value if value >= 0 else None
        return None, ("policy-delay", "delay is the bare number %s" % value, remedy)
    try:
        return parse_time(value), None
    except (ValueError, AttributeError):
        return None, ("policy-delay", "delay is %r" % (value,), None)
