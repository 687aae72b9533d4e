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
vcpus[0]                       rax ... r15 rip rflags cr0 ... efer cs.base ..."""

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

_texts = {}  # class -> text


def install(module, names, builtin):
    """Puts a help() into `names` that knows our objects and leaves the rest alone."""
    from hv.console import Console
    from hv.memory import Memory
    from hv.vm import Guest

    _texts.update({Guest: GUEST, Console: CONSOLE, Memory: MEMORY})

    def help(*what):
        if what and what[0] is module:
            print(TOP)
        elif what and (type(what[0]) in _texts or _is_ours(what[0])):
            print(_texts.get(type(what[0])) or _texts[what[0]])
        else:
            builtin(*what)

    names["help"] = help


def _is_ours(what):
    return isinstance(what, type) and what in _texts
