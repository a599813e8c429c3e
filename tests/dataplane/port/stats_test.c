#include <sluice/stats.h>

#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <sluice/bpf.h>

#include "bed.h"
#include "context.h"
#include "cpu.h"
#include "prog.h"
#include "test.h"

/* A frame's first payload byte is the verdict. */
static uint64_t verdict_of(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	return ctx->data[PAYLOAD];
}

/* About 2 us. */
static uint64_t slow(struct sl_ctx *ctx, uint64_t tail_calls)
{
	uint64_t until = rte_rdtsc() + sluice_cycles_hz() / 500000;

	while (rte_rdtsc() < until)
		;
	return verdict_of(ctx, tail_calls);
}

static struct sluice_prog_stats prog_stats(uint32_t id)
{
	struct sluice_prog_stats stats = { 0 };

	EXPECT_EQ(sluice_prog_stats_next(id - 1, &stats), 0);
	EXPECT_EQ(stats.id, id);
	return stats;
}

static struct sluice_port_stats port_stats(const struct ring_port *port)
{
	struct sluice_port_stats stats = { 0 };

	EXPECT_EQ(sluice_port_stats_next(port->ifindex - 1, &stats), 0);
	EXPECT_EQ(stats.info.ifindex, port->ifindex);
	return stats;
}

static uint32_t only_prog(const struct ring_port *port)
{
	struct sluice_hook_prog prog;

	EXPECT_EQ(sluice_hook_progs(port->ifindex, &prog, 1), 1);
	return prog.prog_id;
}

/* All that was received is a run of the program, a packet of a burst, and a verdict. */
static void expect_conserved(const struct bed *bed, uint32_t prog, uint64_t sent)
{
	struct sluice_port_stats port = port_stats(&bed->a);
	uint64_t verdicts = 0, runs = 0, packets = 0, ends = 0;
	struct sluice_worker_stats worker;
	struct sluice_prog_runs of_worker;
	const char *hook, *verdict;

	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (sluice_counter_verdict(i, &hook, &verdict))
			verdicts += port.counters.value[i];
		else
			EXPECT_TRUE(strncmp(sluice_counter_name(i), "ingress_", 8) != 0);
		if (sluice_counter_is_drop(i))
			ends += port.counters.value[i];
	}
	for (unsigned w = 0; sluice_worker_stats(w, &worker) == 0; w++) {
		ASSERT_EQ(sluice_prog_runs(prog, w, &of_worker), 0);
		runs += of_worker.run_cnt;
		packets += worker.packets;
		EXPECT_LE(worker.bursts, worker.packets);
		EXPECT_LE(worker.packets, 32 * worker.bursts);
	}
	EXPECT_EQ(port.receive_packets, sent);
	EXPECT_EQ(prog_stats(prog).run_cnt, sent);
	EXPECT_EQ(runs, sent);
	EXPECT_EQ(verdicts, sent);
	EXPECT_EQ(port.drops, ends);
	EXPECT_EQ(port.drops + port.transmit_packets, sent);
	EXPECT_GE(packets, sent);
}

TEST(stats, packets_runs_and_verdicts_agree)
{
	enum { DROPPED = 700, SENT_BACK = 300 };
	struct frame drop = frame_of(XDP_DROP, 0), tx = frame_of(XDP_TX, 0);
	uint64_t got = 0;
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_xdp(&bed.a, verdict_of), 0);
	ring_send(&bed.a, drop.bytes, FRAME, DROPPED);
	settle(&bed.a, DROPPED);
	ring_send(&bed.a, tx.bytes, FRAME, SENT_BACK);
	settle(&bed.a, DROPPED + SENT_BACK);
	sluice_workers_stop();
	got = ring_receive_all(&bed.a);
	EXPECT_EQ(got, SENT_BACK);
	expect_conserved(&bed, only_prog(&bed.a), DROPPED + SENT_BACK);
	EXPECT_EQ(port_stats(&bed.a).drops, DROPPED);
	EXPECT_EQ(port_stats(&bed.a).transmit_packets, got);
	bed_close(&bed);
}

/* Readers see figures that never go back while two workers count. */
static void *read_all(void *arg)
{
	struct bed *bed = arg;
	uint64_t rounds = 0, packets = 0, runs = 0, time = 0;
	uint32_t prog = only_prog(&bed->a);

	while (!__atomic_load_n(&bed->done, __ATOMIC_ACQUIRE)) {
		struct sluice_port_stats port = port_stats(&bed->a);
		struct sluice_prog_stats of_prog = prog_stats(prog);

		EXPECT_GE(port.receive_packets, packets);
		EXPECT_GE(of_prog.run_cnt, runs);
		EXPECT_GE(of_prog.run_time_ns, time);
		packets = port.receive_packets;
		runs = of_prog.run_cnt;
		time = of_prog.run_time_ns;
		rounds++;
		usleep(100);
	}
	return (void *)(uintptr_t)rounds;
}

