#include "side.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loader.h"

/* Of one map: enough to tell, and not the day that 16 million take. */
enum { MAP_ENTRIES = 1 << 14 };

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

/* Many leave it to the program that loads them how large a map is; so this one decides. */
static void size_maps(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		enum bpf_map_type type = bpf_map__type(map);

		if (bpf_map__max_entries(map) == 0 && type == BPF_MAP_TYPE_CPUMAP)
			bpf_map__set_max_entries(map, (uint32_t)libbpf_num_possible_cpus());
		else if (bpf_map__max_entries(map) == 0 && type != BPF_MAP_TYPE_PERF_EVENT_ARRAY &&
			 type != BPF_MAP_TYPE_SK_STORAGE && type != BPF_MAP_TYPE_STRUCT_OPS)
			bpf_map__set_max_entries(map, 4096);
	}
}

/* With `others`, all programs of the type are loaded as well. */
static struct bpf_program *choose(
	struct bpf_object *object, const struct side_program *wanted, bool others)
{
	struct bpf_program *program, *found = NULL;

	bpf_object__for_each_program(program, object)
	{
		bool is = strcmp(bpf_program__name(program), wanted->name) == 0;

		bpf_program__set_autoload(
			program, is || (others && bpf_program__type(program) == wanted->type));
		if (is)
			found = program;
	}
	if (found && bpf_program__type(found) != wanted->type)
		bpf_program__set_type(found, wanted->type);
	return found;
}

static uint64_t digest_of(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		seed = (seed ^ bytes[i]) * 0x100000001b3; /* FNV-1a */
	return seed;
}

static void run(const struct bpf_program *program, const struct test_packet *packet,
	struct side_run *ret_run)
{
	static uint8_t out[PACKET_BYTES_MAX + 4096];
	struct xdp_md xdp = { .data = packet->meta_len, .data_end = packet->len };
	struct __sk_buff skb = { .mark = packet->mark, .priority = packet->mark % 7 };
	bool is_xdp = bpf_program__type(program) == BPF_PROG_TYPE_XDP;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->data, .data_size_in = packet->len,
		.data_out = out, .data_size_out = sizeof(out), .repeat = 1,
		.ctx_in = is_xdp ? (void *)&xdp : (void *)&skb,
		.ctx_size_in = is_xdp ? sizeof(xdp) : sizeof(skb), .ctx_out = &ret_run->skb,
		.ctx_size_out = is_xdp ? sizeof(xdp) : sizeof(skb));

	if (bpf_prog_test_run_opts(bpf_program__fd(program), &opts) != 0) {
		ret_run->err = errno;
		return;
	}
	ret_run->result = opts.retval;
	ret_run->len = opts.data_size_out;
	ret_run->digest = digest_of(0, out, opts.data_size_out);
	memcpy(ret_run->data, out,
		opts.data_size_out < SIDE_PACKET_MAX ? opts.data_size_out : SIDE_PACKET_MAX);
	if (!is_xdp)
		ret_run->skb.tstamp = 0; /* the clock at the time of the run */
}

/* Types whose values are data of the programs' own, and can be asked for one by one. */
static bool is_comparable(const struct bpf_map *map)
{
	static const enum bpf_map_type types[] = { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY,
		BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_HASH,
		BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_LPM_TRIE };

	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (bpf_map__type(map) == types[i])
			return !(bpf_map__map_flags(map) & BPF_F_WRONLY) && bpf_map__fd(map) >= 0;
	return false;
}

/* CPUs may have other numbers on the other side; a slot of zeros is one that was never used. */
static uint64_t digest_of_value(
	const struct bpf_map *map, uint64_t key_digest, const uint8_t *value, unsigned slots)
{
	size_t size = bpf_map__value_size(map), stride = slots > 1 ? (size + 7) & ~7ul : size;
	uint64_t sum = 0;

	for (unsigned i = 0; i < slots; i++) {
		const uint8_t *slot = value + i * stride;

		if (size && (slot[0] || memcmp(slot, slot + 1, size - 1) != 0))
			sum += digest_of(key_digest, slot, size);
	}
	return sum;
}

