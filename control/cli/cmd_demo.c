/*
 * `sluice demo`: real eBPF objects on a DPDK worker, without root, hugepages or a NIC. A capture is
 * replayed in a loop into one port; an XDP program samples it into perf rings, a chain of TC
 * programs behind a jump table classifies it and diverts ICMP to a second port, which writes a
 * pcap. Meanwhile the jump table is re-wired again and again: one slot at a time, and several as
 * one generation. In the end every packet must be accounted for.
 */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sluice/dataplane.h>

#include "classify.h"
#include "classify.skel.h"
#include "verb.h"
#include "sampler.h"
#include "sampler.skel.h"

enum {
	SECONDS_DEFAULT = 15,
	SECONDS_MAX = 3600,
	UPDATES_PER_S = 40,
	TABLES_PER_S = 2,
	EVENT_PAGES = 64,
	CAPTURE_MBUFS = 32768,
};

struct demo {
	const char *capture, *output, *json;
	unsigned seconds;

	struct classify_bpf *classify;
	struct sampler_bpf *sampler;
	struct perf_buffer *events;
	uint32_t in_ifindex, out_ifindex;

	double started, elapsed_s;
	uint64_t jump_updates, generations;
	uint64_t events_read, events_lost;
	struct sluice_counters counters;
	struct classify_count classes[CLASSES];
	uint64_t table_packets; /* at the last live table, for its rate */
	double table_at;
};

