#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe.h"
#include "pcapng.h"
#include "verb.h"

static const char help[] =
	"Usage: sluice capture -w FILE [OPTIONS] [FILTER]\n"
	"\n"
	"Writes packets that pass through the daemon's ports to a pcapng file, until SIGINT, SIGTERM\n"
	"or COUNT packets. The workers that forward packets do not wait for it: what it cannot take\n"
	"in time is lost to the file, and counted there.\n"
	"\n"
	"  -w FILE          the file to write; '-' is the standard output, as for\n"
	"                   'sluice capture -w - | tcpdump -r -' or wireshark -k -i -\n"
	"  -i PORT          one port, by name or number; without: all\n"
	"  -c COUNT         end after COUNT packets\n"
	"  -s SNAPLEN       keep so many bytes of each packet; without: all\n"
	"  --at POINT[,...] where to look, see below; without: rx\n"
	"  --ring BYTES     memory for packets not read yet, per worker (4194304)\n"
	"  -h, --help       this text\n"
	"\n"
	"FILTER chooses packets as in tcpdump, see pcap-filter(7): 'udp port 53', 'vlan and ip6'. It\n"
	"is compiled to machine code and runs on the workers, on the packet as it is at the point.\n"
	"\n"
	"Points, in the order in which a packet comes to them:\n"
	"  rx               as received; with the verdict of the port's XDP program, if there is one\n"
	"  xdp-exit         as the XDP program left it, with its verdict\n"
	"  ingress          as it comes to TC ingress; with the verdict there\n"
	"  ingress-exit     as TC ingress left it, with the verdict\n"
	"  egress           as it comes to TC egress; with the verdict there\n"
	"  egress-exit      as TC egress left it, with the verdict\n"
	"  tx               as the device took it\n"
	"  drop             what is dropped, with the name of the counter that it goes to\n"
	"  all              all of these\n"
	"\n"
	"In the file each port, point and program is an interface, PORT@POINT. Packets have their\n"
	"verdict (epb_verdict, as xdpdump writes it), queue (epb_queue), direction (epb_flags) and how\n"
	"many were lost before them (epb_dropcount); dropped ones a comment 'drop: COUNTER'. At the end\n"
	"of the file there are the numbers of packets seen, matched and lost (interface statistics).\n"
	"\n"
	"Exit status: 0; 1 when the daemon or the file failed; 2 for wrong arguments. Only root and\n"
	"the daemon's own user may capture; at most 16 captures and traces run at a time.\n"
	"\n"
	"Examples:\n"
	"  sluice capture -w /tmp/dns.pcapng -i net_af_xdp0 -s 128 udp port 53\n"
	"  sluice capture -w drops.pcapng --at drop\n"
	"  sluice capture -w - --at rx,tx | tshark -i -\n";

enum { OPT_AT = 1, OPT_RING };

