#ifndef VIPERVISOR_SYS_TYPES_H
#define VIPERVISOR_SYS_TYPES_H
#include <stddef.h>
#include <stdint.h>
typedef long ssize_t;
typedef long off_t;
#endif
