#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "bed.h"
#include "context.h"
#include "cpu_queue.h"
#include "fd.h"
#include "map.h"
#include "prog.h"
#include "rcu.h"
#include "test.h"

/* CPUMAP: packets that one worker hands to another, and the programs that they meet there. */

enum { CPUS = 2, META = 8, LONG_QUEUE = 16384, PLENTY = 20000 };

/* What the first payload byte of a packet asks for. The second one is for the entry's program. */
struct seen {
	unsigned count, by_cpu[CPUS]; /* where the entry's program ran */
	unsigned tc_by_cpu[CPUS], tc_meta;
	uint32_t ingress_ifindex, queue, meta_bytes;
};

static struct seen seen;
static struct sl_map *cpus;
static struct sl_map *ports;

static void ask(struct sl_run *run, struct sl_map *map, uint32_t key)
{
	run->redirect_map = map;
	run->redirect_entry = map->ops->lookup(&map->desc, NULL, &key);
	run->redirect_flags = 0;
}

/* At the port: to the CPU that the first payload byte names, with metadata before the packet. */
static uint64_t xdp_to_cpu(struct sl_ctx *ctx, uint64_t tail_calls)
{
	ctx->data_meta = ctx->data - META;
	memset(ctx->data_meta, 0x5a, META);
	ask(ctx->run, cpus, ctx->data[PAYLOAD]);
	return ctx->run->redirect_entry ? XDP_REDIRECT : XDP_DROP;
}

/* Of the entry: the second payload byte is the verdict. */
static uint64_t xdp_of_entry(struct sl_ctx *ctx, uint64_t tail_calls)
{
	uint8_t verdict = ctx->data[PAYLOAD + 1];

	__atomic_add_fetch(&seen.count, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&seen.by_cpu[ctx->cpu], 1, __ATOMIC_RELAXED);
	seen.ingress_ifindex = ctx->ingress_ifindex;
	seen.queue = ctx->rx_queue_index;
	seen.meta_bytes = (uint32_t)(ctx->data - ctx->data_meta);
	if (verdict == XDP_REDIRECT)
		ask(ctx->run, ports, 0);
	return verdict;
}

static uint64_t xdp_pass(struct sl_ctx *ctx, uint64_t tail_calls)
{
	return XDP_PASS;
}

/* Passes what the first payload byte names a CPU for on to the other one's entry. */
static uint64_t xdp_to_other_cpu(struct sl_ctx *ctx, uint64_t tail_calls)
{
	ask(ctx->run, cpus, !ctx->data[PAYLOAD]);
	return XDP_REDIRECT;
}

static uint64_t tc_count(struct sl_ctx *ctx, uint64_t tail_calls)
{
	__atomic_add_fetch(&seen.tc_by_cpu[ctx->cpu], 1, __ATOMIC_RELAXED);
	seen.tc_meta = (uint32_t)(ctx->data - ctx->data_meta);
	return TC_ACT_OK;
}

static struct sl_map *map_new(enum bpf_map_type type, uint32_t max_entries)
{
	struct sl_map *map = NULL;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = 8;
	attr.max_entries = max_entries;
	EXPECT_EQ(sl_map_new(&attr, &map), 0);
	return map;
}

static int put(struct sl_map *map, uint32_t key, uint32_t value, int fd)
{
	struct bpf_cpumap_val val = { .qsize = value, .bpf_prog.fd = fd };
	int err;

	sl_rcu_read_begin();
	err = map->ops->sys_update(map, &key, &val, BPF_ANY);
	sl_rcu_read_end();
	return err;
}

static int entry_program(sl_prog_fn fn)
{
	int fd = stand_in_fd(BPF_PROG_TYPE_XDP, fn);
	struct sl_object *obj;

	if (sl_fd_get(fd, SL_OBJECT_PROG, &obj) == 0) {
		sl_prog_of(obj)->expected_attach_type = BPF_XDP_CPUMAP;
		sl_object_unref(obj);
	}
	return fd;
}

/* fn NULL: without a program. */
static int put_entry(uint32_t cpu, uint32_t length, sl_prog_fn fn)
{
	int fd = fn ? entry_program(fn) : 0;
	int err = put(cpus, cpu, length, fd);

	if (fn)
		close(fd);
	return err;
}

