// The lines of self-checking guests, counted.
#include "check.h"
#include "guest.h"
#include "traps.h"

static unsigned passed, failed, skipped;

bool expect(const char *name, bool good, const char *why, ...) {
    if (good) {
        print("PASS %s\n", name);
        passed++;
        return true;
    }
    va_list args;
    va_start(args, why);
    print("FAIL %s: ", name);
    vprint(why, args);
    print("\n");
    va_end(args);
    failed++;
    return false;
}

void skip(const char *name, const char *why) {
    print("SKIP %s: %s\n", name, why);
    skipped++;
}

bool expect_trap(const char *name, unsigned vector, bool lenient) {
    if (!last_trap.taken && lenient) {
        skip(name, "this emulated CPU does not check it");
        return true;
    }
    if (!last_trap.taken) {
        return expect(name, false, "no exception, vector %u was due", vector);
    }
    return expect(name, last_trap.vector == vector, "vector %u error %llx, %u was due",
        last_trap.vector, (unsigned long long)last_trap.error, vector);
}

int check_end(void) {
    print("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    return failed || passed + skipped == 0 ? 1 : 0;
}
