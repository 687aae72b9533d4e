"""From a parsed description to the form of partition.json, collecting every finding.

One reader for both: `Form.TOML` (as people write it) and `Form.JSON` (as the host
compiled it, sizes in bytes).
"""

from . import cmdline, connect, features, values
from .image import KINDS
from .judge import CPUS_MAX, GUESTS_MAX
from .names import nearest
from .sizes import size_text
from .table import Finding

MIB = 1 << 20
STEP = 2 * MIB
VCPUS_MAX = 8
HUGE = 1 << 40
FORMAT = 1
PYTHON_DEVICES = ("python-testdev", "python-uart", "watchdog")  # hv.devices adds these
DEVICES = ("testdev",) + PYTHON_DEVICES  # names that `devices` knows
POLICIES = ("stop", "restart", "pause")

GUEST_KEYS, MACHINE_KEYS, POLICY_KEYS = values.GUEST, values.MACHINE, values.POLICY
DEFAULT_POLICY = {"on_crash": "stop", "on_poweroff": "stop", "on_reboot": "restart"}


class Form:
    """How one of the two notations differs: names of keys, and sizes."""

    def __init__(self, top, version, guests, compiled):
        self.top = top
        self.version = version
        self.guests = guests
        self.compiled = compiled


TOML = Form(("version", "machine", "guest", "connect"), "version", "guest", False)
JSON = Form(("format", "name", "machine", "guests", "connect", "run"), "format", "guests", True)


is_int = values.is_int


