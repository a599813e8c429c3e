/*
 * Sluice beside the kernel, in one run: the same object is loaded into both, and the same
 * BPF_PROG_TEST_RUN with many repetitions is timed on both, one after the other, many rounds. A
 * body's time is the difference between a call with 32 bodies and one with a single one, so the
 * cost of the calls and of the test loops, which differ, is not in it.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sluice/bpf.h>

#include "bodies.h"
#include "bodies.skel.h"
#include "client.h"
#include "stats.h"

enum { ROUNDS = 11, SIDES = 2 };

struct side {
	const char *name;
	enum sl_client_target target;
	struct bodies_bpf *bodies;
	char packet[BODY_REPEAT * BODY_STRIDE + 128];
	struct perf_buffer *reader;
	unsigned long long events_read, events_lost;
};

static struct side sides[SIDES] = {
	{ .name = "sluice", .target = SL_CLIENT_IN_PROCESS },
	{ .name = "kernel", .target = SL_CLIENT_KERNEL },
};

static bool reading;
static cpu_set_t reader_cpus; /* all but the one that runs the programs */

struct row {
	const char *label;
	const char *one, *many; /* programs */
	unsigned bodies; /* how many more `many` has than `one` */
	unsigned repeat;
	double target; /* largest ratio that we accept, 0 for none */
};

static const struct row rows[] = {
	{ "parse eth/ipv4/tcp", "parse_1", "parse_32", 31, 100000, 1.05 },
	{ "checksum 20 + 64 bytes", "checksum_1", "checksum_32", 31, 50000, 0.7 },
	{ "array counter, atomic", "counter_1", "counter_32", 31, 50000, 0.8 },
	{ "per-CPU array counter", "percpu_1", "percpu_32", 31, 100000, 1.0 },
	{ "array counter, spin lock", "locked_1", "locked_32", 31, 50000, 1.0 },
	{ "counter in an inner array", "inner_1", "inner_32", 31, 50000, 0 },
	{ "hash hit, 1k keys", "hash_1", "hash_32", 31, 30000, 0.6 },
	{ "hash hit, 64k varying", "flows_1", "flows_32", 31, 10000, 0.65 },
	{ "tail call, run-time index", "nothing_tc_1", "jump_chain", BODY_JUMPS, 50000, 0 },
};

static void fail(const char *what)
{
	fprintf(stderr, "vs_kernel: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int program_fd(const struct side *side, const char *name)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(side->bodies->obj, name);

	if (!prog)
		fail(name);
	return bpf_program__fd(prog);
}

/* An Ethernet, IPv4 and TCP header every BODY_STRIDE bytes, random bytes in between. */
static void make_packet(char *packet, size_t len)
{
	static const unsigned char headers[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0,
		0, 46, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 4, 0, 1, 187 };

	srand(1);
	for (size_t i = 0; i < len; i++)
		packet[i] = rand();
	for (size_t at = 0; at + sizeof(headers) <= len; at += BODY_STRIDE)
		memcpy(packet + at, headers, sizeof(headers));
}

static void fill_table(struct bpf_map *map, unsigned count)
{
	struct flow_value value = {};

	for (unsigned i = 0; i < count; i++) {
		struct flow_key key = flow_key_of(i);

		if (bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_ANY) != 0)
			fail(bpf_map__name(map));
	}
}

static void open_side(struct side *side)
{
	int chain, slot = 0;

	sl_client_use(side->target);
	side->bodies = bodies_bpf__open_and_load();
	if (!side->bodies)
		fail(side->name);
	make_packet(side->packet, sizeof(side->packet));
	fill_table(side->bodies->maps.small_table, BODY_HITS);
	fill_table(side->bodies->maps.large_table, BODY_FLOWS);
	chain = program_fd(side, "jump_chain");
	if (bpf_map_update_elem(bpf_map__fd(side->bodies->maps.jumps), &slot, &chain, 0) != 0)
		fail("jumps");
}

/* Nanoseconds of CPU time for one call of the program. */
static double time_call(struct side *side, const char *name, unsigned repeat)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = side->packet,
		.data_size_in = sizeof(side->packet), .repeat = repeat);
	int fd = program_fd(side, name);
	double start;

	sl_client_use(side->target);
	start = thread_ns();
	if (bpf_prog_test_run_opts(fd, &opts) != 0)
		fail(name);
	return (thread_ns() - start) / repeat;
}

