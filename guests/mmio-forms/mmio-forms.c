// Every form of instruction that compilers and kernels use on memory, on the test
// device's memory: registers, flags, XMM and memory come out as they do on RAM, where
// this CPU itself does the work. Operands lie in one page and across two, of which
// either or both are the device's.
#include "check.h"
#include "faults.h"
#include "forms.h"
#include "guest.h"
#include "paging.h"
#include "strings.h"
#include "window.h"

enum { ROUNDS = 1, ZEROS_EVERY = 4, ARITHMETIC_FLAGS = 0x8D5, RFLAGS_FIXED = 2, BIT_OFFSET_MASK = 0x7FF,
    REACH = 0xA0 }; // bit strings reach farthest

static struct state before;
static uint64_t rounds;
static bool locks_only; // option locks: LOCK on operands of any alignment, nothing else

static void random_state(const struct form *form, uint64_t operand, bool zeros) {
    for (unsigned i = 0; i < 16; i++) {
        before.gpr[i] = random_number();
    }
    if (zeros) { // flags and carries meet their borders
        before.gpr[0] = 0;
        before.gpr[2] = ~0ull;
    }
    before.gpr[7] = operand;
    if (form->flags & FORM_BITS) {
        before.gpr[3] = (before.gpr[3] & BIT_OFFSET_MASK) - BIT_OFFSET_MASK / 2;
    }
    before.rflags = RFLAGS_FIXED | (random_number() & ARITHMETIC_FLAGS);
    for (unsigned i = 0; i < 16; i++) {
        before.xmm[0][i] = (uint8_t)random_number();
        before.xmm[1][i] = (uint8_t)random_number();
    }
}

static const struct {
    uint64_t offset;
    enum backing first, second;
} places[] = {
    { 0xE00, DEVICE, DEVICE },
    { 0xE03, DEVICE, DEVICE },
    { 0x1000, DEVICE, DEVICE },
    { 0xFFF, DEVICE, DEVICE },
    { 0xFFD, MEMORY, DEVICE },
    { 0xFFE, DEVICE, MEMORY },
    { 0xFFC, MEMORY, DEVICE },
};

static bool same(const struct form *form, unsigned place, unsigned round) {
    static struct state native, emulated;
    uint64_t operand = WINDOW_A + places[place].offset;
    bool zeros = (place + round) % ZEROS_EVERY == 0;
    random_state(form, operand, zeros);
    windows_use(places[place].offset, REACH);
    window_fill(&window_a);
    if (zeros) {
        window_zero(&window_a);
    }
    native = emulated = before;
    window_map(&window_a, MEMORY, MEMORY);
    run_form(&native, form->code);
    window_keep(&window_a);
    window_map(&window_a, places[place].first, places[place].second);
    run_form(&emulated, form->code);
    if (!window_same(&window_a)) {
        return expect(form->text, false, "memory differs at offset %llx, place %u",
            (unsigned long long)window_difference(&window_a), place);
    }
    for (unsigned i = 0; i < sizeof(native) / 8; i++) {
        uint64_t due = ((uint64_t *)&native)[i], got = ((uint64_t *)&emulated)[i];
        if (due != got) {
            return expect(form->text, false, "word %u (16: RFLAGS) is %llx, %llx was due, place %u", i,
                (unsigned long long)got, (unsigned long long)due, place);
        }
    }
    return true;
}

static void check_form(const struct form *form) {
    unsigned count = form->flags & FORM_ALIGNED ? 1 : sizeof(places) / sizeof(places[0]);
    for (unsigned place = 0; place < count; place++) {
        // QEMU loses the arithmetic flags when a locked access that is not aligned
        // leaves the guest, so these are asked for by an option of their own.
        if ((form->flags & FORM_LOCKED) && !locks_only && places[place].offset % 16 != 0) {
            continue;
        }
        for (unsigned round = 0; round < rounds; round++) {
            if (!same(form, place, round)) {
                return;
            }
        }
    }
    expect(form->text, true, "-");
}

int guest_main(void) {
    const char *unused;
    if (!device_present()) {
        skip("instructions on device memory", "no test device: start with --device testdev");
        return check_end();
    }
    if (option("x87", &unused)) { // not carried out on devices: the guest ends here
        __asm__ volatile ("fldl (%0)" : : "D" (DEVICE_MEMORY) : "memory");
        return 1;
    }
    windows_init();
    rounds = option_number("rounds", ROUNDS);
    write_cr4(read_cr4() | CR4_OSFXSR);
    write_cr0(read_cr0() & ~(uint64_t)(CR0_EM | CR0_TS));
    locks_only = option("locks", &unused);
    uint64_t every = option_number("every", 1); // only each nth form, where one takes long
    for (const struct form *form = __start_forms; form < __stop_forms; form++) {
        if ((!locks_only || (form->flags & FORM_LOCKED)) && (uint64_t)(form - __start_forms) % every == 0) {
            check_form(form);
        }
    }
    if (!locks_only && every == 1) {
        check_strings();
        check_faults();
    }
    return check_end();
}