static bool is_per_cpu(const struct bpf_map *map)
{
	enum bpf_map_type type = bpf_map__type(map);

	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static void read_map(const struct bpf_map *map, struct side_map *ret_map)
{
	unsigned slots = is_per_cpu(map) ? (unsigned)libbpf_num_possible_cpus() : 1;
	size_t key_size = bpf_map__key_size(map),
	       value_size = (bpf_map__value_size(map) + 7) & ~7ul;
	uint8_t *key = calloc(1, key_size), *value = calloc(slots, value_size);
	int fd = bpf_map__fd(map);
	bool first = true;

	snprintf(ret_map->name, sizeof(ret_map->name), "%s", bpf_map__name(map));
	while (key && value && ret_map->entries < MAP_ENTRIES &&
		bpf_map_get_next_key(fd, first ? NULL : key, key) == 0) {
		first = false;
		if (bpf_map_lookup_elem(fd, key, value) != 0)
			continue;
		ret_map->entries++;
		ret_map->digest += digest_of_value(map, digest_of(1, key, key_size), value, slots);
	}
	free(key);
	free(value);
}

static void read_maps(struct bpf_object *object, struct side_outcome *outcome)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (is_comparable(map) && outcome->map_count < SIDE_MAPS_MAX)
			read_map(map, &outcome->maps[outcome->map_count++]);
	}
}

static void note_insns(const struct bpf_program *program, struct side_outcome *outcome)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) == 0)
		outcome->verified_insns = info.verified_insns;
}

static int load(const struct side_program *wanted, bool others, struct side_outcome *outcome,
	struct sl_loader **ret_loader, struct bpf_program **ret_program)
{
	static const struct sl_loader_options options = { .unpinned = true };
	double start = now_ms();
	int err = sl_loader_open(wanted->path, &options, ret_loader, outcome->why);

	if (!err) {
		*ret_program = choose(sl_loader_object(*ret_loader), wanted, others);
		size_maps(sl_loader_object(*ret_loader));
		err = *ret_program ? sl_loader_load(*ret_loader, outcome->why) : -ENOENT;
	}
	outcome->load_ms = now_ms() - start;
	return err;
}

/* Those that a run before this one has given back, which the next would get. Until the end. */
static void take_pages(void)
{
	enum { BYTES = 4 << 20 };

	mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
		0);
}

/* What programs count by CPU lands in the same place on both sides. */
static void stay_on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* In the child. */
static void load_and_run(const struct side_program *wanted, struct side_outcome *outcome)
{
	struct bpf_program *program = NULL;
	struct sl_loader *loader;
	int err = load(wanted, false, outcome, &loader, &program);

	/* A jump table that the object itself fills needs its programs. */
	if (err == -EBADF)
		err = load(wanted, true, outcome, &loader, &program);
	if (err) {
		outcome->end = SIDE_REFUSED;
		outcome->err = -err;
		return;
	}
	outcome->end = SIDE_LOADED;
	note_insns(program, outcome);
	stay_on_one_cpu();
	if (wanted->elsewhere)
		take_pages();
	for (unsigned i = 0; i < PACKETS; i++)
		run(program, &test_packets[i], &outcome->runs[i]);
	read_maps(sl_loader_object(loader), outcome);
}

int side_try(enum sl_client_target target, const struct side_program *program, unsigned limit_s,
	struct side_outcome *outcome)
{
	pid_t child;
	int status;

	memset(outcome, 0, sizeof(*outcome));
	fflush(NULL);
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		alarm(limit_s);
		sl_client_use(target);
		load_and_run(program, outcome);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		return -errno;
	if (WIFSIGNALED(status)) {
		outcome->end = WTERMSIG(status) == SIGALRM ? SIDE_HUNG : SIDE_CRASHED;
		outcome->err = WTERMSIG(status);
	}
	return 0;
}

int side_compare(const struct side_outcome *a, const struct side_outcome *b)
{
	for (int i = 0; i < PACKETS; i++)
		if (memcmp(&a->runs[i], &b->runs[i], sizeof(a->runs[i])) != 0)
			return i;
	for (unsigned i = 0; i < a->map_count && i < b->map_count; i++)
		if (memcmp(&a->maps[i], &b->maps[i], sizeof(a->maps[i])) != 0)
			return PACKETS + (int)i;
	return -1;
}
