#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "facts.h"
#include "object.h"
#include "oracle.h"
#include "prog.h"
#include "random.h"
#include "sluice/bpf.h"
#include "verifier.h"

/* Beyond these, contents are not looked at. */
enum { VALUE_MAX = 8192, KEY_MAX = 512, ELEMENTS_MAX = 64, CPUS_MAX = 1024 };

long fuzz_bpf(enum fuzz_side side, int cmd, union bpf_attr *attr, unsigned size)
{
	long ret = side == KERNEL ? oracle_bpf(cmd, attr, size) : sluice_bpf(cmd, attr, size);

	return ret < 0 ? -errno : ret;
}

static int load_target(enum fuzz_side side, uint32_t type, int32_t result)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = result },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = type,
		.insns = (uintptr_t)insns,
		.insn_cnt = 2,
		.license = (uintptr_t)"GPL" };

	return (int)fuzz_bpf(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static long element(enum fuzz_side side, int cmd, int fd, const void *key, const void *value)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)fd, .key = (uintptr_t)key, .value = (uintptr_t)value
	};

	return fuzz_bpf(side, cmd, &attr, sizeof(attr));
}

/* Slots 0 and 1 get programs, the others stay empty. */
static void fill_slots(enum fuzz_side side, int fd, uint32_t type)
{
	for (uint32_t slot = 0; slot < 2; slot++) {
		int target = load_target(side, type, (int32_t)slot + 40);

		if (target < 0)
			continue;
		element(side, BPF_MAP_UPDATE_ELEM, fd, &slot, &target);
		close(target);
	}
}

static void open_map(struct fuzz_world *world, enum fuzz_side side, unsigned index)
{
	const struct fuzz_map *map = &world->setting->maps[index];
	int *fds = world->maps[side];
	uint32_t zero = 0;
	union bpf_attr attr = { .map_type = map->type,
		.key_size = map->key_size,
		.value_size = map->value_size,
		.max_entries = map->max_entries,
		.map_flags = map->flags,
		.map_extra = map->extra,
		.btf_key_type_id = map->btf_key,
		.btf_value_type_id = map->btf_value };

	if (map->btf_key || map->btf_value)
		attr.btf_fd = (uint32_t)world->btf[side];
	if (map->inner >= 0)
		attr.inner_map_fd = (uint32_t)fds[map->inner];
	fds[index] = (int)fuzz_bpf(side, BPF_MAP_CREATE, &attr, sizeof(attr));
	if (fds[index] < 0)
		return;
	if (map->prog_type)
		fill_slots(side, fds[index], map->prog_type);
	if (map->inner >= 0)
		element(side, BPF_MAP_UPDATE_ELEM, fds[index], &zero, &fds[map->inner]);
	if (map->initial)
		element(side, BPF_MAP_UPDATE_ELEM, fds[index], &zero, map->initial);
	if (map->frozen) {
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)fds[index];
		fuzz_bpf(side, BPF_MAP_FREEZE, &attr, sizeof(attr));
	}
}

void fuzz_world_open(struct fuzz_world *world, const struct fuzz_setting *setting, bool has_kernel)
{
	world->setting = setting;
	world->has_kernel = has_kernel;
	for (int side = 0; side < SIDES; side++) {
		union bpf_attr attr = { .btf = (uintptr_t)setting->btf,
			.btf_size = setting->btf_size };

		world->btf[side] = -1;
		memset(world->maps[side], 0xff, sizeof(world->maps[side]));
		if (side == KERNEL && !has_kernel)
			continue;
		if (setting->btf)
			world->btf[side] = (int)fuzz_bpf(side, BPF_BTF_LOAD, &attr, sizeof(attr));
		for (unsigned i = 0; i < setting->map_count; i++)
			open_map(world, side, i);
	}
}

void fuzz_world_close(struct fuzz_world *world)
{
	for (int side = 0; side < SIDES; side++) {
		for (unsigned i = 0; i < world->setting->map_count; i++)
			if (world->maps[side][i] >= 0)
				close(world->maps[side][i]);
		if (world->btf[side] >= 0)
			close(world->btf[side]);
	}
}

bool fuzz_world_has(const struct fuzz_world *world, unsigned map)
{
	return world->maps[SLUICE][map] >= 0 &&
	       (!world->has_kernel || world->maps[KERNEL][map] >= 0);
}

