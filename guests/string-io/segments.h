#ifndef STRING_IO_SEGMENTS_H
#define STRING_IO_SEGMENTS_H

// INS, OUTS and device memory in 32-bit code whose segments have bases and limits.
void check_segments(void);

#endif
