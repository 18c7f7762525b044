/* mcpup: a fast MCP Streamable HTTP server to measure proxies against (one thread, epoll). It speaks 2025-11-25
 * (initialize, Mcp-Session-Id) and 2026-07-28 (stateless, server/discover, resultType), chosen for each request by its
 * MCP-Protocol-Version header. It validates nothing: only well-formed input may reach it.
 * Usage: mcpup PORT [--sse] [--delay-ms N]
 * Tools: echo{text} gives text back; blob{n} gives n bytes; slow{text} gives text after the delay (50 ms); t04…t20
 * echo.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mcpup.h"

enum { MAX_FD = 65536, MAX_HEAD = 65536 };

struct conn {
    int fd;
    unsigned generation; /* tells a reused fd from the one a delayed answer was meant for */
    char *in, *out;
    size_t len, cap, out_len, out_sent, out_cap;
    int armed;
    int waiting; /* a delayed answer is due first: HTTP/1.1 answers in order */
};

struct delayed {
    double due;
    int fd;
    unsigned generation;
    char *answer;
    size_t n;
};

static struct conn *conns[MAX_FD];
static unsigned generations;
static int epoll, use_sse, one = 1;

/* A ring in order of arrival, which is the order of `due`: the delay is the same for all. */
static struct delayed *queue;
static size_t queue_head, queue_tail, queue_cap;
static double delay = 0.050;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void enqueue(struct conn *c, const char *data, size_t n) {
    if (c->out_len + n > c->out_cap) c->out = realloc(c->out, c->out_cap = (c->out_len + n) * 2);
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
}

static void listen_to(int operation, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll, operation, fd, &event);
}

static int flush(struct conn *c) {
    while (c->out_sent < c->out_len) {
        ssize_t n = write(c->fd, c->out + c->out_sent, c->out_len - c->out_sent);
        if (n < 0 && errno != EAGAIN) return -1;
        if (n < 0) {
            if (!c->armed) listen_to(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT);
            c->armed = 1;
            return 0;
        }
        c->out_sent += n;
    }
    c->out_len = c->out_sent = 0;
    if (c->armed) listen_to(EPOLL_CTL_MOD, c->fd, EPOLLIN);
    c->armed = 0;
    return 0;
}

