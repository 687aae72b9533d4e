"""What a kernel's command line can get wrong. `find(rule, what, remedy=None)` takes it."""

CMDLINE_MAX = 4094
# A plain PC of ours has COM1, the debug port of early printk, and the text screen.
CONSOLES = ("ttyS0", "tty0", "tty1", "tty")
NOT_THERE = ("ttyS", "ttyAMA", "ttyUSB", "ttyACM", "hvc", "xvc", "lp", "netcon", "com")
DISKS = ("/dev/sd", "/dev/hd", "/dev/nvme", "/dev/mmcblk", "/dev/sr", "/dev/xvd")


def check(text, find):
    """What is wrong whatever reads it."""
    if len(text.encode()) > CMDLINE_MAX:
        find("cmdline-long", "the command line has %d bytes" % len(text.encode()))
    for c in text:
        if ord(c) < 32 or ord(c) == 127:
            find("cmdline-control", "the command line holds %r" % c)
            return
    for c in text:
        if ord(c) > 126:
            find("cmdline-ascii", "the command line holds %s (U+%04X)" % (c, ord(c)))
            return


def words(text):
    """Linux' words (lib/cmdline.c, next_arg): a quotation keeps its spaces."""
    out, word, quoted = [], "", False
    for c in text:
        if c == '"':
            quoted = not quoted
        elif c == " " and not quoted:
            if word:
                out.append(word)
            word = ""
        else:
            word += c
    if word:
        out.append(word)
    return out


def _begins(text, heads):
    for head in heads:
        if text[: len(head)] == head:
            return True
    return False


def check_linux(text, has_initrd, find):
    """What is wrong for Linux."""
    if text.count('"') % 2:
        find("cmdline-quote", "the command line has an odd number of quotation marks")
        return
    for word in words(text):
        if word == "--":
            break  # the rest is init's
        if word[:8] == "console=":
            port = word[8:].split(",")[0]
            if port not in CONSOLES and _begins(port, NOT_THERE):
                find("cmdline-console", "the guest has no port %s" % port)
        elif word[:5] == "root=" and _begins(word[5:], DISKS) and not has_initrd:
            find("cmdline-root", "%s and no initrd" % word)
