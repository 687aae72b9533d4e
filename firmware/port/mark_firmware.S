// Linked right behind the frozen modules and before all other code of the firmware.
    .section .text.mark_firmware, "ax"
    .global firmware_text_start
firmware_text_start:
    ud2
    .section .note.GNU-stack, "", @progbits