static void open_bed(struct bed *bed)
{
	ASSERT_TRUE(bed_open(bed, 2));
	memset(&seen, 0, sizeof(seen));
	cpus = map_new(BPF_MAP_TYPE_CPUMAP, CPUS);
	ports = map_new(BPF_MAP_TYPE_DEVMAP, 1);
	ASSERT_EQ(put(ports, 0, bed->b.ifindex, 0), 0);
	ASSERT_EQ(attach_xdp(&bed->a, xdp_to_cpu), 0);
}

static void close_bed(struct bed *bed)
{
	sluice_workers_stop();
	sl_map_unref(cpus);
	sl_map_unref(ports);
	bed_close(bed);
}

static void expect_on(struct bed *bed, uint8_t cpu)
{
	memset(&seen, 0, sizeof(seen));
	ASSERT_EQ(put_entry(cpu, 64, xdp_of_entry), 0);
	send_one(bed, frame_of(cpu, XDP_PASS));
	EXPECT_EQ(seen.by_cpu[cpu], 1u);
	EXPECT_EQ(seen.tc_by_cpu[cpu], 1u);
	EXPECT_EQ(seen.ingress_ifindex, bed->a.ifindex);
	EXPECT_EQ(seen.queue, 0u);
	EXPECT_EQ(seen.meta_bytes, (uint32_t)META);
	EXPECT_EQ(seen.tc_meta, (uint32_t)META);
	/* Without a program, and without an entry. */
	ASSERT_EQ(put_entry(cpu, 64, NULL), 0);
	send_one(bed, frame_of(cpu, XDP_PASS));
	EXPECT_EQ(seen.tc_by_cpu[cpu], 2u);
	ASSERT_EQ(put_entry(cpu, 0, NULL), 0);
	send_one(bed, frame_of(cpu, XDP_PASS));
	EXPECT_EQ(seen.count, 1u);
	EXPECT_EQ(seen.tc_by_cpu[cpu], 2u);
}

TEST(cpumap, the_entrys_program_and_tc_run_on_the_cpu_that_the_entry_names)
{
	struct bed bed;

	open_bed(&bed);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_count), 0);
	for (uint8_t cpu = 0; cpu < sluice_workers_count(); cpu++)
		expect_on(&bed, cpu);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_KERNEL), 2 * sluice_workers_count());
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_DROP), sluice_workers_count());
	close_bed(&bed);
}

TEST(cpumap, what_the_entrys_program_says)
{
	static const uint8_t dropping[] = { XDP_ABORTED, XDP_DROP, XDP_TX, 77 };
	struct bed bed;

	open_bed(&bed);
	ASSERT_EQ(put_entry(0, 64, xdp_of_entry), 0);
	for (unsigned i = 0; i < sizeof(dropping); i++) {
		send_one(&bed, frame_of(0, dropping[i]));
		EXPECT_EQ(counter_of(&bed.a, SLUICE_REDIRECT_DROP), i + 1u);
	}
	EXPECT_EQ(ring_receive_all(&bed.b), 0u);
	send_one(&bed, frame_of(0, XDP_REDIRECT));
	EXPECT_EQ(ring_receive_all(&bed.b), 1u);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_TX), 1u);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_CPUMAP), sizeof(dropping) + 1u);
	close_bed(&bed);
}

/* Round and round, until the workers stop: what is on its way then is counted. */
TEST(cpumap, from_cpu_to_cpu_without_an_end)
{
	struct bed bed;

	open_bed(&bed);
	ASSERT_EQ(put_entry(0, 64, xdp_to_other_cpu), 0);
	ASSERT_EQ(put_entry(1, 64, xdp_to_other_cpu), 0);
	{
		struct frame f = frame_of(0, 0);

		ring_send(&bed.a, f.bytes, FRAME, 8);
	}
	for (unsigned i = 0; i < 1000 && counter_of(&bed.a, SLUICE_CPUMAP) < 100; i++)
		usleep(1000);
	EXPECT_GE(counter_of(&bed.a, SLUICE_CPUMAP), 100u);
	sluice_workers_stop();
	EXPECT_EQ(counter_of(&bed.a, SLUICE_STOPPED), 8u);
	close_bed(&bed);
}

TEST(cpumap, a_queue_holds_as_many_as_the_entry_says)
{
	struct bed bed;
	struct frame f = frame_of(0, XDP_PASS);

	open_bed(&bed);
	ASSERT_EQ(put_entry(0, 5, NULL), 0);
	/* All in one burst, of which the queue's end cannot take anything meanwhile. */
	sluice_workers_stop();
	ring_send(&bed.a, f.bytes, FRAME, 32);
	ASSERT_EQ(sluice_workers_start(), 0);
	settle(&bed.a, 32);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_CPUMAP_FULL), 27u);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_KERNEL), 5u);
	close_bed(&bed);
}

