"""CPUID features that `hide` takes away from a guest: their names (firmware/hv/cpuid.py has
the bits), what a guest cannot do without, and what goes with what."""

NAMES = (
    "3dnow 3dnowext abm adx aes avx avx2 avx512_bf16 avx512bitalg avx512bw avx512cd avx512dq"
    " avx512f avx512ifma avx512vbmi avx512vbmi2 avx512vl avx512vnni avx512vpopcntdq avx_vnni"
    " bmi1 bmi2 clflush clflushopt clwb clzero cmov cx16 cx8 de erms f16c fma fma4 fpu fsgsbase"
    " fsrm fxsr fxsr_opt gbpages gfni lahf lm mca mce md_clear misalignsse mmx mmxext"
    " movbe msr mtrr nx pae pat pclmulqdq pcommit pge popcnt prefetchw pse pse36 rdpid rdtscp sep"
    " sha smap smep ss sse sse2 sse3 sse4.1 sse4.2 sse4a ssse3 syscall tbm tsc umip vaes vme"
    " vpclmulqdq x2apic xop xsave xsaveerptr xsaveopt"
).split()
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
