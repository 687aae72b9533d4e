// Of what LittleFS asserts, the mode of an open file: a program that writes to one that
// is open for reading, or reads one that is open for writing, gets OSError(EBADF), and
// nothing is written. The other assertions are about its own state and the disk's form.
#ifndef VIPERVISOR_PORT_LFS_ASSERT_H
#define VIPERVISOR_PORT_LFS_ASSERT_H

_Noreturn void port_lfs_misused(void);

#define LFS2_ASSERT(condition) \
    (__builtin_strstr(#condition, "file->flags") == 0 || (condition) ? (void)0 : port_lfs_misused())

#endif