static void compare(const struct row *row)
{
	double one[SIDES][ROUNDS], body[SIDES][ROUNDS], ratio[ROUNDS];
	struct summary s_one[SIDES], s_body[SIDES], s_ratio;

	for (int s = 0; s < SIDES; s++) {
		time_call(&sides[s], row->one, row->repeat / 4 + 1);
		time_call(&sides[s], row->many, row->repeat / 4 + 1);
	}
	for (int r = 0; r < ROUNDS; r++) {
		for (int i = 0; i < SIDES; i++) {
			int s = (i + r) % SIDES;
			double many = time_call(&sides[s], row->many, row->repeat);

			one[s][r] = time_call(&sides[s], row->one, row->repeat * 8);
			body[s][r] = (many - one[s][r]) / row->bodies;
		}
		ratio[r] = body[0][r] / body[1][r];
	}
	for (int s = 0; s < SIDES; s++) {
		s_one[s] = summarize(one[s], ROUNDS);
		s_body[s] = summarize(body[s], ROUNDS);
	}
	s_ratio = summarize(ratio, ROUNDS);
	printf("%-26s %7.2f %7.2f | %7.2f %6.2f..%-6.2f %7.2f %6.2f..%-6.2f | %5.2f %4.2f..%-4.2f",
		row->label, s_one[0].median, s_one[1].median, s_body[0].median, s_body[0].min,
		s_body[0].max, s_body[1].median, s_body[1].min, s_body[1].max, s_ratio.median,
		s_ratio.min, s_ratio.max);
	if (row->target > 0)
		printf(" (goal %.2f)", row->target);
	printf("\n");
}

static void count_event(void *arg, int cpu, void *data, __u32 size)
{
	struct side *side = arg;

	side->events_read++;
}

static void count_lost(void *arg, int cpu, __u64 count)
{
	struct side *side = arg;

	side->events_lost += count;
}

static void *read_events(void *arg)
{
	struct side *side = arg;

	sched_setaffinity(0, sizeof(reader_cpus), &reader_cpus);
	sl_client_use(side->target);
	while (__atomic_load_n(&reading, __ATOMIC_RELAXED))
		perf_buffer__poll(side->reader, 100);
	perf_buffer__consume(side->reader);
	return NULL;
}

/* Waits until the reader has seen every event so far, or lost it. */
static void wait_for_reader(const struct side *side, unsigned long long events)
{
	while (__atomic_load_n(&side->events_read, __ATOMIC_RELAXED) +
			__atomic_load_n(&side->events_lost, __ATOMIC_RELAXED) <
		events)
		usleep(50);
}

/*
 * The cost of an event is what the program with one takes more than the empty one. The bursts are
 * no longer than the ring, and the reader catches up in between: an event that finds no room is
 * cheaper than one that is written, so none may be lost.
 */
static double time_events(struct side *side, unsigned long long *events)
{
	enum { BURST = 1024, BURSTS = 64 };
	double with = 0, without = 0;

	for (int i = 0; i < BURSTS; i++) {
		without += time_call(side, "nothing_1", BURST);
		with += time_call(side, "event_1", BURST);
		*events += BURST;
		wait_for_reader(side, *events);
	}
	return (with - without) / BURSTS;
}

static void compare_events(void)
{
	unsigned long long events[SIDES] = {};
	double net[SIDES][ROUNDS];
	pthread_t threads[SIDES];

	for (int s = 0; s < SIDES; s++) {
		sl_client_use(sides[s].target);
		sides[s].reader = perf_buffer__new(bpf_map__fd(sides[s].bodies->maps.events), 64,
			count_event, count_lost, &sides[s], NULL);
		if (!sides[s].reader)
			fail("perf_buffer__new");
	}
	reading = true;
	for (int s = 0; s < SIDES; s++)
		pthread_create(&threads[s], NULL, read_events, &sides[s]);
	for (int r = 0; r < ROUNDS; r++) {
		for (int i = 0; i < SIDES; i++) {
			int s = (i + r) % SIDES;

			net[s][r] = time_events(&sides[s], &events[s]);
		}
	}
	__atomic_store_n(&reading, false, __ATOMIC_RELAXED);
	for (int s = 0; s < SIDES; s++) {
		struct summary sum = summarize(net[s], ROUNDS);

		pthread_join(threads[s], NULL);
		printf("perf event of %d bytes, %s: %.1f ns net (%.1f..%.1f), %llu read, %llu lost\n",
			EVENT_BYTES, sides[s].name, sum.median, sum.min, sum.max,
			sides[s].events_read, sides[s].events_lost);
		sl_client_use(sides[s].target);
		perf_buffer__free(sides[s].reader);
	}
}

static int count_record(void *arg, void *data, size_t size)
{
	unsigned long long *count = arg;

	++*count;
	return 0;
}

/*
 * Records of a ring buffer, likewise; they are taken between the bursts, by the same thread. None
 * may find the ring full.
 */
