/* grpcload: closed-loop load on the sidecar's unary gRPC method Call, HTTP/2 by hand (one thread, epoll). --inflight
 * calls are spread over --conns connections; each sends CallRequest{server, message_json = a tools/call}. An answer
 * counts only if one complete gRPC message that holds the payload came before END_STREAM (an error has no message).
 * It knows as much HTTP/2 as that takes: SETTINGS, PING, flow control, no HPACK decoding, no padding.
 * Usage: grpcload --port P | --uds PATH  [--method /package.Service/Method] [--server up] [--tool echo] [--conns K]
 *        [--inflight N] [--secs S] [--warm S] [--max CALLS] [--size BYTES] [--pids NAME:pid,pid]
 *   --tool blob asks for BYTES bytes of filler, any other tool gets BYTES of text and has to send it back
 * Prints one JSON line; exits 0, or 5 when an answer was wrong or missing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

enum frame_type { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { FRAME_HEAD = 9, MESSAGE_HEAD = 5, SLOTS = 4096, MAX_ERRORS = 1000, REPLENISH = 1 << 24 };

/* Seconds that answers may still take after the window is over; what has not come then is lost. */
static const double LAST_ANSWERS = 5;

struct bytes {
    uint8_t *at;
    size_t len, cap;
};

struct call {
    uint32_t stream; /* 0: the slot is free */
    double sent;
    struct bytes message;
};

struct conn {
    int fd, armed;
    uint32_t next_stream;
    struct bytes in, out;
    size_t out_sent, unacknowledged;
    struct call calls[SLOTS];
};

static struct conn *conns;
static int epoll, n_conns = 1, in_flight = 1, waiting, port = 15051, stopping;
static const char *uds, *method = "/mcp_sidecar.v1.MCPEngine/Call", *tool = "echo", *server = "up";
static size_t size = 200;
static double secs = 3, warm = 1;
static unsigned long long max_calls;
static struct bytes headers, message;
static char *payload; /* what a right answer holds */

static void append(struct bytes *to, const void *data, size_t n) {
    if (to->len + n > to->cap) to->at = realloc(to->at, to->cap = (to->len + n) * 2);
    memcpy(to->at + to->len, data, n);
    to->len += n;
}

static void append_byte(struct bytes *to, uint8_t byte) {
    append(to, &byte, 1);
}

static void big_endian(uint8_t *to, uint32_t n) {
    to[0] = n >> 24;
    to[1] = n >> 16;
    to[2] = n >> 8;
    to[3] = n;
}

static void give_up(const char *why) {
    window_close();
    fprintf(stderr, "grpcload: %s\n", why);
    report("");
    exit(4);
}

static void error(const char *why, const void *seen, size_t n) {
    count_error(why, seen, n);
    if (errors() > MAX_ERRORS) give_up("too many errors");
}

static void send_frame(struct conn *c, enum frame_type type, int flags, uint32_t stream, const void *data, size_t n) {
    uint8_t head[FRAME_HEAD] = {n >> 16, n >> 8, n, type, flags};
    big_endian(head + 5, stream);
    append(&c->out, head, sizeof head);
    append(&c->out, data, n);
}

static void listen_to(struct conn *c, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.u32 = c - conns};
    epoll_ctl(epoll, operation, c->fd, &event);
    c->armed = (events & EPOLLOUT) != 0;
}

