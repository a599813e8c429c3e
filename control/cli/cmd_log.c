#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "verb.h"

static const char help[] =
	"Usage: sluice log [--no-follow]\n"
	"\n"
	"Shows what the daemon's programs print with bpf_trace_printk (bpf_printk), in the words of the\n"
	"kernel's trace_pipe: the last 256 lines, and then what comes, until SIGINT.\n"
	"\n"
	"  --no-follow   end after the lines that are there\n"
	"  -h, --help    this text\n"
	"\n"
	"Workers wait for nobody: lines that find no room are lost, and counted in a line of their own,\n"
	"'CPU:N [LOST M EVENTS]'.\n"
	"\n"
	"Exit status: 0; 1 when the daemon failed or ended; 2 for wrong arguments. Only root and the\n"
	"daemon's own user may read.\n";

/* 0: until the end; 1: a failure that is said; -1: --help. */
static int parse(int argc, char **argv, bool *ret_follow)
{
	static const struct option options[] = {
		{ "no-follow", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option;

	argc++;
	argv--;
	optind = 0;
	opterr = 0;
	*ret_follow = true;
	while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			return -1;
		}
		if (option == '?')
			return sl_cli_usage("log: bad option '%s'", argv[optind - 1]);
		*ret_follow = false;
	}
	return optind < argc ? sl_cli_usage("log: unexpected argument '%s'", argv[optind]) : 0;
}

static int copy(int fd)
{
	char line[4096];
	ssize_t n;

	while ((n = read(fd, line, sizeof(line))) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		if (fwrite(line, 1, (size_t)n, stdout) != (size_t)n || fflush(stdout) != 0)
			return sl_cli_fail("log: cannot write: %s", strerror(errno));
	}
	return n < 0 ? sl_cli_fail("log: %s", strerror(errno)) : 0;
}

int sl_cmd_log(int argc, char **argv)
{
	struct sl_daemon_fds fds = { .count = 0 };
	struct json_object *params;
	char reason[SL_DAEMON_REASON];
	bool follow;
	int status = parse(argc, argv, &follow);

	if (status)
		return status < 0 ? 0 : status;
	params = json_object_new_object();
	json_object_object_add(params, "follow", json_object_new_boolean(follow));
	if (sl_daemon_call("log.open", params, NULL, NULL, &fds, reason) != 0)
		return sl_cli_fail("log: %s", reason);
	if (fds.count != 1)
		return sl_cli_fail("log: the daemon's answer makes no sense");
	status = copy(fds.fds[0]);
	close(fds.fds[0]);
	/* Only the daemon's end ends it. */
	return !status && follow ? sl_cli_fail("log: the daemon has gone") : status;
}
