// What self-checking guests print: one line a check, then a summary.
//
//   PASS name
//   FAIL name: why
//   SKIP name: why
//   3 passed, 0 failed, 1 skipped
#ifndef GUEST_CHECK_H
#define GUEST_CHECK_H

#include <stdbool.h>

// PASS when `good`, else FAIL with the reason.
bool expect(const char *name, bool good, const char *why, ...)
    __attribute__((format(printf, 3, 4)));
void skip(const char *name, const char *why);

// PASS when the guarded instruction before raised this vector; where `lenient`, a
// CPU that raised nothing is a SKIP: QEMU's leaves some checks out.
bool expect_trap(const char *name, unsigned vector, bool lenient);

// The summary; returns the guest's exit status, 0 or 1.
int check_end(void);

#endif
