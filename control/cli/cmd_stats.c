#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon.h"
#include "figures.h"
#include "verb.h"

static const char help[] =
	"Usage: sluice stats [--json]\n"
	"\n"
	"Prints what sluiced has counted since it was started: packets, verdicts and drops by port,\n"
	"the workers' time, runs of programs, events that were lost. 'sluice top' shows the same per\n"
	"second, as it happens.\n"
	"\n"
	"Options:\n"
	"  --json    all figures, as one JSON object: ports, workers, programs, maps, totals.\n"
	"            A 'time_ns' (of CLOCK_MONOTONIC) says when, for rates between two of them\n"
	"  --help    print this text\n"
	"\n"
	"Counters of a port, program or map go with it; 'totals' has those of former ports, too.\n"
	"Exit status: 0; 1 when the daemon does not answer; 2 for wrong arguments.\n";

static void print_line(void *arg, const char *line, bool heading)
{
	(void)arg;
	(void)heading;
	puts(line);
}

static unsigned width(void)
{
	struct winsize size;

	/* Into a file nothing is cut. */
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		return 500;
	return size.ws_col;
}

static int print_tables(struct json_object *stats)
{
	struct sl_figures figures;
	int err = sl_figures_make(&figures, NULL, stats, SL_SORT_PACKETS, false);

	if (err)
		return sl_cli_fail("the daemon's answer makes no sense");
	sl_figures_print(&figures, width(), print_line, NULL);
	sl_figures_done(&figures);
	return 0;
}

int sl_cmd_stats(int argc, char **argv)
{
	char reason[SL_DAEMON_REASON];
	struct json_object *stats = NULL;
	bool json = argc == 1 && strcmp(argv[0], "--json") == 0;
	int status = 0;

	if (argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
		fputs(help, stdout);
		return 0;
	}
	if (argc && !json)
		return sl_cli_usage("stats takes nothing but --json, not '%s'",
			strcmp(argv[0], "--json") == 0 ? argv[1] : argv[0]);
	if (sl_daemon_call("stats.get", NULL, NULL, &stats, NULL, reason) != 0)
		return sl_cli_fail("%s", reason);
	if (json)
		puts(json_object_to_json_string_ext(
			stats, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		status = print_tables(stats);
	json_object_put(stats);
	if (!status && (fflush(stdout) != 0 || ferror(stdout)))
		return sl_cli_fail("cannot write");
	return status;
}
