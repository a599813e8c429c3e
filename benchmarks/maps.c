/*
 * Map operations of programs, here and in the kernel in the same run: type, key size, number of
 * entries, hits or misses, keys drawn uniformly or by Zipf's law, or twice as many keys as an LRU
 * table has room for ("over": every other update evicts). One operation's time is the
 * difference between a program that does 32 of them and one that only gets the 32 keys.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "maps.h"
#include "maps.skel.h"
#include "stats.h"

enum { ROUNDS = 7, SIDES = 2, VALUE_SIZE = 8 };

enum draw { UNIFORM, ZIPF, MISS, OVER };

static const char *const draw_names[] = { "uniform", "zipf", "miss", "over" };

struct row {
	const char *label;
	enum bpf_map_type type;
	uint32_t key_size, entries;
	enum draw draw;
};

static struct side {
	const char *name;
	enum sl_client_target target;
	struct maps_bpf *object;
} sides[SIDES] = {
	{ "sluice", SL_CLIENT_IN_PROCESS, NULL },
	{ "kernel", SL_CLIENT_KERNEL, NULL },
};

static const struct {
	const char *name;
	enum bpf_map_type type;
} types[] = {
	{ "array", BPF_MAP_TYPE_ARRAY },
	{ "percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY },
	{ "hash", BPF_MAP_TYPE_HASH },
	{ "percpu_hash", BPF_MAP_TYPE_PERCPU_HASH },
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH },
	{ "lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH },
	{ "lpm_trie", BPF_MAP_TYPE_LPM_TRIE },
};

static void fail(const char *what)
{
	fprintf(stderr, "maps: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool is_array(enum bpf_map_type type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

/* A bijection on 64 bits (splitmix64), so that keys that are numbered look like any others. */
static uint64_t scramble(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Key number n; those of a table are below its entries, the others are misses. */
static struct maps_key key_of(const struct row *row, uint64_t n)
{
	struct maps_key key = { { 0 } };

	if (is_array(row->type)) {
		key.words[0] = n;
		return key;
	}
	for (unsigned i = 0; i < 5; i++)
		key.words[i] = scramble(n + i);
	if (row->key_size == 4)
		key.words[0] = (uint32_t)n * 0x9e3779b1u;
	return key;
}

/* Routes: most of 24 bits (64 for IPv6), some shorter, some longer; numbered like keys. */
static struct maps_key route_of(const struct row *row, uint64_t n)
{
	bool v6 = row->key_size > 8;
	unsigned kind = scramble(n ^ 0x5555) % 16;
	uint32_t len = kind < 10 ? 24 : kind < 13 ? 16 + kind % 8 : 25 + scramble(n) % 8;
	struct maps_key key = { { 0 } };
	uint8_t *bytes = (uint8_t *)&key;
	uint64_t bits = scramble(n);

	if (v6)
		len = kind < 10 ? 48 : kind < 14 ? 64 : 32;
	memcpy(bytes, &len, 4);
	memcpy(bytes + 4, &bits, v6 ? 8 : 4);
	if (v6)
		bytes[4] = 0x20;
	return key;
}

/* An address below route n, or any at all. */
static struct maps_key address_of(const struct row *row, uint64_t n)
{
	uint32_t len = (row->key_size - 4) * 8;
	struct maps_key key = route_of(row, n);
	uint64_t bits = scramble(n * 77 + 5);

	if (row->draw == MISS) {
		memcpy((uint8_t *)&key + 4, &bits, row->key_size > 8 ? 8 : 4);
		if (row->key_size > 8)
			((uint8_t *)&key)[4] = 0x20;
	}
	memcpy(&key, &len, 4);
	return key;
}

/* Ranks of Zipf's law with exponent 1: what n entries' traffic often looks like. */
static uint64_t zipf(double uniform, uint32_t n)
{
	return (uint64_t)(exp(uniform * log(n))) - 1;
}

static struct maps_key draw(const struct row *row, uint64_t i)
{
	uint64_t random = scramble(i ^ 0xabcdef);
	uint64_t n = random % (row->draw == OVER ? 2ull * row->entries : row->entries);

	if (row->draw == ZIPF)
		n = zipf((double)(random >> 11) / (1ull << 53), row->entries);
	if (row->type == BPF_MAP_TYPE_LPM_TRIE)
		return address_of(row, row->draw == MISS ? random : n);
	return key_of(row, row->draw == MISS ? n + row->entries : n);
}

static void fill(const struct side *side, const struct row *row, const struct maps_keys *keys)
{
	int table = bpf_map__fd(side->object->maps.table);
	int all = bpf_map__fd(side->object->maps.keys), cpus = libbpf_num_possible_cpus();
	uint64_t *value = calloc(cpus, sizeof(*value));

	for (uint32_t i = 0; i < row->entries; i++) {
		struct maps_key key =
			row->type == BPF_MAP_TYPE_LPM_TRIE ? route_of(row, i) : key_of(row, i);

		for (int cpu = 0; cpu < cpus; cpu++)
			value[cpu] = i;
		if (bpf_map_update_elem(table, &key, value, BPF_ANY) != 0)
			fail("filling the table");
	}
	for (uint32_t i = 0; i < MAPS_KEYS / MAPS_REPEAT; i++)
		if (bpf_map_update_elem(all, &i, &keys[i], BPF_ANY) != 0)
			fail("filling the keys");
	free(value);
}

static void open_side(struct side *side, const struct row *row, const struct maps_keys *keys)
{
	struct bpf_map *table;

	sl_client_use(side->target);
	side->object = maps_bpf__open();
	if (!side->object)
		fail("open");
	table = side->object->maps.table;
	bpf_map__set_type(table, row->type);
	bpf_map__set_key_size(table, row->key_size);
	bpf_map__set_max_entries(table, row->entries);
	if (row->type == BPF_MAP_TYPE_LPM_TRIE)
		bpf_map__set_map_flags(table, BPF_F_NO_PREALLOC);
	if (maps_bpf__load(side->object) != 0)
		fail(side->name);
	fill(side, row, keys);
}

static double time_program(struct side *side, struct bpf_program *program, unsigned repeat)
{
	char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		.repeat = repeat);
	double start;

	sl_client_use(side->target);
	side->object->bss->next_keys = 0;
	start = thread_ns();
	if (bpf_prog_test_run_opts(bpf_program__fd(program), &opts) != 0)
		fail(bpf_program__name(program));
	return (thread_ns() - start) / repeat / MAPS_REPEAT;
}

