#include "strings.h"
#include "check.h"
#include "forms.h"
#include "window.h"

#define STRING(name, text) \
    __asm__ (".pushsection .text\n" #name ": " text "\n ret\n .popsection\n"); \
    void name(void);

#define STRING_SIZES(op, prefix, text) \
    STRING(op##_##prefix##_b, text "b") \
    STRING(op##_##prefix##_w, text "w") \
    STRING(op##_##prefix##_l, text "l") \
    STRING(op##_##prefix##_q, text "q")

STRING_SIZES(movs, one, "movs")
STRING_SIZES(stos, one, "stos")
STRING_SIZES(lods, one, "lods")
STRING_SIZES(cmps, one, "cmps")
STRING_SIZES(scas, one, "scas")
STRING_SIZES(movs, rep, "rep movs")
STRING_SIZES(stos, rep, "rep stos")
STRING_SIZES(lods, rep, "rep lods")
STRING_SIZES(cmps, repe, "repe cmps")
STRING_SIZES(scas, repe, "repe scas")
STRING_SIZES(cmps, repne, "repne cmps")
STRING_SIZES(scas, repne, "repne scas")
STRING(movs_address32, "addr32 rep movsl")

#define ENTRY(op, prefix, size) { #op " " #prefix " " #size, op##_##prefix##_##size }
#define ENTRIES(op, prefix) \
    ENTRY(op, prefix, b), ENTRY(op, prefix, w), ENTRY(op, prefix, l), ENTRY(op, prefix, q)

static const struct {
    const char *name;
    void (*code)(void);
} strings[] = {
    ENTRIES(movs, one), ENTRIES(stos, one), ENTRIES(lods, one), ENTRIES(cmps, one), ENTRIES(scas, one),
    ENTRIES(movs, rep), ENTRIES(stos, rep), ENTRIES(lods, rep), ENTRIES(cmps, repe), ENTRIES(scas, repe),
    ENTRIES(cmps, repne), ENTRIES(scas, repne), { "movs rep l with 32-bit addresses", movs_address32 },
};

enum { RFLAGS_FIXED = 2, RFLAGS_DF = 0x400, COUNT_MAX = 40, EQUAL = 150,
    STRING_MIDDLE = 0xFE0, STRING_REACH = 0x160 };

static const struct {
    enum backing source[2], destination[2];
} places[] = {
    { { DEVICE, DEVICE }, { DEVICE, DEVICE } },
    { { MEMORY, MEMORY }, { DEVICE, DEVICE } },
    { { DEVICE, DEVICE }, { MEMORY, MEMORY } },
    { { MEMORY, DEVICE }, { DEVICE, MEMORY } },
    { { DEVICE, MEMORY }, { MEMORY, DEVICE } },
};

// Both windows hold the same for a while, then differ: what CMPS looks for; RAX is
// what both hold, or not, for SCAS.
static void contents(struct state *s, unsigned round) {
    window_fill(&window_a);
    window_fill(&window_b);
    uint64_t source = 0xF80 + round, destination = 0xF90 + 3 * round;
    for (unsigned i = 0; i < EQUAL; i++) {
        window_b.initial[destination + i] = window_a.initial[source + i];
    }
    if (round & 1) {
        for (unsigned i = 0; i < EQUAL; i++) {
            window_b.initial[destination + i] = 0x55;
        }
    }
    *s = (struct state) { .gpr = { 0 } };
    s->gpr[0] = round & 1 ? 0x5555555555555555ull : random_number();
    s->gpr[1] = round == 2 ? 0 : random_number() % COUNT_MAX;
    s->gpr[6] = WINDOW_A + source;
    s->gpr[7] = WINDOW_B + destination;
    s->rflags = RFLAGS_FIXED | (round & 2 ? RFLAGS_DF : 0);
    if (s->rflags & RFLAGS_DF) {
        s->gpr[6] += COUNT_MAX + 70;
        s->gpr[7] += COUNT_MAX + 70;
    }
}

static bool string_same(unsigned which, unsigned place, unsigned round) {
    static struct state native, emulated;
    contents(&native, round);
    emulated = native;
    window_map(&window_a, MEMORY, MEMORY);
    window_map(&window_b, MEMORY, MEMORY);
    run_form(&native, strings[which].code);
    window_keep(&window_a);
    window_keep(&window_b);
    window_map(&window_a, places[place].source[0], places[place].source[1]);
    window_map(&window_b, places[place].destination[0], places[place].destination[1]);
    run_form(&emulated, strings[which].code);
    if (!window_same(&window_a) || !window_same(&window_b)) {
        return expect(strings[which].name, false, "memory differs, place %u round %u", place, round);
    }
    for (unsigned i = 0; i <= 16; i++) {
        uint64_t due = ((uint64_t *)&native)[i], got = ((uint64_t *)&emulated)[i];
        if (due != got) {
            return expect(strings[which].name, false, "word %u (16: RFLAGS) is %llx, %llx was due, place %u round %u",
                i, (unsigned long long)got, (unsigned long long)due, place, round);
        }
    }
    return true;
}

static void check_string(unsigned which) {
    for (unsigned place = 0; place < sizeof(places) / sizeof(places[0]); place++) {
        for (unsigned round = 0; round < 4; round++) {
            if (!string_same(which, place, round)) {
                return;
            }
        }
    }
    expect(strings[which].name, true, "-");
}

void check_strings(void) {
    windows_use(STRING_MIDDLE, STRING_REACH);
    for (unsigned i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        check_string(i);
    }
}
