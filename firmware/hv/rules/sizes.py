"""Sizes and times with units."""

UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def parse_size(text):
    """Bytes of "256M", "1G", "1.5G", "64KiB"; ValueError otherwise."""
    word = text.strip()
    for tail in ("iB", "B", "b"):
        if word.endswith(tail) and len(word) > len(tail):
            word = word[: -len(tail)]
            break
    unit = word[-1:].upper()
    if unit not in UNITS:
        raise ValueError('%r has no unit: write "256M" or "1G"' % text)
    try:
        number = float(word[:-1])
    except ValueError:
        raise ValueError('%r is not a size: write "256M" or "1G"' % text)
    if not 0 < number < 1e9:  # not NaN either
        raise ValueError("%r is not a size above zero that exists" % text)
    return int(number * (1 << UNITS[unit]))


def size_text(size):
    """Bytes with the largest unit that divides them: 256M, 1536K."""
    for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size and size % (1 << shift) == 0 and (shift > 10 or size < 10 << 20):
            return "%d%s" % (size >> shift, unit)
    if size >= 1 << 20:
        return "%.1fM" % (size / (1 << 20))
    return "%d bytes" % size


def parse_time(text):
    """Seconds of "1s", "500ms", "2m"; ValueError otherwise."""
    word = text.strip()
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        if word.endswith(unit):
            try:
                seconds = float(word[: -len(unit)]) * factor
            except ValueError:
                break
            if seconds >= 0:
                return seconds
    raise ValueError('%r is not a time: write "500ms", "1s" or "2m"' % text)
