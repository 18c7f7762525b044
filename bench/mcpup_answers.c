/* The answers of mcpup: JSON just enough to find a key in a well-formed object, and MCP just enough to be measured. */
#define _GNU_SOURCE
#include "mcpup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESULT "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":"
#define SERVER_INFO "\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"mcpup\",\"version\":\"1\"}}"

static char filler[MAX_PAYLOAD], tools[65536];

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

static const char *skip_string(const char *p, const char *end) {
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\') p++;
    return p < end ? p + 1 : end;
}

static const char *skip_container(const char *p, const char *end) {
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        else if ((*p == '}' || *p == ']') && --depth == 0) return p + 1;
        p++;
    }
    return end;
}

static const char *skip_value(const char *p, const char *end) {
    p = skip_space(p, end);
    if (p < end && *p == '"') return skip_string(p, end);
    if (p < end && (*p == '{' || *p == '[')) return skip_container(p, end);
    while (p < end && *p != ',' && *p != '}' && *p != ']' && *p > ' ')
        p++;
    return p;
}

/* The raw JSON of object[key]; {NULL, 0} when it is not there. */
static struct span member(struct span object, const char *key) {
    const struct span nothing = {NULL, 0};
    const char *end = object.at + object.n;
    if (!object.at) return nothing;
    const char *p = skip_space(object.at, end);
    if (p >= end || *p != '{') return nothing;
    p = skip_space(p + 1, end);
    while (p < end && *p == '"') {
        const char *name = p + 1;
        p = skip_string(p, end);
        size_t n = p - 1 - name;
        p = skip_space(p, end);
        if (p >= end || *p != ':') return nothing;
        const char *value = skip_space(p + 1, end);
        p = skip_value(value, end);
        if (n == strlen(key) && !memcmp(name, key, n)) return (struct span){value, p - value};
        p = skip_space(p, end);
        if (p < end && *p == ',') p = skip_space(p + 1, end);
    }
    return nothing;
}

static int is(struct span s, const char *text) {
    return s.n == strlen(text) && !memcmp(s.at, text, s.n);
}

static size_t wrap_json(char *to, const char *status, const char *extra, const char *body, size_t n) {
    size_t k = sprintf(to, "HTTP/1.1 %s\r\n%s%scontent-length: %zu\r\n\r\n", status,
                       n ? "content-type: application/json\r\n" : "", extra, n);
    memcpy(to + k, body, n);
    return k + n;
}

static size_t wrap_sse(char *to, const char *status, const char *extra, const char *body, size_t n) {
    static const char *event = "event: message\r\ndata: ";
    size_t k = sprintf(to,
                       "HTTP/1.1 %s\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n%s"
                       "transfer-encoding: chunked\r\n\r\n%zx\r\n%s",
                       status, extra, strlen(event) + n + 4, event);
    memcpy(to + k, body, n);
    return k + n + sprintf(to + k + n, "\r\n\r\n\r\n0\r\n\r\n");
}

static size_t call_tool(char *to, struct span id, struct span params, int modern, int *delayed) {
    struct span name = member(params, "name"), arguments = member(params, "arguments");
    struct span text = member(arguments, "text"), size = member(arguments, "n");
    size_t n = sprintf(to, RESULT "{%s\"content\":[{\"type\":\"text\",\"text\":", (int)id.n, id.at,
                       modern ? "\"resultType\":\"complete\"," : "");
    if (is(name, "\"blob\"")) {
        long k = size.at ? strtol(size.at, NULL, 10) : 1024;
        k = k < 0 ? 0 : k > MAX_PAYLOAD ? MAX_PAYLOAD : k;
        to[n++] = '"';
        memcpy(to + n, filler, k);
        n += k;
        to[n++] = '"';
    } else {
        if (!text.at) text = (struct span){"\"\"", 2};
        size_t k = text.n > MAX_PAYLOAD ? MAX_PAYLOAD : text.n;
        memcpy(to + n, text.at, k);
        n += k;
    }
    *delayed = is(name, "\"slow\"");
    return n + sprintf(to + n, "}],\"isError\":false%s%s}}", modern ? "," : "", modern ? SERVER_INFO : "");
}

