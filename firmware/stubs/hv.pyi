"""Vipervisor from its own prompt (docs/python.md)."""

from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Literal, overload

ABI: int  # number of the interface to the core; `_hv.ABI` must equal it
handler_limit: int  # milliseconds that a handler of exits may take, 0: no limit

class TimeoutError(OSError):
    """A wait ran out; the text says what was waited for (firmware/hv/clock.py)."""

State = Literal["new", "running", "paused", "off", "crashed"]

class Segment:
    selector: int  # 16 bits
    base: int  # linear address
    limit: int  # bytes - 1, scaled by G already
    attributes: int  # bits as in VMX access rights; 16: unusable (SDM 3C 24.4.1)
    def __init__(self, selector: int, base: int, limit: int, attributes: int) -> None: ...

class VCpu:
    """One vCPU; registers can be read and set while the guest does not run."""

    index: int  # number in its guest, from 0
    rax: int  # 64 bits
    rcx: int  # 64 bits
    rdx: int  # 64 bits
    rbx: int  # 64 bits
    rsp: int  # 64 bits
    rbp: int  # 64 bits
    rsi: int  # 64 bits
    rdi: int  # 64 bits
    r8: int  # 64 bits
    r9: int  # 64 bits
    r10: int  # 64 bits
    r11: int  # 64 bits
    r12: int  # 64 bits
    r13: int  # 64 bits
    r14: int  # 64 bits
    r15: int  # 64 bits
    rip: int  # linear address - CS.base
    rflags: int  # bits (SDM 1 3.4.3)
    cr0: int  # bits (SDM 3A 2.5)
    cr2: int  # linear address of the last page fault
    cr3: int  # guest-physical address and bits (SDM 3A 2.5)
    cr4: int  # bits (SDM 3A 2.5)
    efer: int  # bits, MSR 0xC0000080 (SDM 4)
    dr6: int  # bits (SDM 3B 17.2.3)
    dr7: int  # bits (SDM 3B 17.2.4)
    gdt_base: int  # linear address
    gdt_limit: int  # bytes - 1
    idt_base: int  # linear address
    idt_limit: int  # bytes - 1
    star: int  # selector bits, MSR 0xC0000081 (SDM 3A 5.8.8)
    lstar: int  # linear address, MSR 0xC0000082
    cstar: int  # linear address, MSR 0xC0000083
    fmask: int  # bits of RFLAGS, MSR 0xC0000084
    kernel_gs_base: int  # linear address, MSR 0xC0000102
    sysenter_cs: int  # selector, MSR 0x174 (SDM 3A 5.8.7)
    sysenter_esp: int  # linear address, MSR 0x175
    sysenter_eip: int  # linear address, MSR 0x176
    pat: int  # eight memory types of 8 bits, MSR 0x277 (SDM 3A 11.12)
    shadow: int  # bit 0: behind STI or MOV SS (SDM 3A 6.8.3)
    activity: int  # number: 0 runs, 1 halted
    es: Segment  # segment
    cs: Segment  # segment
    ss: Segment  # segment; DPL is the CPL
    ds: Segment  # segment
    fs: Segment  # segment
    gs: Segment  # segment
    ldtr: Segment  # segment
    tr: Segment  # segment
    memory: Any  # linear, through its page tables, as Memory; OSError names the first hole
    vmcs: Any  # VMCS by field names, OSError(ENODEV) on AMD-V (SDM 3C 24, docs/fields.md)
    vmcb: Any  # VMCB by field names, OSError(ENODEV) on VT-x (APM 2 appendix B, docs/fields.md)
    @property
    def trace(self) -> Trace: ...
    def walk(self, gva: int, access: int = 1) -> Any: ...
    def where(self, address: int | None = None) -> Where: ...
    def disasm(self, count: int = 8, at: int | None = None) -> list[tuple[int, bytes, str]]: ...
    def get(self, name: str) -> Any: ...
    def set(self, name: str, value: int | Segment) -> None: ...
    def set_segment(
        self, name: str, selector: int, base: int, limit: int, attributes: int
    ) -> None: ...

class Words:
    def __getitem__(self, gpa: int) -> int: ...
    def __setitem__(self, gpa: int, value: int) -> None: ...

