// What is printed can be sent over the channel instead of to the prompt.
#ifndef VIPERVISOR_PORT_CAPTURE_H
#define VIPERVISOR_PORT_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>

// From now on to EXEC_OUT of `stream`; negative: to the prompt again.
void capture_set(int stream);
int capture_stream(void); // negative: nothing is captured
bool capture_write(const char *text, size_t size); // false: nothing is captured

#endif