static void flush(struct conn *c) {
    while (c->out_sent < c->out.len) {
        ssize_t n = write(c->fd, c->out.at + c->out_sent, c->out.len - c->out_sent);
        if (n < 0) {
            /* Any other failure shows as a closed connection on reading. */
            if (errno == EAGAIN && !c->armed) listen_to(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        c->out_sent += n;
    }
    c->out.len = c->out_sent = 0;
    if (c->armed) listen_to(c, EPOLL_CTL_MOD, EPOLLIN);
}

static struct call *slot(struct conn *c, uint32_t stream) {
    return &c->calls[stream / 2 % SLOTS];
}

static void send_call(struct conn *c) {
    struct call *call = slot(c, c->next_stream);
    if (call->stream) give_up("more calls in flight than slots");
    call->stream = c->next_stream;
    call->message.len = 0;
    call->sent = now();
    c->next_stream += 2;
    waiting++;
    send_frame(c, HEADERS, END_HEADERS, call->stream, headers.at, headers.len);
    send_frame(c, DATA, END_STREAM, call->stream, message.at, message.len);
}

static int is_right(const struct bytes *answer) {
    if (answer->len < MESSAGE_HEAD) return 0;
    const uint8_t *head = answer->at;
    size_t length = (size_t)head[1] << 24 | head[2] << 16 | head[3] << 8 | head[4];
    return head[0] == 0 && length == answer->len - MESSAGE_HEAD &&
           memmem(head + MESSAGE_HEAD, length, payload, strlen(payload)) &&
           memmem(head + MESSAGE_HEAD, length, "\"id\":1", 6) &&
           !memmem(head + MESSAGE_HEAD, length, "\"isError\":true", 14);
}

static void end_call(struct conn *c, struct call *call, const char *failure) {
    if (failure) error(failure, "", 0);
    else if (is_right(&call->message)) count_answer(call->sent);
    else error("call", call->message.at, call->message.len);
    call->stream = 0;
    waiting--;
    if (!stopping) send_call(c);
}

static void take_data(struct conn *c, struct call *call, const uint8_t *data, size_t n) {
    uint8_t credit[4];
    append(&call->message, data, n);
    c->unacknowledged += n;
    if (c->unacknowledged < REPLENISH) return;
    big_endian(credit, c->unacknowledged);
    send_frame(c, WINDOW_UPDATE, 0, 0, credit, sizeof credit);
    c->unacknowledged = 0;
}

static void take_frame(struct conn *c, const uint8_t *data, size_t n, int type, int flags, uint32_t stream) {
    if (type == SETTINGS && !(flags & ACK)) send_frame(c, SETTINGS, ACK, 0, "", 0);
    else if (type == PING && !(flags & ACK)) send_frame(c, PING, ACK, 0, data, n);
    else if (type == GOAWAY) error("GOAWAY", data, n);
    struct call *call = slot(c, stream);
    if (!stream || call->stream != stream) return;
    if (type == DATA) take_data(c, call, data, n);
    if (type == RST_STREAM) end_call(c, call, "RST_STREAM");
    else if ((type == DATA || type == HEADERS) && (flags & END_STREAM)) end_call(c, call, NULL);
}

static void on_readable(struct conn *c) {
    ssize_t n = read(c->fd, c->in.at + c->in.len, c->in.cap - c->in.len);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        error("connection closed", "", 0);
        give_up("connection closed");
    }
    if (n < 0) return;
    c->in.len += n;
    size_t taken = 0;
    while (c->in.len - taken >= FRAME_HEAD) {
        const uint8_t *head = c->in.at + taken;
        size_t length = head[0] << 16 | head[1] << 8 | head[2];
        uint32_t stream = (uint32_t)(head[5] & 0x7f) << 24 | head[6] << 16 | head[7] << 8 | head[8];
        if (FRAME_HEAD + length > c->in.cap) give_up("frame of over 1 MiB");
        if (c->in.len - taken < FRAME_HEAD + length) break;
        take_frame(c, head + FRAME_HEAD, length, head[3], head[4], stream);
        taken += FRAME_HEAD + length;
    }
    memmove(c->in.at, c->in.at + taken, c->in.len - taken);
    c->in.len -= taken;
    flush(c);
}

static void append_varint(struct bytes *to, size_t n) {
    for (; n > 127; n >>= 7)
        append_byte(to, (n & 127) | 128);
    append_byte(to, n);
}

/* A protobuf field of wire type 2 (length-delimited). */
static void append_field(struct bytes *to, int number, const void *data, size_t n) {
    append_byte(to, number << 3 | 2);
    append_varint(to, n);
    append(to, data, n);
}

static void build_message(void) {
    static const char *form =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\",\"arguments\":{\"%s\":%s},"
        "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\","
        "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"grpcload\",\"version\":\"1\"},"
        "\"io.modelcontextprotocol/clientCapabilities\":{}}}}";
    int blob = !strcmp(tool, "blob");
    char number[32], *json;
    payload = malloc(size + 3);
    memset(payload + 1, blob ? 'b' : 'a', size);
    payload[0] = payload[size + 1] = '"';
    payload[size + 2] = 0;
    snprintf(number, sizeof number, "%zu", size);
    int n = asprintf(&json, form, tool, blob ? "n" : "text", blob ? number : payload);
    struct bytes request = {0};
    append_field(&request, 1, server, strlen(server));
    append_field(&request, 2, json, n);
    uint8_t head[MESSAGE_HEAD] = {0};
    big_endian(head + 1, request.len);
    append(&message, head, sizeof head);
    append(&message, request.at, request.len);
    free(request.at);
    free(json);
}

static void append_string(const char *s) {
    append_byte(&headers, strlen(s));
    append(&headers, s, strlen(s));
}

static void append_header(const char *name, const char *value) {
    append_byte(&headers, 0); /* literal, not indexed: the server keeps no state for us, as RFC 7541 §6.2.2 */
    append_string(name);
    append_string(value);
}

static void build_headers(void) {
    append_byte(&headers, 0x83); /* static table: :method POST */
    append_byte(&headers, 0x86); /* :scheme http */
    append_byte(&headers, 0x04); /* :path, literal value */
    append_string(method);
    append_byte(&headers, 0x01); /* :authority, literal value */
    append_string("localhost");
    append_header("content-type", "application/grpc");
    append_header("te", "trailers");
    append_header("user-agent", "grpcload/1");
}

static void open_connection(struct conn *c) {
    static const char *preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /* Windows so large that only the connection's ever needs an update; frames of up to 16 MiB - 1 allowed. */
    static const uint8_t settings[12] = {0, 4, 0x7f, 0xff, 0xff, 0xff, 0, 5, 0, 0xff, 0xff, 0xff};
    static const uint8_t window[4] = {0x3f, 0xff, 0, 0};
    c->fd = dial(uds, port);
    if (c->fd < 0) give_up("nobody listens");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    listen_to(c, EPOLL_CTL_ADD, EPOLLIN);
    c->in.at = malloc(c->in.cap = 1 << 20);
    c->next_stream = 1;
    append(&c->out, preface, strlen(preface));
    send_frame(c, SETTINGS, 0, 0, settings, sizeof settings);
    send_frame(c, WINDOW_UPDATE, 0, 0, window, sizeof window);
    flush(c);
}

static void parse_arguments(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        char *v = i + 1 < argc ? argv[++i] : "";
#define IS(name) (!strcmp(flag, "--" name))
        if (IS("port")) port = atoi(v);
        else if (IS("uds")) uds = v;
        else if (IS("method")) method = v;
        else if (IS("server")) server = v;
        else if (IS("tool")) tool = v;
        else if (IS("conns")) n_conns = atoi(v);
        else if (IS("inflight")) in_flight = atoi(v);
        else if (IS("secs")) secs = atof(v);
        else if (IS("warm")) warm = atof(v);
        else if (IS("max")) max_calls = strtoull(v, NULL, 10);
        else if (IS("size")) size = strtoul(v, NULL, 10);
        else if (IS("pids")) watch_processes(v);
        else {
            fprintf(stderr, "grpcload: unknown option %s\n", flag);
            exit(2);
        }
    }
    if (strlen(method) > 126 || n_conns < 1) {
        fprintf(stderr, "grpcload: --method is at most 126 bytes long, --conns at least 1\n");
        exit(2);
    }
}

