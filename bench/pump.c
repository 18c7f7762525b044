/* pump: the cheapest possible proxy on kernel sockets, the floor under every other figure: one upstream connection per
 * client connection, bytes copied both ways. It parses nothing.
 * Usage: pump PORT UPSTREAM_PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 65536 };

static int peer[MAX_FD];
static int epoll, one = 1;

static void follow(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void join(int client, const struct sockaddr_in *upstream) {
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (client >= MAX_FD || server >= MAX_FD || connect(server, (const void *)upstream, sizeof *upstream)) {
        close(server);
        close(client);
        return;
    }
    fcntl(server, F_SETFL, O_NONBLOCK);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    peer[client] = server;
    peer[server] = client;
    follow(client);
    follow(server);
}

static void copy(int from) {
    static char bytes[1 << 18];
    int to = peer[from];
    if (to < 0) return;
    ssize_t n = read(from, bytes, sizeof bytes);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        peer[from] = peer[to] = -1;
        close(from);
        close(to);
        return;
    }
    for (ssize_t sent = 0; sent < n;) {
        ssize_t w = write(to, bytes + sent, n - sent);
        if (w >= 0) sent += w;
        else if (errno == EAGAIN)
            /* A buffer per connection would be the right thing for a proxy; a floor is never slowed by its reader. */
            usleep(50);
        else break;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: pump PORT UPSTREAM_PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sockaddr_in upstream = here;
    upstream.sin_port = htons(atoi(argv[2]));
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 4096)) {
        perror("bind");
        return 1;
    }
    epoll = epoll_create1(0);
    follow(listener);
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, client;
            if (fd != listener) copy(fd);
            else
                while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
                    join(client, &upstream);
        }
    }
}