static void compare_records(const char *name, const char *label)
{
	enum { BURST = 4096, BURSTS = 16 };

	for (int s = 0; s < SIDES; s++) {
		unsigned long long count = 0;
		struct ring_buffer *ring;
		double net[ROUNDS];
		struct summary sum;

		sl_client_use(sides[s].target);
		ring = ring_buffer__new(
			bpf_map__fd(sides[s].bodies->maps.records), count_record, &count, NULL);
		if (!ring)
			fail("ring_buffer__new");
		for (int r = 0; r < ROUNDS; r++) {
			net[r] = 0;
			for (int i = 0; i < BURSTS; i++) {
				net[r] -= time_call(&sides[s], "nothing_1", BURST) / BURSTS;
				net[r] += time_call(&sides[s], name, BURST) / BURSTS;
				ring_buffer__consume(ring);
			}
		}
		if (count != (unsigned long long)ROUNDS * BURSTS * BURST)
			fail("records lost");
		sum = summarize(net, ROUNDS);
		printf("ring buffer, %s of %d bytes, %s: %.1f ns net (%.1f..%.1f)\n", label,
			EVENT_BYTES, sides[s].name, sum.median, sum.min, sum.max);
		ring_buffer__free(ring);
	}
}

/* A program of about `count` instructions: loads, arithmetic and branches over a packet. */
static unsigned make_program(struct bpf_insn *insns, unsigned count)
{
	enum { BLOCK = 6, PACKET = 128 };
	const struct bpf_insn start[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = 0 },
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 3, .src_reg = 1, .off = 4 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 4, .src_reg = 2 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 4, .imm = PACKET },
		{ .code = BPF_JMP | BPF_JLE | BPF_X, .dst_reg = 4, .src_reg = 3, .off = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	unsigned n = sizeof(start) / sizeof(start[0]);

	memcpy(insns, start, sizeof(start));
	for (unsigned i = 0; n + BLOCK + 1 <= count; i++) {
		const struct bpf_insn block[BLOCK] = {
			{ .code = BPF_LDX | BPF_MEM | BPF_W,
				.dst_reg = 5,
				.src_reg = 2,
				.off = i * 4 % PACKET },
			{ .code = BPF_ALU64 | BPF_MUL | BPF_K, .dst_reg = 0, .imm = 31 },
			{ .code = BPF_ALU64 | BPF_ADD | BPF_X, .dst_reg = 0, .src_reg = 5 },
			{ .code = BPF_JMP | BPF_JGT | BPF_K,
				.dst_reg = 5,
				.imm = i * 977,
				.off = 1 },
			{ .code = BPF_ALU64 | BPF_XOR | BPF_K, .dst_reg = 0, .imm = i },
			{ .code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = 0, .imm = 1 },
		};

		memcpy(insns + n, block, sizeof(block));
		n += BLOCK;
	}
	insns[n++] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	return n;
}

static void compare_loading(unsigned count)
{
	struct bpf_insn insns[2048];
	unsigned n = make_program(insns, count);
	struct sluice_load_report report = {};
	double ms[SIDES][ROUNDS];

	for (int r = 0; r < ROUNDS; r++) {
		for (int s = 0; s < SIDES; s++) {
			double start;
			int fd;

			sl_client_use(sides[s].target);
			start = wall_ns();
			fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "load", "GPL", insns, n, NULL);
			if (fd < 0)
				fail("bpf_prog_load");
			ms[s][r] = (wall_ns() - start) / 1e6;
			if (sides[s].target == SL_CLIENT_IN_PROCESS)
				sluice_load_report(fd, &report);
			close(fd);
		}
	}
	for (int s = 0; s < SIDES; s++) {
		struct summary sum = summarize(ms[s], ROUNDS);

		printf("loading %u instructions, %s: %.2f ms (%.2f..%.2f)\n", n, sides[s].name,
			sum.median, sum.min, sum.max);
	}
	printf("  of which (last round, ms): verify %.2f, emit %.2f, link %.2f, optimise %.2f, "
	       "generate %.2f; %u bytes\n",
		report.verify_ns / 1e6, report.emit_ns / 1e6, report.link_ns / 1e6,
		report.optimize_ns / 1e6, report.codegen_ns / 1e6, report.code_bytes);
}

int main(void)
{
	cpu_set_t cpu;

	sched_getaffinity(0, sizeof(reader_cpus), &reader_cpus);
	CPU_CLR(0, &reader_cpus);
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	libbpf_set_print(NULL);
	for (int s = 0; s < SIDES; s++)
		open_side(&sides[s]);
	printf("ns per call and per body, median (min..max) of %d interleaved rounds\n", ROUNDS);
	printf("%-26s %7s %7s | %7s %14s %7s %14s | %s\n", "", "call", "kernel", "body", "",
		"kernel", "", "body ratio");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		compare(&rows[i]);
	compare_events();
	compare_records("record_output", "output");
	compare_records("record_reserve", "reserve and submit");
	compare_loading(50);
	compare_loading(1500);
	for (int s = 0; s < SIDES; s++) {
		sl_client_use(sides[s].target);
		bodies_bpf__destroy(sides[s].bodies);
	}
	return 0;
}
