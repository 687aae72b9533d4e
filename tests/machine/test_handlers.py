"""Exits answered in Python: handlers, and what they cannot break."""

from __future__ import annotations

import re

import pytest
from machine.beats import goes_on
from machine.claims import LIMIT, Boot, Claims
from vipervisor import MonitorError, paths

pytestmark = pytest.mark.machine


def test_answers(boot: Boot) -> None:
    """CPUID bits hidden, hypercalls, MSRs and ports answered, faults injected."""
    c = Claims(boot)
    plain = int(re.search(r"cpuid 1: \w+ \w+ (\w+)", c.run("", "cpuid=1"))[1], 16)  # type: ignore[index]
    assert plain >> 31 & 1
    text = c.run(
        "@g.on('cpuid', leaf=1)\ndef hide(x):\n x.ecx &= ~(1 << 31)\n x.eax = x.leaf + 0x55",
        "cpuid=1 cpuid=0x40000000",
    )
    assert "cpuid 1: 00000056 " in text and f" {plain & ~(1 << 31):08x} " in text
    assert "cpuid 40000000: 40000" in text
    assert c.exec("print(hide.hits, g.handlers['hide'] is hide)").strip() == "1 True"

    text = c.run(
        "@g.on('hypercall', number=range(0x1000, 0x1010), instead=True)\n"
        "def calls(x):\n x.value = x.number * 2 + x.args[0]\n",
        "call=0x1001 call=0x100f call=0x1010",
    )
    assert "call 1001: 2009\n" in text and "call 100f: 2025\n" in text
    assert "call 1010: ffffffffffffffda\n" in text  # -ENOSYS: nobody's

    text = c.run(
        "seen = []\n"
        "@g.on('io', port=0x560, instead=True)\n"
        "def port(x):\n"
        " if x.write: seen.append((x.size, x.value))\n"
        " else: x.value = 0x51 if x.size == 1 else 0x12345678\n"
        "@g.on('io', port=(0x520, 0x53f))\n"
        "def after(x):\n seen.append(x.value)\n",
        "in=0x560 inb=0x560 out=0x560 outb=0x560 in=0x530",
    )
    assert "in 560: 12345678\ninb 560: 51\n" in text and "in 530: ffffffff\n" in text
    assert c.exec("print(seen)").strip() == str([(4, 0xCAFE1234), (1, 0x5A), 0xFFFFFFFF])

    text = c.run(
        "written = []\n"
        "@g.on('msr', msr=0xc0de)\n"
        "def unknown(x):\n"
        " if x.write: written.append((x.value, x.fault))\n"
        " else: x.value = 0x1122334455667788\n"
        "@g.on('rdmsr', msr=0xc0df, instead=True)\n"
        "def inject(x): x.inject(6)\n",
        "rdmsr=0xc0de wrmsr=0xc0de rdmsr=0xc0df rdmsr=0xc0e0",
    )
    assert "rdmsr c0de: 1122334455667788 trap -1\n" in text and "wrmsr c0de: trap 13\n" in text
    assert "trap 6\n" in text and "rdmsr c0e0: 0 trap 13\n" in text
    assert c.exec("print(written)").strip() == str([(0x1122334455667788, True)])

    text = c.run(
        "def both(x):\n if x.kind == 'cpuid': x.eax = 0x99\n else: x.value = 0x52\n"
        "g.on('cpuid', both, leaf=1); g.on('io', both, port=0x560, instead=True)\n"
        "g.on('rdmsr', both, name='third', msr=0xc0de)",
        "cpuid=1 inb=0x560 rdmsr=0xc0de",
    )
    assert "cpuid 1: 00000099 " in text and "inb 560: 52\n" in text
    assert "rdmsr c0de: 52 trap -1\n" in text
    names = str(["both", "both (io port=0x560)", "third"])
    assert c.exec("print(sorted(g.handlers))").strip() == names


