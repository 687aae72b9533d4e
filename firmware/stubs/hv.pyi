"""Vipervisor from its own prompt (docs/python.md)."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

ABI: int
handler_limit: int

class TimeoutError(OSError): ...

State = Literal["new", "running", "paused", "off", "crashed"]

class Segment:
    selector: int
    base: int
    limit: int
    attributes: int
    def __init__(self, selector: int, base: int, limit: int, attributes: int) -> None: ...

class VCpu:
    """One vCPU; registers can be read and set while the guest does not run."""

    index: int
    rax: int
    rcx: int
    rdx: int
    rbx: int
    rsp: int
    rbp: int
    rsi: int
    rdi: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    dr6: int
    dr7: int
    gdt_base: int
    gdt_limit: int
    idt_base: int
    idt_limit: int
    star: int
    lstar: int
    cstar: int
    fmask: int
    kernel_gs_base: int
    sysenter_cs: int
    sysenter_esp: int
    sysenter_eip: int
    pat: int
    shadow: int
    activity: int
    es: Segment
    cs: Segment
    ss: Segment
    ds: Segment
    fs: Segment
    gs: Segment
    ldtr: Segment
    tr: Segment
    memory: Any
    vmcs: Any
    vmcb: Any
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

    size: int
    u8: Words
    u16: Words
    u32: Words
    u64: Words
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

    lines: list[str]
    text: str
    attributes: list[bytes]
    def cell(self, row: int, column: int) -> tuple[str, int]: ...
    def find(self, text: str) -> tuple[int, int] | None: ...
    def expect(self, text: str, timeout: float | None = 10) -> tuple[int, int]: ...

class Crash:
    record: dict[str, Any]
    why: str
    kind: str
    def get(self, name: str) -> int: ...
    def json(self) -> dict[str, Any]: ...
    def __getattr__(self, name: str) -> Any: ...

class Exit:
    """An exit that a handler was given; registers and what it is about are attributes."""

    guest: Guest
    vcpu: VCpu
    kind: str
    rip: int
    raw: int
    fault: bool
    value: int
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: int) -> None: ...
    def skip(self) -> None: ...
    def inject(self, vector: int, error: int | None = None) -> None: ...
    def core(self) -> None: ...
    def pause(self) -> None: ...
    def stop(self) -> None: ...

class Handler:
    name: str
    kind: str
    guest: Guest
    function: Callable[[Exit], Any]
    @property
    def hits(self) -> int: ...
    def on(self) -> Handler: ...
    def off(self) -> Handler: ...
    def remove(self) -> None: ...

class Watch(Handler):
    drops: int

class Symbols:
    module: str
    slide: int
    def find(self, address: int) -> tuple[str, int] | None: ...
    def address(self, name: str) -> int: ...
    def say(self, address: int) -> str: ...
    def __len__(self) -> int: ...

class Where:
    address: int
    table: str | None
    name: str | None
    offset: int | None

class Device:
    guest: Guest | None
    line: int | None
    name: str | None
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
    def __enter__(self) -> Guest: ...
    def __exit__(self, *error: object) -> None: ...

class Guest:
    name: str
    id: int
    memory: Memory
    memory_size: int
    vcpus: list[VCpu]
    console: Console
    screen: Screen
    image: Any
    policies: dict[str, dict[str, Any]]
    paravirt: bool
    hide: tuple[str, ...]
    cpuid: tuple[dict[str, int], ...]
    msr: tuple[dict[str, Any], ...]
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
        name: str | Callable[[Exit], Any] | None = None,
        instead: bool = False,
        **filters: Any,
    ) -> Any: ...
    def watch(
        self, kind: str, fn: Callable[[Any], Any] | None = None, **filters: Any
    ) -> Watch: ...
    symbols: Symbols | None
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

    vendor: str
    model: str
    backend: str | None
    emulator: str
    hypervisor: str
    missing: list[str]
    cpus: int
    failed: list[int]
    memory: int
    free: int
    ranges: list[tuple[int, int, int]]
    tsc_hz: int
    tables: list[str]
    serial: list[int]
    pci: list[tuple[str, str, str]]
    features: list[Any]
    def toml(self) -> str: ...

class Finding:
    """A breach of a rule (docs/partition.md has them all)."""

    rule: str
    path: tuple[str | int, ...]
    what: str
    why: str
    remedy: str
    def text(self) -> str: ...
    def place(self) -> str: ...

class PartitionError(ValueError):
    findings: list[Finding]

class Partition:
    """A partition file's description, as a dict or as keywords."""

    description: dict[str, Any]
    guests: list[Guest]
    def __init__(self, description: dict[str, Any] | None = None, **keywords: Any) -> None: ...
    def check(self) -> list[Finding]: ...
    def start(self) -> Partition: ...
    def destroy(self) -> None: ...

class Timer:
    milliseconds: int
    calls: int
    armed: bool
    def cancel(self) -> None: ...

class Policy:
    """A policy in force: what hv.policy() returns."""

    name: str
    version: int
    names: dict[str, Any]
    handlers: list[Handler]
    timers: list[Timer]
    @property
    def devices(self) -> list[Device]: ...
    @property
    def watches(self) -> list[Handler]: ...
    def remove(self) -> None: ...

machine: Machine
policies: dict[str, Policy]

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
def explain(what: str | Exit | None = None) -> Any: ...
def why(guest: Guest | str) -> Any: ...
def states() -> Any: ...
def tour() -> None: ...
