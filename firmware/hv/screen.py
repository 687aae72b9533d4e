"""A guest's text screen: 25 lines of 80 cells, a character and an attribute each, from where
the CRT controller says in the 32 KiB at 0xB8000 (IBM VGA text mode 3)."""

import _hv
from hv import clock

BASE, SIZE = 0xB8000, 0x8000
ROWS, COLUMNS, CELL = 25, 80, 2
LINE = COLUMNS * CELL
BYTES = ROWS * LINE
# Code page 437: the characters below 32 and from 127 on.
LOW = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
HIGH = (
    "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧"
    "╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ "
)
# A tuple: MicroPython searches a long way for the end of a text with such characters.
_CHARACTERS = tuple(LOW + "".join([chr(c) for c in range(32, 127)]) + HIGH)


def _find(cells, text):
    # By the memory itself: waiting must not take the time of a guest that shares the CPU.
    skip = len(text) - len(text.lstrip())  # several codes show a space
    first = bytes([_CHARACTERS.index(text[skip])])
    at = cells.find(first)
    while at >= 0:
        row, column = at // LINE, at % LINE // CELL - skip
        start = at - skip * CELL
        if at % CELL == 0 and 0 <= column <= COLUMNS - len(text):
            for i, c in enumerate(text):
                if _CHARACTERS[cells[start + i * CELL]] != c:
                    break
            else:
                return row, column
        at = cells.find(first, at + 1)
    return None


class Screen:
    """lines (25 texts), text, find(text), expect(text, timeout), cell(row, column) and
    attributes; its repr is what is seen."""

    def __init__(self, guest_id):
        self._id = guest_id

    def _cells(self):
        start = _hv.guest_info(self._id)["screen"] * CELL % SIZE
        cells = _hv.guest_read(self._id, BASE + start, min(BYTES, SIZE - start))
        if len(cells) < BYTES:  # it goes on at the beginning
            cells += _hv.guest_read(self._id, BASE, BYTES - len(cells))
        return cells

    @property
    def lines(self):
        """The 25 lines, without the spaces at their ends."""
        data = self._cells()
        return [
            "".join([_CHARACTERS[data[i]] for i in range(at, at + LINE, CELL)]).rstrip()
            for at in range(0, BYTES, LINE)
        ]

    @property
    def text(self):
        """The lines as one text."""
        return "\n".join(self.lines)

    @property
    def attributes(self):
        """The attribute bytes of each line, 80 each: blink, background, foreground."""
        data = self._cells()
        return [bytes([data[i] for i in range(at + 1, at + LINE, CELL)])
                for at in range(0, BYTES, LINE)]

    def cell(self, row, column):
        """(character, attribute bits) of one place, counted from 0. ValueError: it is outside."""
        if not (0 <= row < ROWS and 0 <= column < COLUMNS):
            raise ValueError("no cell %s, %s on %d lines of %d" % (row, column, ROWS, COLUMNS))
        at = (row * COLUMNS + column) * CELL
        character, attribute = self._cells()[at : at + CELL]
        return _CHARACTERS[character], attribute

    def find(self, text):
        """(row, column) numbers of the first place where the text stands, or None. ValueError: no
        text."""
        if not text.strip():
            raise ValueError("%r is everywhere" % text)
        for c in text:
            if c not in _CHARACTERS:
                return None
        return _find(self._cells(), text)

    def expect(self, text, timeout=10):
        """Waits until the text is on the screen; returns its place. TimeoutError after `timeout`
        seconds (None: never)."""
        try:
            return clock.until(lambda: self.find(text), timeout, "%r on the screen" % text)
        except clock.TimeoutError as e:
            what = "%s; it shows:\n%s" % (e.args[1], self.text.strip("\n"))
            raise clock.TimeoutError(clock.ETIMEDOUT, what)

    def __repr__(self):
        edge = "+" + "-" * COLUMNS + "+"
        rows = ["|" + line + " " * (COLUMNS - len(line)) + "|" for line in self.lines]
        return "\n".join([edge] + rows + [edge])
