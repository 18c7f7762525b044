/* The line between mcpup's sockets and its answers. */
#ifndef BENCH_MCPUP_H
#define BENCH_MCPUP_H
#include <stddef.h>

enum { MAX_BODY = 1 << 20, MAX_PAYLOAD = 900000 };

struct span {
    const char *at;
    size_t n;
};

struct request {
    struct span http_method, session, body;
    int modern;
};

void prepare_answers(void);

/* Writes the whole HTTP answer to `out` (MAX_BODY + 1024 bytes) and returns its length; `delayed` says that the tool
 * takes its time. `use_sse`: tool calls are answered as an event stream. */
size_t answer(const struct request *r, int use_sse, char *out, int *delayed);
#endif
