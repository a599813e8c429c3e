/*
 * Every program in programs/, loaded from the same object into the kernel and into Sluice, sees the
 * same packets on both: results, packet bytes, contexts and finally map contents must be equal.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "capture.h"
#include "classify.h"
#include "client.h"
#include "l2fwd.h"
#include "oracle.h"
#include "test.h"

enum { KERNEL, SLUICE, SIDES };
enum { PACKETS = 3000, VALUE_MAX = 4096, KEYS_MAX = 20000 };

static const enum sl_client_target targets[SIDES] = {
	[KERNEL] = SL_CLIENT_KERNEL,
	[SLUICE] = SL_CLIENT_IN_PROCESS,
};

static struct packet packets[PACKETS];

/* One in five is damaged: cut short, or some of its bytes replaced, or all of them. */
static void damage(struct packet *packet, unsigned seed)
{
	srand(seed);
	switch (rand() % 10) {
	case 0:
		packet->len = rand() % (packet->len + 1);
		break;
	case 1:
		for (unsigned i = 0; i < 4; i++)
			packet->data[rand() % 64] = rand();
		break;
	case 2:
		for (unsigned i = 0; i < packet->len; i++)
			packet->data[i] = rand();
		break;
	}
}

static bool read_packets(void)
{
	if (capture_read(CAPTURE, packets, PACKETS) != PACKETS)
		return false;
	for (unsigned i = 0; i < PACKETS; i++)
		damage(&packets[i], i);
	return true;
}

struct outcome {
	int err; /* errno */
	unsigned result;
	unsigned len;
	unsigned char data[PACKET_MAX + 512];
	struct __sk_buff skb;
};

static void run(struct bpf_program *prog, const struct packet *packet, struct outcome *out)
{
	bool skb = bpf_program__type(prog) != BPF_PROG_TYPE_XDP;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->data, .data_size_in = packet->len,
		.data_out = out->data, .data_size_out = sizeof(out->data), .repeat = 1);

	memset(out, 0, sizeof(*out));
	if (skb) {
		opts.ctx_out = &out->skb;
		opts.ctx_size_out = sizeof(out->skb);
	}
	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) != 0) {
		out->err = errno;
		return;
	}
	out->result = opts.retval;
	out->len = opts.data_size_out;
	out->skb.tstamp = 0; /* the kernel's clock at the time of the run */
}

static struct bpf_object *open_object(const char *name, int side)
{
	char path[256];
	struct bpf_object *object;

	snprintf(path, sizeof(path), BPF_DIR "/%s.bpf.o", name);
	sl_client_use(targets[side]);
	object = bpf_object__open_file(path, NULL);
	if (!object || bpf_object__load(object) != 0)
		return NULL;
	return object;
}

static void fill_jump_table(struct bpf_object *object)
{
	static const char *const slots[SLOTS] = {
		[SLOT_VLAN] = "parse_vlan",
		[SLOT_IPV4] = "parse_ipv4",
		[SLOT_IPV6] = "parse_ipv6",
		[SLOT_TCP] = "classify_tcp",
		[SLOT_UDP] = "classify_udp",
		[SLOT_ICMP] = "classify_icmp",
	};
	int table = bpf_object__find_map_fd_by_name(object, "jump_table");

	/* SLOT_OTHER stays empty, so that falling through is compared as well. */
	for (unsigned i = 0; i < SLOTS; i++) {
		int fd;

		if (!slots[i])
			continue;
		fd = bpf_program__fd(bpf_object__find_program_by_name(object, slots[i]));
		ASSERT_EQ(bpf_map_update_elem(table, &i, &fd, BPF_ANY), 0);
	}
}

/* Times differ between two runs; everything else in a value must not. */
static void hide_times(const char *map, void *value)
{
	if (strcmp(map, "stations") == 0)
		((struct l2fwd_station *)value)->seen_ns = 0;
}

static unsigned collect_keys(int fd, unsigned key_size, unsigned char *keys)
{
	unsigned n = 0;
	void *last = NULL;

	while (n < KEYS_MAX && bpf_map_get_next_key(fd, last, keys + n * key_size) == 0) {
		last = keys + n * key_size;
		n++;
	}
	return n;
}

