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
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "maps.h"
#include "maps.skel.h"
#include "stats.h"

enum { ROUNDS = 7, SIDES = 2, VALUE_SIZE = 8, OPS_MAX = 3, SIZES_MAX = 4, INNERS = 64 };
enum { CALLS = MAPS_KEYS / MAPS_REPEAT };

enum draw { UNIFORM, ZIPF, MISS, OVER, DRAWS };

static const char *const draw_names[] = { "uniform", "zipf", "miss", "over" };

enum { U = 1 << UNIFORM, Z = 1 << ZIPF, M = 1 << MISS, O = 1 << OVER };

struct side;
struct row;

/* A map type: the map of the object that becomes one, and what is measured of it. */
struct kind {
	const char *name;
	enum bpf_map_type type;
	const char *map;
	void (*fill)(const struct side *side, const struct row *row);
	struct {
		const char *program;
		unsigned draws;
	} ops[OPS_MAX];
	/* Up to the first 0; without keys: one size 0. */
	uint32_t key_sizes[SIZES_MAX + 1], entries[SIZES_MAX + 1];
	bool own_entries; /* whatever the options say */
	uint32_t flags;
	unsigned calls; /* of a program in a round, 0 for CALLS */
};

struct row {
	const struct kind *kind;
	uint32_t key_size, entries;
	enum draw draw;
};

static struct side {
	const char *name;
	enum sl_client_target target;
	struct maps_bpf *object;
	struct ring_buffer *reader;
} sides[SIDES] = {
	{ "sluice", SL_CLIENT_IN_PROCESS, NULL, NULL },
	{ "kernel", SL_CLIENT_KERNEL, NULL, NULL },
};

