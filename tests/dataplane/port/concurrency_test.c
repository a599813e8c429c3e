#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/pkt_cls.h>
#include <sluice/dataplane.h>

#include "client.h"
#include "concurrency.h"
#include "concurrency.skel.h"
#include "defs.h"
#include "test.h"

/*
 * Everything that control threads may change, changed from two of them through libbpf while a worker
 * runs as fast as it can: nothing breaks, no packet is lost, none sees half of a batch.
 */

enum { RUN_MS = 2500 };

struct bed {
	struct concurrency *skel;
	uint32_t ifindex;
	bool done;
	unsigned failures; /* of calls that must succeed; the first one is told */
	char failure[128];
	unsigned batches, ports;
	uint64_t events;
};

static bool going(struct bed *bed)
{
	return !__atomic_load_n(&bed->done, __ATOMIC_RELAXED);
}

static void check(struct bed *bed, const char *what, int result)
{
	int err = errno;

	if (result < 0 && __atomic_fetch_add(&bed->failures, 1, __ATOMIC_RELAXED) == 0)
		snprintf(bed->failure, sizeof(bed->failure), "%s: %d, errno %d", what, result, err);
}

#define CHECK(bed, call) check(bed, #call, call)

static uint64_t counter(enum sluice_counter_kind kind)
{
	struct sluice_counters c;

	return sluice_counters_read(0, -1, &c) == 0 ? sluice_counters_sum(&c, kind) : UINT64_MAX;
}

static uint64_t counted(struct bed *bed, uint32_t what)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t values[SL_MAX_CPUS], sum = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(bed->skel->maps.counts), &what, values) != 0)
		return UINT64_MAX;
	for (int cpu = 0; cpu < cpus; cpu++)
		sum += values[cpu];
	return sum;
}

/* Both stages at once. */
static int set_generation(struct bed *bed, unsigned generation)
{
	const struct bpf_program *const first[] = { bed->skel->progs.mark0,
		bed->skel->progs.mark1 };
	const struct bpf_program *const second[] = { bed->skel->progs.compare0,
		bed->skel->progs.compare1 };
	int fds[] = { bpf_program__fd(first[generation]), bpf_program__fd(second[generation]) };
	uint32_t keys[] = { 0, 1 }, count = 2;
	LIBBPF_OPTS(bpf_map_batch_opts, opts);

	return bpf_map_update_batch(bpf_map__fd(bed->skel->maps.stages), keys, fds, &count, &opts);
}

static void change_side(struct bed *bed, unsigned n)
{
	int side = bpf_map__fd(bed->skel->maps.side), fd = bpf_program__fd(bed->skel->progs.aside);
	uint32_t key = n % 2;

	if (n % 4 < 2)
		CHECK(bed, bpf_map_update_elem(side, &key, &fd, BPF_ANY));
	else
		CHECK(bed, bpf_map_delete_elem(side, &key));
}

/* The program does the same: whether a key is there is open, what its value is is not. */
static void change_flows(struct bed *bed, unsigned n)
{
	int flows = bpf_map__fd(bed->skel->maps.flows);
	uint64_t value = FLOW_MAGIC;

	for (uint32_t i = 0; i < 32; i++) {
		uint32_t key = (n * 7 + i * 5) % FLOWS;

		if (i % 2)
			bpf_map_delete_elem(flows, &key);
		else
			CHECK(bed, bpf_map_update_elem(flows, &key, &value, BPF_ANY));
		if (bpf_map_lookup_elem(flows, &key, &value) == 0 && value != FLOW_MAGIC)
			CHECK(bed, -1);
		value = FLOW_MAGIC;
	}
}

/* A program that looks into a map that is given. */
static int load_with_map(int map_fd)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_LD | BPF_DW | BPF_IMM,
			.dst_reg = 1,
			.src_reg = BPF_PSEUDO_MAP_FD,
			.imm = map_fd },
		{ 0 },
		{ .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 10, .off = -4, .imm = 3 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -4 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .off = 1 },
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 0, .src_reg = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "lookup", "GPL", insns, sl_array_size(insns), NULL);
}

/* While the other thread does the same, and programs are freed in the background. */
static void load_and_close(struct bed *bed)
{
	int prog = load_with_map(bpf_map__fd(bed->skel->maps.flows));

	CHECK(bed, prog);
	if (prog >= 0)
		close(prog);
}

/* First thread: what is in maps, and which program the link has at the hook. */
static void *change_contents(void *arg)
{
	struct bed *bed = arg;
	int link = bpf_link__fd(bed->skel->links.front0);

	for (unsigned n = 0; going(bed); n++) {
		int front =
			bpf_program__fd(n % 2 ? bed->skel->progs.front0 : bed->skel->progs.front1);

		CHECK(bed, set_generation(bed, n % 2));
		change_side(bed, n);
		change_flows(bed, n);
		CHECK(bed, bpf_link_update(link, front, NULL));
		if (n % 16 == 0)
			load_and_close(bed);
		bed->batches++;
	}
	return NULL;
}

static void count_event(void *arg, int cpu, void *data, __u32 len_bytes)
{
	((struct bed *)arg)->events++;
}