TEST(stats, two_workers_count_under_load)
{
	enum { ROUNDS = 100, BURST = 200 };
	struct frame f = frame_of(TC_ACT_SHOT, 0);
	struct bed bed;
	pthread_t reader;
	void *rounds;
	int fd = stand_in_fd(BPF_PROG_TYPE_SCHED_CLS, verdict_of);
	struct sluice_tc_filter filter = { .direct_action = true, .prog_fd = fd };

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(sluice_tc_add(bed.a.ifindex, SLUICE_TC_INGRESS, &filter, 0), 0);
	filter.handle = filter.priority = 0;
	ASSERT_EQ(sluice_tc_add(bed.b.ifindex, SLUICE_TC_INGRESS, &filter, 0), 0);
	close(fd);
	bed.done = 0;
	ASSERT_EQ(pthread_create(&reader, NULL, read_all, &bed), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		ring_send(&bed.a, f.bytes, FRAME, BURST);
		ring_send(&bed.b, f.bytes, FRAME, BURST);
	}
	settle(&bed.a, ROUNDS * BURST);
	settle(&bed.b, ROUNDS * BURST);
	__atomic_store_n(&bed.done, 1, __ATOMIC_RELEASE);
	pthread_join(reader, &rounds);
	EXPECT_GT((uintptr_t)rounds, 0u);
	sluice_workers_stop();
	EXPECT_EQ(only_prog(&bed.a), only_prog(&bed.b));
	EXPECT_EQ(prog_stats(only_prog(&bed.a)).run_cnt, 2u * ROUNDS * BURST);
	EXPECT_EQ(port_stats(&bed.a).drops, ROUNDS * BURST);
	EXPECT_EQ(port_stats(&bed.b).drops, ROUNDS * BURST);
	bed_close(&bed);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A sample of the runs tells the time of all but the last ones. */
static void expect_time(enum bpf_prog_type type, unsigned runs, double least, double most)
{
	struct frame f = frame_of(type == BPF_PROG_TYPE_XDP ? XDP_DROP : TC_ACT_SHOT, 0);
	struct sluice_prog_stats stats;
	uint64_t start_ns = now_ns();
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	if (type == BPF_PROG_TYPE_XDP)
		ASSERT_EQ(attach_xdp(&bed.a, slow), 0);
	else
		ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, slow), 0);
	for (unsigned sent = 0; sent < runs; sent += runs / 10)
		ring_send(&bed.a, f.bytes, FRAME, runs / 10);
	settle(&bed.a, runs);
	sluice_workers_stop();
	stats = prog_stats(only_prog(&bed.a));
	EXPECT_EQ(stats.run_cnt, runs);
	EXPECT_GT(stats.cycles, 0u);
	EXPECT_GT(stats.run_time_ns, least * 2000 * runs);
	/* What else runs on the CPU is in it, and is taken for more of its kind. */
	EXPECT_LT(stats.run_time_ns, most * (double)(now_ns() - start_ns));
	bed_close(&bed);
}

TEST(stats, time_of_bursts_is_sampled)
{
	expect_time(BPF_PROG_TYPE_XDP, 10000, 0.7, 20);
}

TEST(stats, time_of_single_runs_is_sampled)
{
	expect_time(BPF_PROG_TYPE_SCHED_CLS, 10000, 0.7, 20);
}

TEST(stats, few_runs_are_timed_exactly)
{
	expect_time(BPF_PROG_TYPE_SCHED_CLS, 10, 1, 1);
}

TEST(stats, every_run_is_timed_while_somebody_asks)
{
	union bpf_attr attr = { .enable_stats.type = BPF_STATS_RUN_TIME };
	int fd = (int)sluice_bpf(BPF_ENABLE_STATS, &attr, sizeof(attr));

	stand_in_hooks();
	ASSERT_GE(fd, 0);
	expect_time(BPF_PROG_TYPE_SCHED_CLS, 1000, 1, 1);
	close(fd);
}

TEST(stats, workers_are_busy_or_idle)
{
	struct sluice_worker_stats before, after;
	struct frame f = frame_of(XDP_DROP, 0);
	uint64_t busy = 0, polls = 0;
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_xdp(&bed.a, slow), 0);
	ASSERT_EQ(sluice_worker_stats(0, &before), 0);
	for (unsigned w = 0; sluice_worker_stats(w, &after) == 0; w++)
		busy -= after.busy_cycles;
	ring_send(&bed.a, f.bytes, FRAME, 1000);
	settle(&bed.a, 1000);
	usleep(20000);
	for (unsigned w = 0; sluice_worker_stats(w, &after) == 0; w++) {
		EXPECT_TRUE(after.running);
		EXPECT_GT(after.idle_cycles, 0u);
		EXPECT_GT(after.cpu_time_ns, 0u);
		busy += after.busy_cycles;
		polls += after.empty_polls;
	}
	/* 1000 runs of 2 us. */
	EXPECT_GT(busy, sluice_cycles_hz() / 1000 * 2);
	EXPECT_GT(polls, 0u);
	ASSERT_EQ(sluice_worker_stats(0, &after), 0);
	EXPECT_GT(after.busy_cycles + after.idle_cycles, before.busy_cycles + before.idle_cycles);
	EXPECT_EQ(sluice_worker_stats(sluice_workers_count(), &after), -ENOENT);
	bed_close(&bed);
}

