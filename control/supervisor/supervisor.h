#pragma once

/*
 * `sluice run --seccomp`: what a program asks of bpf(2), perf_event_open(2) and rtnetlink is answered
 * by a supervisor, a process beside it, through seccomp's user notification. It needs nothing of the
 * program: static binaries and such as make their system calls themselves are served too, and
 * whatever they start.
 */
struct sl_supervisor_options {
	char *const *argv; /* the command; argv[0] is searched for in PATH */
	/* Prints one line on stderr. */
	int (*fail)(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
};

/*
 * Runs the command to its end. Returns its exit status, 126 or 127 when it cannot be executed, 1 when
 * it cannot be supervised; does not return when it died of a signal, but dies of the same. To be
 * called with one thread. The supervisor stays as long as there is a process it is there for.
 */
int sl_supervisor_run(const struct sl_supervisor_options *options);
