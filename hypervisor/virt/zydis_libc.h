// Included before each Zydis source (zydis.mk): Zycore's memset for builds without a
// libc stores through a volatile byte pointer, half of the cost of a decode.
#ifndef VIPERVISOR_VIRT_ZYDIS_LIBC_H
#define VIPERVISOR_VIRT_ZYDIS_LIBC_H

#include <Zycore/LibC.h>

#define ZYAN_MEMSET(to, byte, size) __builtin_memset((to), (byte), (size))

#endif
