// Instructions on device memory that fault, and the load of the task register.
#ifndef MMIO_FORMS_FAULTS_H
#define MMIO_FORMS_FAULTS_H

void check_faults(void);

#endif