static bool is_array(const struct fuzz_map *map)
{
	return map->type == BPF_MAP_TYPE_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static bool is_hash(const struct fuzz_map *map)
{
	return map->type == BPF_MAP_TYPE_HASH || map->type == BPF_MAP_TYPE_PERCPU_HASH ||
	       map->type == BPF_MAP_TYPE_LPM_TRIE;
}

/* What a look-up from user space copies. */
static size_t value_bytes(const struct fuzz_map *map)
{
	bool percpu =
		map->type == BPF_MAP_TYPE_PERCPU_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_HASH;
	long cpus = percpu ? sysconf(_SC_NPROCESSORS_CONF) : 1;

	return (percpu ? sl_round_up(map->value_size, 8u) : map->value_size) * (size_t)cpus;
}

static bool is_looked_at(const struct fuzz_map *map)
{
	return (is_array(map) || is_hash(map)) && value_bytes(map) <= VALUE_MAX &&
	       map->key_size <= KEY_MAX;
}

static void reset_array(enum fuzz_side side, int fd, const struct fuzz_map *map)
{
	static uint8_t value[VALUE_MAX];

	for (uint32_t key = 0; key < sl_min(map->max_entries, (uint32_t)ELEMENTS_MAX); key++) {
		for (size_t i = 0; i < value_bytes(map); i++)
			value[i] = map->max_entries > 1 ? (uint8_t)(key * 41 + i * 7) : 0;
		element(side, BPF_MAP_UPDATE_ELEM, fd, &key,
			map->initial && !key ? map->initial : value);
	}
}

static void reset_hash(enum fuzz_side side, int fd, const struct fuzz_map *map)
{
	static uint8_t key[KEY_MAX], value[VALUE_MAX];

	for (unsigned i = 0; i < map->max_entries; i++) {
		if (element(side, BPF_MAP_GET_NEXT_KEY, fd, NULL, key) != 0)
			break;
		element(side, BPF_MAP_DELETE_ELEM, fd, key, NULL);
	}
	if (map->max_entries < 2)
		return;
	memset(key, 0, sizeof(key));
	for (size_t i = 0; i < value_bytes(map); i++)
		value[i] = (uint8_t)(i * 7 + 3);
	for (uint8_t i = 1; i <= 3; i += 2) {
		key[0] = i;
		element(side, BPF_MAP_UPDATE_ELEM, fd, key, value);
	}
}

static bool is_queue(const struct fuzz_map *map)
{
	return map->type == BPF_MAP_TYPE_QUEUE || map->type == BPF_MAP_TYPE_STACK;
}

static void empty_queue(enum fuzz_side side, int fd, const struct fuzz_map *map)
{
	static uint8_t value[VALUE_MAX];

	for (unsigned i = 0; i < map->max_entries && map->value_size <= VALUE_MAX; i++)
		if (element(side, BPF_MAP_LOOKUP_AND_DELETE_ELEM, fd, NULL, value) != 0)
			break;
}

void fuzz_world_reset(const struct fuzz_world *world)
{
	for (unsigned i = 0; i < world->setting->map_count; i++) {
		const struct fuzz_map *map = &world->setting->maps[i];

		for (int side = 0; side < SIDES; side++) {
			int fd = world->maps[side][i];

			if (fd >= 0 && is_queue(map))
				empty_queue(side, fd, map);
			if (fd < 0 || map->frozen || !is_looked_at(map))
				continue;
			if (is_array(map))
				reset_array(side, fd, map);
			else
				reset_hash(side, fd, map);
		}
	}
}

static bool same_element(const struct fuzz_world *world, unsigned index, const void *key)
{
	static uint8_t values[SIDES][VALUE_MAX];
	long ret[SIDES];

	memset(values, 0, sizeof(values));
	for (int side = 0; side < SIDES; side++)
		ret[side] = element(
			side, BPF_MAP_LOOKUP_ELEM, world->maps[side][index], key, values[side]);
	return ret[KERNEL] == ret[SLUICE] && memcmp(values[KERNEL], values[SLUICE], VALUE_MAX) == 0;
}

static unsigned count_keys(enum fuzz_side side, int fd)
{
	static uint8_t keys[2][KEY_MAX];
	unsigned count = 0;

	while (count < ELEMENTS_MAX &&
		element(side, BPF_MAP_GET_NEXT_KEY, fd, count ? keys[count % 2] : NULL,
			keys[(count + 1) % 2]) == 0)
		count++;
	return count;
}

static bool same_map(const struct fuzz_world *world, unsigned index)
{
	static uint8_t keys[2][KEY_MAX];
	const struct fuzz_map *map = &world->setting->maps[index];
	unsigned count;

	if (!fuzz_world_has(world, index) || !is_looked_at(map))
		return true;
	if (is_array(map)) {
		for (uint32_t key = 0; key < sl_min(map->max_entries, (uint32_t)ELEMENTS_MAX);
			key++)
			if (!same_element(world, index, &key))
				return false;
		return true;
	}
	count = count_keys(KERNEL, world->maps[KERNEL][index]);
	if (count != count_keys(SLUICE, world->maps[SLUICE][index]))
		return false;
	for (unsigned i = 0; i < count; i++) {
		if (element(KERNEL, BPF_MAP_GET_NEXT_KEY, world->maps[KERNEL][index],
			    i ? keys[i % 2] : NULL, keys[(i + 1) % 2]) != 0)
			return false;
		if (!same_element(world, index, keys[(i + 1) % 2]))
			return false;
	}
	return true;
}

int fuzz_world_compare(const struct fuzz_world *world)
{
	for (unsigned i = 0; world->has_kernel && i < world->setting->map_count; i++)
		if (!same_map(world, i))
			return (int)i;
	return -1;
}

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	return hash;
}

