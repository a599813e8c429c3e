#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "verb.h"

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const struct sl_verb verbs[] = {
	{ "run", "run a program with its bpf(2) answered by sluiced, or by a Sluice of its own",
		sl_cmd_run },
	{ "port", "add, remove, show and change ports", sl_cmd_port },
	{ "tunnel", "add, remove and show tunnels over ports", sl_cmd_tunnel },
	{ "ip", "set routes and neighbours of ports without a kernel twin", sl_cmd_ip },
	{ "top", "show packets, cycles, verdicts and drops as they happen", sl_cmd_top },
	{ "stats", "print what sluiced has counted", sl_cmd_stats },
	{ "trace", "show the paths of packets, a line each", sl_cmd_trace },
	{ "capture", "write packets, with their verdicts, to a pcapng file", sl_cmd_capture },
	{ "log", "show what programs print with bpf_printk", sl_cmd_log },
	{ "prog", "show what a program is made of", sl_cmd_prog },
	{ "jump", "replace programs in jump tables and at hooks as one", sl_cmd_jump },
	{ "pin", "show and remove pins", sl_cmd_pin },
	{ "map", "read and write a map", sl_cmd_map },
	{ "exec", "run a command with maps open", sl_cmd_exec },
	{ "agent", "hold maps, and hand them out", sl_cmd_agent },
	{ "forward", "run ports and workers without a daemon", sl_cmd_forward },
	{ "demo", "classify a capture while the jump table changes", sl_cmd_demo },
	{ "version", "print the version", cmd_version },
	{ "help", "print this list, or with a verb what it takes", cmd_help },
};

enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static void report(const char *fmt, va_list args)
{
	fputs("sluice: ", stderr);
	vfprintf(stderr, fmt, args);
}

int sl_cli_usage(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	report(fmt, args);
	va_end(args);
	fputs(" (try 'sluice help')\n", stderr);
	return SL_EXIT_USAGE;
}

int sl_cli_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	report(fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return 1;
}

bool sl_cli_helps(int argc, char **argv, const char *text)
{
	if (argc < 1 || (strcmp(argv[0], "--help") != 0 && strcmp(argv[0], "-h") != 0))
		return false;
	fputs(text, stdout);
	return true;
}

static const struct sl_verb *find_verb(const char *name)
{
	for (unsigned i = 0; i < VERBS; i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

static int cmd_help(int argc, char **argv)
{
	static char option[] = "--help";
	char *asks_for_help[] = { option, NULL };
	const struct sl_verb *verb;

	if (argc > 0) {
		verb = find_verb(argv[0]);
		return verb ? verb->run(1, asks_for_help)
			    : sl_cli_usage("unknown verb '%s'", argv[0]);
	}
	puts("Usage: sluice VERB [ARGUMENTS]\n\nVerbs ('sluice help VERB' tells more):");
	for (unsigned i = 0; i < VERBS; i++)
		printf("  %-10s%s\n", verbs[i].name, verbs[i].summary);
	return 0;
}

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("sluice " SLUICE_VERSION);
	return 0;
}

/* The options that every command has, as verbs. */
static const char *verb_name(const char *arg)
{
	if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
		return "help";
	if (strcmp(arg, "--version") == 0 || strcmp(arg, "-V") == 0)
		return "version";
	return arg;
}

int main(int argc, char **argv)
{
	const struct sl_verb *verb;

	if (argc < 2)
		return sl_cli_usage("no verb given");
	verb = find_verb(verb_name(argv[1]));
	return verb ? verb->run(argc - 2, argv + 2) : sl_cli_usage("unknown verb '%s'", argv[1]);
}
