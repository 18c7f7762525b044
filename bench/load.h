/* load: what both load generators share: clock, dialling, CPU accounting, latencies and the one-line JSON report.
 * It knows no protocol. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H
#include <stddef.h>

/* Seconds on the monotonic clock. */
double now(void);

/* A connected blocking socket to 127.0.0.1:port, or to the unix socket `uds` unless it is NULL; -1 on failure. */
int dial(const char *uds, int port);

/* "NAME:pid,pid": account for the CPU time of these processes in the report as NAME_cpu_us and NAME_util. */
void watch_processes(const char *name_and_pids);

/* The measured window. Answers outside it count as errors when they are wrong and as nothing when they are right. */
void window_open(void);
void window_close(void);
int window_is_open(void);
double window_age(void);

void count_answer(double sent);
/* The first error is quoted in the report, with the `len` bytes at `seen` that caused it. */
void count_error(const char *why, const void *seen, size_t len);
unsigned long long answers(void);
unsigned long long errors(void);

/* Prints the JSON line: `head` ("\"conns\":1,") goes first. Returns the exit code: 0, or 5 when an answer was wrong. */
int report(const char *head);
#endif
