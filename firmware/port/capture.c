// What is printed can be sent over the channel instead of to the prompt.
#include "capture.h"

#include "channel.h"
#include "cpu/string.h"

static int target = -1;
static char buffer[CHANNEL_PAYLOAD];
static size_t used;

static void flush(void) {
    if (used > 0) {
        // Nobody reads on a timeout: there is no one left to tell.
        (void)channel_send(CHANNEL_EXEC_OUT, (uint8_t)target, buffer, used);
        used = 0;
    }
}

void capture_set(int stream) {
    if (target >= 0) {
        flush();
    }
    target = stream;
}

int capture_stream(void) {
    return target;
}

bool capture_write(const char *text, size_t size) {
    if (target < 0) {
        return false;
    }
    while (size > 0) {
        size_t n = size < sizeof(buffer) - used ? size : sizeof(buffer) - used;
        memcpy(buffer + used, text, n);
        used += n;
        text += n;
        size -= n;
        if (used == sizeof(buffer) || buffer[used - 1] == '\n') {
            flush();
        }
    }
    return true;
}