def test_exceptions(boot: Boot) -> None:
    c = Claims(boot, files={"e.elf": paths.build_dir() / "guests" / "exits-exception.elf"})
    text = c.run(
        "turns = [lambda x: x.inject(13, 0), lambda x: x.core()]\n"
        "@g.on('exception', vector=(5, 7), instead=True)\n"
        "def answer(x):\n"
        " if turns: turns.pop()(x)\n"
        " else: x.rip += 2\n",  # stepped over
        "ud=1 ud=1 ud=1",
    )
    assert re.findall(r"ud2: trap (-?\d+)", text) == ["6", "13", "-1"]
    # All that exit reach the guest as they would without, page faults with CR2 included.
    c.exec(
        "g.reset().load('e.elf')\nanswer.remove(); seen, noted = [], []\n"
        "g.on('exception', lambda x: seen.append(x.vector))\n"
        "w = g.watch('exception', lambda seen: noted.append(seen.vector))\ng.start()"
    )
    assert c.machine.wait_end("claims", LIMIT).status == 0, c.console.text
    assert re.search(r"^[1-9]\d* passed, 0 failed", c.console.text, re.MULTILINE)
    c.exec("hv.clock.until(lambda: len(noted) == len(seen) > 5, 60, 'records')")
    assert c.exec("print(noted == seen, 14 in seen)").strip() == "True True"


def test_instead_and_after_of_one_exit(boot: Boot) -> None:
    c = Claims(boot)
    text = c.run(
        "order = []\n"
        "@g.on('cpuid', leaf=1)\ndef last(x): order.append('last'); x.ebx = x.eax + 1\n"
        "@g.on('cpuid', leaf=(0, 5), instead=True)\ndef first(x): order.append('first'); x.eax = 7\n"
        "@g.on('cpuid', leaf=1, instead=True)\ndef never(x): order.append('never')\n"
        "@g.on('cpuid', leaf=2, instead=True)\ndef core(x): x.core(); x.edx = 9\n"
        "first.off(); first.on()\n",
        "cpuid=1",
    )
    assert "cpuid 1: 00000007 00000008" in text
    assert c.exec("print(order)").strip() == str(["first", "last"]), c.exec("print(g.handlers)")


def test_soft_reset_with_handlers(boot: Boot) -> None:
    """Python starts anew: claims are gone, guests run on with the core's answers."""
    machine = boot([{"image": "beat", "cmdline": "every=30"}])
    beat = machine.console("beat", LIMIT)
    beat.expect(r"beat 3\b", timeout=LIMIT)
    machine.exec("n = [0]; g = hv.guest('beat')\n@g.on('io')\ndef all(x): n[0] += 1")
    machine.exec("hv.clock.until(lambda: n[0], 30, 'an exit')")
    machine.prompt.write("\x04")
    machine.prompt.expect("MPY: soft reboot", timeout=LIMIT)
    machine.prompt.expect(">>> ", timeout=LIMIT)
    state = machine.exec("print(hv.guest('beat').state)").strip()
    assert state in ("running", "paused")  # paused when an exit was just being handled
    if state == "paused":
        assert "handler went" in machine.exec("print(hv.guest('beat').info['note'])")
        machine.exec("hv.guest('beat').resume()")
    goes_on(beat, LIMIT)
    assert machine.exec("print(hv.guest('beat').handlers)").startswith("no handlers")


DEVICE = """
class Scratch(hv.Device):
    def __init__(self):
        self.cells = {}
        self.log = []
    def write(self, offset, size, value):
        self.cells[offset] = value
        self.log.append((offset, size, value))
    def read(self, offset, size):
        return self.cells.get(offset, 0x1111) + 1
"""


def test_devices_in_python(boot: Boot) -> None:
    """Ports, device memory, a coroutine, and a guest that polls while the prompt goes on."""
    c = Claims(boot, {"image": "beat", "cmdline": "every=50"})
    text = c.run(
        DEVICE + "p = g.attach(Scratch(), ports=(0x560, 0x567), name='p')\n"
        "m = g.attach(Scratch(), mmio=0xd0000000, size=0x1000, irq=9, name='m')\n",
        "outb=0x562 inb=0x562 store=0xd0000010 load=0xd0000010 load=0xd0000ffe load=0xd0001000",
    )
    assert "inb 562: 5b\n" in text and "load d0000010: beef0043\n" in text
    assert "load d0000ffe: ffff1112\nload d0001000: ffffffff\n" in text  # across its end
    assert c.exec("print(p.log, m.log, sorted(g.devices))").strip() == str(
        [(2, 1, 0x5A)]
    ) + " " + str([(0x10, 4, 0xBEEF0042)]) + " ['m', 'p']"
    c.exec("g.detach('p'); g.detach(m)")
    text = c.run(
        "import asyncio\n@g.on('cpuid', leaf=1, instead=True)\nasync def slow(x):\n"
        " await asyncio.sleep_ms(20)\n x.eax = 0x77\n",
        "cpuid=1",
    )
    assert "cpuid 1: 00000077" in text
    before = c.start("@g.on('io', port=0x560, instead=True)\ndef poll(x): x.value = 1", "polls=3000000")
    for n in range(3):
        assert c.exec(f"print({n} + 40)").strip() == str(n + 40)
    assert int(c.exec(  # the guest may not have polled yet on a busy host
        "from hv import clock\nclock.until(lambda: poll.hits > 0, 60, 'a poll')\nprint(poll.hits)"
    )) > 0
    c.exec("poll.remove(); g.stop()")
    assert c.console.text[before:] == ""


