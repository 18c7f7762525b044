/* mcpload: closed-loop load on one MCP Streamable HTTP server (one thread, epoll). Every connection has one call in
 * flight; status, id and payload of every answer are verified; Content-Length, chunked and SSE answers are understood.
 * It knows nothing of JSON beyond the few bytes it looks for.
 * Usage: mcpload --port P | --uds PATH  [--path /mcp] [--conns N] [--secs S] [--warm S] [--max CALLS] [--tool echo]
 *        [--arg text|n] [--size BYTES] [--mode legacy|modern|raw] [--shared] [--nosession] [--header 'K: V']
 *        [--host-header H] [--pids NAME:pid,pid]
 *   modern  2026-07-28, stateless     legacy  2025-11-25, one session a connection (--shared: one for all)
 *   raw     no MCP headers and any id in the answer: for servers that only echo
 * Prints one JSON line; exits 0, or 5 when an answer was wrong or missing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

enum state { INITIALIZE, INITIALIZED, CALL, IDLE };
enum { MAX_ERRORS = 1000, MAX_REQUEST = 1 << 20 };

/* Seconds that answers may still take after the window is over; what has not come then is lost. */
static const double LAST_ANSWERS = 5;

struct conn {
    int fd;
    enum state state;
    char *in;
    size_t len, cap;
    char *out;
    size_t out_len, out_sent;
    char session[128];
    double sent;
    long id;
    /* Of the answer being read; `head` is the length of its header block, 0 until that is complete. */
    int status, chunked, close_after;
    size_t head, content_length, next_chunk;
};

static struct conn *conns;
static int epoll, n_conns = 1, port = 9000, stopping, failed_dials;
static int modern, raw, shared, no_session;
static const char *uds, *path = "/mcp", *tool = "echo", *argument = "text", *host = "127.0.0.1";
static char headers[8192], shared_session[128];
static char *value; /* of the argument, as JSON */
static size_t size = 200;
static double secs = 3, warm = 1;
static unsigned long long max_calls;
static long last_id;

static void give_up(const char *why) {
    window_close();
    fprintf(stderr, "mcpload: %s\n", why);
    report("");
    exit(4);
}

static void error(struct conn *c, const char *why) {
    count_error(why, c->in, c->len);
    if (errors() > MAX_ERRORS) give_up("too many errors");
}

static void listen_to(struct conn *c, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.u32 = c - conns};
    epoll_ctl(epoll, operation, c->fd, &event);
}

