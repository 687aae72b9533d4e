// MicroPython uses its own numbers (MICROPY_USE_INTERNAL_ERRNO); nobody here sets errno.
#ifndef VIPERVISOR_ERRNO_H
#define VIPERVISOR_ERRNO_H
#endif
