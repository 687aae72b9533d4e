// Error numbers of the core. Functions return 0 or one of these negated; the
// values are MicroPython's internal errno values (py/mperrno.h), so the port
// can raise OSError with them unchanged.
#ifndef VIPERVISOR_CPU_ERR_H
#define VIPERVISOR_CPU_ERR_H

enum {
    ENOENT = 2, // no such guest, module, vCPU
    EIO = 5, // the hardware refused
    EAGAIN = 11, // not now: try again
    ENOMEM = 12, // no memory of that kind left
    EFAULT = 14, // an address that nothing backs
    EBUSY = 16, // it is running, or somebody owns it
    EEXIST = 17, // that name or range is taken
    ENODEV = 19, // the machine has none
    EINVAL = 22, // a bad argument
    ENOSPC = 28, // a fixed table is full
    ERANGE = 34, // outside what the field or range can hold
    ETIMEDOUT = 110, // a CPU did not answer in time
};

#endif
