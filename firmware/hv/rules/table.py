"""Every rule: its id, why it is there, what to do. The ids are stable."""

RULES = {
    # The file as a whole.
    "file-unreadable": ("the file cannot be read", "give a file that can be read"),
    "file-encoding": ("TOML is UTF-8 text", "save it as UTF-8"),
    "file-bom": ("TOML begins without a byte-order mark", "save it as UTF-8 without a BOM"),
    "file-image": ("a partition file is text that names images", "boot the image by `hv run`"),
    "file-json": ("partitions are written in TOML", "give the TOML file"),
    "toml-syntax": ("it is not valid TOML", "mend the line"),
    "toml-unquoted": ("a word or a size is a string and stands in quotes", "put it in quotes"),
    "toml-quotes": ("TOML knows only the straight quotes", 'write " or \''),
    "toml-unclosed": ("what is opened must be closed", "close it"),
    "toml-colon": ("a key and its value are joined by =", "write = instead of :"),
    "toml-boolean": ("TOML's words are true and false", "write true or false"),
    "toml-backslash": ("a backslash begins an escape in double quotes", "use single quotes"),
    "toml-duplicate": ("a key or a table stands in a file once", "remove one of them"),
    "toml-header": ("a table's header has as many brackets on either side", "write [[guest]]"),
    "version-missing": ("a file must say which format it is written in", "write version = 1 first"),
    "version-unknown": ("only format 1 is known", "write version = 1"),
    "version-text": ("the version is a number, without quotes", "write version = 1"),
    "key-unknown": ("a key that nobody reads would be silently without effect", "remove it"),
    "key-misplaced": ("a key counts only in its own table", "move it there"),
    "key-missing": ("nothing sensible can be assumed for it", "add it"),
    "type-wrong": ("the value has another type than the key takes", "write it as shown"),
    "machine-table": ("there is one machine, and it is a table", "write [machine]"),
    "machine-cpus": ("the core runs at most 16 CPUs", "write cpus = 16 or less"),
    "guest-table": ("guests are a list of tables", "write [[guest]] with two brackets"),
    "guest-none": ("a partition without guests does nothing", "add a [[guest]]"),
    "guest-many": ("the core keeps at most 16 guests", "remove some"),
    # Names.
    "name-invalid": (
        "the name becomes a variable of the prompt",
        "use letters, digits and _, not starting with a digit, at most 31"),
    "name-empty": ("a guest is found by its name", 'write name = "linux"'),
    "name-dash": ("a - in a variable of the prompt would be a minus", "write _ instead"),
    "name-long": ("the core keeps 31 characters of it", "shorten it"),
    "name-keyword": ("a word of Python's grammar cannot be a variable", "take another name"),
    "name-builtin": ("it would hide a function of Python at the prompt", "take another name"),
    "name-reserved": ("the word means something else at the prompt", "take another name"),
    "name-duplicate": ("guests are found by their names", "take another name"),
    # Sizes.
    "size-unit": ("a bare number does not say of what", "write a unit"),
    "size-bad": ("it is not a size", 'write "256M" or "1G"'),
    "size-zero": ("memory is more than nothing", 'write "256M" or "1G"'),
    "memory-step": ("memory is given in 2 MiB pages", "take a multiple of 2M"),
    "memory-small": ("a guest needs at least 2M", 'write memory = "2M" or more'),
    "memory-huge": ("a CPU's addresses end at 1T", "write less"),
    "memory-linux": (
        "Linux unpacks itself and its initrd, and then wants memory to work in",
        "give the guest more memory"),
    "memory-sum": (
        "the guests, the monitor and the images share the machine's memory",
        "give the machine more or the guests less"),
    # CPUs.
    "cpus-bad": ("cpus is a count above zero or a list of CPU numbers", "write cpus = 1"),
    "cpus-zero": ("a guest has at least one CPU", "write cpus = 1"),
    "cpus-text": ("cpus is a number or a list of numbers, without quotes", "write cpus = 1"),
    "cpus-empty": ("an empty list gives the guest no CPU", "write cpus = 1, for any one"),
    "cpus-many": ("a guest has at most 8 CPUs", "write cpus = 8 or less"),
    "cpu-negative": ("CPUs are numbered from 0", "write a CPU's number"),
    "cpu-repeated": ("a CPU is listed twice", "list it once"),
    "cpu-beyond": ("the machine has no such CPU", "take a smaller number or raise [machine] cpus"),
    "cpu-shared": (
        "a CPU belongs to one guest, and only on CPU 0 guests take turns",
        "give one of them another CPU"),
    "cpu-control": (
        "CPU 0 is where Python lives; a guest there runs in slices and has no other CPU",
        "write cpus = [0], or leave 0 out"),
    "cpu-sum": (
        "each guest has CPUs of its own, and CPU 0 stays with Python",
        "raise [machine] cpus, or put a guest on cpus = [0]"),
    # The rest of a guest.
    "kind-unknown": ("no loader has this name", "leave kind out, it is detected"),
    "kind-wrong": ("the image is not of the kind that is insisted on", "leave kind out"),
    "device-unknown": ("no device has this name", "remove it"),
    "device-twice": ("a guest has one of each", "name it once"),
    "device-option": ("an option that the device has not would be without effect", "remove it"),
    "device-ports": ("a device has ports of its own, up to 0xffff", "write ports = 0x590"),
    "device-irq": ("a device has an interrupt line of its own", "write irq = 11"),
    "device-step": ("device memory is given in pages of 4 KiB", "take a multiple of 4K, 0x1000"),
    "device-place": (
        "the guest has memory, its APICs or another device there",
        "take an address from 0xc0000000 to 0xfe000000"),
    "hide-unknown": ("no CPUID feature has this name", "remove it"),
    "hide-twice": ("a feature is hidden once", "name it once"),
    "hide-needed": ("no 64-bit kernel starts without it", "leave it shown"),
    "hide-above": ("a program that sees the one uses the other", "hide both"),
    "cpuid-table": ("answers of CPUID are a list of tables", "write [[guest.cpuid]]"),
    "cpuid-leaf": ("an answer belongs to a leaf, a 32-bit number", "write leaf = 0x80000002"),
    "cpuid-subleaf": (
        "only the leaves 0x4, 0x7 and 0xb have subleaves", "leave subleaf out"),
    "cpuid-register": ("a register of CPUID has 32 bits", "write a number from 0 to 0xffffffff"),
    "cpuid-none": ("an entry changes a register at least", "write eax = 0, or hide_eax"),
    "cpuid-both": ("a register is fixed or loses bits", "leave one of them out"),
    "cpuid-shown": (
        "a feature that is shown must be there; bits can be hidden only", "hide bits of it"),
    "cpuid-xsave": ("its sizes and states go together", "name the features in hide"),
    "cpuid-needed": ("no 64-bit kernel starts without these bits", "leave them shown"),
    "cpuid-twice": ("a leaf has one answer", "write it once"),
    "cpuid-many": ("the core keeps 16 answers of yours", "remove some"),
    "msr-table": ("answers of MSRs are a list of tables", "write [[guest.msr]]"),
    "msr-index": ("an answer belongs to an MSR, by its 32-bit number", "write index = 0x1a0"),
    "msr-count": ("count is how many MSRs follow, this one included", "write count = 1"),
    "msr-word": ("it must be known what an access does", 'write "refuse"'),
    "msr-value": ("an MSR has 64 bits", "write a number from 0 to 2**64 - 1"),
    "msr-unread": ("a value that is never read is without effect", "leave value out"),
    "msr-store": (
        "one register is stored and read again", 'write "ignore", or leave read and count out'),
    "msr-core": ("the core keeps this one itself", "change it with g.on at the prompt"),
    "msr-twice": ("an MSR has one answer", "write it once"),
    "msr-many": ("the core keeps 16 answers of yours", "remove some"),
    "initrd-unused": ("such an image has no way to be told of it", "leave it out"),
    "initrd-empty": ("an empty file unpacks to nothing", "make it again, or leave it out"),
    "initrd-kernel": ("a kernel is no file system", "name the kernel in image, its initrd here"),
    "initrd-unknown": (
        "Linux unpacks cpio archives, packed or not, and mounts a few file systems",
        "make it by `cpio -o -H newc`"),
    "initrd-truncated": ("a part of it is missing", "get the whole file"),
    "modules-unused": ("only multiboot kernels are told of modules", "use initrd, or leave it out"),
    "modules-many": ("the monitor keeps 48 boot modules", "join some of the files"),
    "cmdline-long": ("the loaders keep 4094 bytes for it", "shorten it"),
    "cmdline-kernel": ("the kernel keeps no more of it", "shorten it"),
    "cmdline-control": ("control characters end it in the guest", "remove them"),
    "cmdline-ascii": ("kernels read it byte by byte", "write ASCII"),
    "cmdline-quote": ("Linux takes a quotation mark up to the next one", "close the quotation"),
    "cmdline-unused": ("such an image has no way to be told of it", "leave it out"),
    "cmdline-console": ("a guest has one serial port and a text screen", "write console=ttyS0"),
    "cmdline-root": ("a guest has no such disk", "give it an initrd"),
    # Connections of two guests.
    "connect-table": ("connections are a list of tables", "write [[connect]]"),
    "connect-guests": ("a connection joins two guests", 'write guests = ["one", "two"]'),
    "connect-ports": ("a doorbell has 8 ports of its own", "write ports = 0x580"),
    "connect-irq": ("a doorbell has an interrupt line of its own", "write irq = 10"),
    "share-whole": ("shared memory is said by three keys", "write memory, size and at"),
    "share-step": ("memory is shared in pages of 4 KiB", "take a multiple of 4K, 0x1000"),
    "share-outside": ("the first guest shares memory of its own", "take a smaller address"),
    "share-over": (
        "the second guest has memory, its APICs or another connection there",
        "take an address from 0xc0000000 to 0xfe000000"),
    "policy-unknown": (
        "it must be known what to do when the guest ends", 'use "stop", "restart" or "pause"'),
    "policy-do": ("a table of a policy says what to do", 'write do = "restart" in it'),
    "policy-max": ("max counts restarts", "write max = 5, or leave it out"),
    "policy-delay": ("delay is a time, with its unit", 'write delay = "500ms" or "1s"'),
    "policy-alone": ("max and delay are about restarts", 'write do = "restart" or leave it out'),
    "path-empty": ("an empty path names no file", "give the file's path"),
    "path-home": ("~ is the shell's, not a path's", "write the path in full"),
    "path-variable": ("variables are the shell's, not a path's", "write the path in full"),
    "path-control": ("no file's name has control characters", "remove them"),
    "path-url": ("nothing is fetched", "fetch the file first and give its path"),
    # Files, on the host.
    "file-missing": ("a path is relative to the partition file", "mend the path or make the file"),
    "file-directory": ("a directory cannot be loaded", "give a file in it"),
    "file-special": ("only a plain file has an end and a size", "give a plain file"),
    "file-twice": ("a file is either the image or its initrd", "name the other file"),
    # Images; the sentence and the remedy come from the image's own reader.
    "image-unknown": ("a guest needs an image that a loader knows", "say its kind"),
    "image-empty": ("there is nothing in it", "make the image again"),
    "image-text": ("text is no program", "give what it is compiled to"),
    "image-packed": ("only gzip is unpacked", "unpack it"),
    "image-gzip": ("it cannot be unpacked", "get the whole file"),
    "image-initrd": ("an initrd belongs to a kernel", "name the kernel in image, this in initrd"),
    "image-disk": ("a guest has no disk, it starts from its kernel", "take the kernel out of it"),
    "image-efi": ("a guest has no UEFI firmware", "give a kernel"),
    "image-archive": ("an archive holds files, it is none to boot", "unpack it"),
    "image-sector": ("a boot sector cannot be told from data", 'write kind = "flat"'),
    "image-invalid": ("the image does not keep to its format", "build it again"),
    "image-machine": ("the guest's CPU is x86", "build it for x86-64 or x86"),
    "image-object": ("an object file has no addresses yet", "give a linked executable"),
    "image-program": ("a program needs its operating system", "give a kernel"),
    "image-old": ("the loader speaks the boot protocol since 2.05", "take a newer kernel"),
    "image-features": ("the image insists on what is not there", "build it without"),
    "image-header": (
        "loaders do not find it, and the file would be entered without multiboot",
        "align it, and put it into the first 8 KiB"),
    "image-entry": ("the first instruction must be in it", "link it again"),
    "image-overlap": ("the later part would overwrite the earlier", "link it again"),
    "image-truncated": ("a part of the image is missing", "get the whole file"),
    "symbols-none": (
        "the monitor names addresses by a table of code",
        "give a System.map, an ELF file that was not stripped, or a Linux kernel"),
    "image-place": ("the memory it wants is in use", "link it at 1 MiB"),
    "image-high": ("images lie below the hole at 3 GiB", "link it lower"),
    "image-too-big": ("it must fit into the guest's memory", "give the guest more memory"),
    # A real machine: its board description, or the machine at boot.
    "board-invalid": ("it is no board description", "make one by `hv probe -o board.toml`"),
    "machine-missing": ("guests need it of the machine", "take another machine"),
    # What is not wrong, and seldom meant: warnings (warn.py).
    "memory-unused": ("no guest uses it", "give the guests more or ask for less"),
    "cpus-unused": ("no guest runs there", "give them to guests or ask for fewer"),
    "console-none": (
        "Linux then writes to the text screen only", 'add console=ttyS0 to its command line'),
    "restart-endless": ("a guest that always crashes restarts for ever", "write max = 5"),
    # At boot.
    "format-unknown": ("another version built the image", "build image and monitor together"),
}


# These do not make a partition wrong.
WARNINGS = ("memory-unused", "cpus-unused", "console-none", "restart-endless")


class Finding:
    """One breach of a rule: rule id, key path, what, why, remedy."""

    def __init__(self, rule, path, what, remedy=None, why=None):
        self.rule = rule
        self.path = tuple(path)
        self.what = what
        self.why = RULES[rule][0] if why is None else why
        self.remedy = RULES[rule][1] if remedy is None else remedy
        self.level = "warning" if rule in WARNINGS else "error"

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
