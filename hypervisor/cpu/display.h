// What the screen is drawn on: the VGA's text memory, or a framebuffer of pixels that
// the boot loader set up.
#ifndef VIPERVISOR_CPU_DISPLAY_H
#define VIPERVISOR_CPU_DISPLAY_H

#include <stddef.h>
#include <stdint.h>

// Opens the screen on what bootinfo says there is; called again when a framebuffer above
// 4 GiB has been mapped. A machine without a screen stays without.
void display_init(void);

// The framebuffer in memory, for the page tables; size 0: none.
uint64_t display_framebuffer(size_t *size);

#endif
