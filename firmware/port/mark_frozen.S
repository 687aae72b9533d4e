// Linked right before the frozen modules: their native code starts here.
    .section .text.mark_frozen, "ax"
    .global firmware_frozen_start
firmware_frozen_start:
    ud2
    .section .note.GNU-stack, "", @progbits
