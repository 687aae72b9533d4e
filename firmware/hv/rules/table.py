"""Every rule: its id, why it is there, what to do. The ids are stable."""

RULES = {
    # The file as a whole.
    "toml-syntax": ("it is not valid TOML", "mend the line"),
    "file-unreadable": ("the file cannot be read", "give a file that can be read"),
    "version-missing": ("a file must say which format it is written in", "write version = 1 first"),
    "version-unknown": ("only format 1 is known", "write version = 1"),
    "key-unknown": ("a key that nobody reads would be silently without effect", "remove it"),
    "key-missing": ("nothing sensible can be assumed for it", "add it"),
    "type-wrong": ("the value has another type than the key takes", "write it as shown"),
    "guest-table": ("guests are a list of tables", "write [[guest]] with two brackets"),
    "guest-none": ("a partition without guests does nothing", "add a [[guest]]"),
    "guest-many": ("the core keeps at most 16 guests", "remove some"),
    # Names.
    "name-invalid": (
        "the name becomes a variable of the prompt",
        "use letters, digits and _, not starting with a digit, at most 31"),
    "name-reserved": ("the word means something else at the prompt", "take another name"),
    "name-duplicate": ("guests are found by their names", "take another name"),
    # Sizes.
    "size-unit": ("a bare number does not say of what", "write a unit"),
    "size-bad": ("it is not a size", 'write "256M" or "1G"'),
    "memory-step": ("memory is given in 2 MiB pages", "take a multiple of 2M"),
    "memory-small": ("a guest needs at least 2M", 'write memory = "2M" or more'),
    "memory-sum": (
        "the guests, the monitor and the images share the machine's memory",
        "give the machine more or the guests less"),
    # CPUs.
    "cpus-bad": ("cpus is a count above zero or a list of CPU numbers", "write cpus = 1"),
    "cpus-many": ("a guest has at most 8 CPUs", "write cpus = 8 or less"),
    "cpu-repeated": ("a CPU is listed twice", "list it once"),
    "cpu-beyond": ("the machine has no such CPU", "take a smaller number or raise [machine] cpus"),
    "cpu-shared": ("a CPU belongs to one guest", "give one of them another CPU"),
    "cpu-control": (
        "CPU 0 is where Python lives; a guest there runs in slices and has no other CPU",
        "write cpus = [0], or leave 0 out"),
    "cpu-sum": (
        "each guest has CPUs of its own, and CPU 0 stays with Python",
        "raise [machine] cpus, or put a guest on cpus = [0]"),
    # The rest of a guest.
    "kind-unknown": ("no loader has this name", "leave kind out, it is detected"),
    "device-unknown": ("no device has this name", "remove it"),
    "initrd-unused": ("raw code has no way to be told of it", "leave it out"),
    "cmdline-long": ("the loaders keep 4094 bytes for it", "shorten it"),
    "cmdline-control": ("control characters end it in the guest", "remove them"),
    "policy-unknown": (
        "it must be known what to do when the guest ends", 'use "stop", "restart" or "pause"'),
    "policy-value": (
        "max counts restarts, delay is a time", 'write { do = "restart", max = 5, delay = "1s" }'),
    "path-empty": ("an empty path names no file", "give the file's path"),
    # Files, on the host.
    "file-missing": ("a path is relative to the partition file", "mend the path or make the file"),
    "file-directory": ("a directory cannot be loaded", "give a file in it"),
    # Images; the sentence and the remedy come from the image's own reader.
    "image-unknown": ("a guest needs an image that a loader knows", "say its kind"),
    "image-invalid": ("the image does not keep to its format", "build it again"),
    "image-truncated": ("a part of the image is missing", "get the whole file"),
    "image-place": ("the memory it wants is in use", "link it at 1 MiB"),
    "image-too-big": ("it must fit into the guest's memory", "give the guest more memory"),
    # At boot.
    "format-unknown": ("another version built the image", "build image and monitor together"),
}


class Finding:
    """One breach of a rule: rule id, key path, what, why, remedy."""

    def __init__(self, rule, path, what, remedy=None, why=None):
        self.rule = rule
        self.path = tuple(path)
        self.what = what
        self.why = RULES[rule][0] if why is None else why
        self.remedy = RULES[rule][1] if remedy is None else remedy

    def text(self):
        """Rule, what, why and remedy in one line."""
        what = self.what if not self.why else "%s: %s" % (self.what, self.why)
        return "%s: %s; %s" % (self.rule, what, self.remedy)

    def place(self):
        """The key path as one writes it: guest[1].memory."""
        out = ""
        for part in self.path:
            if type(part) is int:
                out += "[%d]" % part
            else:
                out += "." + part if out else part
        return out or "the file"

    def __repr__(self):
        return "%s: %s" % (self.place(), self.text())

    def __str__(self):
        return self.__repr__()
