"""Partitions from Python: the description of a partition file, as a dict or as keywords.

    p = hv.Partition(guest=[{"name": "two", "memory": "16M", "image": "beat.elf"}])
    p.check()                  # findings, with the rules that `hv check` has
    p.start()                  # makes and starts all of them, or none
"""

import _hv
from hv import rules, text
from hv.rules.table import Finding

VERSION = 1
PAGE = 4096
LIST = "guest"  # as partition files call it


class Findings(list):
    """What is wrong, each with rule, place(), what, why, remedy; the repr is lines."""

    def __str__(self):  # MicroPython would print the plain base class
        return self.__repr__()

    def __repr__(self):
        return "\n".join([repr(f) for f in self]) or "no findings"


class PartitionError(ValueError):
    """A partition that breaks rules was started; `findings` are all of them."""

    def __init__(self, findings):
        super().__init__(repr(findings))
        self.findings = findings


class Partition:
    """A partition: description, check(), start(), guests, destroy()."""

    def __init__(self, description=None, **keywords):
        """A dict, or keywords. ValueError: both."""
        if description is not None and keywords:
            raise ValueError("give the description as a dict or as keywords, not both")
        if description is None:
            description = dict(keywords)
            description.setdefault("version", VERSION)
        self.description = description
        self.guests = []

    def check(self):
        """Every finding, of the description and of what this machine has left for it."""
        found, partition, _ = self._compile()
        if not found:
            found += rules.warnings(partition, self.description.get("machine") or (), LIST)
        return found

    def _compile(self):
        """(findings, the form that can be started, CPU numbers of each guest)"""
        partition, found = rules.compile_(self.description)
        bad = [f.path for f in found]
        for i, guest in enumerate(partition["guests"]):
            found += _images(guest, (LIST, i), bad)
        cpus = None
        if not found:
            more, cpus = _machine(partition)
            found += more
        return Findings(found), partition, cpus

    def start(self):
        """Makes, loads and starts every guest; when one cannot be, there is none of them.
        PartitionError has the findings."""
        from hv import boot, events, vm

        findings, partition, cpus = self._compile()
        if findings:
            raise PartitionError(findings)
        made = []
        try:
            for row, numbers in zip(partition["guests"], cpus):
                made.append(boot.make(row, numbers))
            boot.connect(partition.get("connect"), made)
            for guest in made:
                guest.start()
        except BaseException:
            for guest in made:
                guest.destroy()
            raise
        self.guests = vm.Guests(made)
        for guest in made:
            events.namespace[boot.variable(guest.name)] = guest
        return self

    def destroy(self):
        """Gives back all that its guests have."""
        for guest in self.guests:
            if guest.exists():
                guest.destroy()
        self.guests = []

    def __repr__(self):
        if self.guests:
            return repr(self.guests)
        findings = self.check()
        if findings:
            return repr(findings)
        rows = self.description.get(LIST) or self.description.get("guests") or ()
        return "<partition of %s: start() it>" % ", ".join([row["name"] for row in rows])


def _module(name):
    """The boot module that a path means: its own name, else its last part."""
    known = [m[0] for m in _hv.modules()]
    if name in known:
        return name
    last = name.split("/")[-1]
    return last if last in known else None


def _images(guest, path, bad):
    """The files are boot modules here; then the rules of images."""
    found = []
    beside, complete = 0, True
    for key in ("initrd", "modules"):
        names = []
        for file in guest.get(key) or ():
            name = _module(file)
            if name is None:
                found.append(_missing(file, path + (key,)))
                complete = False
                continue
            beside += (len(_hv.module(name)) + PAGE - 1) // PAGE * PAGE
            names.append(name)
        guest[key] = names
    if guest.get("symbols"):
        name = _module(guest["symbols"])
        if name is None:
            found.append(_missing(guest["symbols"], path + ("symbols",)))
        guest["symbols"] = name
    if guest["image"] is None or path + ("kind",) in bad:
        return found
    name = _module(guest["image"])
    if name is None:
        return found + [_missing(guest["image"], path + ("image",))]
    draft = dict(guest)
    if path + ("memory",) in bad:
        draft["memory"] = None
    image, more = rules.check_image(
        _hv.module(name), draft, beside if complete else None, path)
    guest["image"] = name
    guest["kind"] = image.kind if image is not None else guest["kind"]
    return found + more


def _missing(file, path):
    known = [m[0] for m in _hv.modules()]
    near = text.nearest(file.split("/")[-1], known)
    remedy = "did you mean %s?" % near if near else "there are: %s" % (
        ", ".join(known) or "none")
    return Finding("file-missing", path, "there is no boot module %s" % file, remedy,
                   "files are boot modules here")


def _machine(partition):
    """Findings against what the machine has beside the guests that there are already, and
    the CPU numbers of each guest."""
    from hv import host, vm

    there = [{"name": g.name, "memory": None, "cpus": [v[0] for v in g.info["vcpus"]]}
             for g in vm.guests()]
    count = len(there)
    together = {"machine": {}, "guests": there + partition["guests"]}
    found = []
    for finding in rules.judge(together, LIST, host.for_rules()):
        where = finding.path
        if len(where) > 1 and where[0] == LIST:
            where = (LIST, where[1] - count) + tuple(where[2:])
        finding.path = where
        found.append(finding)
    return found, None if found else rules.assign(together)[count:]
