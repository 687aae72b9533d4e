"""A guest of a few bytes of machine code."""

import _hv
from hv import text
from hv.making import owners
from hv.vcpu import REGISTERS
from hv.vm import Guest, guests

CODE_MODES = {16: "flat", 32: "flat32", 64: "flat64"}
CODE_END = b"\xf4\xeb\xfd"  # hlt, and a jump to it: where the code ends without an end


def guest_from(code, mode=64, regs=None, name=None, cpus=None, memory="2M"):
    """A guest of a few bytes of machine code, ready to start(): 16 is real mode at 0000:7C00, 32
    and 64 are flat at 1 MiB; regs={"rax": 1} are set before it runs. ValueError: another mode or
    register; OSError as of Guest()."""
    if isinstance(code, str):
        raise ValueError("the code is a str; give bytes: b\"\\xf4\" or bytes.fromhex(\"f4\")")
    if mode not in CODE_MODES:
        raise ValueError("no mode %r; known: 16, 32, 64" % (mode,))
    regs = dict(regs or {})
    for register in regs:
        if register not in REGISTERS:
            raise ValueError(text.unknown("register", register, list(REGISTERS)))
    known = [g.name for g in guests()]
    number = 1
    while name is None:
        said = "code%d" % number
        name = None if said in known else said
        number += 1
    if cpus is None:
        owned = owners()
        cpus = 1 if any([n not in owned for n, _, state, _ in _hv.cpus()
                         if n and state != "failed"]) else [0]
    made = Guest(name, cpus, memory)
    try:
        made._registers = regs
        made.load(bytes(code) + CODE_END, kind=CODE_MODES[mode])
    except BaseException:
        made.destroy()
        raise
    return made
