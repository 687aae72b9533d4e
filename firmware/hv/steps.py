"""hv.tour(): ten steps at the prompt, each typed by the person and checked."""

from hv import clock, events

GUEST = "beat"
WORD = b"beat %"  # how its line begins
BYTE = 0x42  # "B"
WAIT = 20  # seconds for what a guest does next
PROMPT, MORE = "tour> ", "  ... "


class Step:
    """What to learn, what to type, and what is to be seen of it."""

    def __init__(self, about, code, check, after=None):
        self.about = about
        self.code = code
        self.check = check  # (tour, value) -> None, or what is still missing
        self.after = after  # (tour): shows what came of it


def _value(want, missing):
    """The value of what was typed is to be the right one."""
    return lambda tour, value: None if want(tour, value) else missing


def _state(state):
    return lambda tour, value: None if tour.guest.state == state else "%s is %s" % (
        GUEST, tour.guest.state)


def _changed(tour, value):
    tour.at = tour.find()
    return None if tour.guest.memory[tour.at] == BYTE else "the byte there is %#x" % (
        tour.guest.memory[tour.at])


def _handles(tour, value):
    mine = [h for h in tour.guest.handlers.values() if h.kind == "io"]
    return None if mine else "%s has no handler for io" % GUEST


def _counts(tour):
    handler = [h for h in tour.guest.handlers.values() if h.kind == "io"][0]
    clock.until(lambda: handler.hits, WAIT, "an exit of %s" % GUEST)
    print("  %d exits went through your function already" % handler.hits)


def _small(tour, value):
    g = tour.names.get("g")
    if g is None or not hasattr(g, "exits") or g is tour.guest:
        return "there is no new guest called g"
    if g.state == "new":
        return "g was not started"
    return None


def _ended(tour):
    from hv.rules.kinds import OUTSIDE

    g = tour.names["g"]
    state = g.wait(timeout=WAIT)
    own = [kind for kind in sorted(g.exits) if kind not in OUTSIDE]
    print("  it is %s, and left its world for: %s" % (state, ", ".join(own)))


STEPS = (
    Step("Two programs run on this machine beside Python. Look at them.",
         "hv.guests()", _value(lambda t, v: isinstance(v, list) and t.guest in v,
                               "that is not the list of guests")),
    Step("Each is a variable of its name. Whenever one needs the hypervisor it leaves its\n"
         "world: an exit. Why did beat, and how often?",
         "beat.exits", _value(lambda t, v: isinstance(v, dict) and "io" in v,
                              "these are not the counts of its exits")),
    Step("Stop it where it is.", "beat.pause()", _state("paused")),
    Step("Now its registers stand still. Which instruction is next?",
         "hex(beat.vcpus[0].rip)",
         _value(lambda t, v: v in (t.rip(), hex(t.rip())), "that is not its rip")),
    Step("Its memory is open, too. Where does it keep the text that it prints?",
         "at = beat.memory.find(b\"beat %\")",
         lambda t, v: None if t.names.get("at") == t.find() else "at is not where it lies"),
    Step("Change one byte of it: a capital letter.",
         "beat.memory[at] = ord(\"B\")", _changed),
    Step("Let it go on, and see what it prints.", "beat.resume()", _state("running"),
         lambda t: print("  it prints: %s" % t.line("Beat [0-9]+"))),
    Step("Give its exits to a function of yours: every byte to its serial port.",
         "h = beat.on(\"io\", lambda x: None, port=0x3f8)", _handles, _counts),
    Step("Take the function away; the core answers alone again.",
         "h.remove()", lambda t, v: _handles(t, v) is None and "there is still one" or None),
    Step("Last, a guest of your own, of two instructions: CPUID and HLT.",
         "g = hv.guest_from(b\"\\x0f\\xa2\\xf4\").start()", _small, _ended),
)