static void flush(struct conn *c) {
    while (c->out_sent < c->out_len) {
        ssize_t n = write(c->fd, c->out + c->out_sent, c->out_len - c->out_sent);
        if (n < 0) {
            /* Any other failure shows as a closed connection on reading. */
            if (errno == EAGAIN) listen_to(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        c->out_sent += n;
    }
}

static void send_request(struct conn *c, const char *body, size_t n, const char *method_headers) {
    char session[256] = "";
    const char *id = shared ? shared_session : c->session;
    if (!modern && !raw && c->state != INITIALIZE) {
        if (id[0]) snprintf(session, sizeof session, "mcp-session-id: %s\r\n", id);
        strcat(session, "mcp-protocol-version: 2025-11-25\r\n");
    }
    c->out_len = snprintf(c->out, MAX_REQUEST,
                          "POST %s HTTP/1.1\r\nhost: %s:%d\r\naccept: application/json, text/event-stream\r\n"
                          "content-type: application/json\r\n%s%s%scontent-length: %zu\r\n\r\n",
                          path, host, port, headers, session, method_headers, n);
    memcpy(c->out + c->out_len, body, n);
    c->out_len += n;
    c->out_sent = 0;
    c->sent = now();
    flush(c);
}

static void send_call(struct conn *c) {
    static char body[MAX_REQUEST];
    static const char *meta =
        "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\","
        "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"mcpload\",\"version\":\"1\"},"
        "\"io.modelcontextprotocol/clientCapabilities\":{}}";
    char method_headers[256] = "";
    int listing = !strcmp(tool, "tools/list");
    size_t n = sprintf(body, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"%s\",\"params\":{", c->id = ++last_id,
                       listing ? "tools/list" : "tools/call");
    if (!listing)
        n += sprintf(body + n, "\"name\":\"%s\",\"arguments\":{\"%s\":%s}%s", tool, argument, value, modern ? "," : "");
    n += sprintf(body + n, "%s}}", modern ? meta : "");
    if (modern && listing) strcpy(method_headers, "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n");
    else if (modern)
        snprintf(method_headers, sizeof method_headers,
                 "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: %s\r\n", tool);
    send_request(c, body, n, method_headers);
}

static void send_next(struct conn *c) {
    static const char *initialize =
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\","
        "\"capabilities\":{},\"clientInfo\":{\"name\":\"mcpload\",\"version\":\"1\"}}}";
    static const char *initialized = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
    if (stopping) c->state = IDLE;
    else if (c->state == INITIALIZE) send_request(c, initialize, strlen(initialize), "");
    else if (c->state == INITIALIZED) send_request(c, initialized, strlen(initialized), "");
    else send_call(c);
}

static void open_connection(struct conn *c) {
    while ((c->fd = dial(uds, port)) < 0) {
        if (++failed_dials > 50) give_up("nobody listens");
        usleep(20000);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    listen_to(c, EPOLL_CTL_ADD, EPOLLIN);
    c->len = c->head = 0;
}

static int names_our_id(const struct conn *c, const char *body, const char *end) {
    const char *p = body;
    while ((p = memmem(p, end - p, "\"id\"", 4))) {
        p += 4;
        while (p < end && (*p == ' ' || *p == ':' || *p == '"'))
            p++;
        if (p < end && (raw || strtol(p, NULL, 10) == c->id)) return 1;
    }
    return 0;
}

static int is_right(const struct conn *c, const char *body, size_t n) {
    if (c->status != 200 || n < size || !names_our_id(c, body, body + n)) return 0;
    if (memmem(body, n < 400 ? n : 400, "\"error\"", 7) || memmem(body, n, "\"isError\":true", 14)) return 0;
    /* An echoed text stands in the answer as it was sent; a blob of n bytes only has its size. */
    return raw || strcmp(tool, "echo") || memmem(body, n, value, strlen(value));
}

static void take_answer(struct conn *c, size_t total) {
    const char *body = c->in + c->head;
    size_t n = total - c->head;
    if (c->state == INITIALIZE) {
        if (c->status != 200 || !memmem(body, n, "protocolVersion", 15)) error(c, "initialize");
        c->state = INITIALIZED;
        if (shared && !shared_session[0]) strcpy(shared_session, c->session[0] ? c->session : "-");
    } else if (c->state == INITIALIZED) {
        if (c->status / 100 != 2) error(c, "initialized");
        c->state = CALL;
    } else if (is_right(c, body, n)) count_answer(c->sent);
    else error(c, "call");
    memmove(c->in, c->in + total, c->len - total);
    c->len -= total;
    c->head = 0;
    if (c->close_after) {
        close(c->fd);
        open_connection(c);
    }
    send_next(c);
}

/* `line` and `end`: one header line without its CRLF; header values are short, so they are looked at in place. */
static void take_header(struct conn *c, const char *line, const char *end) {
    const char *colon = memchr(line, ':', end - line);
    if (!colon) return;
    const char *start = colon + 1;
    while (start < end && *start == ' ')
        start++;
    if (!strncasecmp(line, "content-length:", 15)) c->content_length = strtoul(start, NULL, 10);
    else if (!strncasecmp(line, "transfer-encoding:", 18)) c->chunked = 1;
    else if (!strncasecmp(line, "connection:", 11) && end - start == 5 && !strncasecmp(start, "close", 5))
        c->close_after = 1;
    else if (!strncasecmp(line, "mcp-session-id:", 15) && !modern && (size_t)(end - start) < sizeof c->session)
        snprintf(c->session, sizeof c->session, "%.*s", (int)(end - start), start);
}

/* 0 while the header block is incomplete. */
static int read_head(struct conn *c) {
    const char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    if (!end) return 0;
    c->head = c->next_chunk = end + 4 - c->in;
    c->status = atoi(c->in + 9);
    c->content_length = 0;
    c->chunked = c->close_after = 0;
    const char *line = memchr(c->in, '\n', c->head);
    while (++line < end + 2) {
        const char *newline = memchr(line, '\n', end + 2 - line);
        take_header(c, line, newline - 1);
        line = newline;
    }
    return 1;
}

/* Length of the whole answer, or 0 while some of it is missing. */
static size_t whole_answer(struct conn *c) {
    if (!c->chunked) return c->len < c->head + c->content_length ? 0 : c->head + c->content_length;
    for (;;) {
        const char *end = memmem(c->in + c->next_chunk, c->len - c->next_chunk, "\r\n", 2);
        if (!end) return 0;
        size_t chunk = strtoul(c->in + c->next_chunk, NULL, 16);
        size_t after = end + 2 - c->in + chunk + 2;
        if (c->len < after) return 0;
        if (chunk == 0) return after;
        c->next_chunk = after;
    }
}

static void reopen(struct conn *c) {
    close(c->fd);
    if (c->state == IDLE) return;
    error(c, "closed before the answer");
    if (c->state == INITIALIZED) c->state = INITIALIZE;
    open_connection(c);
    send_next(c);
}

static void on_readable(struct conn *c) {
    for (;;) {
        if (c->cap - c->len < 65536) c->in = realloc(c->in, c->cap *= 2);
        ssize_t n = read(c->fd, c->in + c->len, c->cap - c->len - 1);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            reopen(c);
            return;
        }
        if (n < 0) return;
        c->len += n;
        c->in[c->len] = 0;
        size_t total;
        while (c->len && (c->head || read_head(c)) && (total = whole_answer(c)))
            take_answer(c, total);
    }
}

static void parse_mode(const char *name) {
    modern = !strcmp(name, "modern");
    raw = !strcmp(name, "raw");
}

static void parse_arguments(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (!strcmp(flag, "--shared")) {
            shared = 1;
            continue;
        }
        if (!strcmp(flag, "--nosession")) {
            no_session = 1;
            continue;
        }
        char *v = i + 1 < argc ? argv[++i] : "";
#define IS(name) (!strcmp(flag, "--" name))
        if (IS("port")) port = atoi(v);
        else if (IS("uds")) uds = v;
        else if (IS("path")) path = v;
        else if (IS("conns")) n_conns = atoi(v);
        else if (IS("secs")) secs = atof(v);
        else if (IS("warm")) warm = atof(v);
        else if (IS("max")) max_calls = strtoull(v, NULL, 10);
        else if (IS("tool")) tool = v;
        else if (IS("arg")) argument = v;
        else if (IS("size")) size = strtoul(v, NULL, 10);
        else if (IS("mode")) parse_mode(v);
        else if (IS("host-header")) host = v;
        else if (IS("header")) sprintf(headers + strlen(headers), "%.1000s\r\n", v);
        else if (IS("pids")) watch_processes(v);
        else {
            fprintf(stderr, "mcpload: unknown option %s\n", flag);
            exit(2);
        }
    }
    if (size > MAX_REQUEST - 65536) {
        fprintf(stderr, "mcpload: --size is at most %d\n", MAX_REQUEST - 65536);
        exit(2);
    }
}

static void build_value(void) {
    value = malloc(size + 64);
    if (!strcmp(argument, "n")) {
        sprintf(value, "%zu", size);
        return;
    }
    memset(value + 1, 'a', size);
    value[0] = value[size + 1] = '"';
    value[size + 2] = 0;
}

static int count(enum state state) {
    int n = 0;
    for (int i = 0; i < n_conns; i++)
        n += conns[i].state == state;
    return n;
}

static void wait_and_serve(void) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, 20);
    for (int i = 0; i < n; i++) {
        struct conn *c = &conns[events[i].data.u32];
        if (events[i].events & EPOLLOUT) {
            flush(c);
            if (c->out_sent == c->out_len) listen_to(c, EPOLL_CTL_MOD, EPOLLIN);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
    }
}

