"""Names: what a valid one is, and the nearest known one to a wrong one."""

# Words that cannot be variables of the prompt.
KEYWORDS = (
    "False None True and as assert async await break class continue def del elif else except"
    " finally for from global if import in is lambda nonlocal not or pass raise return try"
    " while with yield"
).split()
# Names that mean something else at the prompt or on the command line.
RESERVED = ("hv", "machine", "all", "self", "exit", "print", "help")
# Functions that people type there.
BUILTINS = (
    "abs all any bin bool bytearray bytes callable chr dict dir divmod enumerate eval exec"
    " filter float getattr globals hasattr hash hex id input int isinstance iter len list"
    " locals map max memoryview min next object oct open ord pow print property range repr"
    " reversed round set setattr sorted str sum super tuple type vars zip"
).split()
LONGEST = 31


def is_identifier(name):
    if not name or name[0] in "0123456789":
        return False
    for c in name:
        if not ("a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c == "_"):
            return False
    return True


def distance(a, b):
    """Edit distance; a transposition of neighbours counts once."""
    before, row = None, list(range(len(b) + 1))
    for i in range(1, len(a) + 1):
        nxt = [i] + [0] * len(b)
        for j in range(1, len(b) + 1):
            cost = 0 if a[i - 1] == b[j - 1] else 1
            best = min(row[j] + 1, nxt[j - 1] + 1, row[j - 1] + cost)
            if before and i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                best = min(best, before[j - 2] + 1)
            nxt[j] = best
        before, row = row, nxt
    return row[-1]


def nearest(name, known):
    """The known name that `name` was probably meant to be, or None."""
    best, at = None, max(len(name) // 2, 1) + 1
    for word in sorted(known):
        d = distance(name.lower(), word.lower())
        if d < at:
            best, at = word, d
    return best
