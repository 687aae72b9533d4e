// Vector registers in and out; C here is built for general registers only.
    .text
    .macro all insn, size, load
    .set lane, 0
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .if \load
    \insn lane(%rdi), %\size\n
    .else
    \insn %\size\n, lane(%rdi)
    .endif
    .set lane, lane + 32
    .endr
    ret
    .endm

    .global load_sse, store_sse, load_avx, store_avx
load_sse: all movdqu, xmm, 1
store_sse: all movdqu, xmm, 0
load_avx: all vmovdqu, ymm, 1
store_avx: all vmovdqu, ymm, 0