static void fail(const char *what)
{
	fprintf(stderr, "maps: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool is_array(enum bpf_map_type type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_ARRAY_OF_MAPS || type == BPF_MAP_TYPE_DEVMAP ||
	       type == BPF_MAP_TYPE_CPUMAP;
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

	if (is_array(row->kind->type)) {
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
	if (row->kind->type == BPF_MAP_TYPE_LPM_TRIE)
		return address_of(row, row->draw == MISS ? random : n);
	return key_of(row, row->draw == MISS ? n + row->entries : n);
}

static int map_fd(const struct side *side, const struct row *row)
{
	return bpf_object__find_map_fd_by_name(side->object->obj, row->kind->map);
}

static void fill_table(const struct side *side, const struct row *row)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *value = calloc(cpus, sizeof(*value));

	for (uint32_t i = 0; i < row->entries; i++) {
		struct maps_key key = row->kind->type == BPF_MAP_TYPE_LPM_TRIE ? route_of(row, i)
									       : key_of(row, i);

		for (int cpu = 0; cpu < cpus; cpu++)
			value[cpu] = i;
		if (bpf_map_update_elem(map_fd(side, row), &key, value, BPF_ANY) != 0)
			fail("filling the table");
	}
	free(value);
}

/* In one batch: the kernel waits for a grace period after each single update. */
static void fill_outer(const struct side *side, const struct row *row)
{
	uint8_t *keys = calloc(row->entries, row->key_size);
	int *fds = calloc(row->entries, sizeof(*fds)), inners[INNERS];
	__u32 count = row->entries;

	for (unsigned i = 0; i < INNERS; i++) {
		inners[i] = bpf_map_create(
			BPF_MAP_TYPE_ARRAY, "inner", 4, VALUE_SIZE, MAPS_INNER, NULL);
		if (inners[i] < 0)
			fail("an inner map");
	}
	for (uint32_t i = 0; i < row->entries; i++) {
		struct maps_key key = key_of(row, i);

		memcpy(keys + (size_t)i * row->key_size, &key, row->key_size);
		fds[i] = inners[i % INNERS];
	}
	if (bpf_map_update_batch(map_fd(side, row), keys, fds, &count, NULL) != 0)
		fail("filling the outer map");
	for (unsigned i = 0; i < INNERS; i++)
		close(inners[i]);
	free(keys);
	free(fds);
}

/* Half of a queue, all of a filter. */
static void fill_values(const struct side *side, const struct row *row)
{
	bool filter = row->kind->type == BPF_MAP_TYPE_BLOOM_FILTER;

	for (uint32_t i = 0; i < (filter ? row->entries : row->entries / 2); i++) {
		struct maps_key key = key_of(row, i);

		if (bpf_map_update_elem(map_fd(side, row), NULL, &key, BPF_ANY) != 0)
			fail("filling with values");
	}
}

static void fill_targets(const struct side *side, const struct row *row)
{
	uint32_t value = row->kind->type == BPF_MAP_TYPE_CPUMAP ? 192 : if_nametoindex("lo");

	for (uint32_t i = 0; i < row->entries; i++) {
		struct maps_key key = key_of(row, i);

		if (bpf_map_update_elem(map_fd(side, row), &key, &value, BPF_ANY) != 0)
			fail("filling with targets");
	}
}

static void fill_nothing(const struct side *side, const struct row *row)
{
}

#define HASHES                                                             \
	.map = "table", .fill = fill_table, .key_sizes = { 4, 8, 16, 40 }, \
	.entries = { 1000, 64 << 10, 1 << 20 }
#define HASH_OPS .ops = { { "lookup", U | Z | M }, { "update", U }, { "churn", U } }
#define LRU_OPS .ops = { { "lookup", U | Z | M }, { "update", U | O }, { "churn", U } }
#define ARRAYS                                                  \
	.map = "table", .fill = fill_table, .key_sizes = { 4 }, \
	.entries = { 1000, 64 << 10, 1 << 20 },                 \
	.ops = { { "lookup", U | Z | M }, { "update", U } }
#define OUTER .map = "outer", .fill = fill_outer, .ops = { { "lookup_inner", U | Z | M } }
#define QUEUES \
	.map = "values", .fill = fill_values, .ops = { { "push_pop", U } }, .entries = { 1000 }
#define TARGETS .map = "targets", .fill = fill_targets, .ops = { { "redirect", U | M } }

static const struct kind kinds[] = {
	{ "array", BPF_MAP_TYPE_ARRAY, ARRAYS },
	{ "percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, ARRAYS },
	{ "hash", BPF_MAP_TYPE_HASH, HASHES, HASH_OPS },
	{ "percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, HASHES, HASH_OPS },
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH, HASHES, LRU_OPS },
	{ "lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, HASHES, LRU_OPS },
	{ "lpm_trie", BPF_MAP_TYPE_LPM_TRIE, .map = "table", .fill = fill_table,
		.ops = { { "lookup", U | Z | M }, { "update", U } }, .key_sizes = { 8, 20 },
		.entries = { 1000, 100000, 1000000 }, .flags = BPF_F_NO_PREALLOC },
	{ "array_of_maps", BPF_MAP_TYPE_ARRAY_OF_MAPS, OUTER, .key_sizes = { 4 },
		.entries = { 1000, 64 << 10 } },
	{ "hash_of_maps", BPF_MAP_TYPE_HASH_OF_MAPS, OUTER, .key_sizes = { 4, 16 },
		.entries = { 1000, 64 << 10 } },
	{ "queue", BPF_MAP_TYPE_QUEUE, QUEUES },
	{ "stack", BPF_MAP_TYPE_STACK, QUEUES },
	{ "bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, .map = "values", .fill = fill_values,
		.ops = { { "peek", U | M }, { "push", U } },
		.entries = { 1000, 64 << 10, 1 << 20 } },
	/* As many bytes as all records of a round: they are taken out between the rounds. */
	{ "ringbuf", BPF_MAP_TYPE_RINGBUF, .map = "ring", .fill = fill_nothing,
		.ops = { { "submit", U } }, .entries = { 1 << 22 }, .own_entries = true,
		.calls = 1 << 12 },
	{ "devmap", BPF_MAP_TYPE_DEVMAP, TARGETS, .key_sizes = { 4 }, .entries = { 64 } },
	{ "devmap_hash", BPF_MAP_TYPE_DEVMAP_HASH, TARGETS, .key_sizes = { 4 },
		.entries = { 64, 1000 } },
	{ "cpumap", BPF_MAP_TYPE_CPUMAP, TARGETS, .key_sizes = { 4 }, .entries = { 2 },
		.own_entries = true },
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* Only the row's map and its programs are made. */
static void choose(const struct side *side, const struct row *row)
{
	struct bpf_program *program;
	struct bpf_map *map;

	bpf_object__for_each_map(map, side->object->obj)
	{
		const char *name = bpf_map__name(map);
		bool wanted = strcmp(name, row->kind->map) == 0;

		if (strcmp(name, "keys") != 0 && !bpf_map__is_internal(map))
			bpf_map__set_autocreate(map, wanted);
		if (!wanted)
			continue;
		bpf_map__set_type(map, row->kind->type);
		bpf_map__set_key_size(map, row->key_size);
		bpf_map__set_max_entries(map, row->entries);
		bpf_map__set_map_flags(map, row->kind->flags);
	}
	bpf_object__for_each_program(program, side->object->obj)
	{
		bool wanted = program == side->object->progs.nothing;

		for (unsigned i = 0; i < OPS_MAX && row->kind->ops[i].program; i++)
			wanted |=
				strcmp(bpf_program__name(program), row->kind->ops[i].program) == 0;
		bpf_program__set_autoload(program, wanted);
	}
}

/* Nobody looks at the records. */
static int ignore(void *arg, void *data, size_t size)
{
	return 0;
}

static void open_side(struct side *side, const struct row *row, const struct maps_keys *keys)
{
	sl_client_use(side->target);
	side->object = maps_bpf__open();
	if (!side->object)
		fail("open");
	choose(side, row);
	if (maps_bpf__load(side->object) != 0)
		fail(side->name);
	for (uint32_t i = 0; i < CALLS; i++)
		if (bpf_map_update_elem(
			    bpf_map__fd(side->object->maps.keys), &i, &keys[i], BPF_ANY) != 0)
			fail("filling the keys");
	row->kind->fill(side, row);
	if (row->kind->type != BPF_MAP_TYPE_RINGBUF)
		return;
	side->reader = ring_buffer__new(map_fd(side, row), ignore, NULL, NULL);
	if (!side->reader)
		fail("ring_buffer__new");
}

static void close_side(struct side *side)
{
	sl_client_use(side->target);
	ring_buffer__free(side->reader);
	side->reader = NULL;
	maps_bpf__destroy(side->object);
}

static double time_program(struct side *side, struct bpf_program *program, unsigned repeat)
{
	char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		.repeat = repeat);
	double start, ns;

	sl_client_use(side->target);
	side->object->bss->next_keys = 0;
	start = thread_ns();
	if (bpf_prog_test_run_opts(bpf_program__fd(program), &opts) != 0)
		fail(bpf_program__name(program));
	ns = thread_ns() - start;
	if (side->reader)
		ring_buffer__consume(side->reader);
	return ns / repeat / MAPS_REPEAT;
}

static void compare(const struct row *row, const char *name, unsigned rounds)
{
	unsigned calls = row->kind->calls ? row->kind->calls : CALLS;
	double ns[SIDES][ROUNDS], ratio[ROUNDS];
	struct summary s[SIDES], r;

	for (int round = -1; round < (int)rounds; round++) {
		double times[SIDES];

		for (int i = 0; i < SIDES; i++) {
			struct side *side = &sides[(i + round + 1) % SIDES];
			struct bpf_program *program =
				bpf_object__find_program_by_name(side->object->obj, name);

			times[side - sides] =
				time_program(side, program, calls) -
				time_program(side, side->object->progs.nothing, calls);
		}
		if (round < 0)
			continue;
		for (int i = 0; i < SIDES; i++)
			ns[i][round] = times[i];
		ratio[round] = times[0] / times[1];
	}
	for (int i = 0; i < SIDES; i++)
		s[i] = summarize(ns[i], rounds);
	r = summarize(ratio, rounds);
	printf("%-15s %3u %8u %-8s %-12s %8.1f %7.1f..%-7.1f %8.1f %7.1f..%-7.1f %6.2f\n",
		row->kind->name, row->key_size, row->entries, draw_names[row->draw], name,
		s[0].median, s[0].min, s[0].max, s[1].median, s[1].min, s[1].max, r.median);
	fflush(stdout);
}

static void run(const struct row *row, unsigned rounds)
{
	struct maps_keys *keys = calloc(CALLS, sizeof(*keys));

	if (!keys)
		fail("keys");
	for (uint32_t i = 0; i < MAPS_KEYS; i++)
		keys[i / MAPS_REPEAT].key[i % MAPS_REPEAT] = draw(row, i);
	for (int i = 0; i < SIDES; i++)
		open_side(&sides[i], row, keys);
	free(keys);
	for (unsigned i = 0; i < OPS_MAX && row->kind->ops[i].program; i++)
		if (row->kind->ops[i].draws & 1u << row->draw)
			compare(row, row->kind->ops[i].program, rounds);
	for (int i = 0; i < SIDES; i++)
		close_side(&sides[i]);
}

struct options {
	const char *kinds; /* names with commas in between; NULL for all */
	uint32_t key_size, entries; /* 0 for the kind's own */
	unsigned rounds;
};

static void run_kind(const struct kind *kind, const struct options *o)
{
	uint32_t key_sizes[SIZES_MAX + 1] = { o->key_size },
				       entries[SIZES_MAX + 1] = { o->entries };
	unsigned draws = 0;

	if (!o->key_size || !kind->key_sizes[0])
		memcpy(key_sizes, kind->key_sizes, sizeof(key_sizes));
	if (!o->entries || kind->own_entries)
		memcpy(entries, kind->entries, sizeof(entries));
	for (unsigned i = 0; i < OPS_MAX; i++)
		draws |= kind->ops[i].draws;
	for (unsigned k = 0; k == 0 || key_sizes[k]; k++)
		for (unsigned e = 0; entries[e]; e++)
			for (enum draw d = 0; d < DRAWS; d++)
				if (draws & 1u << d)
					run(&(struct row){ kind, key_sizes[k], entries[e], d },
						o->rounds);
}

static bool in_list(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; at; at = strchr(at, ','), at += at != NULL)
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == 0))
			return true;
	return false;
}

