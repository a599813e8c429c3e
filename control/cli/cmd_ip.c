#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "daemon.h"
#include "network.h"
#include "verb.h"

/* sluice ip: the daemon's routes, neighbours and addresses, a line at a time. */

static const char help[] =
	"Usage: sluice ip [-4|-6] route add|append|replace|del PREFIX [via ADDRESS] [dev PORT] ...\n"
	"       sluice ip [-4|-6] neigh add|replace|del ADDRESS lladdr MAC dev PORT [nud STATE]\n"
	"       sluice ip address add|del ADDRESS/LENGTH dev PORT\n"
	"       sluice ip rule add|del [from PREFIX] [to PREFIX] [iif PORT] [table TABLE] ...\n"
	"       sluice ip link set PORT [mtu N] [address MAC]\n"
	"       sluice ip --batch FILE\n"
	"\n"
	"What bpf_fib_lookup, bpf_redirect_neigh and tunnels find, for ports of the daemon that have no\n"
	"kernel twin; the words are those of ip(8). A port with a twin is an interface of the kernel's:\n"
	"there the kernel's own routes, rules and neighbours hold, which ip(8) sets, with or without\n"
	"'sluice run', and the daemon follows.\n"
	"\n"
	"Options:\n"
	"  --batch FILE          such commands, one a line, '-' for stdin; the first that fails ends it,\n"
	"                        and those before it have been done\n"
	"\n"
	"Examples:\n"
	"  sluice ip address add 192.0.2.2/24 dev net0\n"
	"  sluice ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev net0\n"
	"  sluice ip route add default via 192.0.2.1\n"
	"\n"
	"Exit status: 0, 1 when something failed, 2 for wrong arguments; then nothing has changed.\n";

/* Wrong words are told from what cannot be done before the daemon is asked. */
static int run_line(const char *line, const char *where)
{
	struct json_object *params;
	char reason[SL_DAEMON_REASON];

	if (sl_network_check(line, reason, sizeof(reason)) != 0)
		return sl_cli_usage("ip: %s%s", where, reason);
	params = json_object_new_object();
	json_object_object_add(params, "line", json_object_new_string(line));
	if (sl_daemon_call("network.line", params, NULL, NULL, NULL, reason) != 0)
		return sl_cli_fail("ip: %s%s", where, reason);
	return 0;
}

static int run_file(const char *path)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(path, "re");
	char *line = NULL, where[512];
	unsigned number = 0;
	size_t size = 0;
	int status = 0;

	if (!f)
		return sl_cli_fail("ip: cannot open %s: %s", path, strerror(errno));
	while (!status && getline(&line, &size, f) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		snprintf(where, sizeof(where), "%.400s, line %u: ", path, ++number);
		if (line[strspn(line, " \t\r")] && line[strspn(line, " \t\r")] != '#')
			status = run_line(line, where);
	}
	if (!status && ferror(f))
		status = sl_cli_fail("ip: cannot read %s", path);
	free(line);
	if (!is_stdin)
		fclose(f);
	return status;
}

static int run_words(int argc, char **argv)
{
	size_t len = 1;
	char *line;
	int status;

	for (int i = 0; i < argc; i++)
		len += strlen(argv[i]) + 1;
	line = calloc(1, len);
	if (!line)
		return sl_cli_fail("out of memory");
	for (int i = 0; i < argc; i++)
		snprintf(line + strlen(line), len - strlen(line), "%s ", argv[i]);
	status = run_line(line, "");
	free(line);
	return status;
}

int sl_cmd_ip(int argc, char **argv)
{
	if (sl_cli_helps(argc, argv, help))
		return 0;
	if (argc > 0 && strcmp(argv[0], "--") == 0) {
		argc--;
		argv++;
	}
	if (argc == 0)
		return sl_cli_usage("ip: route, neigh, address, rule or link?");
	if (strcmp(argv[0], "--batch") != 0)
		return run_words(argc, argv);
	return argc == 2 ? run_file(argv[1]) : sl_cli_usage("ip: --batch takes one file");
}
