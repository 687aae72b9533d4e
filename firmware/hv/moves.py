"""The states of a guest, and every move a person can make between them: the one table.

hv.states() shows it; docs/python.md has it; every error about a state is made from it.
"""

from hv import text

STATES = ("new", "running", "paused", "off", "crashed")

# verb -> {state before: state after}; None: the guest is gone.
MOVES = {
    "load": {"new": "new"},
    "start": {"new": "running"},
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "stop": {"running": "off", "paused": "off"},
    "reset": {state: "new" for state in STATES},
    "destroy": {state: None for state in STATES},
}

VERBS = ("load", "start", "pause", "resume", "stop", "reset", "destroy")  # in that order

# What to do first, where it is not plain from the table.
REMEDY = {
    ("load", "running"): "stop() and reset() it first",
    ("load", "paused"): "stop() and reset() it first",
    ("load", "off"): "reset() it first",
    ("load", "crashed"): "reset() it first",
    ("start", "paused"): "resume() it",
    ("start", "off"): "reset() it first",
    ("start", "crashed"): "reset() it first",
    ("resume", "new"): "start() it",
}


def legal(state):
    """The verbs that a guest in this state takes."""
    return tuple([verb for verb in VERBS if state in MOVES[verb]])


def refusal(name, state, verb):
    """Why `verb` cannot be, and what can; None where it can."""
    before = MOVES[verb]
    if state in before:
        return None
    hint = REMEDY.get((verb, state))
    if hint is None:
        hint = "only a %s guest can %s" % (
            " or ".join([s for s in STATES if s in before]), verb)
    return "%s is %s; %s (now it can %s)" % (name, state, hint, ", ".join(legal(state)))


class Moves:
    """hv.states(): which verb leads from which state where."""

    def rows(self):
        rows = [("state",) + VERBS]
        for state in STATES:
            row = [state]
            for verb in VERBS:
                after = MOVES[verb].get(state, "-")
                row.append("gone" if after is None else after)
            rows.append(tuple(row))
        return rows

    def __repr__(self):
        return text.table(self.rows())


def states():
    """The table of states and moves."""
    return Moves()
