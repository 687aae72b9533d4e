#ifndef VIPERVISOR_ALLOCA_H
#define VIPERVISOR_ALLOCA_H
#define alloca __builtin_alloca
#endif