static void open_all(void) {
    int handshake = !modern && !raw && !no_session;
    for (int i = 0; i < n_conns; i++) {
        struct conn *c = &conns[i];
        c->in = malloc(c->cap = 262144);
        c->out = malloc(2 * MAX_REQUEST);
        c->state = handshake ? INITIALIZE : CALL;
        open_connection(c);
        if (handshake && shared && i > 0) c->state = IDLE;
        else send_next(c);
    }
    double patience = now() + 60;
    while (handshake && shared && conns[0].state != CALL && now() < patience)
        wait_and_serve();
    for (int i = 0; i < n_conns; i++)
        if (conns[i].state == IDLE) {
            conns[i].state = CALL;
            send_next(&conns[i]);
        }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    parse_arguments(argc, argv);
    build_value();
    epoll = epoll_create1(0);
    conns = calloc(n_conns, sizeof *conns);
    open_all();
    double patience = now() + 60, warm_until = 0;
    while (!window_is_open() || (window_age() < secs && !(max_calls && answers() >= max_calls))) {
        double t = now();
        if (!warm_until && count(CALL) == n_conns) warm_until = t + warm;
        if (warm_until && !window_is_open() && t >= warm_until) window_open();
        if (!window_is_open() && t > patience + warm) give_up("not every connection got through its handshake");
        wait_and_serve();
    }
    window_close();
    stopping = 1;
    double last = now() + LAST_ANSWERS;
    while (count(IDLE) < n_conns && now() < last)
        wait_and_serve();
    for (int i = count(IDLE); i < n_conns; i++)
        count_error("no answer", "", 0);
    char head[64];
    snprintf(head, sizeof head, "\"conns\":%d,", n_conns);
    return report(head);
}
