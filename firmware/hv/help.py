"""help(hv), help(guest): MicroPython keeps no docstrings, so the texts are data."""

TOP = """\
hv.machine                     what we booted on: CPUs, memory, back end
hv.guests()                    all guests, a table
hv.guest("linux")              one of them; each is a variable of its name, too
g = hv.Guest("mine", cpus=1, memory="64M")       make one
g.load("hello.elf", cmdline="...")               a boot module of any known kind
g.start() g.pause() g.resume() g.reset() g.stop() g.destroy()
g.console.attach()             its console, until Ctrl-\\
g.exits, g.crash               what it left its world for; why it died
g.memory[0x1000:0x1010], g.vcpus[0].rip          look into it, change it while paused
g.wait("off", timeout=5)       wait for a state
g.on, g.watch, g.attach        answer its exits, note them, give it a device: help(g.on)
hv.why(g), hv.explain("hlt")   why it is in its state; what a word of all this means
hv.tour()                      ten steps, five minutes: try it all"""

GUEST = """\
state info exits crash         looking at it (exits and crash are tables)
load(image, initrd=, cmdline=, kind=, modules=)  boot modules: hv.machine.modules
start() pause() resume() stop() reset() destroy()
with g.paused(): ...           resumes afterwards, whatever happens
wait("off", "crashed", timeout=5)
console                        read() write(text) tail() expect(pattern) attach()
screen                         the text at 0xB8000: lines text find(text) expect(text)
memory                         [a:b] u8[a] u16 u32 u64 dump(a) find(bytes)
vcpus[0]                       rax ... r15 rip rflags cr0 ... efer cs.base ...
on(kind, function, leaf=...)   answer exits in Python: help(g.on); handlers
watch(kind, function, ...)     note exits, without waiting for Python: help(g.watch)
attach(device, ports=, mmio=, irq=)  a device in Python: help(g.attach); devices
nested.walk(gpa)               the monitor's page tables below it"""

CONSOLE = """\
read()                         what was written since the last read()
tail(size=2000)                the last part of it
write("text\\n")                types
expect("login: ", timeout=10)  waits for a text or regular expression
attach()                       this terminal is the guest's until Ctrl-\\"""

MEMORY = """\
memory[0x1000:0x1010]          bytes; assign bytes of the same length
memory.u32[0x1000]             u8 u16 u32 u64, readable and writable
memory.dump(0x1000, size=128)  prints
memory.find(b"text", start=0)  the first address, or None"""

VCPU = """\
rax ... r15 rip rflags cr0 cr2 cr3 cr4 efer dr6 dr7 ...   settable, while it does not run
cs ... tr                      .selector .base .limit .attributes
walk(gva)                      the guest's page tables, level by level
memory[gva:gva+16]             memory through them
disasm(8)                      what it executes next; where(): by the guest's symbols
vmcb["CR3"], vmcs["GUEST_CR3"] its control structure, by the manuals' names
get(name) set(name, value)     a register by its name"""

DEVICE = """\
class Adder(hv.Device):        a device in Python:
    sum = 0
    def write(self, offset, size, value):
        self.sum += value
    def read(self, offset, size):
        return self.sum
g.attach(Adder(), ports=0x560)                   or ports=(0x560, 0x567)
g.attach(Adder(), mmio=0xd0000000, size=0x1000, irq=9)
self.irq(1) self.pulse()       its interrupt line
self.after(ms, function)       later
self.guest.memory              guest memory
reset() save() load(state)     with the guest's reset; what is worth keeping"""

FUNCTIONS = {
    "on": """\
g.on("cpuid", function, leaf=1)                  function(x) runs behind the core's answer:
@g.on("cpuid", leaf=1)                           the same as a decorator
def hide(x):
    x.ecx &= ~(1 << 31)                          x: the exit, its registers, settable
instead=True                   the core is not asked: the function sets x.value
kinds: cpuid (leaf) msr (msr) io (port) mmio (gpa) hypercall (number) exception (vector) ...
x.skip() x.inject(6) x.core() x.pause() x.stop()
it returns a handler: hits, off(), on(), remove(); g.handlers lists them""",
    "watch": """\
g.watch("io", function, port=0x70)               function(seen) is told later; the guest never
                               waits. Without a function they are printed.
seen: kind vcpu rip tsc, and leaf, msr, port, gpa, value ... by kind
it returns a watch: hits, drops, off(), on(), remove()""",
    "attach": "g.attach(device, ports=, mmio=, size=, irq=): see help(hv.Device); g.detach(device)",
    "load": "g.load(\"name\", cmdline=\"\", initrd=\"\", kind=None, modules=()): a boot module "
            "(hv.machine.modules) or bytes",
    "wait": "g.wait(\"off\", \"crashed\", timeout=5): returns the state reached",
    "guest_from": """\
g = hv.guest_from(bytes.fromhex("0fa2f4"), mode=64, regs={"rax": 1}, cpus=[0])
mode: 64 and 32 at 1 MiB, 16 in real mode at 7C00; g.start().wait("off", timeout=5)""",
    "policy": """\
hv.policy("name", source)      or a file that `hv push` sent: hv.policy("name.py")
What the source makes with on, watch, attach, hv.after and hv.every takes the place of all
that its version before made, or nothing changes. old: that version's variables.
hv.policies["name"].remove()   on the host, `hv watch FILE.py` does it at each save""",
    "after": "hv.after(ms, function): calls it once; cancel() ends it",
    "every": "hv.every(ms, function): calls it again and again; cancel() ends it",
    "why": "hv.why(g): why a guest is in its state, with the code around a crash",
    "explain": "hv.explain(\"hlt\"): an exit kind, a rule of partition files, a field, a CPUID bit",
    "probe": "hv.probe(): what the machine has and lacks, a table; .toml() for `hv check --board`",
}

_texts = {}  # class -> text


def install(module, names, builtin):
    """Puts a help() into `names` that knows our objects and leaves the rest alone."""
    from hv.console import Console
    from hv.device import Device
    from hv.memory import Memory
    from hv.vcpu import VCpu
    from hv.vm import Guest

    _texts.update({Guest: GUEST, Console: CONSOLE, Memory: MEMORY, VCpu: VCPU, Device: DEVICE})

    def help(*what):
        if what and what[0] is module:
            print(TOP)
        elif what and (type(what[0]) in _texts or _is_ours(what[0])):
            print(_texts.get(type(what[0])) or _texts[what[0]])
        elif what and _function(module, what[0]):
            print(_function(module, what[0]))
        else:
            builtin(*what)

    names["help"] = help


def _function(module, what):
    """The text of one of our functions or a guest's methods."""
    name = getattr(what, "__name__", None)
    if name in FUNCTIONS and (
            type(what).__name__ in ("bound_method", "method") or getattr(module, name, 0) is what):
        return FUNCTIONS[name]
    return None


def _is_ours(what):
    return isinstance(what, type) and what in _texts
