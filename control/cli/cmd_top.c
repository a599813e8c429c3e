#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "top.h"
#include "verb.h"

static const char help[] =
	"Usage: sluice top [-b] [-d SECONDS] [-n COUNT] [-s KEY] [-r]\n"
	"\n"
	"Shows what sluiced does, anew every few seconds: by port, worker and program the packets a\n"
	"second, the cycles that each took, verdicts, and by reason what was dropped or lost.\n"
	"\n"
	"Options:\n"
	"  -b            batch mode: plain text to the standard output, for files and other programs\n"
	"  -d SECONDS    time between two looks, 0.1 to 3600 (2)\n"
	"  -n COUNT      end after so many\n"
	"  -s KEY        what rows are sorted by: packets (a second), cycles (a packet), drops, name\n"
	"  -r            the other way round\n"
	"  -h            print this text\n"
	"\n"
	"Keys: q ends it, s takes the next sort key, r turns the order round, + and - change the time,\n"
	"space looks at once, arrows and PgUp, PgDn, Home scroll, Ctrl-L draws all anew.\n"
	"\n"
	"Columns: RX and TX are packets of the workers; DROP what ended at the port, by a program's\n"
	"verdict or for another reason (see DROPS); MISSED what the device had no buffer for or took\n"
	"for broken. BUSY is the part of a worker's rounds that found packets, by time. CYCLES/RUN are\n"
	"measured for bursts and for a sample of single runs. CPU 100% is one CPU. A program that is\n"
	"reached by a tail call is part of its caller's run.\n"
	"\n"
	"Exit status: 0; 1 when the daemon does not answer; 2 for wrong arguments.\n";

struct json_object *sl_top_ask(char *reason)
{
	struct json_object *stats = NULL;

	return sl_daemon_call("stats.get", NULL, NULL, &stats, NULL, reason) == 0 ? stats : NULL;
}

static int parse_delay(const char *text, double *ret)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !isfinite(value) || value * 1000 < SL_TOP_DELAY_MIN_MS ||
		value > SL_TOP_DELAY_MAX_S)
		return sl_cli_usage("a delay is 0.1 to 3600 seconds, not '%s'", text);
	*ret = value;
	return 0;
}

static int parse_count(const char *text, unsigned long *ret)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value == 0)
		return sl_cli_usage("bad count '%s'", text);
	*ret = value;
	return 0;
}

static int parse_sort(const char *text, enum sl_figures_sort *ret)
{
	for (unsigned i = 0; sl_figures_sort_name(i); i++) {
		if (strcmp(sl_figures_sort_name(i), text) == 0) {
			*ret = (enum sl_figures_sort)i;
			return 0;
		}
	}
	return sl_cli_usage("rows are sorted by packets, cycles, drops or name, not '%s'", text);
}

/* 0, an exit status, or -1 to exit with 0. */
static int parse(struct sl_top *top, int argc, char **argv)
{
	static const struct option long_options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
	int option, status = 0;

	optind = 0;
	opterr = 0;
	while (!status &&
		(option = getopt_long(argc, argv, "+:bd:n:s:rh", long_options, NULL)) != -1) {
		switch (option) {
		case 'b':
			top->batch = true;
			break;
		case 'd':
			status = parse_delay(optarg, &top->delay_s);
			break;
		case 'n':
			status = parse_count(optarg, &top->iterations);
			break;
		case 's':
			status = parse_sort(optarg, &top->sort);
			break;
		case 'r':
			top->reverse = true;
			break;
		case 'h':
			fputs(help, stdout);
			return -1;
		case ':':
			return sl_cli_usage("'%s' needs a value", argv[optind - 1]);
		default:
			if (optopt)
				return sl_cli_usage("unknown option '-%c'", optopt);
			return sl_cli_usage("unknown option '%s'", argv[optind - 1]);
		}
	}
	if (!status && optind < argc)
		return sl_cli_usage("unexpected argument '%s'", argv[optind]);
	return status;
}

static void print_line(void *arg, const char *line, bool heading)
{
	(void)arg;
	(void)heading;
	puts(line);
}

static void sleep_for(double seconds)
{
	struct timespec left = { .tv_sec = (time_t)seconds };

	left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

static void print_time(void)
{
	time_t now = time(NULL);
	struct tm tm;
	char text[16];

	strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&now, &tm));
	printf("sluice top - %s\n", text);
}

static int print_one(const struct sl_top *top, struct json_object *before, struct json_object *now)
{
	struct sl_figures figures;

	if (sl_figures_make(&figures, before, now, top->sort, top->reverse) != 0)
		return sl_cli_fail("the daemon's answer makes no sense");
	print_time();
	sl_figures_print(&figures, 200, print_line, NULL);
	puts("");
	sl_figures_done(&figures);
	return fflush(stdout) == 0 ? 0 : sl_cli_fail("cannot write");
}

static int batch(const struct sl_top *top)
{
	char reason[SL_DAEMON_REASON];
	struct json_object *before = sl_top_ask(reason), *now;
	int status = before ? 0 : sl_cli_fail("%s", reason);

	for (unsigned long i = 0; !status && (!top->iterations || i < top->iterations); i++) {
		sleep_for(top->delay_s);
		now = sl_top_ask(reason);
		status = now ? print_one(top, before, now) : sl_cli_fail("%s", reason);
		json_object_put(before);
		before = now;
	}
	json_object_put(before);
	return status;
}

int sl_cmd_top(int argc, char **argv)
{
	struct sl_top top = { .delay_s = 2 };
	/* getopt wants a name before the arguments: the verb, which is there. */
	int status = parse(&top, argc + 1, argv - 1);

	if (status)
		return status < 0 ? 0 : status;
	if (!top.batch && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
		return sl_cli_usage("not a terminal: 'sluice top -b' prints plain text");
	return top.batch ? batch(&top) : sl_top_screen(&top);
}
