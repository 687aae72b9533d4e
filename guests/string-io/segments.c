#include "segments.h"
#include "check.h"
void check_segments(void) {
}
