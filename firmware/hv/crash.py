"""Why a guest died, readable."""

from hv.vcpu import registers_text


class Crash:
    """A crash record: why, kind, rip, registers and the bytes at RIP; trace (a table of its
    vCPU's last exits) of a guest that was traced."""

    def __init__(self, record):
        self.record = record
        self.why = record.get("why", "")
        self.kind = record.get("kind", "")

    def get(self, name):
        """A part of the record or a register (a number of 64 bits) by name; 0: there is none."""
        record = self.record
        if name in record:
            return record[name]
        return record.get("registers", {}).get(name, 0)

    def __getattr__(self, name):
        """The same as an attribute. AttributeError: there is none."""
        if name[:1] == "_" or name == "record":
            raise AttributeError(name)
        if name in self.record or name in self.record.get("registers", {}):
            return self.get(name)
        raise AttributeError("a crash record has no %s" % name)

    def __repr__(self):
        code = self.record.get("bytes", b"")
        if not isinstance(code, str):
            code = " ".join(["%02x" % b for b in code])
        last = "\nits last exits:\n%s" % self.record["trace"] if "trace" in self.record else ""
        where = "\nat %s" % self.record["where"] if "where" in self.record else ""
        return "%s%s\n%s\nbytes at rip: %s%s" % (
            self.why, where, registers_text(self.get, self.get("cs")), code or "not readable",
            last)

    def json(self):
        """The record as the channel carries it: numbers and text only."""
        out = {}
        for key, value in self.record.items():
            if key == "trace":
                continue  # there is no room for it; `hv trace` has its own way
            if isinstance(value, (bytes, bytearray)):
                value = "".join(["%02x" % b for b in value])
            out[key] = value
        return out