/* Every name has to be a kind's: a misspelt one would measure less than was asked for. */
static bool names_ok(const char *list)
{
	for (const char *at = list; at; at = strchr(at, ','), at += at != NULL) {
		bool known = false;

		for (unsigned i = 0; i < KINDS; i++) {
			size_t len = strlen(kinds[i].name);

			known |= strncmp(at, kinds[i].name, len) == 0 &&
				 (at[len] == ',' || at[len] == 0);
		}
		if (!known)
			return false;
	}
	return true;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: maps [TYPE[,TYPE]...] [--entries N] [--key BYTES] [--rounds 1..%d]\n"
		"types:",
		ROUNDS);
	for (unsigned i = 0; i < KINDS; i++)
		fprintf(stderr, " %s", kinds[i].name);
	fprintf(stderr, "\n");
	return 2;
}

static bool parse(int argc, char **argv, struct options *o)
{
	*o = (struct options){ .rounds = ROUNDS };
	for (int i = 1; i < argc; i++) {
		bool option = strncmp(argv[i], "--", 2) == 0 && i + 1 < argc;
		uint32_t number = option ? (uint32_t)strtoul(argv[i + 1], NULL, 10) : 0;

		if (option && !number)
			return false;
		if (option && strcmp(argv[i], "--entries") == 0)
			o->entries = number, i++;
		else if (option && strcmp(argv[i], "--key") == 0)
			o->key_size = number, i++;
		else if (option && strcmp(argv[i], "--rounds") == 0)
			o->rounds = number, i++;
		else if (!option && !o->kinds)
			o->kinds = argv[i];
		else
			return false;
	}
	return o->rounds <= ROUNDS && o->key_size <= sizeof(struct maps_key) && names_ok(o->kinds);
}

int main(int argc, char **argv)
{
	struct options o;

	if (!parse(argc, argv, &o))
		return usage();
	printf("%-15s %3s %8s %-8s %-12s %8s %16s %8s %16s %6s\n", "type", "key", "entries", "keys",
		"op", "sluice", "ns, min..max", "kernel", "ns, min..max", "ratio");
	for (unsigned i = 0; i < KINDS; i++)
		if (!o.kinds || in_list(o.kinds, kinds[i].name))
			run_kind(&kinds[i], &o);
	return 0;
}
