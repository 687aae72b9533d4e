// Selectors of this guest's own GDT.
#ifndef GUEST_TASKS_H
#define GUEST_TASKS_H

#define SEL_CODE 0x08
#define SEL_FLAT 0x10
#define SEL_MAIN_TSS 0x18
#define SEL_TASK_TSS 0x20
#define SEL_VM86_TSS 0x28
#define SEL_GATE 0x30

#endif
