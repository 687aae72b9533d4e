# Programming a guest before its first instruction:
#   tools/hv run build/guests/hello.elf --script examples/script.py
# where `guest` is the guest that is about to start.


# The core answers CPUID first; what it answered is in x and may be changed.
@guest.on("cpuid", leaf=0x40000000)
def rename(x):
    x.ebx, x.ecx, x.edx = 0x6C6C6548, 0x6854206F, 0x00657265  # "Hello There"


# A device in a dozen lines: what is written to port 0x560 is summed up.
class Adder(hv.Device):
    sum = 0

    def write(self, offset, size, value):
        self.sum += value

    def read(self, offset, size):
        return self.sum


adder = guest.attach(Adder(), ports=0x560)

# Seen without stopping the guest: every write of the last MSR it sets.
msrs = []
guest.watch("wrmsr", msrs.append)

print(guest.handlers)