static void compare_map(struct bpf_map *maps[SIDES])
{
	static unsigned char keys[SIDES][KEYS_MAX * 64], values[SIDES][VALUE_MAX];
	const char *name = bpf_map__name(maps[KERNEL]);
	unsigned size = bpf_map__value_size(maps[KERNEL]), count[SIDES];

	if (bpf_map__type(maps[KERNEL]) == BPF_MAP_TYPE_PERCPU_ARRAY)
		size = (size + 7) / 8 * 8 * libbpf_num_possible_cpus();
	ASSERT_LE(size, VALUE_MAX);
	for (int s = 0; s < SIDES; s++) {
		sl_client_use(targets[s]);
		count[s] = collect_keys(bpf_map__fd(maps[s]), bpf_map__key_size(maps[s]), keys[s]);
	}
	TRACE_PUSH("map %s", name);
	ASSERT_EQ(count[KERNEL], count[SLUICE]);
	for (unsigned i = 0; i < count[KERNEL]; i++) {
		const void *key = keys[KERNEL] + i * bpf_map__key_size(maps[KERNEL]);

		for (int s = 0; s < SIDES; s++) {
			sl_client_use(targets[s]);
			ASSERT_EQ(bpf_map_lookup_elem(bpf_map__fd(maps[s]), key, values[s]), 0);
			hide_times(name, values[s]);
		}
		EXPECT_MEMEQ(values[KERNEL], values[SLUICE], size);
	}
	TRACE_POP();
}

static void compare_maps(struct bpf_object *objects[SIDES])
{
	struct bpf_map *map, *pair[SIDES];

	bpf_object__for_each_map(map, objects[KERNEL])
	{
		enum bpf_map_type type = bpf_map__type(map);

		if (type == BPF_MAP_TYPE_PROG_ARRAY || type == BPF_MAP_TYPE_PERF_EVENT_ARRAY)
			continue;
		pair[KERNEL] = map;
		pair[SLUICE] = bpf_object__find_map_by_name(objects[SLUICE], bpf_map__name(map));
		ASSERT_TRUE(pair[SLUICE] != NULL);
		compare_map(pair);
		if (sl_test_has_failed())
			return;
	}
}

static void compare_outcome(struct outcome out[SIDES], bool skb)
{
	ASSERT_EQ(out[KERNEL].err, out[SLUICE].err);
	ASSERT_EQ(out[KERNEL].result, out[SLUICE].result);
	ASSERT_EQ(out[KERNEL].len, out[SLUICE].len);
	ASSERT_MEMEQ(out[KERNEL].data, out[SLUICE].data, out[KERNEL].len);
	if (skb)
		ASSERT_MEMEQ(&out[KERNEL].skb, &out[SLUICE].skb, sizeof(out[KERNEL].skb));
}

static void compare_program(struct bpf_program *progs[SIDES])
{
	static struct outcome out[SIDES];
	bool skb = bpf_program__type(progs[KERNEL]) != BPF_PROG_TYPE_XDP;

	for (unsigned i = 0; i < PACKETS; i++) {
		for (int s = 0; s < SIDES; s++) {
			sl_client_use(targets[s]);
			run(progs[s], &packets[i], &out[s]);
		}
		TRACE_PUSH("program %s, packet %u of %u bytes", bpf_program__name(progs[KERNEL]), i,
			packets[i].len);
		compare_outcome(out, skb);
		TRACE_POP();
		if (sl_test_has_failed())
			return;
	}
}

static void compare_object(const char *name)
{
	struct bpf_program *prog, *pair[SIDES];
	struct bpf_object *objects[SIDES];
	cpu_set_t cpu;

	ORACLE_OR_SKIP();
	ASSERT_TRUE(read_packets());
	/* Per-CPU values are equal only when both run on the same CPU. */
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	for (int s = 0; s < SIDES; s++) {
		objects[s] = open_object(name, s);
		ASSERT_TRUE(objects[s] != NULL);
		if (strcmp(name, "classify") == 0)
			fill_jump_table(objects[s]);
	}
	bpf_object__for_each_program(prog, objects[KERNEL])
	{
		pair[KERNEL] = prog;
		pair[SLUICE] =
			bpf_object__find_program_by_name(objects[SLUICE], bpf_program__name(prog));
		ASSERT_TRUE(pair[SLUICE] != NULL);
		compare_program(pair);
		if (sl_test_has_failed())
			break;
	}
	if (!sl_test_has_failed())
		compare_maps(objects);
	for (int s = 0; s < SIDES; s++) {
		sl_client_use(targets[s]);
		bpf_object__close(objects[s]);
	}
	sl_client_use(SL_CLIENT_IN_PROCESS);
}

TEST(programs, classify_equals_the_kernel)
{
	compare_object("classify");
}

TEST(programs, police_equals_the_kernel)
{
	compare_object("police");
}

TEST(programs, sampler_equals_the_kernel)
{
	compare_object("sampler");
}

TEST(programs, l2fwd_equals_the_kernel)
{
	compare_object("l2fwd");
}

TEST(programs, macswap_equals_the_kernel)
{
	compare_object("macswap");
}