TEST(stats, hooks_are_listed_in_the_order_of_packets)
{
	struct sluice_hook_prog progs[8];
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	EXPECT_EQ(sluice_hook_progs(bed.a.ifindex, progs, 8), 0);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_EGRESS, verdict_of), 0);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, verdict_of), 0);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, verdict_of), 0);
	ASSERT_EQ(attach_xdp(&bed.a, verdict_of), 0);
	memset(progs, 0, sizeof(progs));
	EXPECT_EQ(sluice_hook_progs(bed.a.ifindex, progs, 3), 4);
	EXPECT_STREQ(progs[0].hook, "xdp");
	EXPECT_STREQ(progs[1].hook, "tc_ingress");
	EXPECT_EQ(progs[1].position, 0u);
	EXPECT_STREQ(progs[2].hook, "tc_ingress");
	EXPECT_EQ(progs[2].position, 1u);
	EXPECT_EQ(progs[3].hook, NULL);
	EXPECT_EQ(sluice_hook_progs(bed.a.ifindex, progs, 8), 4);
	EXPECT_STREQ(progs[3].hook, "tc_egress");
	EXPECT_EQ(sluice_hook_progs(99999, progs, 8), -ENODEV);
	bed_close(&bed);
}

static int create_map(enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries)
{
	union bpf_attr attr = {
		.map_type = type, .key_size = key, .value_size = value, .max_entries = entries
	};

	memcpy(attr.map_name, "counted", 8);
	return (int)sluice_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

TEST(stats, maps_say_what_they_hold)
{
	int hash = create_map(BPF_MAP_TYPE_HASH, 4, 8, 16);
	int array = create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 16);
	int ring = create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096);
	struct sluice_map_stats stats = { 0 };
	unsigned seen = 0;
	union bpf_attr attr = { .map_fd = (uint32_t)hash };
	uint64_t value = 1;

	ASSERT_GE(hash, 0);
	ASSERT_GE(array, 0);
	ASSERT_GE(ring, 0);
	for (uint32_t key = 0; key < 3; key++) {
		attr.key = (uintptr_t)&key;
		attr.value = (uintptr_t)&value;
		ASSERT_EQ(sluice_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
	}
	while (sluice_map_stats_next(stats.id, &stats) == 0) {
		if (strcmp(stats.name, "counted") != 0)
			continue;
		seen++;
		EXPECT_EQ(stats.has_entries, stats.type == BPF_MAP_TYPE_HASH);
		EXPECT_EQ(stats.has_lost_events, stats.type == BPF_MAP_TYPE_RINGBUF);
		EXPECT_EQ(stats.entries, stats.type == BPF_MAP_TYPE_HASH ? 3u : 0u);
		EXPECT_GE(stats.memory_bytes, stats.type == BPF_MAP_TYPE_RINGBUF ? 4096u : 128u);
		EXPECT_STREQ(stats.type_name, stats.type == BPF_MAP_TYPE_HASH    ? "hash"
					      : stats.type == BPF_MAP_TYPE_ARRAY ? "array"
										 : "ringbuf");
	}
	EXPECT_EQ(seen, 3u);
	EXPECT_EQ(sluice_map_stats_next(stats.id, &stats), -ENOENT);
	close(hash);
	close(array);
	close(ring);
}

/* The lists have what they should: names that monitoring systems take, and each once. */
TEST(stats, fields_are_described)
{
	for (unsigned kind = 0; kind < SLUICE_STAT_KINDS; kind++) {
		const struct sluice_stat_field *fields =
			sluice_stat_fields((enum sluice_stat_kind)kind);

		EXPECT_TRUE(fields[0].name);
		for (unsigned i = 0; fields[i].name; i++) {
			size_t len;

			if (!fields[i].metric)
				continue;
			len = strspn(fields[i].metric, "abcdefghijklmnopqrstuvwxyz_");

			EXPECT_EQ(fields[i].metric[len], '\0');
			EXPECT_TRUE(!strstr(fields[i].metric, "_total"));
			EXPECT_TRUE(fields[i].help[0]);
			EXPECT_NE(fields[i].help[strlen(fields[i].help) - 1], '.');
			for (unsigned j = 0; j < i; j++)
				EXPECT_TRUE(!fields[j].metric ||
					    strcmp(fields[i].metric, fields[j].metric) != 0);
		}
	}
}
