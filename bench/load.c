/* The accounting behind load.h; it knows no protocol. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CORES = 64, MAX_GROUPS = 8, MAX_PIDS = 64, MAX_LATENCIES = 8000000 };

struct group {
    char name[32];
    int pid[MAX_PIDS];
    int pids;
    unsigned long long ns_before, ns_after;
};

static struct group groups[MAX_GROUPS];
static int n_groups;

static double opened, window;
static int measuring;
static double own_before, own_after;
static double busy_before[MAX_CORES], busy_after[MAX_CORES];
static int cores;

static float *latencies;
static size_t n_latencies;
static unsigned long long n_answers, n_errors;
static char first_error[600];

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int dial(const char *uds, int port) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_port = htons(port)};
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sockaddr *address = uds ? (struct sockaddr *)&local : (struct sockaddr *)&loopback;
    socklen_t size = uds ? sizeof local : sizeof loopback;
    int one = 1;
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    if (uds) strncpy(local.sun_path, uds, sizeof local.sun_path - 1);
    else setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, address, size)) {
        close(fd);
        return -1;
    }
    return fd;
}

void watch_processes(const char *name_and_pids) {
    const char *colon = strchr(name_and_pids, ':');
    if (!colon || n_groups == MAX_GROUPS) {
        fprintf(stderr, "--pids wants NAME:pid,pid (at most %d times)\n", MAX_GROUPS);
        exit(2);
    }
    struct group *group = &groups[n_groups++];
    snprintf(group->name, sizeof group->name, "%.*s", (int)(colon - name_and_pids), name_and_pids);
    char *p = (char *)colon + 1;
    while (*p && group->pids < MAX_PIDS) {
        group->pid[group->pids++] = strtol(p, &p, 10);
        if (*p == ',') p++;
        else break;
    }
}

/* CPU nanoseconds of all threads of a process. schedstat and not stat: stat counts in ticks of 10 ms. */
static unsigned long long process_cpu_ns(int pid) {
    char path[400];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) return 0;
    unsigned long long sum = 0;
    struct dirent *task;
    while ((task = readdir(tasks))) {
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task->d_name);
        FILE *file = fopen(path, "r");
        unsigned long long ns = 0;
        if (!file) continue;
        if (fscanf(file, "%llu", &ns) == 1) sum += ns;
        fclose(file);
    }
    closedir(tasks);
    return sum;
}

/* Busy seconds of each core since boot. */
static int cores_busy(double *busy) {
    FILE *file = fopen("/proc/stat", "r");
    char line[512];
    int n = 0;
    while (file && fgets(line, sizeof line, file)) {
        int core;
        unsigned long long user, nice, system, idle, iowait, irq, softirq, steal = 0;
        int fields = sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu %llu", &core, &user, &nice, &system, &idle,
                            &iowait, &irq, &softirq, &steal);
        if (fields < 8 || core >= MAX_CORES) continue;
        busy[core] = (user + nice + system + irq + softirq + steal) / 100.0;
        if (core + 1 > n) n = core + 1;
    }
    if (file) fclose(file);
    return n;
}

static double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double micros = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + micros * 1e-6;
}

static unsigned long long group_ns(const struct group *group) {
    unsigned long long sum = 0;
    for (int i = 0; i < group->pids; i++)
        sum += process_cpu_ns(group->pid[i]);
    return sum;
}

void window_open(void) {
    if (!latencies) latencies = malloc(MAX_LATENCIES * sizeof *latencies);
    for (int i = 0; i < n_groups; i++)
        groups[i].ns_before = group_ns(&groups[i]);
    cores = cores_busy(busy_before);
    own_before = own_cpu();
    measuring = 1;
    opened = now();
}

void window_close(void) {
    if (!measuring) return;
    window = now() - opened;
    measuring = 0;
    for (int i = 0; i < n_groups; i++)
        groups[i].ns_after = group_ns(&groups[i]);
    cores_busy(busy_after);
    own_after = own_cpu();
}

int window_is_open(void) {
    return measuring;
}

double window_age(void) {
    return now() - opened;
}

unsigned long long answers(void) {
    return n_answers;
}

unsigned long long errors(void) {
    return n_errors;
}

void count_answer(double sent) {
    if (!measuring) return;
    n_answers++;
    if (n_latencies < MAX_LATENCIES) latencies[n_latencies++] = (float)((now() - sent) * 1e6);
}

void count_error(const char *why, const void *seen, size_t len) {
    n_errors++;
    if (first_error[0]) return;
    snprintf(first_error, sizeof first_error, "%s: %.*s", why, (int)(len < 300 ? len : 300), (const char *)seen);
    /* The report is JSON and the bytes may be anything. */
    for (char *p = first_error; *p; p++)
        if (*p == '"' || *p == '\\' || *p < ' ' || *p > '~') *p = '\'';
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double q) {
    return n_latencies ? latencies[(size_t)((n_latencies - 1) * q)] : 0;
}

int report(const char *head) {
    double calls = n_answers ? (double)n_answers : 1, secs = window > 0 ? window : 1, mean = 0;
    if (n_latencies) qsort(latencies, n_latencies, sizeof *latencies, ascending);
    for (size_t i = 0; i < n_latencies; i++)
        mean += latencies[i] / n_latencies;
    printf("{%s\"secs\":%.3f,\"n\":%llu,\"errs\":%llu,\"rps\":%.1f", head, window, n_answers, n_errors,
           n_answers / secs);
    printf(",\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f", mean, quantile(.5),
           quantile(.9), quantile(.99), quantile(.999), quantile(1));
    double accounted = own_after - own_before;
    printf(",\"load_cpu_us\":%.2f", accounted * 1e6 / calls);
    for (int i = 0; i < n_groups; i++) {
        double used = (groups[i].ns_after - groups[i].ns_before) * 1e-9;
        accounted += used;
        printf(",\"%s_cpu_us\":%.2f,\"%s_util\":%.3f", groups[i].name, used * 1e6 / calls, groups[i].name, used / secs);
    }
    double busy = 0;
    printf(",\"cores\":[");
    for (int i = 0; i < cores; i++) {
        busy += busy_after[i] - busy_before[i];
        printf("%s%.2f", i ? "," : "", (busy_after[i] - busy_before[i]) / secs);
    }
    /* foreign: CPUs' worth of work by processes that are not part of the measurement. */
    printf("],\"foreign\":%.3f", (busy - accounted) / secs);
    if (n_errors) printf(",\"lasterr\":\"%s\"", first_error);
    printf("}\n");
    return n_errors ? 5 : 0;
}
