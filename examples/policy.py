# A policy for examples/first.toml: change it while it runs.
#   tools/hv boot examples/first.toml          in one terminal
#   tools/hv watch examples/policy.py          in another; then edit this file and save

# Variables of the version before; {} at first.
count = old.get("count", 0)


# What `beat` writes to its serial port, byte by byte, without holding it up.
def seen(x):
    global count
    count += x.write


beat.watch("io", seen, port=0x3F8)


# A CPUID bit that Linux's programs will not see from now on: AVX2.
@linux.on("cpuid", leaf=7, subleaf=0)
def hide(x):
    x.ebx &= ~(1 << 5)


hv.every(10_000, lambda: print("[policy] %d bytes from beat" % count))