def test_watch_never_stops_the_guest(boot: Boot) -> None:
    c = Claims(boot)
    c.run(
        "seen = []\nw = g.watch('io', seen.append, port=(0x560, 0x56f))\n"
        "also = []\nv = g.watch('io', also.append, port=0x562)",
        "outb=0x561 inb=0x562 cpuid=1 out=0x570",
    )
    c.exec("hv.clock.until(lambda: len(seen) == 2, 30, 'records')")
    assert c.exec("print([(s.port, s.write, s.value, s.size) for s in seen], w.drops)").strip() == (
        str([(0x561, True, 0x5A, 1), (0x562, False, 0xFF, 1)]) + " 0"
    )
    assert c.exec("v.remove()\nprint([s.port for s in also], v.hits)").strip() == str([0x562]) + " 1"
    # More in a row than the ring holds: those lost are counted.
    c.start("n = [0]\ndef count(s): n[0] += 1\nw.remove()\nw = g.watch('cpuid', count, leaf=1)", "loop=2000")
    c.machine.wait_end("claims", LIMIT)
    c.exec("hv.clock.until(lambda: n[0] + w.drops == w.hits == 2000, 200, 'all records')")


def test_looking_in(boot: Boot, backend: str) -> None:
    machine = boot([{"image": "beat", "cmdline": "spin=1"}])
    machine.console("beat", LIMIT).expect("beat 2", timeout=LIMIT)
    machine.exec("g = hv.guest('beat'); g.pause(); v = g.vcpus[0]")
    said = machine.exec("print(v.walk(v.rip)); print(g.nested.walk(0x100000)); print(v.disasm(3))")
    assert "pml4e" in said and "host-physical" in said and len(said.splitlines()) >= 8
    same = "v.memory[v.rip:v.rip + 16] == g.memory[v.walk(v.rip).gpa:v.walk(v.rip).gpa + 16]"
    assert machine.exec(f"print({same})").strip() == "True"
    own, other = ("vmcb['CR3']", "vmcs['GUEST_CR3']")[:: 1 if backend == "svm" else -1]
    assert machine.exec(f"print(v.{own} == v.cr3)").strip() == "True"
    with pytest.raises(MonitorError, match="this machine runs on"):
        machine.exec(f"v.{other}")
    # A control word by its bits' names, and back; what has no name is a number.
    own, word = ("vmcb", "INTERCEPT_VECTOR3") if backend == "svm" else ("vmcs", "PRIMARY_CONTROLS")
    machine.exec(f"from hv.rules import fields; w = {word!r}; bits = v.{own}.bits(w)")
    assert machine.exec(f"print('HLT' in bits, fields.pack(w, bits) == v.{own}[w])") == "True True\n"
    said = machine.exec("both = fields.pack(w, ['HLT', 63]); print(fields.unpack(w, both), hex(both))")
    assert said == f"['HLT', 63] {1 << 63 | 1 << (24 if backend == 'svm' else 7):#x}\n"
    with pytest.raises(MonitorError, match=f"{word} has no bit HLTT; it has .*HLT"):
        machine.exec("fields.pack(w, ['HLTT'])")
    with pytest.raises(MonitorError, match="not canonical"):
        machine.exec("v.memory[1 << 50]")
    machine.exec("g.resume()")