static const struct option options[] = {
	{ "at", required_argument, NULL, OPT_AT },
	{ "ring", required_argument, NULL, OPT_RING },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct capture {
	const char *file, *port;
	uint64_t count, snaplen, ring_bytes;
	struct json_object *points;
	char *filter;
};

static int add_point(struct capture *c, const char *name)
{
	bool all = strcmp(name, "all") == 0, found = false;

	for (unsigned i = 0; i < SLUICE_POINT_COUNT; i++) {
		const char *point = sluice_point_name((enum sluice_point)i);

		if (!all && strcmp(point, name) != 0)
			continue;
		json_object_array_add(c->points, json_object_new_string(point));
		found = true;
	}
	if (found)
		return 0;
	return sl_cli_usage("capture: there is no point '%s' (see 'sluice capture --help')", name);
}

static int add_points(struct capture *c, char *list)
{
	char *name;
	int status = 0;

	while (!status && (name = strsep(&list, ",")))
		status = add_point(c, name);
	return status;
}

static int parse_option(struct capture *c, int option, char *value)
{
	int err = 0;

	switch (option) {
	case 'w':
		c->file = value;
		break;
	case 'i':
		c->port = value;
		break;
	case 'c':
		err = sl_observe_number(value, UINT64_MAX, &c->count);
		break;
	case 's':
		err = sl_observe_number(value, UINT32_MAX, &c->snaplen);
		break;
	case OPT_RING:
		err = sl_observe_number(value, SLUICE_WATCH_RING_MAX, &c->ring_bytes);
		break;
	case OPT_AT:
		return add_points(c, value);
	}
	return err ? sl_cli_usage("capture: bad value '%s'", value) : 0;
}

static int parse(struct capture *c, int argc, char **argv)
{
	int option, status = 0;

	/* getopt skips what should be the command's name. */
	argc++;
	argv--;
	optind = 0;
	opterr = 0;
	while (!status && (option = getopt_long(argc, argv, "+w:i:c:s:h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			exit(0);
		}
		if (option == '?')
			return sl_cli_usage(
				"capture: bad option '%s' (see 'sluice capture --help')",
				argv[optind - 1]);
		status = parse_option(c, option, optarg);
	}
	if (!status && !c->file)
		status = sl_cli_usage("capture: no file given (-w FILE)");
	if (!status)
		c->filter = sl_observe_filter(argc - optind, argv + optind);
	return status;
}

static struct json_object *watch_params(const struct capture *c)
{
	struct json_object *params = json_object_new_object();

	if (c->port)
		json_object_object_add(params, "port", json_object_new_string(c->port));
	if (json_object_array_length(c->points))
		json_object_object_add(params, "points", json_object_get(c->points));
	if (c->snaplen)
		json_object_object_add(
			params, "snaplen", json_object_new_int64((int64_t)c->snaplen));
	if (c->ring_bytes)
		json_object_object_add(
			params, "ring_bytes", json_object_new_int64((int64_t)c->ring_bytes));
	return params;
}

static void copy(
	const struct capture *c, struct sl_observe *o, FILE *stream, struct sl_pcapng *file)
{
	const struct sluice_watch_area *area = sluice_watch_area_of(o->watch);
	const struct sluice_record *record;
	const struct sluice_path *path;
	const uint8_t *data;
	uint64_t last_ns = 0;

	while (!sl_pcapng_error(file) && (!c->count || sl_pcapng_written(file) < c->count) &&
		(record = sl_observe_next(o, &path, &data))) {
		sl_pcapng_add(file, area, record, data);
		/* Who reads from a pipe wants to see them. */
		if (record->time_ns - last_ns > 100000000)
			fflush(stream);
		last_ns = record->time_ns;
	}
	sl_pcapng_end(file, o->watch);
}

static int finish(
	const struct capture *c, struct sl_observe *o, FILE *stream, const struct sl_pcapng *file)
{
	struct sluice_watch_counts counts;
	int err = sl_pcapng_error(file);

	if (fclose(stream) != 0 && !err)
		err = -errno;
	sluice_watch_counts(o->watch, 0, SLUICE_POINT_COUNT, &counts);
	fprintf(stderr,
		"%" PRIu64 " packets captured\n%" PRIu64 " packets matched of %" PRIu64
		" seen\n%" PRIu64 " packets lost\n",
		sl_pcapng_written(file), counts.matched, counts.seen, counts.lost);
	if (err)
		return sl_cli_fail("capture: cannot write %s: %s", c->file, strerror(-err));
	return 0;
}

static int run(const struct capture *c)
{
	const struct sl_pcapng_options file_options = { .filter = c->filter,
		.snaplen = (uint32_t)c->snaplen,
		.port_name = sl_observe_port_name };
	struct sl_pcapng_options with_arg = file_options;
	struct sl_pcapng *file;
	struct sl_observe o;
	FILE *stream;
	int status =
		sl_observe_open(&o, "capture", watch_params(c), c->filter, (uint32_t)c->snaplen);

	if (status)
		return status;
	with_arg.arg = &o;
	stream = strcmp(c->file, "-") == 0 ? stdout : fopen(c->file, "we");
	if (!stream) {
		status = sl_cli_fail("capture: cannot write %s: %s", c->file, strerror(errno));
		sl_observe_close(&o);
		return status;
	}
	file = sl_pcapng_new(stream, &with_arg);
	if (file) {
		copy(c, &o, stream, file);
		status = finish(c, &o, stream, file);
	} else {
		status = sl_cli_fail("capture: %s", strerror(ENOMEM));
	}
	sl_pcapng_free(file);
	sl_observe_close(&o);
	return status;
}

int sl_cmd_capture(int argc, char **argv)
{
	struct capture c = { .points = json_object_new_array() };
	int status = parse(&c, argc, argv);

	if (!status)
		status = run(&c);
	json_object_put(c.points);
	free(c.filter);
	return status;
}