class Memory:
    """Guest-physical memory."""

    size: int  # bytes of RAM
    u8: Words  # 1-byte words
    u16: Words  # 2-byte words
    u32: Words  # 4-byte words
    u64: Words  # 8-byte words
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __setitem__(self, key: slice, value: bytes | bytearray | memoryview) -> None: ...
    @overload
    def __setitem__(self, key: int, value: int) -> None: ...
    def find(self, what: bytes, start: int = 0, end: int | None = None) -> int | None: ...
    def dump(self, gpa: int, size: int = 128) -> None: ...

class Console:
    def read(self, limit: int = 1024) -> str: ...
    def write(self, what: str | bytes) -> int: ...
    def tail(self, size: int = 2000) -> str: ...
    def expect(self, pattern: str, timeout: float | None = 10) -> str: ...
    def attach(self) -> None: ...

class Screen:
    """The text screen at 0xB8000."""

    lines: list[str]  # 25 rows of text, as a rule
    text: str  # the rows, joined by newlines
    attributes: list[bytes]  # attribute bytes, row by row (bits 0-3 colour, 4-7 background)
    def cell(self, row: int, column: int) -> tuple[str, int]: ...
    def find(self, text: str) -> tuple[int, int] | None: ...
    def expect(self, text: str, timeout: float | None = 10) -> tuple[int, int]: ...

class Crash:
    record: dict[str, Any]  # all of it, as `_hv.guest_crash` has it
    why: str  # one sentence
    kind: str  # the last exit's kind
    def get(self, name: str) -> int: ...
    def json(self) -> dict[str, Any]: ...
    def __getattr__(self, name: str) -> Any: ...

class Exit:
    """An exit that a handler was given; registers and what it is about are attributes
    (firmware/port/modhv_exit.c)."""

    guest: Guest  # whose exit it is
    vcpu: VCpu  # its vCPU
    kind: str  # as in `hv.explain()`
    rip: int  # linear address - CS.base, of the instruction; setting it leaves it there
    raw: int  # number: the exit reason (SDM 3C appendix C) or code (APM 2 appendix C)
    fault: bool  # the core gave #GP to an MSR access
    value: int  # number: what a read returns or a write brought, as wide as the access
    def __getattr__(self, name: str) -> Any:
        """Registers, and what the exit is about, by name (docs/python.md)."""
    def __setattr__(self, name: str, value: int) -> None:
        """Sets one. OSError: this exit is over."""
    def skip(self) -> None:
        """Steps over the instruction. OSError: this exit is over."""
    def inject(self, vector: int, error: int | None = None) -> None:
        """An exception of a vector number instead, with an error code where it has one
        (SDM 3A 6.13). OSError: this exit is over."""
    def core(self) -> None:
        """The core's answer now. OSError: this exit is over."""
    def pause(self) -> None:
        """Pauses the guest. OSError: it does not run."""
    def stop(self) -> None:
        """Ends the guest. OSError: this exit is over."""

class Handler:
    name: str  # by it the guest's handlers know it: name=, else the function's
    kind: str  # exit kind
    guest: Guest  # whose exits
    function: Callable[[Exit], Any]  # what is called with an Exit
    @property
    def hits(self) -> int: ...
    def on(self) -> Handler: ...
    def off(self) -> Handler: ...
    def remove(self) -> None: ...

class Watch(Handler):
    drops: int  # number of exits that found the ring full, of all watches of the guest

class Seen:
    """An exit that was watched."""

    kind: str  # exit kind
    vcpu: int  # number of its vCPU
    rip: int  # linear address - CS.base
    tsc: int  # ticks of the host's TSC, at the exit
    words: tuple[int, ...]  # numbers: what it was about, also by name (docs/python.md)
    fault: bool  # MSR accesses: it got #GP
    value: int  # number, as wide as the access; of a read what the guest got
    def __getattr__(self, name: str) -> Any:
        """What it was about, by the names of docs/python.md: port, leaf, msr, gpa and so on."""

class Traced(Seen):
    number: int  # number of the exit on its vCPU since on(), from 0
    entered: int  # ticks of the host's TSC when the guest went on, 0: not yet
    done: bool  # the instruction was completed, a read has its value
    string: bool  # INS or OUTS
    @property
    def ticks(self) -> int | None: ...
    def about(self) -> str: ...
    def json(self) -> dict[str, Any]: ...

class Histogram:
    reasons: dict[str, tuple[int, int]]  # kind -> (exits, TSC ticks)
    rips: dict[tuple[int, str], tuple[int, int]]  # (RIP, kind) -> (exits, TSC ticks)

