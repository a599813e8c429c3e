#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/dataplane.h>

#include "forward.h"
#include "forward_watch.h"
#include "verb.h"

/*
 * Ports, programs and workers in this process, until the time is over or a signal comes. Like
 * DPDK's own tools: EAL options, "--", ours.
 */
static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

enum {
	OPT_PORT = 1,
	OPT_TUNNEL,
	OPT_TWIN,
	OPT_XDP,
	OPT_TC,
	OPT_TAP,
	OPT_CAPTURE,
	OPT_TRACE,
	OPT_PASS,
	OPT_IP,
	OPT_IP_BATCH,
	OPT_SEND,
	OPT_WORKERS,
	OPT_SECONDS,
	OPT_JSON
};

static const struct option options[] = {
	{ "port", required_argument, NULL, OPT_PORT },
	{ "tunnel", required_argument, NULL, OPT_TUNNEL },
	{ "twin", no_argument, NULL, OPT_TWIN },
	{ "xdp", required_argument, NULL, OPT_XDP },
	{ "tc", required_argument, NULL, OPT_TC },
	{ "tap", required_argument, NULL, OPT_TAP },
	{ "capture", required_argument, NULL, OPT_CAPTURE },
	{ "trace", required_argument, NULL, OPT_TRACE },
	{ "pass-to", required_argument, NULL, OPT_PASS },
	{ "ip", required_argument, NULL, OPT_IP },
	{ "ip-batch", required_argument, NULL, OPT_IP_BATCH },
	{ "send", required_argument, NULL, OPT_SEND },
	{ "workers", required_argument, NULL, OPT_WORKERS },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "json", required_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static const char help[] =
	"Usage: sluice forward [EAL OPTIONS] -- OPTIONS\n"
	"\n"
	"  --port DEVARGS       a port, as DPDK's --vdev and -a name it; without any: those of the EAL\n"
	"  --twin               each port is an interface of the kernel's too: what passes arrives there,\n"
	"                       and what the kernel sends there leaves by the port\n"
	"  --tunnel NAME=KIND,underlay=PORT,KEY[=VALUE]...\n"
	"                       a port that sends its packets in those of another: vxlan, geneve,\n"
	"                       gre, gretap, ip6gre, ip6gretap, ipip, sit or ip6tnl; keys as in\n"
	"                       ip-link(8): external, local=ADDR (repeatable), remote=ADDR,\n"
	"                       nexthop=MAC, address=MAC, id=N, key=N, dstport=N, srcport=MIN-MAX,\n"
	"                       ttl=N|inherit, tos=N|inherit, flowlabel=N, df=set|unset|inherit,\n"
	"                       mtu=N, gbp, csum, seq, udp6zerocsumtx, udp6zerocsumrx\n"
	"  --xdp PORT=OBJ[:PROG]\n"
	"                       attach an XDP program: its function or section in OBJ\n"
	"  --tc PORT,ingress|egress,OBJ[:PROG][,KEY[=VALUE]...]\n"
	"                       add a filter; keys: da, prio=N, handle=N, classid=MAJOR:MINOR (hex),\n"
	"                       protocol=ip|ipv6|arp|802.1Q|all, action=OBJ:PROG or\n"
	"                       action=ok|pipe|shot|reclassify|stolen|trap (repeatable)\n"
	"  --tap PORT=OBJ[:PROG][,in][,write=FILE]\n"
	"                       show the port's packets to a socket filter, as a packet socket would;\n"
	"                       in: only received ones; write: what it keeps, to a pcap file\n"
	"  --capture FILE[,port=PORT][,at=POINT[+POINT]...][,snaplen=N][,filter=FILTER]\n"
	"                       write packets, with their verdicts, to a pcapng file; points and filters\n"
	"                       as for 'sluice capture'\n"
	"  --trace FILE[,port=PORT][,sample=N][,filter=FILTER]\n"
	"                       write the paths of packets, a line each, as 'sluice trace' does\n"
	"  --pass-to PORT=PORT  what passes the first goes out of the second, not to the kernel\n"
	"  --ip COMMAND         what bpf_fib_lookup and bpf_redirect_neigh find, in the words of ip(8):\n"
	"                       'route add 10.0.0.0/8 via 192.0.2.1', 'neigh add 192.0.2.1 lladdr\n"
	"                       MAC dev PORT', 'address add 192.0.2.2/24 dev PORT', 'rule add ...',\n"
	"                       'link set PORT mtu N address MAC' (repeatable, in order)\n"
	"  --ip-batch FILE      such commands, one a line, as for ip -batch\n"
	"  --send PORT=COUNT    start with COUNT frames of 64 bytes sent out of PORT\n"
	"  --workers N          one per CPU, unless EAL options choose lcores\n"
	"  --seconds N          end after N seconds; 0: at SIGINT\n"
	"  --json FILE          also write the counters there, '-' for stdout\n"
	"\n"
	"A PORT is the device's name (net_pcap0) or its number, from 1 in the order given.\n";

struct forward {
	struct sl_forward_spec spec;
	const char *devargs[SL_FORWARD_MAX];
	unsigned port_count;
	struct sluice_port_options port_options;
	char *pass[SL_FORWARD_MAX], *send[SL_FORWARD_MAX];
	unsigned pass_count, send_count;
	struct sl_forward_ip ip;
	struct sl_forward_watches watches;
	unsigned workers;
	double seconds;
	const char *json;
};

static int parse_number(const char *text, unsigned long max, unsigned *ret_n)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || n > max)
		return -EINVAL;
	*ret_n = (unsigned)n;
	return 0;
}

