"""CPUID features that a guest may see: where their bits are (Intel SDM vol. 2A, CPUID; AMD APM
vol. 3, appendix E), those that `hide` takes away, what a guest cannot do without, and what goes
with what."""

LEAF_1_ECX = {
    "sse3": 0, "pclmulqdq": 1, "ssse3": 9, "fma": 12, "cx16": 13, "sse4.1": 19,
    "sse4.2": 20, "movbe": 22, "popcnt": 23, "aes": 25, "xsave": 26, "avx": 28, "f16c": 29,
}
# Made by us, whatever the machine has.
LEAF_1_ECX_OWN = {"x2apic": 21}
LEAF_1_EDX = {
    "fpu": 0, "vme": 1, "de": 2, "pse": 3, "tsc": 4, "msr": 5, "pae": 6, "mce": 7, "cx8": 8,
    "sep": 11, "mtrr": 12, "pge": 13, "mca": 14, "cmov": 15, "pat": 16, "pse36": 17,
    "clflush": 19, "mmx": 23, "fxsr": 24, "sse": 25, "sse2": 26, "ss": 27,
}
LEAF_7_EBX = {
    "fsgsbase": 0, "bmi1": 3, "avx2": 5, "smep": 7, "bmi2": 8, "erms": 9,
    "avx512f": 16, "avx512dq": 17, "adx": 19, "smap": 20, "avx512ifma": 21, "pcommit": 22,
    "clflushopt": 23, "clwb": 24, "avx512cd": 28, "sha": 29, "avx512bw": 30, "avx512vl": 31,
}
LEAF_7_ECX = {
    "avx512vbmi": 1, "umip": 2, "avx512vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10,
    "avx512vnni": 11, "avx512bitalg": 12, "avx512vpopcntdq": 14, "rdpid": 22,
}
LEAF_7_EDX = {"fsrm": 4, "md_clear": 10}
LEAF_7_1_EAX = {"avx_vnni": 4, "avx512_bf16": 5}
# x87, SSE, AVX and the three AVX-512 states. MPX and PKRU stay hidden in 0xD as in 7.
XCR0 = {"x87": 0, "sse": 1, "avx": 2, "opmask": 5, "zmm_hi256": 6, "hi16_zmm": 7}
# XSAVEC and XSAVES stay hidden: Bochs' leaf 0xD contradicts itself and its XSAVEC
# writes AVX state over the header.
LEAF_D_1_EAX = {"xsaveopt": 0}
LEAF_80000001_ECX = {
    "lahf": 0, "abm": 5, "sse4a": 6, "misalignsse": 7, "prefetchw": 8, "xop": 11, "fma4": 16,
    "tbm": 21,
}
LEAF_80000001_EDX = {
    "fpu": 0, "vme": 1, "de": 2, "pse": 3, "tsc": 4, "msr": 5, "pae": 6, "mce": 7, "cx8": 8,
    "syscall": 11, "mtrr": 12, "pge": 13, "mca": 14, "cmov": 15, "pat": 16, "pse36": 17,
    "nx": 20, "mmxext": 22, "mmx": 23, "fxsr": 24, "fxsr_opt": 25, "gbpages": 26, "rdtscp": 27,
    "lm": 29, "3dnowext": 30, "3dnow": 31,
}
LEAF_80000008_EBX = {"clzero": 0, "xsaveerptr": 2}

# Where the features of each list are: leaf, subleaf, register (EAX 0 to EDX 3).
WHERE = (
    (1, 0, 2, LEAF_1_ECX), (1, 0, 2, LEAF_1_ECX_OWN), (1, 0, 3, LEAF_1_EDX),
    (7, 0, 1, LEAF_7_EBX), (7, 0, 2, LEAF_7_ECX),
    (7, 0, 3, LEAF_7_EDX), (7, 1, 0, LEAF_7_1_EAX), (0xD, 1, 0, LEAF_D_1_EAX),
    (0x8000_0001, 0, 2, LEAF_80000001_ECX), (0x8000_0001, 0, 3, LEAF_80000001_EDX),
    (0x8000_0008, 0, 1, LEAF_80000008_EBX),
)
NAMES = sorted({name for row in WHERE for name in row[3]})
# Linux' REQUIRED_MASK (arch/x86/include/asm/required-features.h), which other kernels share,
# and what our loaders stand on.
NEEDED = "cmov cx8 fpu fxsr lm msr nx pae pge pse sse sse2 syscall tsc".split()
# Where the first is hidden, the others must be, too.
ABOVE = (
    ("xsave", "avx xsaveopt xsaveerptr"),
    ("avx", "avx2 fma f16c fma4 xop avx512f avx_vnni vaes vpclmulqdq"),
    ("avx2", "avx512f avx_vnni"),
    ("avx512f", "avx512_bf16 avx512bitalg avx512bw avx512cd avx512dq avx512ifma avx512vbmi"
                " avx512vbmi2 avx512vl avx512vnni avx512vpopcntdq"),
    ("sse3", "ssse3"), ("ssse3", "sse4.1"), ("sse4.1", "sse4.2"), ("sse4.2", "avx"),
    ("mmx", "mmxext 3dnow"), ("3dnow", "3dnowext"),
    ("aes", "vaes"), ("pclmulqdq", "vpclmulqdq"),
)


def left_over(hidden):
    """(hidden, what stands on it and is still shown), for the first such one, or None."""
    for base, above in ABOVE:
        if base in hidden:
            for name in above.split():
                if name not in hidden:
                    return base, name
    return None


def whole(hidden):
    """`hidden` and all that stands on it."""
    out = list(hidden)
    while True:
        more = left_over(out)
        if more is None:
            return sorted(out)
        out.append(more[1])
