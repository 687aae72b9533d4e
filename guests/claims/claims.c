// Exits for Python to answer, one a word of the command line, in its order; prints
// what came back.
//
//   cpuid=N      CPUID leaf N           rdmsr=N   RDMSR, or the exception
//   call=N       hypercall N, RBX 7     wrmsr=N   WRMSR of 0x1122334455667788
//   in=N out=N   port N, 4 bytes        inb=N outb=N   one byte
//   load=N store=N  four bytes of device memory at N
//   loop=N       CPUID leaf 1 that many times, and the TSC ticks of each
//   polls=N      so many reads of port 0x560
//   ud=1         an undefined instruction
//   wait=N       milliseconds
#include "guest.h"
#include "hypercall.h"
#include "traps.h"

static void one(const char *word, uint64_t n) {
    if (strcmp(word, "cpuid") == 0) {
        struct cpuid r = cpuid((uint32_t)n, 0);
        print("cpuid %llx: %08x %08x %08x %08x\n", (unsigned long long)n, r.eax, r.ebx, r.ecx, r.edx);
    } else if (strcmp(word, "call") == 0) {
        print("call %llx: %llx\n", (unsigned long long)n,
            (unsigned long long)hypercall(cpu_is_amd(), (uint32_t)n, 7));
    } else if (strcmp(word, "rdmsr") == 0) {
        uint32_t low = 0, high = 0;
        trap_clear();
        __asm__ volatile (GUARD("rdmsr") : "+a" (low), "+d" (high) : "c" ((uint32_t)n) : "memory");
        print("rdmsr %llx: %llx trap %d\n", (unsigned long long)n,
            (unsigned long long)((uint64_t)high << 32 | low), last_trap.taken ? (int)last_trap.vector : -1);
    } else if (strcmp(word, "wrmsr") == 0) {
        trap_clear();
        __asm__ volatile (GUARD("wrmsr") : : "a" (0x55667788), "d" (0x11223344), "c" ((uint32_t)n) : "memory");
        print("wrmsr %llx: trap %d\n", (unsigned long long)n, last_trap.taken ? (int)last_trap.vector : -1);
    } else if (strcmp(word, "in") == 0) {
        print("in %llx: %x\n", (unsigned long long)n, inl((uint16_t)n));
    } else if (strcmp(word, "inb") == 0) {
        print("inb %llx: %x\n", (unsigned long long)n, inb((uint16_t)n));
    } else if (strcmp(word, "out") == 0) {
        outl((uint16_t)n, 0xCAFE1234);
    } else if (strcmp(word, "outb") == 0) {
        outb((uint16_t)n, 0x5A);
    } else if (strcmp(word, "load") == 0) {
        print("load %llx: %x\n", (unsigned long long)n, *(volatile uint32_t *)n);
    } else if (strcmp(word, "store") == 0) {
        *(volatile uint32_t *)n = 0xBEEF0042;
    } else if (strcmp(word, "loop") == 0) {
        uint64_t start = rdtsc();
        for (uint64_t i = 0; i < n; i++) {
            cpuid(1, 0);
        }
        print("loop: %llu\n", (unsigned long long)((rdtsc() - start) / n));
    } else if (strcmp(word, "polls") == 0) {
        for (uint64_t i = 0; i < n; i++) {
            inb(0x560);
        }
        print("polled %llu\n", (unsigned long long)n);
    } else if (strcmp(word, "ud") == 0) {
        trap_clear();
        __asm__ volatile (GUARD("ud2") : : : "memory");
        print("ud2: trap %d\n", last_trap.taken ? (int)last_trap.vector : -1);
    } else if (strcmp(word, "wait") == 0) {
        delay_ms((unsigned)n);
    }
}

static uint64_t number(const char **s) {
    uint64_t n = 0, base = 10;
    if ((*s)[0] == '0' && (*s)[1] == 'x') {
        base = 16;
        *s += 2;
    }
    for (;; (*s)++) {
        char c = **s;
        uint64_t digit = c >= '0' && c <= '9' ? (uint64_t)(c - '0') : c >= 'a' && c <= 'f' ? (uint64_t)(c - 'a' + 10)
            : base;
        if (digit >= base) {
            return n;
        }
        n = n * base + digit;
    }
}

int guest_main(void) {
    const char *s = boot_cmdline();
    while (*s != 0) {
        char word[16];
        size_t length = 0;
        while (*s == ' ') {
            s++;
        }
        for (; *s != 0 && *s != '=' && *s != ' '; s++) {
            if (length < sizeof(word) - 1) {
                word[length++] = *s;
            }
        }
        word[length] = 0;
        if (*s == '=') {
            s++;
            one(word, number(&s));
        }
    }
    return 0;
}