static int parse_seconds(const char *text, double *ret_seconds)
{
	char *end;

	*ret_seconds = strtod(text, &end);
	return end == text || *end || !(*ret_seconds >= 0 && *ret_seconds < 1e9) ? -EINVAL : 0;
}

/* One more of something of which a command line has at most SL_FORWARD_MAX. */
static int append(const char **list, unsigned *count, const char *value)
{
	if (*count == SL_FORWARD_MAX)
		return -E2BIG;
	list[(*count)++] = value;
	return 0;
}

static int parse_option(struct forward *f, int option, char *value)
{
	switch (option) {
	case OPT_PORT:
		return append(f->devargs, &f->port_count, value);
	case OPT_TWIN:
		f->port_options.kernel_twin = SLUICE_TWIN_REQUIRE;
		return 0;
	case OPT_XDP:
		return sl_forward_add_xdp(&f->spec, value);
	case OPT_TC:
		return sl_forward_add_tc(&f->spec, value);
	case OPT_TAP:
		return sl_forward_add_tap(&f->spec, value);
	case OPT_CAPTURE:
	case OPT_TRACE:
		return sl_forward_add_watch(&f->watches, value, option == OPT_TRACE);
	case OPT_PASS:
		return append((const char **)f->pass, &f->pass_count, value);
	case OPT_IP:
		return sl_forward_add_ip(&f->ip, value, false);
	case OPT_IP_BATCH:
		return sl_forward_add_ip(&f->ip, value, true);
	case OPT_SEND:
		return append((const char **)f->send, &f->send_count, value);
	case OPT_WORKERS:
		return parse_number(value, 1024, &f->workers);
	case OPT_SECONDS:
		return parse_seconds(value, &f->seconds);
	case OPT_JSON:
		f->json = value;
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse(struct forward *f, int argc, char **argv)
{
	int option;

	optind = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			exit(0);
		}
		if (option == '?' || option == ':')
			return sl_cli_usage(
				"forward: bad option '%s' (see 'sluice forward -- --help')",
				argv[optind - 1]);
		if (option == OPT_TUNNEL) {
			int status = sl_forward_add_tunnel(&f->spec, optarg);

			if (status)
				return status;
			continue;
		}
		if (parse_option(f, option, optarg) != 0)
			return sl_cli_usage("forward: bad value '%s'", optarg);
	}
	if (optind < argc)
		return sl_cli_usage("forward: unexpected argument '%s'", argv[optind]);
	return 0;
}

static int add_ports(struct forward *f)
{
	uint32_t ifindex;
	int err = 0;

	if (f->port_count == 0) {
		err = sluice_port_add_all(&f->port_options);
		return err == 0 ? sl_cli_fail("forward: no port") : err < 0;
	}
	for (unsigned i = 0; !err && i < f->port_count; i++)
		err = sluice_port_add(f->devargs[i], &f->port_options, &ifindex);
	return err != 0;
}