class Trace:
    def on(self, size: int = 1024) -> Trace: ...
    def off(self) -> Trace: ...
    def clear(self) -> Trace: ...
    @property
    def active(self) -> bool: ...
    @property
    def size(self) -> int: ...
    @property
    def overwritten(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Traced]: ...
    def since(
        self, at: Iterable[int], most: int = ...
    ) -> tuple[Iterator[Traced], list[int], int]: ...
    def last(self, count: int = 20) -> list[Traced]: ...
    def where(self, vcpu: int, address: int) -> str: ...
    def show(self, count: int = 20) -> Any: ...
    def histogram(self) -> Histogram: ...
    def save(self, file: str | IO[str]) -> int: ...

class Symbols:
    module: str  # boot module of the table
    slide: int  # bytes that the guest is behind where it was linked (KASLR)
    def find(self, address: int) -> tuple[str, int] | None: ...
    def address(self, name: str) -> int: ...
    def say(self, address: int) -> str: ...
    def __len__(self) -> int: ...

class Where:
    address: int  # linear address
    table: str | None  # boot module of the symbols, None: no table
    name: str | None  # symbol, None: not known
    offset: int | None  # bytes behind the symbol

class Device:
    guest: Guest | None  # None before attach()
    line: int | None  # interrupt line number, None: none
    name: str | None  # in its guest
    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...
    def reset(self) -> None: ...
    def attached(self) -> None: ...
    def detached(self) -> None: ...
    def console_event(self) -> None: ...
    def save(self) -> Any: ...
    def load(self, state: Any) -> None: ...
    def irq(self, level: bool | int) -> None: ...
    def pulse(self) -> None: ...
    def after(self, milliseconds: int, function: Callable[[], Any]) -> None: ...
    def cancel(self) -> None: ...

class Paused:
    """What g.paused() returns."""

    def __enter__(self) -> Guest: ...
    def __exit__(self, *error: object) -> None: ...

class Guest:
    name: str  # 1 to 31 bytes
    id: int  # number in the core, 0 to 15
    memory: Memory  # guest-physical memory
    memory_size: int  # bytes of RAM
    vcpus: list[VCpu]  # all of them
    console: Console  # COM1
    screen: Screen  # the text screen
    image: Any  # what was loaded, None: nothing
    policies: dict[str, dict[str, Any]]  # on_crash, on_poweroff, on_reboot: what follows an end
    restarts: int  # number of times that a policy has started it again
    paravirt: bool  # the KVM clock is shown
    hide: tuple[str, ...]  # CPUID features that are not shown
    cpuid: tuple[dict[str, int], ...]  # answers of leaves that are its own
    msr: tuple[dict[str, Any], ...]  # answers of MSRs that are its own
    def __init__(
        self,
        name: str,
        cpus: int | Iterable[int] = 1,
        memory: str | int = "256M",
        devices: Iterable[str | dict[str, Any]] = (),
        paravirt: bool = True,
        hide: Iterable[str] = (),
        cpuid: Iterable[dict[str, int]] = (),
        msr: Iterable[dict[str, Any]] = (),
    ) -> None: ...
    def load(
        self,
        image: str | bytes,
        initrd: str | Iterable[str] = (),
        cmdline: str = "",
        kind: str | None = None,
        modules: str | Iterable[str] = (),
    ) -> Guest: ...
    def start(self) -> Guest: ...
    def pause(self) -> Guest: ...
    def resume(self) -> Guest: ...
    def paused(self) -> Paused: ...
    def reset(self) -> Guest: ...
    def stop(self) -> Guest: ...
    def destroy(self) -> None: ...
    def exists(self) -> bool: ...
    def on(
        self,
        kind: str,
        fn: Callable[[Exit], Any] | str | None = None,
        name: str | None = None,
        instead: bool = False,
        **filters: Any,
    ) -> Any:
        """A decorator, or with a function the Handler. It is known by `name`, else by the
        function's name, and replaces those of its name; one function may be there for several
        kinds and filters. ValueError: no such kind or filter. OSError: ENOSPC, too many."""
    def watch(
        self, kind: str, fn: Callable[[Seen], Any] | None = None, **filters: Any
    ) -> Watch: ...
    @property
    def trace(self) -> Trace: ...
    symbols: Symbols | None  # names of its addresses, None: no table
    def load_symbols(self, module: str, slide: int | None = None) -> Symbols: ...
    def replace(self, name: str, device: Device | None = None) -> Device: ...
    def add_devices(self, names: Iterable[str]) -> None: ...
    def attach(
        self,
        device: Device,
        ports: int | tuple[int, int] | range | None = None,
        mmio: int | tuple[int, int] | range | None = None,
        size: int | None = None,
        irq: int | None = None,
        name: str | None = None,
    ) -> Device: ...
    def detach(self, device: Device | str) -> None: ...
    @property
    def handlers(self) -> dict[str, Handler]: ...
    @property
    def devices(self) -> dict[str, Device]: ...
    @property
    def nested(self) -> Any: ...
    def wait(self, *names: str, timeout: float | None = None) -> State: ...
    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def kind(self) -> str | None: ...
    @property
    def state(self) -> State: ...
    @property
    def exits(self) -> dict[str, int]: ...
    @property
    def moves(self) -> tuple[str, ...]: ...
    @property
    def crash(self) -> Crash | None: ...