static void drop(struct conn *c) {
    conns[c->fd] = NULL;
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void postpone(const struct conn *c, const char *answer, size_t n) {
    if (queue_tail - queue_head >= queue_cap) {
        size_t cap = queue_cap ? queue_cap * 2 : 4096;
        struct delayed *larger = malloc(cap * sizeof *larger);
        for (size_t i = queue_head; i < queue_tail; i++)
            larger[i % cap] = queue[i % queue_cap];
        free(queue);
        queue = larger;
        queue_cap = cap;
    }
    struct delayed *d = &queue[queue_tail++ % queue_cap];
    *d = (struct delayed){now() + delay, c->fd, c->generation, malloc(n), n};
    memcpy(d->answer, answer, n);
}

/* Decodes a chunked body. Returns the bytes it took, 0 while some are missing, -1 when it is too large. */
static long unchunk(const char *p, size_t have, struct span *body) {
    static char decoded[MAX_BODY];
    size_t n = 0, taken = 0;
    for (;;) {
        const char *end = memmem(p + taken, have - taken, "\r\n", 2);
        if (!end) return 0;
        size_t chunk = strtoul(p + taken, NULL, 16), start = end - p + 2;
        if (n + chunk > sizeof decoded) return -1;
        if (have < start + chunk + 2) return 0;
        memcpy(decoded + n, p + start, chunk);
        n += chunk;
        taken = start + chunk + 2;
        if (chunk == 0) break;
    }
    *body = (struct span){decoded, n};
    return taken;
}

/* Answers the request at `p`. Returns the bytes it took, 0 while some are missing, -1 when it is none. */
static long take_request(struct conn *c, char *p, size_t len) {
    struct request r = {0};
    size_t content_length = 0;
    int chunked = 0;
    char *end = memmem(p, len, "\r\n\r\n", 4);
    if (!end) return len > MAX_HEAD ? -1 : 0;
    char *space = memchr(p, ' ', end - p);
    if (!space) return -1;
    r.http_method = (struct span){p, space - p};
    for (char *line = (char *)memchr(p, '\n', end + 2 - p) + 1, *newline; line < end + 2; line = newline + 1) {
        newline = memchr(line, '\n', end + 2 - line);
        char *value = memchr(line, ':', newline - line);
        if (!value) return -1;
        do
            value++;
        while (*value == ' ');
        if (!strncasecmp(line, "content-length:", 15)) content_length = strtoul(value, NULL, 10);
        else if (!strncasecmp(line, "transfer-encoding:", 18))
            chunked = memmem(value, newline - value, "chunked", 7) != NULL;
        else if (!strncasecmp(line, "mcp-protocol-version:", 21)) r.modern = !strncmp(value, "2026-07-28", 10);
        else if (!strncasecmp(line, "mcp-session-id:", 15)) r.session = (struct span){value, newline - 1 - value};
    }
    char *body = end + 4;
    size_t have = len - (body - p);
    long taken = content_length;
    r.body = (struct span){body, content_length};
    if (chunked) {
        taken = unchunk(body, have, &r.body);
        if (taken <= 0) return taken;
    } else if (have < content_length) return 0;
    static char out[MAX_BODY + 1024];
    size_t n = answer(&r, use_sse, out, &c->waiting);
    c->waiting = c->waiting && delay > 0;
    if (c->waiting) postpone(c, out, n);
    else enqueue(c, out, n);
    return body - p + taken;
}

static int serve(struct conn *c) {
    size_t taken = 0;
    while (taken < c->len && !c->waiting) {
        long n = take_request(c, c->in + taken, c->len - taken);
        if (n < 0) return -1;
        if (n == 0) break;
        taken += n;
    }
    memmove(c->in, c->in + taken, c->len - taken);
    c->len -= taken;
    return flush(c);
}

static void on_readable(struct conn *c) {
    int dead = 0;
    for (;;) {
        if (c->cap - c->len < 8192) c->in = realloc(c->in, c->cap *= 2);
        ssize_t n = read(c->fd, c->in + c->len, c->cap - c->len);
        if (n <= 0) {
            dead = n == 0 || errno != EAGAIN;
            break;
        }
        c->len += n;
        if (c->len < c->cap) break;
    }
    if (dead || serve(c) < 0) drop(c);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = conns[fd] = calloc(1, sizeof *c);
        c->fd = fd;
        c->generation = ++generations;
        c->in = malloc(c->cap = 16384);
        listen_to(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void send_due(void) {
    while (queue_head < queue_tail && queue[queue_head % queue_cap].due <= now() + 1e-5) {
        struct delayed *d = &queue[queue_head++ % queue_cap];
        struct conn *c = conns[d->fd];
        if (c && c->generation == d->generation) {
            c->waiting = 0;
            enqueue(c, d->answer, d->n);
            if (serve(c) < 0) drop(c);
        }
        free(d->answer);
    }
}

static int milliseconds_to_due(void) {
    if (queue_head == queue_tail) return -1;
    double left = queue[queue_head % queue_cap].due - now();
    return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 9000;
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--sse")) use_sse = 1;
        else if (!strcmp(argv[i], "--delay-ms") && i + 1 < argc) delay = atof(argv[++i]) / 1000;
    }
    signal(SIGPIPE, SIG_IGN);
    srandom(time(NULL));
    prepare_answers();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 4096)) {
        perror("bind");
        return 1;
    }
    epoll = epoll_create1(0);
    listen_to(EPOLL_CTL_ADD, listener, EPOLLIN);
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(epoll, events, 256, milliseconds_to_due());
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            struct conn *c = conns[fd];
            if (c && (events[i].events & EPOLLOUT) && flush(c) < 0) {
                drop(c);
                continue;
            }
            if (c && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_readable(c);
        }
        send_due();
    }
}