/* Splits PORT=REST; the port must exist. */
static int split_port(char *text, uint32_t *ret_ifindex, char **ret_rest)
{
	char *equals = strchr(text, '=');

	if (!equals)
		return sl_cli_usage("forward: '%s' is not PORT=...", text);
	*equals = '\0';
	*ret_rest = equals + 1;
	*ret_ifindex = sl_forward_port(text);
	return *ret_ifindex ? 0 : sl_cli_fail("forward: there is no port %s", text);
}

static int pass_ports(struct forward *f)
{
	for (unsigned i = 0; i < f->pass_count; i++) {
		uint32_t from, to;
		char *rest = NULL;
		int status = split_port(f->pass[i], &from, &rest);

		if (status)
			return status;
		to = sl_forward_port(rest);
		if (!to)
			return sl_cli_fail("forward: there is no port %s", rest);
		if (sluice_port_pass_to(from, to) != 0)
			return 1;
	}
	return 0;
}

static int send_frames(struct forward *f)
{
	/* To no station, from a locally administered address, of the protocol for experiments. */
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5 };

	for (unsigned i = 0; i < f->send_count; i++) {
		uint32_t ifindex;
		unsigned count;
		char *rest = NULL;
		int status = split_port(f->send[i], &ifindex, &rest);

		if (status)
			return status;
		if (parse_number(rest, 1u << 24, &count) != 0)
			return sl_cli_usage("forward: bad value '%s'", rest);
		status = sluice_port_send(ifindex, frame, sizeof(frame), count);
		if (status)
			return sl_cli_fail(
				"forward: cannot send %u frames: %s", count, strerror(-status));
	}
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Sleeps until the end; returns how long the workers had. */
static double wait_for_end(const struct forward *f)
{
	static const struct timespec pause = { .tv_nsec = 10000000 };
	double start = now();

	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	while (!interrupted && (f->seconds == 0 || now() - start < f->seconds))
		nanosleep(&pause, NULL);
	return now() - start;
}

static int run(struct forward *f)
{
	double seconds;
	int status = add_ports(f);

	if (!status)
		status = sl_forward_add_tunnels(&f->spec);
	if (!status)
		status = pass_ports(f);
	if (!status)
		status = sl_forward_run_ip(&f->ip);
	if (!status)
		status = sl_forward_attach(&f->spec);
	if (!status)
		status = sl_forward_tap_start(&f->spec);
	if (!status)
		status = sl_forward_watch_start(&f->watches);
	if (!status)
		status = send_frames(f);
	if (status || sluice_workers_start() != 0)
		return status ? status : 1;
	seconds = wait_for_end(f);
	sluice_workers_stop();
	status = sl_forward_tap_stop(&f->spec);
	if (!status)
		status = sl_forward_watch_stop(&f->watches);
	sl_forward_print(seconds);
	sl_forward_tap_print(&f->spec);
	if (!status && f->json)
		status = sl_forward_write_json(f->json, &f->spec, seconds);
	return status;
}

int sl_cmd_forward(int argc, char **argv)
{
	struct forward f = { 0 };
	int eal_argc = 0, status;

	if (sl_cli_helps(argc, argv, help))
		return 0;
	while (eal_argc < argc && strcmp(argv[eal_argc], "--") != 0)
		eal_argc++;
	/* Without "--" there are no EAL options, as long as all of them are ours. */
	if (eal_argc == argc && argc > 0)
		return sl_cli_usage("forward: no '--' between EAL options and others");
	status = argc ? parse(&f, argc - eal_argc, argv + eal_argc) : 0;
	if (!status)
		status = sl_forward_load(&f.spec);
	if (!status && sluice_eal_start(f.workers, eal_argc, argv) != 0)
		status = 1;
	if (!status)
		status = run(&f);
	sl_forward_tap_stop(&f.spec);
	sl_forward_watch_stop(&f.watches);
	sluice_eal_stop();
	sl_forward_unload(&f.spec);
	return status;
}
