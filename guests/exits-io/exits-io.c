// Port I/O of every size: registers, string forms, ports that nobody claims, and the
// devices whose answers show that time goes on.
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    PORT_NOBODY = 0xE00,
    UART_SCRATCH = PORT_COM1 + 7,
    PIC1_DATA = 0x21,
    PIT_CHANNEL0 = 0x40,
    PIT_COMMAND = 0x43,
    PIT_LATCH0 = 0x00,
    PIT_CH0_LOHI_MODE2 = 0x34,
    CMOS_INDEX = 0x70,
    CMOS_DATA = 0x71,
    FWCFG_SELECTOR = 0x510,
    FWCFG_DATA = 0x511,
    FWCFG_DIRECTORY = 0x19,
    FWCFG_ENTRY_SIZE = 64,
    FILES_MAX = 32,
    RANGES_MAX = 16,
    CMOS_STATUS_D = 0x0D, // bit 7: the clock's battery is good
    PM_TIMER = 0x608,
    PM_TIMER_MASK = 0xFFFFFF,
};
#define PATTERN 0x1122334455667788ull

static void check_unclaimed(void) {
    uint64_t rax = PATTERN;
    __asm__ volatile ("inb %w1, %b0" : "+a" (rax) : "d" (PORT_NOBODY));
    expect("IN AL reads ones, keeps the rest", rax == (PATTERN | 0xFF), "%llx",
        (unsigned long long)rax);
    rax = PATTERN;
    __asm__ volatile ("inw %w1, %w0" : "+a" (rax) : "d" (PORT_NOBODY));
    expect("IN AX reads ones, keeps the rest", rax == (PATTERN | 0xFFFF), "%llx",
        (unsigned long long)rax);
    rax = PATTERN;
    __asm__ volatile ("inl %w1, %k0" : "+a" (rax) : "d" (PORT_NOBODY));
    expect("IN EAX reads ones, clears the upper half", rax == 0xFFFFFFFF, "%llx",
        (unsigned long long)rax);
    outb(PORT_NOBODY, 0);
    outw(PORT_NOBODY, 0);
    outl(PORT_NOBODY, 0);
    expect("OUT is dropped", inl(PORT_NOBODY) == 0xFFFFFFFF, "%x", inl(PORT_NOBODY));
    rax = PATTERN;
    uint32_t steps = 0;
    __asm__ volatile (".byte 0x66, 0x48, 0xEC\n inc %1" : "+a" (rax), "+S" (steps)
        : "d" (PORT_NOBODY));
    expect("IN AL with 66 and REX.W", rax == (PATTERN | 0xFF) && steps == 1, "%llx, %u steps",
        (unsigned long long)rax, steps);
}

static void check_strings(void) {
    uint8_t bytes[8] = {0};
    void *to = bytes;
    uint64_t count = 5;
    __asm__ volatile ("rep insb" : "+D" (to), "+c" (count) : "d" (PORT_NOBODY) : "memory");
    bool right = count == 0 && to == bytes + 5 && bytes[4] == 0xFF && bytes[5] == 0;
    expect("REP INSB", right, "RCX %llu, %u bytes", (unsigned long long)count,
        (unsigned)((uint8_t *)to - bytes));
    uint32_t words[3] = {0};
    to = words;
    count = 2;
    __asm__ volatile ("rep insl" : "+D" (to), "+c" (count) : "d" (PORT_NOBODY) : "memory");
    right = count == 0 && to == words + 2 && words[1] == 0xFFFFFFFF && words[2] == 0;
    expect("REP INSL", right, "RCX %llu", (unsigned long long)count);
    const void *from = "rep outsb\n";
    count = 10;
    __asm__ volatile ("rep outsb" : "+S" (from), "+c" (count) : "d" (PORT_DEBUG) : "memory");
    expect("REP OUTSB to the debug port", count == 0, "RCX %llu", (unsigned long long)count);
    const char *start = "x";
    from = start;
    __asm__ volatile ("outsb" : "+S" (from) : "d" (PORT_NOBODY) : "memory");
    expect("OUTSB", from == start + 1, "RSI moved by %d", (int)((const char *)from - start));
    to = bytes;
    count = 0;
    __asm__ volatile ("rep insb" : "+D" (to), "+c" (count) : "d" (PORT_NOBODY) : "memory");
    expect("REP INSB of nothing", count == 0 && to == bytes, "moved");
    memset(bytes, 0, sizeof(bytes));
    to = bytes + 3;
    count = 3;
    __asm__ volatile ("std; rep insb; cld" : "+D" (to), "+c" (count) : "d" (PORT_NOBODY) : "memory");
    right = count == 0 && to == bytes && bytes[0] == 0 && bytes[1] == 0xFF && bytes[3] == 0xFF;
    expect("REP INSB downwards", right, "RCX %llu", (unsigned long long)count);
}

// What a device holds comes back; nothing else is touched.
static void check_registers(void) {
    outb(UART_SCRATCH, 0x5A);
    uint8_t first = inb(UART_SCRATCH);
    outb(UART_SCRATCH, 0xA5);
    uint8_t second = inb(UART_SCRATCH);
    expect("UART scratch register", first == 0x5A && second == 0xA5, "%x %x", first, second);
    uint8_t mask;
    outb(PIC1_DATA, 0xFB);
    __asm__ volatile ("inb %1, %0" : "=a" (mask) : "i" (PIC1_DATA)); // the immediate form
    outb(PIC1_DATA, 0xFF);
    expect("8259 mask by IN imm8", mask == 0xFB && inb(PIC1_DATA) == 0xFF, "%x", mask);
    outb(CMOS_INDEX, CMOS_STATUS_D);
    uint8_t status = inb(CMOS_DATA);
    expect("CMOS clock is valid", status & 0x80, "%x", status);
}

