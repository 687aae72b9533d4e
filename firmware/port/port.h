// What main.c and the modules share.
#ifndef VIPERVISOR_PORT_PORT_H
#define VIPERVISOR_PORT_PORT_H

#include <stdbool.h>
#include <stdint.h>

void port_clock_init(void);
void port_clock_set(uint64_t unix_ns);

// True until the scripts of the first start have run: only then is a partition started.
extern bool port_first_start;

#endif