class Machine:
    @property
    def cpus(self) -> tuple[tuple[int, int, str, int], ...]: ...
    @property
    def memory(self) -> dict[str, Any]: ...
    @property
    def backend(self) -> str | None: ...
    @property
    def emulator(self) -> str: ...
    @property
    def missing(self) -> tuple[str, ...]: ...
    @property
    def features(self) -> dict[str, bool | int]: ...
    @property
    def modules(self) -> tuple[tuple[str, str, int], ...]: ...
    @property
    def tsc_hz(self) -> int: ...

class Board:
    """What probe() found."""

    vendor: str  # CPUID's
    model: str  # CPUID's
    backend: str | None  # svm, vmx or None
    emulator: str  # qemu, bochs, kvm or nothing
    hypervisor: str  # CPUID 0x40000000's signature, empty: none
    missing: list[str]  # names of features that guests need
    cpus: int  # number of CPUs
    failed: list[int]  # numbers of CPUs that did not start
    memory: int  # bytes of RAM
    free: int  # bytes for guests
    ranges: list[tuple[int, int, int]]  # (base, bytes, E820 type) of the memory map
    tsc_hz: int  # ticks a second
    tables: list[str]  # ACPI signatures
    serial: list[int]  # port numbers of the UARTs that answer
    pci: list[tuple[str, str, str]]  # (place, vendor:device, what it is)
    features: list[Any]  # rows of the table
    def toml(self) -> str: ...

class Finding:
    """A breach of a rule (docs/partition.md has them all)."""

    rule: str  # id (docs/rules.md)
    path: tuple[str | int, ...]  # keys and indices down to the value
    what: str  # the breach
    why: str  # the reason
    remedy: str  # what to do
    def text(self) -> str: ...
    def place(self) -> str: ...

class PartitionError(ValueError):
    findings: list[Finding]  # the breaches

class Partition:
    """A partition file's description, as a dict or as keywords."""

    description: dict[str, Any]  # as given
    guests: list[Guest]  # those started
    def __init__(self, description: dict[str, Any] | None = None, **keywords: Any) -> None: ...
    def check(self) -> list[Finding]: ...
    def start(self) -> Partition: ...
    def destroy(self) -> None: ...

class Timer:
    milliseconds: int  # milliseconds between calls, or until the one
    calls: int  # number of calls so far
    armed: bool  # it will call
    def cancel(self) -> None: ...

class Policy:
    """A policy in force: what hv.policy() returns."""

    name: str  # its name
    version: int  # number, 1 for the first
    names: dict[str, Any]  # its variables
    handlers: list[Handler]  # handlers and watches
    timers: list[Timer]  # of hv.after and hv.every
    @property
    def devices(self) -> list[Device]: ...
    @property
    def watches(self) -> list[Handler]: ...
    def remove(self) -> None: ...

machine: Machine  # the machine that was booted on
policies: dict[str, Policy]  # the policies in force, by name

def policy(name: str, source: str | None = None) -> Policy: ...
def after(milliseconds: int, function: Callable[[], Any]) -> Timer: ...
def every(milliseconds: int, function: Callable[[], Any]) -> Timer: ...
def guests() -> list[Guest]: ...
def guest(name: str) -> Guest: ...
def probe() -> Board: ...
def guest_from(
    code: bytes | bytearray,
    mode: int = 64,
    regs: dict[str, int] | None = None,
    name: str | None = None,
    cpus: int | Iterable[int] | None = None,
    memory: str | int = "2M",
) -> Guest: ...
def cost(rounds: int = 1000) -> Any: ...
def explain(what: str | int | Exit | None = None) -> Any: ...
def why(guest: Guest | str) -> Any: ...
def states() -> Any: ...
def tour() -> None: ...
