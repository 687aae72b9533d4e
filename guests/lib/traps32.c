// 32-bit guests take no trap: a fault is the end.
#include "runtime.h"
#include "traps.h"

volatile struct trap last_trap; // for check.c: never taken

void traps_init(void) {
}
