"""Module _hv: the one door between Python and the core (docs/architecture.md).

Integers, bytes and tuples only. Bad arguments raise ValueError, states and resources
OSError(errno). All calls are for the control CPU.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

# Slot or number, kind, vCPU, RIP, TSC, words, done, TSC of the entry.
_Note: TypeAlias = tuple[int, str, int, int, int, tuple[int, int, int, int, int], bool, int]

ABI: int  # number of this interface
RAX: int  # number of the register for reg_get() and reg_set()
RCX: int  # number of the register for reg_get() and reg_set()
RDX: int  # number of the register for reg_get() and reg_set()
RBX: int  # number of the register for reg_get() and reg_set()
RSP: int  # number of the register for reg_get() and reg_set()
RBP: int  # number of the register for reg_get() and reg_set()
RSI: int  # number of the register for reg_get() and reg_set()
RDI: int  # number of the register for reg_get() and reg_set()
R8: int  # number of the register for reg_get() and reg_set()
R9: int  # number of the register for reg_get() and reg_set()
R10: int  # number of the register for reg_get() and reg_set()
R11: int  # number of the register for reg_get() and reg_set()
R12: int  # number of the register for reg_get() and reg_set()
R13: int  # number of the register for reg_get() and reg_set()
R14: int  # number of the register for reg_get() and reg_set()
R15: int  # number of the register for reg_get() and reg_set()
RIP: int  # number of the register for reg_get() and reg_set()
REG_RFLAGS: int  # number of the register for reg_get() and reg_set()
REG_CR0: int  # number of the register for reg_get() and reg_set()
REG_CR2: int  # number of the register for reg_get() and reg_set()
REG_CR3: int  # number of the register for reg_get() and reg_set()
REG_CR4: int  # number of the register for reg_get() and reg_set()
REG_EFER: int  # number of the register for reg_get() and reg_set()
REG_DR6: int  # number of the register for reg_get() and reg_set()
REG_DR7: int  # number of the register for reg_get() and reg_set()
REG_GDT_BASE: int  # number of the register for reg_get() and reg_set()
REG_GDT_LIMIT: int  # number of the register for reg_get() and reg_set()
REG_IDT_BASE: int  # number of the register for reg_get() and reg_set()
REG_IDT_LIMIT: int  # number of the register for reg_get() and reg_set()
REG_STAR: int  # number of the register for reg_get() and reg_set()
REG_LSTAR: int  # number of the register for reg_get() and reg_set()
REG_CSTAR: int  # number of the register for reg_get() and reg_set()
REG_FMASK: int  # number of the register for reg_get() and reg_set()
REG_KERNEL_GS_BASE: int  # number of the register for reg_get() and reg_set()
REG_SYSENTER_CS: int  # number of the register for reg_get() and reg_set()
REG_SYSENTER_ESP: int  # number of the register for reg_get() and reg_set()
REG_SYSENTER_EIP: int  # number of the register for reg_get() and reg_set()
REG_PAT: int  # number of the register for reg_get() and reg_set()
REG_SHADOW: int  # number of the register for reg_get() and reg_set()
REG_ACTIVITY: int  # number of the register for reg_get() and reg_set()

# The machine.
def backend() -> str | None:
    """"svm" (AMD-V), "vmx" (VT-x), or None: the machine has neither."""
def missing() -> tuple[str, ...]:
    """Names of the CPU features that guests need and that are missing."""
def caps() -> dict[str, bool | int]:
    """What was probed, by name: bools, `asids` and `phys_bits` are numbers."""
def cpus() -> tuple[tuple[int, int, str, int], ...]:
    """(number, APIC id, state, guest id or -1) of each CPU; states: idle, guest, control,
    failed."""
def memory() -> dict[str, Any]:
    """`total free largest monitor heap pool` in bytes, `rsdp` (address, 0: no ACPI), `ranges` of
    (address, bytes, E820 type)."""
def modules() -> tuple[tuple[str, str, int], ...]:
    """(name, arguments, bytes) of each boot module."""
def module(name: str) -> memoryview:
    """A boot module, read-only. ValueError names those there are."""
def emulator() -> str:
    """"qemu", "bochs", "kvm", or "": none that is known."""
def tsc_hz() -> int:
    """Ticks of the TSC a second."""
def clock_set(unix_ns: int) -> None:
    """Sets the time of day: nanoseconds since 1970."""
def tsc() -> int:
    """Ticks of the host's TSC since power-on (SDM 3B 17.17)."""