static size_t initialize(char *to, struct span id, struct span params, char *extra) {
    static unsigned sessions;
    struct span asked = member(params, "protocolVersion");
    char version[] = "2025-11-25";
    /* Dates compare as text; of what is newer than the handshake there is nothing to agree on. */
    if (asked.n == sizeof version + 1 && memcmp(asked.at + 1, version, 10) < 0) memcpy(version, asked.at + 1, 10);
    sprintf(extra, "mcp-session-id: %08x%08x%08x%08x\r\n", (unsigned)random(), (unsigned)random(), (unsigned)getpid(),
            ++sessions);
    return sprintf(to,
                   RESULT
                   "{\"protocolVersion\":\"%s\",\"capabilities\":{\"tools\":{\"listChanged\":false}},"
                   "\"serverInfo\":{\"name\":\"mcpup\",\"version\":\"1\"}}}",
                   (int)id.n, id.at, version);
}

/* The rest, for which the result is a constant; NULL for an unknown method. `method` is still quoted. */
static const char *constant_result(struct span method, int modern) {
    if (is(method, "\"server/discover\""))
        return "\"resultType\":\"complete\",\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}},"
               "\"ttlMs\":0,\"cacheScope\":\"private\"," SERVER_INFO;
    if (is(method, "\"ping\"") || is(method, "\"logging/setLevel\""))
        return modern ? "\"resultType\":\"complete\"" : "";
    if (is(method, "\"resources/list\"")) return "\"resources\":[]";
    if (is(method, "\"resources/templates/list\"")) return "\"resourceTemplates\":[]";
    if (is(method, "\"prompts/list\"")) return "\"prompts\":[]";
    return NULL;
}

static size_t list_tools(char *to, struct span id, int modern) {
    if (!modern) return sprintf(to, RESULT "{\"tools\":%s}}", (int)id.n, id.at, tools);
    return sprintf(
        to,
        RESULT "{\"resultType\":\"complete\",\"tools\":%s,\"ttlMs\":60000,\"cacheScope\":\"private\"," SERVER_INFO "}}",
        (int)id.n, id.at, tools);
}

size_t answer(const struct request *r, int use_sse, char *out, int *delayed) {
    static char body[MAX_BODY];
    char extra[256] = "";
    int sse = 0;
    size_t n;
    struct span id = member(r->body, "id"), method = member(r->body, "method"), params = member(r->body, "params");
    *delayed = 0;
    if (r->session.n && r->session.n < 100 && !r->modern)
        sprintf(extra, "mcp-session-id: %.*s\r\n", (int)r->session.n, r->session.at);
    if (is(r->http_method, "GET")) return wrap_json(out, "405 Method Not Allowed", "allow: POST, DELETE\r\n", "", 0);
    if (is(r->http_method, "DELETE")) return wrap_json(out, "200 OK", extra, "", 0);
    if (!id.at || !method.at)
        return wrap_json(out, id.at || method.at ? "202 Accepted" : "400 Bad Request", extra, "", 0);
    const char *constant = constant_result(method, r->modern);
    if (is(method, "\"tools/call\"")) {
        n = call_tool(body, id, params, r->modern, delayed);
        sse = use_sse;
    } else if (is(method, "\"tools/list\"")) n = list_tools(body, id, r->modern);
    else if (is(method, "\"initialize\"")) n = initialize(body, id, params, extra);
    else if (constant) n = sprintf(body, RESULT "{%s}}", (int)id.n, id.at, constant);
    else {
        n = sprintf(body,
                    "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}",
                    (int)id.n, id.at);
        return wrap_json(out, r->modern ? "404 Not Found" : "200 OK", extra, body, n);
    }
    return sse ? wrap_sse(out, "200 OK", extra, body, n) : wrap_json(out, "200 OK", extra, body, n);
}

void prepare_answers(void) {
    static const char *form =
        "%s{\"name\":\"%s\",\"description\":\"Benchmark tool number %d: returns its text argument unchanged, or n "
        "bytes "
        "of filler.\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\","
        "\"description\":\"text to return\"},\"n\":{\"type\":\"integer\",\"description\":\"number of bytes\"}}}}";
    static const char *named[] = {"echo", "blob", "slow"};
    memset(filler, 'b', sizeof filler);
    size_t n = sprintf(tools, "[");
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%02d", (i + 1) % 100);
        n += sprintf(tools + n, form, i ? "," : "", i < 3 ? named[i] : name, i + 1);
    }
    sprintf(tools + n, "]");
}
