#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe.h"
#include "path_text.h"
#include "verb.h"

static const char help[] =
	"Usage: sluice trace [OPTIONS] [FILTER]\n"
	"\n"
	"Shows packets that come in at the daemon's ports, a line each: when, by which worker, port and\n"
	"queue, how long, what their headers say; then each program that ran, as PORT HOOK: NAME[ID],\n"
	"with '> NAME[ID]' for a tail call, and the hook's verdict; and where the packet ended: the\n"
	"counters of ports that it was counted by (tx, kernel, xdp_drop, redirect_no_port, ...).\n"
	"\n"
	"  -i PORT        packets that come in by one port, by name or number; without: all\n"
	"  -n N, -n 1/N   one packet in N, per worker: without: each that a FILTER matches, or one in\n"
	"                 1000 without a FILTER\n"
	"  -c COUNT       end after COUNT packets\n"
	"  --json         an object per line\n"
	"  --ring BYTES   memory for lines not read yet, per worker (4194304)\n"
	"  -h, --help     this text\n"
	"\n"
	"FILTER chooses packets as in tcpdump, see pcap-filter(7), as they come in.\n"
	"\n"
	"A traced packet goes its way alone instead of in a burst, which costs a worker about a\n"
	"microsecond; the others are not touched. Workers do not wait for the reader: paths that it\n"
	"cannot take in time are lost, and counted. A packet that another worker goes on with (cpumap,\n"
	"handed_over) is traced up to there.\n"
	"\n"
	"Exit status: 0; 1 when the daemon failed; 2 for wrong arguments. Only root and the daemon's\n"
	"own user may trace; at most 16 captures and traces run at a time.\n"
	"\n"
	"Examples:\n"
	"  sluice trace -c 10\n"
	"  sluice trace -i net_af_xdp0 host 192.0.2.1 and tcp port 443\n"
	"  sluice trace -n 1/100000 --json\n";

enum { OPT_JSON = 1, OPT_RING, DEFAULT_SAMPLE = 1000 };

static const struct option options[] = {
	{ "json", no_argument, NULL, OPT_JSON },
	{ "ring", required_argument, NULL, OPT_RING },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct trace {
	const char *port;
	uint64_t sample, count, ring_bytes;
	bool json;
	char *filter;
};

static int parse_option(struct trace *t, int option, char *value)
{
	int err = 0;

	switch (option) {
	case 'i':
		t->port = value;
		break;
	case 'n':
		err = sl_observe_number(
			strncmp(value, "1/", 2) == 0 ? value + 2 : value, UINT32_MAX, &t->sample);
		break;
	case 'c':
		err = sl_observe_number(value, UINT64_MAX, &t->count);
		break;
	case OPT_RING:
		err = sl_observe_number(value, SLUICE_WATCH_RING_MAX, &t->ring_bytes);
		break;
	case OPT_JSON:
		t->json = true;
		break;
	}
	return err ? sl_cli_usage("trace: bad value '%s'", value) : 0;
}

static int parse(struct trace *t, int argc, char **argv)
{
	int option, status = 0;

	/* getopt skips what should be the command's name. */
	argc++;
	argv--;
	optind = 0;
	opterr = 0;
	while (!status && (option = getopt_long(argc, argv, "+i:n:c:h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			exit(0);
		}
		if (option == '?')
			return sl_cli_usage("trace: bad option '%s' (see 'sluice trace --help')",
				argv[optind - 1]);
		status = parse_option(t, option, optarg);
	}
	if (!status)
		t->filter = sl_observe_filter(argc - optind, argv + optind);
	if (!status && !t->sample)
		t->sample = t->filter && *t->filter ? 1 : DEFAULT_SAMPLE;
	return status;
}

static struct json_object *watch_params(const struct trace *t)
{
	struct json_object *params = json_object_new_object();

	json_object_object_add(params, "paths", json_object_new_boolean(true));
	json_object_object_add(params, "sample", json_object_new_int64((int64_t)t->sample));
	if (t->port)
		json_object_object_add(params, "port", json_object_new_string(t->port));
	if (t->ring_bytes)
		json_object_object_add(
			params, "ring_bytes", json_object_new_int64((int64_t)t->ring_bytes));
	return params;
}

static int run(const struct trace *t)
{
	struct sl_observe o;
	struct sl_path_text how = { .port_name = sl_observe_port_name, .arg = &o, .json = t->json };
	const struct sluice_record *record;
	const struct sluice_path *path;
	struct sluice_watch_counts counts;
	const uint8_t *data;
	uint64_t shown = 0;
	int status = sl_observe_open(&o, "trace", watch_params(t), t->filter, 0);

	if (status)
		return status;
	while ((!t->count || shown < t->count) && (record = sl_observe_next(&o, &path, &data))) {
		if (!path)
			continue;
		sl_path_print(stdout, &how, sluice_watch_area_of(o.watch), record, path, data);
		shown++;
	}
	if (fflush(stdout) != 0)
		status = sl_cli_fail("trace: cannot write: %s", strerror(errno));
	sluice_watch_counts(o.watch, 0, SLUICE_POINT_COUNT, &counts);
	fprintf(stderr,
		"%" PRIu64 " packets shown\n%" PRIu64 " packets traced of %" PRIu64
		" seen\n%" PRIu64 " packets lost\n",
		shown, counts.matched, counts.seen, counts.lost);
	sl_observe_close(&o);
	return status;
}

int sl_cmd_trace(int argc, char **argv)
{
	struct trace t = { 0 };
	int status = parse(&t, argc, argv);

	if (!status)
		status = run(&t);
	free(t.filter);
	return status;
}