class Reader:
    """Reads a description; `findings` grows, `partition` is what could be understood."""

    def __init__(self, form):
        self.form = form
        self.findings = []

    def find(self, rule, path, what, remedy=None):
        self.findings.append(Finding(rule, path, what, remedy))

    def read(self, description):
        if not isinstance(description, dict):
            self.find("type-wrong", (), "the description is no table")
            return {"format": FORMAT, "machine": {}, "guests": []}
        self._keys(description, self.form.top, ())
        self._version(description)
        partition = {"format": FORMAT, "machine": self._machine(description), "guests": []}
        rows = description.get(self.form.guests)
        if rows is None:
            rows = []
            if "guests" in description and not self.form.compiled:
                pass  # key-unknown has said it
            else:
                self.find("guest-none", (), "no guest is described")
        elif not isinstance(rows, list):
            self.find("guest-table", (self.form.guests,), "%s is one table" % self.form.guests)
            rows = []
        elif not rows:
            self.find("guest-none", (self.form.guests,), "the list of guests is empty")
        if len(rows) > GUESTS_MAX:
            self.find("guest-many", (self.form.guests, GUESTS_MAX), "%d guests" % len(rows))
        for i, row in enumerate(rows):
            partition["guests"].append(self._guest(row, (self.form.guests, i)))
        rows = connect.read(self, description)
        if rows:
            partition["connect"] = rows
        return partition

    # -- pieces

    def _keys(self, table, known, path):
        for key in sorted(table):
            if key in known:
                continue
            home = values.home(key, path) if not self.form.compiled else None
            if home:
                self.find("key-misplaced", path + (key,), "%s is a key of %s" % (key, home),
                          "move it under %s" % home)
                continue
            close = nearest(key, known)
            remedy = "did you mean %s?" % close if close else "the keys here are %s" % (
                ", ".join(known))
            self.find("key-unknown", path + (key,), "unknown key %s" % key, remedy)

    def _version(self, description):
        key = self.form.version
        rule = "format-unknown" if self.form.compiled else "version-unknown"
        if key not in description:
            self.find(rule if self.form.compiled else "version-missing", (), "no %s" % key)
        elif isinstance(description[key], str) and not self.form.compiled:
            self.find("version-text", (key,), "version is %r" % description[key])
        elif description[key] != FORMAT or not is_int(description[key]):
            self.find(rule, (key,), "%s is %r" % (key, description[key]))

    def _machine(self, description):
        table = description.get("machine", {})
        path = ("machine",)
        if not isinstance(table, dict):
            what = "a list of tables" if isinstance(table, list) else "no table"
            self.find("machine-table", path, "machine is %s" % what)
            return {}
        self._keys(table, MACHINE_KEYS, path)
        out = {}
        if "cpus" in table:
            if is_int(table["cpus"]) and table["cpus"] > CPUS_MAX:
                self.find("machine-cpus", path + ("cpus",), "cpus is %d" % table["cpus"])
            elif is_int(table["cpus"]) and table["cpus"] > 0:
                out["cpus"] = table["cpus"]
            else:
                self.find("cpus-bad", path + ("cpus",), "cpus is %r" % (table["cpus"],),
                          "write the number of CPUs that the machine has at least")
        # 0 in the compiled form: whatever the machine has.
        if "memory" in table and not (self.form.compiled and table["memory"] == 0):
            size = self._size(table["memory"], path + ("memory",))
            if size is not None:
                out["memory"] = size
        return out

    def _size(self, value, path):
        if self.form.compiled:
            if is_int(value) and value > 0:
                return value
            self.find("size-bad", path, "%r is not a number of bytes" % (value,))
            return None
        size, wrong = values.size(value)
        if wrong:
            self.find(wrong[0], path, *wrong[1:])
        return size

    def _guest(self, row, path):
        if not isinstance(row, dict):
            self.find("guest-table", path, "a guest is %r" % (row,))
            return {"name": None, "cpus": None, "memory": None, "image": None, "kind": None,
                    "initrd": [], "modules": []}
        self._keys(row, GUEST_KEYS, path)
        out = {
            "name": self._name(row, path),
            "cpus": self._cpus(row, path),
            "memory": self._memory(row, path),
            "image": self._path(row.get("image"), path + ("image",), "image" not in row),
            "kind": self._kind(row, path),
            "initrd": self._paths(row, "initrd", path),
            "cmdline": self._cmdline(row, path),
            "modules": self._paths(row, "modules", path),
            "devices": self._devices(row, path),
            "paravirt": self._flag(row, "paravirt", True, path),
            "hide": self._hide(row.get("hide", []), path + ("hide",)),
        }
        if row.get("symbols") is not None:
            out["symbols"] = self._path(row["symbols"], path + ("symbols",))
        for key, do in DEFAULT_POLICY.items():
            out[key] = self._policy(row.get(key, do), path + (key,))
        return out

    def _name(self, row, path):
        if "name" not in row:
            self.find("key-missing", path, "a guest has no name", 'write name = "linux"')
            return None
        name, path = row["name"], path + ("name",)
        if not isinstance(name, str):
            self.find("type-wrong", path, "name is %r" % (name,), 'write name = "linux"')
            return None
        # `hv run` names a guest after its file, which may have dashes.
        wrong = values.name(name, self.form.compiled)
        if wrong:
            self.find(wrong[0], path, *wrong[1:])
        return name

    def _cpus(self, row, path):
        value, path = row.get("cpus", 1), path + ("cpus",)
        if is_int(value):
            if value < 1:
                self.find("cpus-zero", path, "cpus is %d" % value)
                return None
            if value > VCPUS_MAX:
                self.find("cpus-many", path, "%d cpus" % value)
            return value
        if isinstance(value, str):
            self.find("cpus-text", path, "cpus is %r" % value, values.cpus_remedy(value))
            return None
        if not isinstance(value, list):
            self.find("cpus-bad", path, "cpus is %r" % (value,))
            return None
        if not value:
            self.find("cpus-empty", path, "the list of CPUs is empty")
            return None
        for cpu in value:
            if not is_int(cpu):
                self.find("cpus-bad", path, "%r is no CPU number" % (cpu,),
                          "write a list of CPU numbers: [1, 2]")
                return None
            if cpu < 0:
                self.find("cpu-negative", path, "there is no CPU %d" % cpu)
                return None
        if len(set(value)) < len(value):
            twice = sorted([c for c in set(value) if value.count(c) > 1])
            self.find("cpu-repeated", path, "cpu %s is given twice" % twice[0])
        elif 0 in value and len(value) > 1:
            self.find("cpu-control", path, "cpu 0 beside other cpus")
        elif len(value) > VCPUS_MAX:
            self.find("cpus-many", path, "%d cpus" % len(value), "list %d or fewer" % VCPUS_MAX)
        return list(value)

    def _memory(self, row, path):
        path = path + ("memory",)
        if "memory" not in row:
            self.find("key-missing", path[:-1], "a guest has no memory", 'write memory = "256M"')
            return None
        size = self._size(row["memory"], path)
        if size is None:
            return None
        if size < STEP:
            self.find("memory-small", path, "memory is %s" % size_text(size))
        elif size >= HUGE:
            self.find("memory-huge", path, "memory is %s" % size_text(size))
        elif size % STEP:
            near = (size + STEP - 1) // STEP * STEP
            self.find("memory-step", path, "memory is %s" % size_text(size),
                      'write "%s"' % size_text(near))
        return size

    def _path(self, value, path, missing=False):
        if missing:
            self.find("key-missing", path[:-1], "a guest has no image", 'write image = "vmlinuz"')
        elif not isinstance(value, str):
            self.find("type-wrong", path, "%s is %r" % (path[-1], value), "write a path in quotes")
        elif not value.strip():
            self.find("path-empty", path, "the path is empty")
        else:
            wrong = None if self.form.compiled else values.path(value)
            if wrong is None:
                return value
            self.find(wrong[0], path, *wrong[1:])
        return None

    def _paths(self, row, key, path):
        value, path = row.get(key), path + (key,)
        if value is None:
            return []
        if isinstance(value, list):
            out = []
            for item in value:
                out.append(self._path(item, path))
            return [p for p in out if p is not None]
        one = self._path(value, path)
        return [one] if one is not None else []

    def _kind(self, row, path):
        kind, path = row.get("kind"), path + ("kind",)
        if kind is None:
            return None
        if kind not in KINDS:
            close = nearest(kind, KINDS) if isinstance(kind, str) else None
            remedy = "did you mean %s?" % close if close else "the kinds are %s" % ", ".join(KINDS)
            self.find("kind-unknown", path, "kind is %r" % (kind,), remedy)
            return None
        self.findings += uses(kind, row, path[:-1])
        return kind

    def _cmdline(self, row, path):
        text, path = row.get("cmdline", ""), path + ("cmdline",)
        if not isinstance(text, str):
            self.find("type-wrong", path, "cmdline is %r" % (text,), "write it in quotes")
            return ""
        cmdline.check(text, lambda rule, what: self.find(rule, path, what))
        return text

    def _devices(self, row, path):
        value, path = row.get("devices", []), path + ("devices",)
        if not isinstance(value, list):
            self.find("type-wrong", path, "devices is %r" % (value,), "write a list of names")
            return []
        seen = []
        for name in value:
            if name not in DEVICES:
                close = nearest(name, DEVICES) if isinstance(name, str) else None
                remedy = "did you mean %s?" % close if close else "known besides a plain PC's: %s" \
                    % ", ".join(DEVICES)
                self.find("device-unknown", path, "device %r" % (name,), remedy)
            elif value.count(name) > 1 and name not in seen:
                self.find("device-twice", path, "device %s is named twice" % name)
            elif "testdev" in seen and name == "python-testdev" or (
                    "python-testdev" in seen and name == "testdev"):
                self.find("device-twice", path, "testdev and python-testdev are one device",
                          "name one of them")
            seen.append(name)
        return [n for n in value if n in DEVICES]

    def _hide(self, value, path):
        if not isinstance(value, list):
            self.find("type-wrong", path, "hide is %r" % (value,),
                      'write a list of names: hide = ["avx2"]')
            return []
        out = []
        for name in value:
            if name not in features.NAMES:
                close = nearest(name, features.NAMES) if isinstance(name, str) else None
                self.find("hide-unknown", path, "feature %r" % (name,),
                          "did you mean %s?" % close if close else None)
            elif name in features.NEEDED:
                self.find("hide-needed", path, "%s is hidden" % name)
            elif name in out:
                self.find("hide-twice", path, "%s is hidden twice" % name)
            else:
                out.append(name)
        rest = features.left_over(out)
        if rest and len(out) == len(value):
            names = ", ".join(['"%s"' % name for name in features.whole(out)])
            self.find("hide-above", path, "%s is hidden and %s is shown" % rest,
                      "write hide = [%s]" % names)
        return out

    def _flag(self, row, key, default, path):
        value = row.get(key, default)
        if not isinstance(value, bool):
            self.find("type-wrong", path + (key,), "%s is %r" % (key, value),
                      "write %s = true or %s = false" % (key, key))
            return default
        return value

    def _policy(self, value, path):
        if isinstance(value, str):
            value = {"do": value}
        if not isinstance(value, dict):
            self.find("policy-unknown", path, "%s is %r" % (path[-1], value))
            return {"do": "stop"}
        self._keys(value, POLICY_KEYS, path)
        out = {"do": value.get("do")}
        if "do" not in value:
            self.find("policy-do", path, "%s has no do" % path[-1])
            return {"do": "stop"}
        if out["do"] not in POLICIES:
            self.find("policy-unknown", path, "%s does %r" % (path[-1], out["do"]))
            out["do"] = "stop"
        if "max" in value:
            if is_int(value["max"]) and value["max"] > 0:
                out["max"] = value["max"]
            else:
                self.find("policy-max", path + ("max",), "max is %r" % (value["max"],))
        if "delay" in value:
            delay, wrong = values.delay(value["delay"], self.form.compiled)
            if wrong:
                self.find(wrong[0], path + ("delay",), *wrong[1:])
            else:
                out["delay"] = delay
        for key in ("max", "delay"):
            if key in out and out["do"] != "restart":
                self.find("policy-alone", path + (key,), "%s without restart" % key,
                          'write do = "restart" or leave %s out' % key)
        return out


# What a kind of image can be told: the keys that are without effect for it.
UNUSED = {
    "linux": ("modules",), "pvh": ("modules",), "elf64": ("modules",),
    "multiboot1": (), "multiboot2": (),
}
RULE_OF = {"initrd": "initrd-unused", "modules": "modules-unused", "cmdline": "cmdline-unused"}


def uses(kind, row, path):
    """Findings about keys that a guest of this kind has no use for, or misuses."""
    out = []
    for key in UNUSED.get(kind, ("initrd", "modules", "cmdline")):
        if row.get(key):
            out.append(Finding(RULE_OF[key], path + (key,), "%s with kind %s" % (key, kind)))
    text = row.get("cmdline")
    if kind == "linux" and isinstance(text, str):
        cmdline.check_linux(
            text, bool(row.get("initrd")),
            lambda rule, what, remedy=None: out.append(
                Finding(rule, path + ("cmdline",), what, remedy)))
    return out