STATE = """
g = hv.guest_from(b"\\xeb\\xfe", cpus=[0]).start()  # jmp .
g.pause(); v = g.vcpus[0]
print(v.cs, v.tr, hex(v.gdt_limit), hex(v.dr6), hex(v.dr7), hex(v.efer), hex(v.pat), sep="; ")
v.set_segment("fs", 0x18, 0x12345000, 0xffff, 0x93)
v.rbx, v.dr7, v.lstar, v.kernel_gs_base = 1 << 63, 0x402, 0x1000, 0x2000
g.resume(); g.pause()
print(v.fs, hex(v.rbx), hex(v.dr7), hex(v.lstar), hex(v.kernel_gs_base), sep="; ")
g.memory[0x8000:0x8008] = bytes(range(8))
print(hex(g.memory.u64[0x8000]), hex(v.memory.u16[0x8002]), g.memory.find(b"\\3\\4\\5"))
g.destroy()
"""


def test_state_is_read_and_written_by_neutral_names(boot: Boot) -> None:
    """The same on both back ends: segments, debug and control registers, MSRs, memory."""
    assert boot([], cpus=1).exec(STATE, LIMIT).splitlines() == [
        "0010 base 0x0 limit 0xffffffff attributes 0xa09b; 0000 base 0x0 limit 0xffff attributes 0x8b;"
        " 0x1f; 0xffff0ff0; 0x400; 0x500; 0x7040600070406",
        "0018 base 0x12345000 limit 0xffff attributes 0x93; 0x8000000000000000; 0x402; 0x1000;"
        " 0x2000",
        "0x706050403020100 0x302 32771",
    ]


def test_doorbells_and_shared_memory(boot: Boot) -> None:
    """Memory of one guest seen by another, bells between them, and the end of the owner."""
    c = Claims(boot, {"image": "claims", "name": "other", "cmdline": "in=0x584"})
    c.machine.wait_end("other", LIMIT)
    c.exec(
        "from hv.devices import connect, Scratch, Watchdog\n"
        "o = hv.guest('other'); o.reset(); g.reset()\n"
        "ends = connect(g, o, memory=0x900000, size=0x2000, at=0xd0000000)\n"
        "g.load('claims.elf', cmdline='store=0x901000 out=0x580 out=0x580'); g.start()\n"
    )
    c.machine.wait_end("claims", LIMIT)
    before = len(c.machine.console("other").text)
    c.exec("o.load('claims.elf', cmdline='load=0xd0001000 in=0x584 in=0x584 store=0xd0000000'); o.start()")
    c.machine.wait_end("other", LIMIT)
    text = c.machine.console("other").text[before:].replace("\r", "")
    assert "load d0001000: beef0042\nin 584: 2\nin 584: 0\n" in text
    assert c.exec("print(hex(g.memory.u32[0x900000]))").strip() == "0xbeef0042"
    c.exec("g.destroy(); o.reset(); o.load('claims.elf', cmdline='load=0xd0001000'); o.start()")
    c.machine.wait_end("other", LIMIT)
    assert "load d0001000: ffffffff" in c.machine.console("other").text


def test_watchdog_and_words(boot: Boot) -> None:
    c = Claims(boot)
    c.start(
        "from hv.devices import Watchdog\n"
        "dog = g.attach(Watchdog(lambda guest: guest.stop()), ports=(0x570, 0x577))\n",
        "wait=60000",
        "dog.write(0, 4, 100)",
    )
    assert c.machine.wait_end("claims", LIMIT).reason == "stopped"
    assert c.exec("print(dog.fired, hv.why(g))").startswith("1 claims is off")
    assert "unknown ones fault" in c.exec("print(hv.explain('rdmsr'))")
    assert "encoding 0x6802, 8 bytes\n" in c.exec("print(hv.explain('vmcs guest_cr3'))")
    assert 'hide = ["sse4.2"]' in c.exec("print(hv.explain('CPUID.01H:ECX[20]'))")
    for words, said in (
        ("vmx 48", "EPT violation"), ("svm 0x400", "nested_fault: "), ("VMEXIT_NPF", "NPF"),
        ("error 7", "invalid control fields"), ("msr 0x1b", "MSR 0x1b IA32_APIC_BASE"),
        ("ia32_pat", "the page attribute table"), ("cpuid 0x15", "the guest's TSC frequency"),
    ):
        assert said in c.exec(f"print(hv.explain({words!r}))"), words
    c.run("raw = []\ng.on('cpuid', lambda x: raw.append(x.raw), leaf=1)", "cpuid=1")
    assert c.exec("print(hv.explain(raw[0]))").splitlines()[1] == "  name     CPUID"
    assert "TSC ticks" in c.exec("print(hv.cost(10))")
