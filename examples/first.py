# Linux starts anew; its CPUID is counted by leaf, and it sees no AES. While `make run` runs,
#   tools/hv exec - --timeout 120 < examples/first.py
# in another terminal; or paste it at the prompt (Ctrl-E, Ctrl-D). In Linux, `grep aes
# /proc/cpuinfo` finds nothing then.
leaves, hidden = {}, {1: 1 << 25}  # by leaf: how often; bits of ECX


@linux.on("cpuid")  # behind the core's answer, which x holds
def see(x):
    leaves[x.leaf] = leaves.get(x.leaf, 0) + 1
    x.ecx &= ~hidden.get(x.leaf, 0)


linux.reset().start()
hv.clock.until(lambda: 0x8000_0008 in leaves, 120, "CPUIDs of Linux")
print("asked for:", leaves, "hidden:", hidden)