static const char *const class_names[CLASSES] = {
	[CLASS_OTHER] = "other",
	[CLASS_ICMP] = "icmp",
	[CLASS_DNS] = "dns",
	[CLASS_QUIC] = "quic",
	[CLASS_UDP] = "udp",
	[CLASS_WEB] = "web",
	[CLASS_SSH] = "ssh",
	[CLASS_TCP] = "tcp",
	[CLASS_BULK] = "tcp bulk",
	[CLASS_MALFORMED] = "malformed",
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int set_slot(struct demo *demo, uint32_t slot, struct bpf_program *prog)
{
	int fd = bpf_program__fd(prog);

	return bpf_map_update_elem(
		bpf_map__fd(demo->classify->maps.jump_table), &slot, &fd, BPF_ANY);
}

static int load_programs(struct demo *demo)
{
	struct classify_bpf *classify;

	demo->classify = classify = classify_bpf__open();
	if (!classify)
		return -errno;
	classify->rodata->divert_ifindex = demo->out_ifindex;
	demo->sampler = sampler_bpf__open();
	if (!demo->sampler)
		return -errno;
	if (classify_bpf__load(classify) != 0 || sampler_bpf__load(demo->sampler) != 0)
		return -errno;
	if (set_slot(demo, SLOT_VLAN, classify->progs.parse_vlan) != 0 ||
		set_slot(demo, SLOT_IPV4, classify->progs.parse_ipv4) != 0 ||
		set_slot(demo, SLOT_IPV6, classify->progs.parse_ipv6) != 0 ||
		set_slot(demo, SLOT_TCP, classify->progs.classify_tcp) != 0 ||
		set_slot(demo, SLOT_UDP, classify->progs.classify_udp) != 0 ||
		set_slot(demo, SLOT_ICMP, classify->progs.classify_icmp) != 0 ||
		set_slot(demo, SLOT_OTHER, classify->progs.classify_other) != 0)
		return -errno;
	return 0;
}

static int add_ports(struct demo *demo)
{
	/* The replay keeps the whole capture in mbufs, besides those that are under way. */
	const struct sluice_port_options options = { .mbufs = CAPTURE_MBUFS };
	char devargs[512];
	int err;

	snprintf(devargs, sizeof(devargs), "net_pcap0,rx_pcap=%s,infinite_rx=1", demo->capture);
	err = sluice_port_add(devargs, &options, &demo->in_ifindex);
	if (err)
		return err;
	snprintf(devargs, sizeof(devargs), "net_pcap1,tx_pcap=%s/sent.pcap", demo->output);
	return sluice_port_add(devargs, NULL, &demo->out_ifindex);
}

static int attach_programs(struct demo *demo)
{
	struct sluice_tc_filter filter = {
		.priority = 1,
		.classid = CLASSIFY_ID(CLASS_OTHER),
		.direct_action = true,
		.prog_fd = bpf_program__fd(demo->classify->progs.classify),
		.name = "classify.bpf.o:[classify]",
	};
	int err;

	err = sluice_xdp_attach(
		demo->in_ifindex, bpf_program__fd(demo->sampler->progs.sampler), -1, 0);
	if (err)
		return err;
	return sluice_tc_add(demo->in_ifindex, SLUICE_TC_INGRESS, &filter, 0);
}

static void count_event(void *arg, int cpu, void *data, __u32 len_bytes)
{
	((struct demo *)arg)->events_read++;
}

static void count_lost(void *arg, int cpu, __u64 count)
{
	((struct demo *)arg)->events_lost += count;
}

/* Odd rounds replace the TCP slot alone, even ones three slots as one generation. */
static int rewire(struct demo *demo)
{
	struct classify_bpf *classify = demo->classify;
	uint64_t round = demo->jump_updates++;
	bool bulk = round / 2 % 2;
	struct bpf_program *tcp =
		bulk ? classify->progs.classify_tcp_bulk : classify->progs.classify_tcp;
	__u32 slots[] = { SLOT_TCP, SLOT_UDP, SLOT_OTHER }, count = 3;
	int fds[] = {
		bpf_program__fd(tcp),
		bpf_program__fd(
			bulk ? classify->progs.classify_other : classify->progs.classify_udp),
		bpf_program__fd(classify->progs.classify_other),
	};
	LIBBPF_OPTS(bpf_map_batch_opts, opts);

	if (round % 2)
		return set_slot(demo, SLOT_TCP, tcp);
	demo->generations++;
	return bpf_map_update_batch(
		bpf_map__fd(classify->maps.jump_table), slots, fds, &count, &opts);
}

static void read_classes(struct demo *demo)
{
	int cpus = libbpf_num_possible_cpus();
	struct classify_count values[cpus];

	for (__u32 id = 0; id < CLASSES; id++) {
		demo->classes[id] = (struct classify_count){};
		if (bpf_map_lookup_elem(
			    bpf_map__fd(demo->classify->maps.class_counts), &id, values) != 0)
			continue;
		for (int cpu = 0; cpu < cpus; cpu++) {
			demo->classes[id].packets += values[cpu].packets;
			demo->classes[id].bytes += values[cpu].bytes;
		}
	}
}

static void read_counters(struct demo *demo)
{
	demo->elapsed_s = now_s() - demo->started;
	sluice_counters_read(0, -1, &demo->counters);
	read_classes(demo);
}

static void print_counters(FILE *out, const struct demo *demo, enum sluice_counter_kind kind)
{
	for (int i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (sluice_counter_kind(i) == kind && demo->counters.value[i])
			fprintf(out, "  %-24s %15llu\n", sluice_counter_name(i),
				(unsigned long long)demo->counters.value[i]);
	}
}

static void print_classes(FILE *out, const struct demo *demo)
{
	for (int id = 1; id < CLASSES; id++) {
		if (demo->classes[id].packets)
			fprintf(out, "  1:%-2d %-19s %15llu packets %18llu bytes\n", id,
				class_names[id], demo->classes[id].packets,
				demo->classes[id].bytes);
	}
}

static void print_table(struct demo *demo)
{
	static unsigned lines;
	uint64_t in;
	double at;

	read_counters(demo);
	in = sluice_counters_sum(&demo->counters, SLUICE_KIND_IN);
	at = demo->elapsed_s;
	if (isatty(STDOUT_FILENO) && lines++)
		printf("\033[H\033[J");
	printf("%5.1f s  %llu packets  %.2f Mpps  %llu events (%llu lost)  %llu jump updates\n", at,
		(unsigned long long)in, (in - demo->table_packets) / (at - demo->table_at) / 1e6,
		(unsigned long long)demo->events_read, (unsigned long long)demo->events_lost,
		(unsigned long long)demo->jump_updates);
	demo->table_packets = in;
	demo->table_at = at;
	if (isatty(STDOUT_FILENO)) {
		print_counters(stdout, demo, SLUICE_KIND_STEP);
		print_counters(stdout, demo, SLUICE_KIND_OUT);
		print_classes(stdout, demo);
	}
	fflush(stdout);
}

static int run(struct demo *demo)
{
	double next_update, next_table;
	int err = sluice_workers_start();

	if (err)
		return err;
	demo->started = now_s();
	next_update = next_table = demo->started;
	while (!interrupted && now_s() - demo->started < demo->seconds) {
		double now = now_s();

		if (now >= next_update) {
			if (rewire(demo) != 0)
				return -errno;
			next_update += 1.0 / UPDATES_PER_S;
		}
		if (now >= next_table + 1.0 / TABLES_PER_S) {
			print_table(demo);
			next_table = now;
		}
		perf_buffer__poll(demo->events, 5);
	}
	sluice_workers_stop();
	perf_buffer__consume(demo->events);
	read_counters(demo);
	return 0;
}

/* The chain counts every packet once, whichever programs are in its slots. */
static uint64_t classified(const struct demo *demo)
{
	uint64_t sum = 0;

	for (int id = 0; id < CLASSES; id++)
		sum += demo->classes[id].packets;
	return sum;
}

static void print_result(FILE *out, const struct demo *demo, uint64_t in, uint64_t accounted)
{
	fprintf(out, "Sluice demo: %s\n", demo->capture);
	fprintf(out, "%.1f s, %u worker%s, %.2f Mpps\n\n", demo->elapsed_s, sluice_workers_count(),
		sluice_workers_count() == 1 ? "" : "s", in / demo->elapsed_s / 1e6);
	fprintf(out, "packets in               %17llu\n", (unsigned long long)in);
	fprintf(out, "packets accounted for    %17llu   %s\n", (unsigned long long)accounted,
		in == accounted ? "none lost" : "PACKETS ARE MISSING");
	fprintf(out, "packets classified       %17llu   %s\n", (unsigned long long)classified(demo),
		in == classified(demo) ? "each once" : "NOT EACH ONCE");
	fprintf(out, "\nverdicts on the way\n");
	print_counters(out, demo, SLUICE_KIND_STEP);
	fprintf(out, "\nwhere packets ended\n");
	print_counters(out, demo, SLUICE_KIND_OUT);
	fprintf(out, "\nclasses\n");
	print_classes(out, demo);
	fprintf(out, "\njump table updates       %17llu   (%llu of them whole generations)\n",
		(unsigned long long)demo->jump_updates, (unsigned long long)demo->generations);
	fprintf(out, "events read              %17llu\n", (unsigned long long)demo->events_read);
	fprintf(out, "events lost              %17llu\n", (unsigned long long)demo->events_lost);
}

static struct json_object *counters_json(const struct demo *demo, enum sluice_counter_kind kind)
{
	struct json_object *object = json_object_new_object();

	for (int i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (sluice_counter_kind(i) == kind && demo->counters.value[i])
			json_object_object_add(object, sluice_counter_name(i),
				json_object_new_uint64(demo->counters.value[i]));
	}
	return object;
}

static int write_json(const struct demo *demo, uint64_t in, uint64_t accounted)
{
	struct json_object *root = json_object_new_object(), *classes = json_object_new_object();
	int err = 0;

	json_object_object_add(root, "packets_in", json_object_new_uint64(in));
	json_object_object_add(root, "packets_accounted", json_object_new_uint64(accounted));
	json_object_object_add(
		root, "packets_classified", json_object_new_uint64(classified(demo)));
	json_object_object_add(root, "verdicts", counters_json(demo, SLUICE_KIND_OUT));
	json_object_object_add(root, "hooks", counters_json(demo, SLUICE_KIND_STEP));
	for (int id = 1; id < CLASSES; id++)
		json_object_object_add(classes, class_names[id],
			json_object_new_uint64(demo->classes[id].packets));
	json_object_object_add(root, "classes", classes);
	json_object_object_add(root, "mpps", json_object_new_double(in / demo->elapsed_s / 1e6));
	json_object_object_add(root, "seconds", json_object_new_double(demo->elapsed_s));
	json_object_object_add(root, "workers", json_object_new_int(sluice_workers_count()));
	json_object_object_add(root, "jump_updates", json_object_new_uint64(demo->jump_updates));
	json_object_object_add(root, "generations", json_object_new_uint64(demo->generations));
	json_object_object_add(root, "events", json_object_new_uint64(demo->events_read));
	json_object_object_add(root, "events_lost", json_object_new_uint64(demo->events_lost));
	if (json_object_to_file_ext(demo->json, root, JSON_C_TO_STRING_PRETTY) != 0)
		err = -EIO;
	json_object_put(root);
	return err;
}

static int report(const struct demo *demo)
{
	uint64_t in = sluice_counters_sum(&demo->counters, SLUICE_KIND_IN);
	uint64_t accounted = sluice_counters_sum(&demo->counters, SLUICE_KIND_OUT);
	char path[512];
	FILE *page;

	snprintf(path, sizeof(path), "%s/result.txt", demo->output);
	page = fopen(path, "we");
	if (!page)
		return sl_cli_fail("%s: %s", path, strerror(errno));
	print_result(page, demo, in, accounted);
	fclose(page);
	printf("\n");
	print_result(stdout, demo, in, accounted);
	printf("\nwritten: %s, %s/sent.pcap\n", path, demo->output);
	if (demo->json && write_json(demo, in, accounted) != 0)
		return sl_cli_fail("%s: cannot write", demo->json);
	if (in != accounted)
		return sl_cli_fail(
			"%llu packets are not accounted for", (unsigned long long)(in - accounted));
	if (in != classified(demo))
		return sl_cli_fail("%llu packets came in, %llu were classified",
			(unsigned long long)in, (unsigned long long)classified(demo));
	return 0;
}

static int parse(struct demo *demo, int argc, char **argv)
{
	static const struct option options[] = {
		{ "capture", required_argument, NULL, 'c' },
		{ "json", required_argument, NULL, 'j' },
		{ "output", required_argument, NULL, 'o' },
		{ "seconds", required_argument, NULL, 's' },
		{},
	};
	char *end;
	int c;

	while ((c = getopt_long(argc + 1, argv - 1, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			demo->capture = optarg;
			break;
		case 'j':
			demo->json = optarg;
			break;
		case 'o':
			demo->output = optarg;
			break;
		case 's':
			demo->seconds = strtoul(optarg, &end, 10);
			if (*end || demo->seconds < 1 || demo->seconds > SECONDS_MAX)
				return sl_cli_usage("--seconds takes 1 to %d", SECONDS_MAX);
			break;
		default:
			return SL_EXIT_USAGE;
		}
	}
	if (optind - 1 < argc)
		return sl_cli_usage("unexpected argument '%s'", argv[optind - 1]);
	if (!demo->capture)
		return sl_cli_usage("--capture FILE is missing");
	return 0;
}

static int set_up(struct demo *demo)
{
	int err;

	if (mkdir(demo->output, 0777) != 0 && errno != EEXIST)
		return sl_cli_fail("%s: %s", demo->output, strerror(errno));
	if (sluice_eal_start(0, 0, NULL) != 0 || add_ports(demo) != 0)
		return 1;
	err = load_programs(demo);
	if (err)
		return sl_cli_fail("cannot load the programs: %s", strerror(-err));
	if (attach_programs(demo) != 0)
		return 1;
	demo->events = perf_buffer__new(bpf_map__fd(demo->sampler->maps.samples), EVENT_PAGES,
		count_event, count_lost, demo, NULL);
	if (!demo->events)
		return sl_cli_fail("cannot open the events: %s", strerror(errno));
	return 0;
}

static const char help[] =
	"Usage: sluice demo --capture FILE [--seconds N] [--json FILE] [--output DIR]\n"
	"\n"
	"Replays a capture into a port, classifies it with a chain of tail calls, samples it\n"
	"into perf rings, replaces programs in the jump table all the while, and accounts for\n"
	"every packet.\n"
	"\n"
	"Options:\n"
	"  --capture FILE  the packets, a pcap file\n"
	"  --seconds N     how long (15)\n"
	"  --json FILE     write the result there too, as JSON\n"
	"  --output DIR    where the result's page and what was sent go (sluice-demo)\n"
	"  --help          print this text\n"
	"\n"
	"Exit status: 0; 1 when it fails or packets are not accounted for, 2 for wrong\n"
	"arguments.\n";

int sl_cmd_demo(int argc, char **argv)
{
	struct demo demo = { .seconds = SECONDS_DEFAULT, .output = "sluice-demo" };
	int status;

	if (sl_cli_helps(argc, argv, help))
		return 0;
	status = parse(&demo, argc, argv);
	if (status)
		return status;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	status = set_up(&demo);
	if (!status && run(&demo) != 0)
		status = sl_cli_fail("the run failed: %s", strerror(errno));
	if (!status)
		status = report(&demo);
	perf_buffer__free(demo.events);
	sluice_eal_stop();
	sampler_bpf__destroy(demo.sampler);
	classify_bpf__destroy(demo.classify);
	return status;
}
