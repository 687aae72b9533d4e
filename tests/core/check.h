// A small harness for unit tests of the core on the host. A test file names the
// sources it needs in lines `// sources: a.c b.c` and holds cases:
//     CASE(what_it_shows) { CHECK(x > 0); EQUAL(f(x), 3); }
// The program prints one TAP line per case; a failed check ends its case.
#ifndef VIPERVISOR_TESTS_CHECK_H
#define VIPERVISOR_TESTS_CHECK_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct check_case {
    const char *name;
    void (*run)(void);
};

#define CHECK_CASES 200
static struct check_case check_cases[CHECK_CASES];
static unsigned check_count;
static jmp_buf check_failed;

#define CASE(title)                                                                                          \
    static void case_##title(void);                                                                          \
    __attribute__((constructor)) static void add_##title(void) {                                             \
        check_cases[check_count++] = (struct check_case){#title, case_##title};                              \
    }                                                                                                        \
    static void case_##title(void)

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("# %s:%d: %s is false\n", __FILE__, __LINE__, #condition);                                \
            longjmp(check_failed, 1);                                                                        \
        }                                                                                                    \
    } while (0)

#define EQUAL(actual, expected)                                                                              \
    do {                                                                                                     \
        uint64_t check_actual = (uint64_t)(actual), check_expected = (uint64_t)(expected);                   \
        if (check_actual != check_expected) {                                                                \
            printf("# %s:%d: %s is %#" PRIx64 ", expected %#" PRIx64 "\n", __FILE__, __LINE__, #actual,      \
                check_actual, check_expected);                                                               \
            longjmp(check_failed, 1);                                                                        \
        }                                                                                                    \
    } while (0)

// For checks in loops: it names itself and the values it met, when it fails.
__attribute__((format(printf, 3, 4), unused))
static void check(bool ok, const char *name, const char *format, ...) {
    if (ok) {
        return;
    }
    va_list args;
    va_start(args, format);
    printf("# %s: ", name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    longjmp(check_failed, 1);
}

// A generator of its own, so that a failure repeats.
static inline uint32_t check_random(uint64_t *state, uint32_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % below);
}

int main(void) {
    volatile unsigned failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("1..%u\n", check_count);
    for (volatile unsigned i = 0; i < check_count; i++) {
        if (setjmp(check_failed) == 0) {
            check_cases[i].run();
            printf("ok %u - %s\n", i + 1, check_cases[i].name);
        } else {
            printf("not ok %u - %s\n", i + 1, check_cases[i].name);
            failed = failed + 1;
        }
    }
    return failed != 0;
}

#endif