static void wait_and_serve(void) {
    struct epoll_event events[64];
    int n = epoll_wait(epoll, events, 64, 20);
    for (int i = 0; i < n; i++) {
        struct conn *c = &conns[events[i].data.u32];
        if (events[i].events & EPOLLOUT) flush(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    parse_arguments(argc, argv);
    build_headers();
    build_message();
    epoll = epoll_create1(0);
    conns = calloc(n_conns, sizeof *conns);
    for (int i = 0; i < n_conns; i++)
        open_connection(&conns[i]);
    usleep(50000); /* lets the server's SETTINGS arrive first, as a real client would wait for them */
    for (int i = 0; i < in_flight; i++)
        send_call(&conns[i % n_conns]);
    for (int i = 0; i < n_conns; i++)
        flush(&conns[i]);
    double warm_until = now() + warm;
    while (!window_is_open() || (window_age() < secs && !(max_calls && answers() >= max_calls))) {
        if (!window_is_open() && now() >= warm_until) window_open();
        wait_and_serve();
    }
    window_close();
    stopping = 1;
    double last = now() + LAST_ANSWERS;
    while (waiting && now() < last)
        wait_and_serve();
    for (int i = 0; i < waiting; i++)
        error("no answer", "", 0);
    char head[64];
    snprintf(head, sizeof head, "\"conns\":%d,\"inflight\":%d,", n_conns, in_flight);
    return report(head);
}
