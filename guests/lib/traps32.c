// 32-bit guests take no trap: a fault is the end.
#include "runtime.h"

void traps_init(void) {
}