static void *replace_entries(void *arg)
{
	struct bed *bed = arg;

	for (unsigned n = 0; !__atomic_load_n(&bed->done, __ATOMIC_RELAXED); n++) {
		if (put_entry(n % CPUS, LONG_QUEUE, n % 3 ? xdp_pass : NULL) != 0)
			return arg;
	}
	return NULL;
}

/* Every packet gets to the end of the queue that it was put into. */
TEST(cpumap, entries_replaced_under_traffic_lose_no_packet)
{
	struct bed bed = { .done = 0 };
	pthread_t thread;
	void *failed;

	open_bed(&bed);
	ASSERT_EQ(put_entry(0, LONG_QUEUE, NULL), 0);
	ASSERT_EQ(put_entry(1, LONG_QUEUE, NULL), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, replace_entries, &bed), 0);
	for (unsigned i = 0; i < PLENTY; i += 8) {
		struct frame f = frame_of(i / 8 % CPUS, XDP_PASS);

		ring_send(&bed.a, f.bytes, FRAME, 8);
	}
	settle(&bed.a, PLENTY);
	__atomic_store_n(&bed.done, 1, __ATOMIC_RELAXED);
	pthread_join(thread, &failed);
	EXPECT_TRUE(!failed);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_KERNEL), (uint64_t)PLENTY);
	close_bed(&bed);
}

/* The port that a packet came in by goes while the packet waits. */
TEST(cpumap, a_packet_outlives_its_port)
{
	struct bed bed;
	struct ring_port gone;
	struct frame f = frame_of(0, XDP_PASS);
	struct sluice_counters sums;

	open_bed(&bed);
	ASSERT_EQ(ring_port_open(&gone, 2), 0);
	ASSERT_EQ(attach_xdp(&gone, xdp_to_cpu), 0);
	ASSERT_EQ(put_entry(0, 64, xdp_to_other_cpu), 0);
	ASSERT_EQ(put_entry(1, 64, xdp_to_other_cpu), 0);
	ring_send(&gone, f.bytes, FRAME, 8);
	for (unsigned i = 0; i < 1000 && counter_of(&gone, SLUICE_RX) < 8; i++)
		usleep(1000);
	ring_port_close(&gone);
	for (unsigned i = 0; i < 1000 && sum_of(SLUICE_KIND_IN) != sum_of(SLUICE_KIND_OUT); i++)
		usleep(1000);
	EXPECT_EQ(sum_of(SLUICE_KIND_IN), sum_of(SLUICE_KIND_OUT));
	ASSERT_EQ(sluice_counters_read(0, -1, &sums), 0);
	EXPECT_EQ(sums.value[SLUICE_NO_PORT], 8u);
	close_bed(&bed);
}

/* A CPU without a worker has one that stands in for it. */
TEST(cpumap, every_cpu_is_served_by_one_worker)
{
	static const unsigned workers[] = { 3, 5 };
	struct sl_cpu_queue *queues[8];

	for (uint32_t cpu = 0; cpu < 8; cpu++)
		ASSERT_EQ(sl_cpu_queue_new(cpu, 1, NULL, &queues[cpu]), 0);
	ASSERT_EQ(sl_cpu_queue_serve(workers, 2), 0);
	for (uint32_t cpu = 0; cpu < 8; cpu++) {
		unsigned found = 0;

		for (unsigned w = 0; w < 2; w++) {
			const struct sl_cpu_inbox *inbox = sl_cpu_inbox_peek(workers[w]);

			for (uint32_t i = 0; inbox && i < inbox->count; i++)
				found += inbox->queues[i] == queues[cpu];
		}
		EXPECT_EQ(found, 1u);
	}
	/* Of CPUs without a worker every other one, and the own. */
	EXPECT_EQ(sl_cpu_inbox_peek(3)->count, 5u);
	EXPECT_EQ(sl_cpu_inbox_peek(5)->count, 3u);
	for (uint32_t cpu = 0; cpu < 8; cpu++)
		sl_cpu_queue_close(queues[cpu]);
	for (unsigned i = 0; i < 1000 && (sl_cpu_inbox_peek(3) || sl_cpu_inbox_peek(5)); i++)
		usleep(1000);
	EXPECT_TRUE(!sl_cpu_inbox_peek(3));
	EXPECT_TRUE(!sl_cpu_inbox_peek(5));
}
