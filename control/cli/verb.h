#pragma once

#include <stdbool.h>

/*
 * One row per verb of the command. A verb lives in a file of its own, cmd_NAME.c, and gets the
 * arguments after its name; it returns the exit status: 0, 1 for a failure that it has reported in
 * one line on stderr, or SL_EXIT_USAGE.
 */
struct sl_verb {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
};

enum { SL_EXIT_USAGE = 2, SL_EXIT_CANNOT_EXECUTE = 126, SL_EXIT_NOT_FOUND = 127 };

/* Prints "sluice: <message>" and a hint at the help; returns SL_EXIT_USAGE. */
int sl_cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints "sluice: <message>"; returns 1. */
int sl_cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int sl_cmd_agent(int argc, char **argv);
/* Whether the first argument asks for help, which is then printed. */
bool sl_cli_helps(int argc, char **argv, const char *text);

int sl_cmd_capture(int argc, char **argv);
int sl_cmd_demo(int argc, char **argv);
int sl_cmd_exec(int argc, char **argv);
int sl_cmd_forward(int argc, char **argv);
int sl_cmd_ip(int argc, char **argv);
int sl_cmd_jump(int argc, char **argv);
int sl_cmd_log(int argc, char **argv);
int sl_cmd_map(int argc, char **argv);
int sl_cmd_pin(int argc, char **argv);
int sl_cmd_port(int argc, char **argv);
int sl_cmd_prog(int argc, char **argv);
int sl_cmd_run(int argc, char **argv);
int sl_cmd_stats(int argc, char **argv);
int sl_cmd_top(int argc, char **argv);
int sl_cmd_trace(int argc, char **argv);
int sl_cmd_tunnel(int argc, char **argv);