class Tour:
    """One walk through the steps."""

    def __init__(self, names, read):
        from hv import vm

        self.names = names
        self.read = read
        self.at = None
        self.done = 0
        known = [g for g in vm.guests() if g.name == GUEST]
        if not known:
            raise ValueError("the tour needs the guest %s: boot examples/first.toml" % GUEST)
        self.guest = known[0]
        self.before = set([g.name for g in vm.guests()])
        names[GUEST] = self.guest

    # -- what the checks look at

    def rip(self):
        return self.guest.vcpus[0].rip

    def find(self):
        """Where the text lies, whether its byte was changed or not."""
        if self.at is None:
            self.at = self.guest.memory.find(WORD)
        return self.at

    def line(self, pattern):
        while self.guest.console.read():
            pass  # what it printed before
        return self.guest.console.expect(pattern, WAIT).strip().split("\n")[-1]

    # -- the walk

    def run(self):
        guest = self.guest
        if guest.state in ("off", "crashed"):
            guest.reset().start()
        elif guest.state == "paused":
            guest.resume()
        clock.until(lambda: self.find() is not None, WAIT, "%s in its memory" % GUEST)
        print("Ten steps, five minutes. Type what you think does it, or what is shown.\n"
              "skip does it for you, quit leaves; anything else of Python works as well.")
        try:
            for number, step in enumerate(STEPS):
                print("\n%d. %s\n   try:  %s" % (number + 1, step.about, step.code))
                if not self.one(step):
                    break
        except (EOFError, KeyboardInterrupt):
            print()
        finally:
            self.tidy()
        if self.done == len(STEPS):
            print("\nThat was all ten. docs/recipes.md has a dozen more, `hv watch FILE.py` keeps\n"
                  "a file of such functions in force while you edit it, help(hv) lists the rest.")
        else:
            print("\nThe tour ends; hv.tour() starts it again.")

    def one(self, step):
        """False to leave."""
        while True:
            source = self.source()
            word = source.strip()
            if not word:
                continue
            if word in ("quit", "quit()", "exit", "exit()"):
                return False
            if word == "skip":
                print("   done: %s" % step.code)
                source = step.code
            try:
                value = self.evaluate(source)
                missing = step.check(self, value)
                if missing is None and step.after is not None:
                    step.after(self)
            except Exception as e:
                print("   %s\n   not yet; try:  %s" % (_said(e), step.code))
                continue
            if missing is None:
                self.done += 1
                return True
            print("   not yet, %s; try:  %s" % (missing, step.code))

    def source(self):
        """A line, or a block that ends with an empty one."""
        line = self.read(PROMPT)
        if not (line.rstrip().endswith(":") or line.lstrip().startswith("@")):
            return line
        lines = [line]
        while line.strip():
            line = self.read(MORE)
            lines.append(line)
        return "\n".join(lines)

    def evaluate(self, source):
        """As the prompt does: an expression's value is shown."""
        try:
            code = compile(source.strip(), "<tour>", "eval")
        except SyntaxError:
            exec(compile(source + "\n", "<tour>", "exec"), self.names)
            return None
        value = eval(code, self.names)
        if value is not None:
            print(repr(value))
        return value

    def tidy(self):
        """The machine is as it was: the byte, handlers, guests of the tour."""
        from hv import vm

        guest = self.guest
        if not guest.exists():
            return
        for handler in list(guest.handlers.values()):
            if handler is self.names.get("h"):
                handler.remove()
        if self.at is not None and guest.memory[self.at] == BYTE:
            guest.memory[self.at] = WORD[0]
        if guest.state == "paused":
            guest.resume()
        for other in vm.guests():
            if other.name not in self.before:
                other.destroy()
        for name in ("g", "h", "at"):
            self.names.pop(name, None)


def _said(error):
    return events.traceback(error).strip().split("\n")[-1]


def tour():
    """Ten steps at the prompt; skip and quit."""
    Tour(events.namespace, input).run()