static uint32_t pit_read(void) {
    outb(PIT_COMMAND, PIT_LATCH0);
    uint32_t low = inb(PIT_CHANNEL0);
    return low | (uint32_t)inb(PIT_CHANNEL0) << 8;
}

// Reads until the value changes; false when it never does.
static bool changes(uint32_t (*read)(void)) {
    uint32_t first = read();
    for (unsigned i = 0; i < 1000000; i++) {
        if (read() != first) {
            return true;
        }
    }
    return false;
}

static uint32_t pm_read(void) {
    return inl(PM_TIMER) & PM_TIMER_MASK;
}

static void check_time(void) {
    outb(PIT_COMMAND, PIT_CH0_LOHI_MODE2);
    outb(PIT_CHANNEL0, 0);
    outb(PIT_CHANNEL0, 0);
    expect("PIT counts", changes(pit_read), "a million reads of %x", pit_read());
    uint32_t earlier = pit_read(), later = pit_read();
    expect("PIT counts down", (uint16_t)(earlier - later) < 0x4000, "%x then %x", earlier, later);
    if (!under_vipervisor() && pm_read() == PM_TIMER_MASK) {
        skip("PM timer", "the firmware below put it at another port");
        return;
    }
    expect("PM timer counts", changes(pm_read), "a million reads of %x", pm_read());
    earlier = pm_read();
    later = pm_read();
    expect("PM timer counts up", ((later - earlier) & PM_TIMER_MASK) < 0x400000, "%x then %x",
        earlier, later);
    // Both count the same 30 ms: 3579545 and 1193182 Hz are 3 to 1. A busy host may stop us
    // between two reads.
    uint32_t passed_pm = 0, passed_pit = 0;
    bool agree = false;
    for (int tries = 0; tries < 20 && !agree; tries++) {
        uint32_t pm = pm_read(), pit = pit_read();
        while (((pm_read() - pm) & PM_TIMER_MASK) < 3579545 / 1000 * 30) {
            cpu_pause();
        }
        passed_pm = (pm_read() - pm) & PM_TIMER_MASK;
        passed_pit = (uint16_t)(pit - pit_read());
        agree = passed_pit * 3 > passed_pm * 8 / 10 && passed_pit * 3 < passed_pm * 12 / 10;
    }
    expect("PM timer and PIT agree", agree, "%u and %u ticks", passed_pm, passed_pit);
}

static void user_in(void) {
    inb(PORT_NOBODY);
}

static void firmware_read(uint16_t key, void *to, uint64_t count) {
    outw(FWCFG_SELECTOR, key);
    __asm__ volatile ("rep insb" : "+D" (to), "+c" (count) : "d" (FWCFG_DATA) : "memory");
}

struct firmware_file {
    uint32_t size; // big-endian, as is the key
    uint16_t key, reserved;
    char name[FWCFG_ENTRY_SIZE - 8];
};

// QEMU's docs/specs/fw_cfg.rst: a directory of files, one of them the map of memory. (A
// PC's firmware takes from that map what it needs itself.)
static void check_firmware(void) {
    static struct {
        uint32_t count;
        struct firmware_file files[FILES_MAX];
    } directory;
    static struct {
        uint64_t base, size;
        uint32_t type;
    } __attribute__((packed)) rows[RANGES_MAX];
    struct memory_range ranges[RANGES_MAX];
    char signature[4];
    firmware_read(0, signature, sizeof signature);
    expect("fw_cfg is there", memcmp(signature, "QEMU", sizeof signature) == 0, "%x", (unsigned)signature[0]);
    firmware_read(FWCFG_DIRECTORY, &directory, sizeof directory);
    unsigned count = __builtin_bswap32(directory.count), size = 0;
    for (unsigned i = 0; i < count && i < FILES_MAX; i++) {
        if (strcmp(directory.files[i].name, "etc/e820") == 0) {
            size = __builtin_bswap32(directory.files[i].size);
            firmware_read(__builtin_bswap16(directory.files[i].key), rows, sizeof rows);
        }
    }
    unsigned found = size / sizeof *rows, told = memory_map(ranges, RANGES_MAX), same = 0;
    expect("it has a map of memory", found > 0 && found <= RANGES_MAX && size % sizeof *rows == 0,
        "%u bytes in %u files", size, count);
    for (unsigned i = 0; i < found && i < told && i < RANGES_MAX; i++) {
        same += rows[i].base == ranges[i].base && rows[i].size == ranges[i].size && rows[i].type == ranges[i].type;
    }
    expect("the same that the loader told", !under_vipervisor() || (found == told && same == told),
        "%u of %u, %u alike", found, told, same);
}

int guest_main(void) {
    check_unclaimed();
    check_strings();
    check_registers();
    check_time();
    check_firmware();
    trap_clear();
    user_run(user_in);
    expect_trap("IN at CPL 3", TRAP_GP, false);
    return check_end();
}