static void compare(const struct row *row, const char *name)
{
	enum { REPEAT = MAPS_KEYS / MAPS_REPEAT };
	double ns[SIDES][ROUNDS], ratio[ROUNDS];
	struct summary s[SIDES], r;

	for (int round = -1; round < ROUNDS; round++) {
		double times[SIDES];

		for (int i = 0; i < SIDES; i++) {
			struct side *side = &sides[(i + round + 1) % SIDES];
			struct bpf_program *program =
				bpf_object__find_program_by_name(side->object->obj, name);

			times[side - sides] =
				time_program(side, program, REPEAT) -
				time_program(side, side->object->progs.nothing, REPEAT);
		}
		if (round < 0)
			continue;
		for (int i = 0; i < SIDES; i++)
			ns[i][round] = times[i];
		ratio[round] = times[0] / times[1];
	}
	for (int i = 0; i < SIDES; i++)
		s[i] = summarize(ns[i], ROUNDS);
	r = summarize(ratio, ROUNDS);
	printf("%-13s %3u %8u %-8s %-7s %8.1f %7.1f..%-7.1f %8.1f %7.1f..%-7.1f %6.2f\n",
		row->label, row->key_size, row->entries, draw_names[row->draw], name, s[0].median,
		s[0].min, s[0].max, s[1].median, s[1].min, s[1].max, r.median);
	fflush(stdout);
}

static void run(const struct row *row)
{
	struct maps_keys *keys = calloc(MAPS_KEYS / MAPS_REPEAT, sizeof(*keys));

	if (!keys)
		fail("keys");
	for (uint32_t i = 0; i < MAPS_KEYS; i++)
		keys[i / MAPS_REPEAT].key[i % MAPS_REPEAT] = draw(row, i);
	for (int i = 0; i < SIDES; i++)
		open_side(&sides[i], row, keys);
	free(keys);
	if (row->draw != OVER)
		compare(row, "lookup");
	if (row->draw == UNIFORM || row->draw == OVER)
		compare(row, "update");
	if (row->draw == UNIFORM && !is_array(row->type) && row->type != BPF_MAP_TYPE_LPM_TRIE)
		compare(row, "churn");
	for (int i = 0; i < SIDES; i++) {
		sl_client_use(sides[i].target);
		maps_bpf__destroy(sides[i].object);
	}
}

static void run_type(const char *label, enum bpf_map_type type)
{
	static const uint32_t key_sizes[] = { 4, 8, 16, 40 }, route_sizes[] = { 8, 20 };
	static const uint32_t entries[] = { 1000, 64 << 10, 1 << 20 },
			      routes[] = { 1000, 100000, 1000000 };
	bool lpm = type == BPF_MAP_TYPE_LPM_TRIE;
	bool lru = type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	unsigned sizes = is_array(type) ? 1 : lpm ? 2 : 4;

	for (unsigned k = 0; k < sizes; k++)
		for (unsigned e = 0; e < 3; e++)
			for (unsigned d = UNIFORM; d <= (lru ? OVER : MISS); d++)
				run(&(struct row){ label, type, lpm ? route_sizes[k] : key_sizes[k],
					lpm ? routes[e] : entries[e], d });
}

int main(int argc, char **argv)
{
	bool any = false;

	printf("%-13s %3s %8s %-8s %-7s %8s %16s %8s %16s %6s\n", "type", "key", "entries", "keys",
		"op", "sluice", "ns, min..max", "kernel", "ns, min..max", "ratio");
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		bool wanted = argc < 2;

		for (int a = 1; a < argc; a++)
			wanted |= strcmp(argv[a], types[i].name) == 0;
		if (wanted)
			run_type(types[i].name, types[i].type);
		any |= wanted;
	}
	if (!any) {
		fprintf(stderr, "usage: maps [TYPE...]\n");
		return 2;
	}
	return 0;
}