uint64_t fuzz_world_hash(const struct fuzz_world *world, enum fuzz_side side)
{
	static uint8_t keys[2][KEY_MAX], value[VALUE_MAX];
	uint64_t hash = 0xcbf29ce484222325;

	for (unsigned i = 0; i < world->setting->map_count; i++) {
		const struct fuzz_map *map = &world->setting->maps[i];
		int fd = world->maps[side][i];

		if (fd < 0 || !is_looked_at(map))
			continue;
		for (unsigned n = 0; n < ELEMENTS_MAX; n++) {
			uint8_t *key = keys[(n + 1) % 2];

			if (element(side, BPF_MAP_GET_NEXT_KEY, fd, n ? keys[n % 2] : NULL, key))
				break;
			if (element(side, BPF_MAP_LOOKUP_ELEM, fd, key, value) == 0)
				hash = hash_bytes(hash, value, value_bytes(map));
		}
	}
	return hash;
}

static void bind(const struct fuzz_world *world, enum fuzz_side side,
	const struct fuzz_program *program, struct bpf_insn *insns)
{
	memcpy(insns, program->insns, program->count * sizeof(*insns));
	for (uint32_t i = 0; i < program->count; i++)
		if (fuzz_names_map(&insns[i]) && insns[i].imm >= 0 && insns[i].imm < FUZZ_MAX_MAPS)
			insns[i].imm = world->maps[side][insns[i].imm];
}

int fuzz_load(const struct fuzz_world *world, enum fuzz_side side,
	const struct fuzz_program *program, char *log)
{
	static struct bpf_insn insns[FUZZ_MAX_INSNS];
	union bpf_attr attr = { .prog_type = program->type,
		.expected_attach_type = program->attach_type,
		.prog_flags = program->flags,
		.insns = (uintptr_t)insns,
		.insn_cnt = program->count,
		.license = (uintptr_t)"GPL" };

	bind(world, side, program, insns);
	if (program->func_count && world->btf[side] >= 0) {
		attr.prog_btf_fd = (uint32_t)world->btf[side];
		attr.func_info_rec_size = sizeof(struct bpf_func_info);
		attr.func_info = (uintptr_t)program->funcs;
		attr.func_info_cnt = program->func_count;
	}
	if (log) {
		log[0] = '\0';
		attr.log_level = 1;
		attr.log_buf = (uintptr_t)log;
		attr.log_size = FUZZ_LOG_BYTES;
	}
	return (int)fuzz_bpf(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* A program that is verified and nothing else. BTF is left out. */
static int verified(const struct fuzz_world *world, const struct fuzz_program *program,
	struct sl_prog **ret_prog)
{
	static struct bpf_insn insns[FUZZ_MAX_INSNS];
	struct sl_prog *prog;
	int err;

	bind(world, SLUICE, program, insns);
	err = sl_prog_new(insns, program->count, &prog);
	if (err)
		return err;
	prog->type = prog->rules_type = program->type;
	prog->expected_attach_type = prog->rules_attach_type = program->attach_type;
	prog->flags = program->flags;
	prog->gpl_compatible = true;
	err = sl_verify(prog, NULL);
	if (err)
		sl_object_unref(&prog->obj);
	else
		*ret_prog = prog;
	return err;
}

int fuzz_verify(const struct fuzz_world *world, const struct fuzz_program *program)
{
	struct sl_prog *prog;
	int err;

	if (program->func_count) {
		err = fuzz_load(world, SLUICE, program, NULL);
		if (err >= 0)
			close(err);
		return sl_min(err, 0);
	}
	err = verified(world, program, &prog);
	if (!err)
		sl_object_unref(&prog->obj);
	return err;
}

bool fuzz_reads_anything(const struct fuzz_world *world, const struct fuzz_program *program)
{
	struct sl_prog *prog;
	bool reads = false;

	if (verified(world, program, &prog) != 0)
		return false;
	for (uint32_t i = 0; i < prog->facts->func_count; i++)
		reads |= prog->facts->funcs[i].stack_uninit_read;
	sl_object_unref(&prog->obj);
	return reads;
}

static uint32_t make_packet(const struct fuzz_program *program, unsigned index, uint8_t *packet)
{
	struct sl_random random = { program->packet_seed + index };
	uint32_t size = 14 + random_below(&random, index % 2 ? 100 : FUZZ_PACKET_BYTES - 14);

	for (uint32_t b = 0; b < size; b++)
		packet[b] = (uint8_t)(random_u64(&random) >> random_below(&random, 8));
	return size;
}

void fuzz_run(enum fuzz_side side, int fd, const struct fuzz_program *program, unsigned index,
	struct fuzz_run *ret_run)
{
	static uint8_t packet[FUZZ_PACKET_BYTES];
	union bpf_attr attr = { .test.prog_fd = (uint32_t)fd,
		.test.data_in = (uintptr_t)packet,
		.test.data_size_in = make_packet(program, index, packet),
		.test.data_out = (uintptr_t)ret_run->data,
		.test.data_size_out = sizeof(ret_run->data) };

	memset(ret_run, 0, sizeof(*ret_run));
	ret_run->err = fuzz_bpf(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	ret_run->result = attr.test.retval;
	ret_run->size = attr.test.data_size_out;
}