static void count_lost(void *arg, int cpu, __u64 lost)
{
	((struct bed *)arg)->events += lost;
}

static void change_filters(struct bed *bed, unsigned n)
{
	struct sluice_tc_filter filter = {
		.priority = 1 + n % 3,
		.handle = 1,
		.direct_action = true,
		.prog_fd = bpf_program__fd(bed->skel->progs.filter),
	};

	CHECK(bed, sluice_tc_add(bed->ifindex, SLUICE_TC_INGRESS, &filter, SLUICE_TC_REPLACE));
	if (n % 4 == 1)
		CHECK(bed, sluice_tc_del(bed->ifindex, SLUICE_TC_INGRESS, 0, 0));
}

/*
 * A port with a program that only its link keeps, and a map that only the program keeps. The link
 * goes before its port or after it.
 */
static void come_and_go(struct bed *bed, unsigned n)
{
	int map = bpf_map_create(BPF_MAP_TYPE_HASH, "own", 4, 8, 16, NULL);
	uint64_t value = 2; /* XDP_PASS */
	uint32_t ifindex, key = 3;
	int prog, link;

	CHECK(bed, map);
	CHECK(bed, bpf_map_update_elem(map, &key, &value, BPF_ANY));
	prog = load_with_map(map);
	CHECK(bed, prog);
	CHECK(bed, sluice_port_add("net_null1,size=64", NULL, &ifindex));
	link = bpf_link_create(prog, (int)ifindex, BPF_XDP, NULL);
	CHECK(bed, link);
	close(map);
	close(prog);
	usleep(2000);
	if (n % 2)
		close(link);
	CHECK(bed, sluice_port_remove(ifindex));
	if (n % 2 == 0)
		close(link);
	bed->ports++;
}

/* Second thread: filters, ports, programs, maps, links and event buffers come and go. */
static void *change_objects(void *arg)
{
	struct bed *bed = arg;
	int events = bpf_map__fd(bed->skel->maps.events);

	for (unsigned n = 0; going(bed); n++) {
		struct perf_buffer *buffer =
			perf_buffer__new(events, 8, count_event, count_lost, bed, NULL);

		CHECK(bed, buffer ? 0 : -errno);
		for (unsigned i = 0; i < 8; i++)
			change_filters(bed, n * 8 + i);
		come_and_go(bed, n);
		if (buffer)
			perf_buffer__consume(buffer);
		perf_buffer__free(buffer);
	}
	return NULL;
}

static bool set_up(struct bed *bed)
{
	static char *args[] = { "--no-huge", "-m", "128", "--no-shconf", "--no-pci" };

	if (sluice_eal_start(1, sl_array_size(args), args) != 0 ||
		sluice_port_add("net_null0,size=64", NULL, &bed->ifindex) != 0)
		return false;
	bed->skel = concurrency__open_and_load();
	if (!bed->skel || set_generation(bed, 0) != 0)
		return false;
	bed->skel->links.front0 =
		bpf_program__attach_xdp(bed->skel->progs.front0, (int)bed->ifindex);
	return bed->skel->links.front0 != NULL;
}

TEST(concurrency, two_control_threads_and_a_worker_at_full_load)
{
	struct sluice_counters counters;
	pthread_t contents, objects;
	struct bed bed = { 0 };
	uint64_t seen;

	ASSERT_TRUE(set_up(&bed));
	ASSERT_EQ(0, sluice_workers_start());
	ASSERT_EQ(0, pthread_create(&contents, NULL, change_contents, &bed));
	ASSERT_EQ(0, pthread_create(&objects, NULL, change_objects, &bed));
	usleep(RUN_MS * 1000);
	__atomic_store_n(&bed.done, true, __ATOMIC_RELAXED);
	pthread_join(contents, NULL);
	pthread_join(objects, NULL);
	sluice_workers_stop();
	EXPECT_STREQ("", bed.failure);
	EXPECT_EQ(0u, bed.failures);
	EXPECT_GT(bed.batches, 10u);
	EXPECT_GT(bed.ports, 2u);
	EXPECT_EQ(counter(SLUICE_KIND_IN), counter(SLUICE_KIND_OUT));
	ASSERT_EQ(0, sluice_counters_read(bed.ifindex, -1, &counters));
	seen = counted(&bed, COUNT_SEEN);
	EXPECT_GT(seen, 1000u);
	EXPECT_EQ(counters.value[SLUICE_RX], seen);
	EXPECT_EQ(seen, counted(&bed, COUNT_SAME));
	EXPECT_EQ(0u, counted(&bed, COUNT_MIXED));
	EXPECT_EQ(0u, counted(&bed, COUNT_MISSED));
	EXPECT_EQ(0u, counted(&bed, COUNT_BAD_VALUE));
	EXPECT_GT(counted(&bed, COUNT_ASIDE), 0u);
	EXPECT_GT(counted(&bed, COUNT_FILTERED), 0u);
	EXPECT_GT(bed.events, 0u);
	concurrency__destroy(bed.skel);
	sluice_eal_stop();
}