def cmdline() -> str:
    """The boot command line."""
def ramdisk() -> bytearray:
    """The RAM disk's memory."""
def cpuid(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    """(EAX, EBX, ECX, EDX) of the machine's CPUID, numbers of 32 bits."""
def rdmsr(index: int) -> int:
    """An MSR of this CPU, a number of 64 bits; OSError where it faults."""
def inb(port: int) -> int:
    """Reads a port of the machine: a number of 8 bits."""
def inw(port: int) -> int:
    """Reads a port of the machine: a number of 16 bits."""
def inl(port: int) -> int:
    """Reads a port of the machine: a number of 32 bits."""
def outb(port: int, value: int) -> None:
    """Writes 8 bits to a port of the machine."""
def outw(port: int, value: int) -> None:
    """Writes 16 bits to a port of the machine."""
def outl(port: int, value: int) -> None:
    """Writes 32 bits to a port of the machine."""
def peek(address: int, size: int) -> bytes:
    """Bytes at a physical address; OSError where no memory is."""
def poweroff() -> None:
    """Powers the machine off; does not return."""
def reboot() -> None:
    """Resets the machine; does not return."""

# Guests.
def guest_create(name: str) -> int:
    """Makes a guest, and returns its id (0 to 15). The name has 1 to 31 bytes. OSError: EEXIST,
    ENOSPC, ENOMEM, ENODEV (no virtualisation)."""
def guest_destroy(id: int) -> None:
    """Gives all back, also of a guest that runs. OSError: ETIMEDOUT, a vCPU does not stand
    still."""
def guest_add_ram(id: int, gpa: int, size: int) -> None:
    """Maps `size` bytes of zeroed memory at a guest-physical address, both multiples of 4096.
    OSError: EBUSY (not new), EEXIST, ENOSPC, ENOMEM, EINVAL."""
def guest_add_vcpu(id: int, cpu: int) -> None:
    """Adds a vCPU on a CPU; CPU 0 has them in slices. OSError: EBUSY, ENODEV, ENOSPC, ENOMEM."""
def guest_device(id: int, name: str) -> None:
    """Adds a device that not every PC has, while the guest is new. OSError: ENODEV (no such
    name), EBUSY, EEXIST."""
def guest_firmware(id: int, files: bytes) -> None:
    """The files of its fw_cfg: item 0x19 as the guest reads it, then their bytes, in its
    order. ValueError: no directory with its files, or too large. OSError: EBUSY (not new)."""
def guest_set_cpuid(id: int, entries: bytes) -> None:
    """Its answers of CPUID: packed `struct cpuid_entry` (virt/guest.h), sorted. OSError: EINVAL
    (order), ENOSPC, EBUSY (not new)."""
def guest_set_msrs(id: int, entries: bytes) -> None:
    """Its MSRs: packed `struct msr_entry` (virt/guest.h), sorted. OSError: EINVAL (order),
    ENOSPC, EBUSY (not new)."""
def guest_platform(id: int, unix_seconds: int) -> None:
    """Powers its devices on; the time of day in seconds since 1970. OSError: EBUSY (not new)."""
def guest_start(id: int) -> None:
    """Lets a new guest run. OSError: EBUSY (not new), EINVAL (no vCPU)."""
def guest_pause(id: int) -> None:
    """Stops its vCPUs where they are. OSError: EBUSY (it does not run), ETIMEDOUT."""
def guest_resume(id: int) -> None:
    """Lets a paused guest go on. OSError: EBUSY (not paused)."""
def guest_stop(id: int) -> None:
    """Ends it. OSError: EINVAL (new), ETIMEDOUT."""
def guest_reset(id: int) -> None:
    """vCPUs and devices as after power-on, and new again; memory stays. OSError: EBUSY (it runs
    or is paused), ENOMEM, ETIMEDOUT."""
def guest_info(id: int) -> dict[str, Any]:
    """`name state reason status vcpus memory starts note unclaimed_io unclaimed_memory screen
    decoded`; vcpus are (cpu, state, entries), memory is bytes."""
def guest_ids() -> tuple[int, ...]:
    """Ids of the guests there are: numbers from 0 to 15."""
def guest_exits(id: int) -> dict[str, int]:
    """Number of exits by kind, of all its vCPUs."""
def guest_crash(id: int) -> dict[str, Any] | None:
    """None, or `why kind vcpu rip raw qualification registers bytes` of its end."""
def guest_read(id: int, gpa: int, size: int) -> bytes:
    """Bytes at a guest-physical address. OSError: EFAULT, no memory there."""
def guest_write(id: int, gpa: int, data: bytes | bytearray | memoryview) -> None:
    """Writes bytes at a guest-physical address. OSError: EFAULT, no memory there."""
def guest_load_module(id: int, gpa: int, name: str, offset: int, size: int) -> None:
    """Copies `size` bytes of a boot module, from `offset` bytes on, to a guest-physical address.
    OSError: EFAULT."""
def reg_get(id: int, vcpu: int, reg: int) -> int:
    """A register by `RAX` to `RIP` or `REG_*`, a number of 64 bits. OSError: EBUSY, its vCPU
    runs."""
def reg_set(id: int, vcpu: int, reg: int, value: int) -> None:
    """Sets it; the vCPU must be parked. OSError: EBUSY; EINVAL, a value that faults on the
    CPU."""
def seg_get(id: int, vcpu: int, seg: int) -> tuple[int, int, int, int]:
    """(selector, base, limit, attributes) of segment 0 to 7: ES CS SS DS FS GS LDTR TR. Linear
    address, bytes - 1, bits of VMX access rights (SDM 3C 24.4.1). OSError: EBUSY."""
def seg_set(
    id: int, vcpu: int, seg: int, selector: int, base: int, limit: int, attributes: int
) -> None:
    """Sets it, in the same units. OSError: EBUSY, EINVAL."""
def console_put(id: int, data: bytes) -> int:
    """Bytes as the guest's output; number of those taken."""
def console_take(id: int, limit: int) -> bytes:
    """At most `limit` bytes of what was typed for the guest."""
def console_claim(id: int, on: bool) -> None:
    """What is typed waits for `console_take()`, and an event tells of it. OSError: ETIMEDOUT, a
    vCPU does not stand still."""
def guest_uart(id: int, state: bytes = ...) -> bytes | None:
    """`struct uart` of COM1 as bytes (dev/uart.h), or sets it. OSError: EINVAL."""
def console_read(id: int, position: int, limit: int) -> tuple[bytes, int]:
    """(bytes, position for the next call) of the guest's output from a position on, counted in
    bytes since its beginning."""
def console_write(id: int, data: bytes) -> int:
    """Types bytes for the guest; number of those accepted."""

# Events, the channel and the prompt.
def event() -> tuple[Any, ...] | None:
    """What is next for Python (docs/architecture.md), or None."""
def answer(id: int, vcpu: int, action: str, value: int | str) -> None:
    """Ends a message: done (value: RAX of a hypercall, or what a read returns), crash (value:
    why), ud, gp. OSError: ENOENT, there is none."""
def notify(
    function: Callable[[object], object] | None, names: dict[str, Any] | None = None
) -> None:
    """Who is called with an event between bytecodes and when idle; None: nobody.
    `names["message"]` is called with the messages alone, without an event's tuple."""
def alarm(milliseconds: int) -> None:
    """The function of notify() is called after so many milliseconds, also when nothing
    happened."""
def uninterrupted(function: Callable[..., object], *args: object) -> object:
    """Calls the function; Ctrl-C waits until it is through."""
def interruptible(function: Callable[..., object], *args: object) -> object:
    """Calls the function; Ctrl-C ends it, once it has run for 200 milliseconds."""
def channel_send(type: int, stream: int, data: bytes) -> None:
    """A frame on the channel: type and stream are numbers of 8 bits, at most 1024 bytes. OSError:
    ETIMEDOUT, the line takes nothing."""
def capture(stream: int) -> None:
    """What is printed goes to EXEC_OUT of that stream number; -1: to the prompt."""
def notice(text: str) -> bool:
    """Prints a line above the line that is typed; False: raw REPL is active, nothing is
    printed."""
def raw_repl() -> bool:
    """A program (mpremote) has the prompt."""
def first_start() -> bool:
    """Python starts for the first time since power-on."""

# Exits that Python claims (g.on). One Exit a vCPU, made once; registers by name besides.
class Exit:
    table: list[Any]  # handlers by slot
    slots: int  # bits: the slots whose handlers are to be called
    before: int  # bits: those of them in the place of the core
    slot: int  # number of the lowest of them
    answered: bool  # a handler has said something
    def __init__(
        self, id: int, vcpu: int, guest: object, vcpu_object: object, table: list[Any]
    ) -> None:
        """Made once a vCPU, for its exits."""
    def __getattr__(self, name: str) -> Any:
        """Registers and what the exit is about, by name (docs/python.md)."""
    def __setattr__(self, name: str, value: int) -> None:
        """Sets one. OSError: this exit is over."""
    def done(self) -> bool:
        """Ends the exit; False: nothing was answered that must be, and it waits on."""
    def skip(self) -> None:
        """Steps over the instruction. OSError: this exit is over."""
    def inject(self, vector: int, error: int | None = None) -> None:
        """An exception of a vector number instead, with an error code where it has one (SDM 3A
        6.13). OSError: this exit is over."""
    def core(self) -> None:
        """The core's answer now. OSError: this exit is over."""
    def pause(self) -> None:
        """Pauses the guest. OSError: it does not run."""
    def stop(self) -> None:
        """Ends the guest. OSError: this exit is over."""
    def waits(self) -> bool:
        """The vCPU still waits with it."""
    def untimed(self) -> None:
        """The handler may take its time: it goes on later."""

def claim(id: int, slot: int, kind: str, low: int, high: int, mode: str) -> None:
    """Exits of a kind whose first word (numbers; docs/python.md) lies from `low` to `high` are
    for Python: after the core, instead of it, or watch; slots 0 to 30. OSError: EEXIST (memory
    there), ENOSPC, ENOMEM, ETIMEDOUT."""
def unclaim(id: int, slot: int) -> None:
    """The core answers them again. OSError: EINVAL (not claimed), ETIMEDOUT."""
def claim_hits(id: int, slot: int) -> int:
    """Number of exits that matched a slot."""
def handler_names(names: dict[str, Any]) -> None:
    """The dict in which `handler_limit` (milliseconds) is looked up."""
def watch_read(id: int, limit: int) -> tuple[int, list[_Note]]:
    """(drops, notes) of the ring of 1024: how many were lost, and at most `limit` notes with
    their slot as the first of each."""
def trace(id: int, vcpu: int, size: int | None) -> None:
    """Notes every exit, the newest `size` stay (a power of two, 16 to 16384); 0: no more; None:
    gives the memory back, too. OSError: EINVAL, ENOMEM, ETIMEDOUT."""
def trace_info(id: int, vcpu: int) -> tuple[bool, int, int]:
    """(on, size, number of exits noted)."""
def trace_read(id: int, vcpu: int, number: int) -> _Note | None:
    """The exit of that number, from 0 on; None: overwritten, or not yet there."""

# Looking in, and lines.
def guest_line(id: int, irq: int, level: bool | int) -> None:
    """Sets an interrupt line of its board, numbers as the I/O APIC's pins. OSError: EINVAL,
    ETIMEDOUT."""
def guest_share(id: int, gpa: int, size: int, to: int, to_gpa: int) -> None:
    """Maps `size` bytes of a guest's memory into another, both addresses guest-physical.
    OSError: EFAULT, EEXIST, ENOSPC, ENOMEM."""
def guest_walk(
    id: int, vcpu: int, gva: int, access: int
) -> tuple[int | None, int | str | None, tuple[tuple[int, int], ...]]:
    """(gpa or None, error, levels): the guest-physical address behind a linear one (access bits:
    1 read, 2 write, 4 fetch, 8 user), else the error code of the page fault (SDM 3A 4.7) or a
    word; (address, entry) of each level."""
def nested_walk(id: int, gpa: int) -> tuple[int, int]:
    """(entry, level) of the nested page table (SDM 3C 28.2, APM 2 15.25), numbers; level 0: not
    mapped."""
def field_get(id: int, vcpu: int, field: int) -> int:
    """A number: a field of the VMCS by its encoding (SDM 3C appendix B), or 8 bytes of the VMCB
    at an offset in bytes (APM 2 appendix B). ValueError: no such field on this CPU; OSError:
    EBUSY."""
def decode(bits: int, data: bytes) -> tuple[int, str] | None:
    """(length in bytes, mnemonic) of an instruction of 16-, 32- or 64-bit code; None: it is
    none."""
def explain(id: int, vcpu: int) -> str:
    """Which rule of an entry is broken (SDM 3C 26, APM 2 15.5.1), in words."""
