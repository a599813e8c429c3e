#include <bpf/btf.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "btf_walk.h"
#include "cpu.h"
#include "env.h"
#include "field.h"
#include "map.h"
#include "type.h"

/*
 * A program may read the kernel's struct of a map through the pointer to it, as the running kernel's
 * BTF declares it: the loader has put that kernel's offsets into the instructions. What is there of
 * our own maps are the members below; reads of others are refused.
 *
 * The pointer is to struct sl_map, so a member becomes a load from there: which map it is need not
 * be known, in a map of maps it is not.
 */

/* The kernel counts what it allocates one by one, and a large map per CPU, elsewhere. */
static uint64_t htab_count(const struct sl_map *map)
{
	const uint32_t batch = 32;

	if (!(map->desc.flags & BPF_F_NO_PREALLOC) || !map->ops->sum_count ||
		map->desc.max_entries / 2 > sl_cpu_count() * batch)
		return 0;
	return map->ops->sum_count(map);
}

#define VMLINUX_BTF "/sys/kernel/btf/vmlinux"

/* What the kernel calls the memory of a map. */
static const char *const struct_names[] = {
	[BPF_MAP_TYPE_HASH] = "bpf_htab",
	[BPF_MAP_TYPE_ARRAY] = "bpf_array",
	[BPF_MAP_TYPE_PROG_ARRAY] = "bpf_array",
	[BPF_MAP_TYPE_PERF_EVENT_ARRAY] = "bpf_array",
	[BPF_MAP_TYPE_PERCPU_HASH] = "bpf_htab",
	[BPF_MAP_TYPE_PERCPU_ARRAY] = "bpf_array",
	[BPF_MAP_TYPE_LRU_HASH] = "bpf_htab",
	[BPF_MAP_TYPE_LRU_PERCPU_HASH] = "bpf_htab",
	[BPF_MAP_TYPE_LPM_TRIE] = "lpm_trie",
	[BPF_MAP_TYPE_ARRAY_OF_MAPS] = "bpf_array",
	[BPF_MAP_TYPE_HASH_OF_MAPS] = "bpf_htab",
	[BPF_MAP_TYPE_DEVMAP] = "bpf_dtab",
	[BPF_MAP_TYPE_DEVMAP_HASH] = "bpf_dtab",
	[BPF_MAP_TYPE_CPUMAP] = "bpf_cpu_map",
	[BPF_MAP_TYPE_XSKMAP] = "xsk_map",
	[BPF_MAP_TYPE_QUEUE] = "bpf_queue_stack",
	[BPF_MAP_TYPE_STACK] = "bpf_queue_stack",
	[BPF_MAP_TYPE_RINGBUF] = "bpf_ringbuf_map",
	[BPF_MAP_TYPE_USER_RINGBUF] = "bpf_ringbuf_map",
	[BPF_MAP_TYPE_CGROUP_ARRAY] = "bpf_array",
	[BPF_MAP_TYPE_SOCKMAP] = "bpf_stab",
	[BPF_MAP_TYPE_SOCKHASH] = "bpf_shtab",
	[BPF_MAP_TYPE_BLOOM_FILTER] = "bpf_bloom_filter",
};

/* Number of each of them in the BTF. */
static uint32_t struct_ids[sl_array_size(struct_names)];
static struct btf *kernel_btf; /* stays: programs that ask for one member ask for many */

static struct row {
	const char *of; /* the struct that has the member */
	struct sl_field
		field; /* offset: in the whole struct, known by the BTF; 0 size: not there */
} rows[] = {
#define AT(struct_name, member, place)                                                        \
	{                                                                                     \
		struct_name,                                                                  \
		{                                                                             \
			.name = (member), .impl_offset = offsetof(struct sl_map, place),      \
			.impl_size = sizeof(((struct sl_map *)0)->place), .is_constant = true \
		}                                                                             \
	}
#define ZERO(struct_name, member)                             \
	{                                                     \
		struct_name,                                  \
		{                                             \
			.name = (member), .is_constant = true \
		}                                             \
	}
	AT("bpf_map", "map_type", desc.type),
	AT("bpf_map", "key_size", desc.key_size),
	AT("bpf_map", "value_size", desc.value_size),
	AT("bpf_map", "max_entries", desc.max_entries),
	AT("bpf_map", "map_flags", desc.flags),
	AT("bpf_map", "map_extra", map_extra),
	AT("bpf_map", "id", obj.id),
	AT("bpf_map", "name", name),
	AT("bpf_map", "numa_node", shown.numa_node),
	AT("bpf_map", "btf_key_type_id", btf_key_type_id),
	AT("bpf_map", "btf_value_type_id", btf_value_type_id),
	ZERO("bpf_map", "btf_vmlinux_value_type_id"),
	ZERO("bpf_map", "sha"), /* of maps whose hash somebody asked for */
	ZERO("bpf_map", "excl"), /* of maps of one program */
	{ "bpf_map", { .name = "frozen",
			     .impl_offset = offsetof(struct sl_map, frozen),
			     .impl_size = sizeof(bool) } },
	AT("bpf_array", "elem_size", shown.elem_size),
	AT("bpf_array", "index_mask", shown.index_mask),
	AT("bpf_htab", "elem_size", shown.elem_size),
	AT("bpf_htab", "n_buckets", shown.bucket_count),
	{ "bpf_htab", { .name = "count",
			      .impl_size = 4,
			      .read_symbol = "sl_htab_count",
			      .read_map = htab_count } },
	AT("bpf_queue_stack", "size", shown.slot_count),
	AT("lpm_trie", "data_size", shown.data_size),
	AT("lpm_trie", "max_prefixlen", shown.max_prefixlen),
#undef AT
#undef ZERO
};

static const struct btf_type *struct_of(const char *name, uint32_t *ret_id)
{
	int id = btf__find_by_name_kind(kernel_btf, name, BTF_KIND_STRUCT);

	*ret_id = id > 0 ? (uint32_t)id : 0;
	return id > 0 ? btf__type_by_id(kernel_btf, *ret_id) : NULL;
}

static void place_row(struct row *row)
{
	uint32_t id;
	const struct btf_type *type = struct_of(row->of, &id);

	for (unsigned i = 0; type && i < btf_vlen(type); i++) {
		const struct btf_member *m = &btf_members(type)[i];
		int64_t bytes = btf__resolve_size(kernel_btf, m->type);
		const char *name = btf__name_by_offset(kernel_btf, m->name_off);

		if (!name || strcmp(name, row->field.name) != 0 ||
			btf_member_bitfield_size(type, i))
			continue;
		/* Another width would need another lowering. */
		if (bytes <= 0 || (row->field.impl_size && row->field.impl_size != bytes))
			continue;
		row->field.offset = (uint16_t)(btf_member_bit_offset(type, i) / 8);
		row->field.size = (uint16_t)bytes;
	}
}

static void read_btf(void)
{
	kernel_btf = btf__parse(VMLINUX_BTF, NULL);
	if (!kernel_btf)
		return;
	for (unsigned i = 0; i < sl_array_size(struct_names); i++) {
		for (unsigned j = 0; struct_names[i] && j < i && !struct_ids[i]; j++)
			if (struct_names[j] && strcmp(struct_names[i], struct_names[j]) == 0)
				struct_ids[i] = struct_ids[j];
		if (struct_names[i] && !struct_ids[i])
			struct_of(struct_names[i], &struct_ids[i]);
	}
	for (unsigned i = 0; i < sl_array_size(rows); i++)
		place_row(&rows[i]);
}

/* The way to what is read: the member of struct bpf_map or of the struct around it, and its row. */
struct way {
	const struct sl_field *field; /* NULL without */
	const char *of, *member;
};

static void note_member(
	struct sl_btf_walk *walk, const struct btf_type *of, unsigned member, uint32_t member_off)
{
	const struct btf_member *m = &btf_members(of)[member];
	struct way *way = walk->arg;

	if (*way->member && strcmp(way->member, "map") != 0)
		return;
	way->of = btf__name_by_offset(walk->btf, of->name_off);
	way->member = btf__name_by_offset(walk->btf, m->name_off);
	for (unsigned i = 0; i < sl_array_size(rows); i++)
		if (rows[i].field.size && strcmp(rows[i].of, way->of) == 0 &&
			strcmp(rows[i].field.name, way->member) == 0)
			way->field = &rows[i].field;
}

static int find_field(struct sl_env *env, uint32_t type_id, uint32_t off, uint32_t size,
	const struct sl_field **ret_field)
{
	struct way way = { .of = "", .member = "" };
	struct sl_btf_walk walk = { .env = env,
		.btf = kernel_btf,
		.off = off,
		.size = size,
		.passes = note_member,
		.arg = &way };
	int found = sl_btf_walk(&walk, type_id);

	if (found < 0)
		return found;
	*ret_field = way.field;
	/* All structs begin with struct bpf_map, so offsets in that are offsets in them. */
	if (found == SL_BTF_NUMBER && way.field && off >= way.field->offset &&
		off + size <= way.field->offset + way.field->size)
		return 0;
	*ret_field = NULL;
	sl_say(env, "member %s of struct %s is not available: the data plane has no such %s\n",
		way.member, *way.of ? way.of : "(anon)",
		found == SL_BTF_POINTER ? "kernel object" : "member");
	return -EACCES;
}

/* One instruction reads one member, whatever maps it reads it of. */
static int note_field(struct sl_env *env, const struct sl_field *field)
{
	struct sl_insn_fact *fact = &env->facts->insns[env->insn];

	if (fact->field && fact->field != field) {
		sl_say(env, "same insn cannot read %s of one map and %s of another\n",
			fact->field->name, field->name);
		return -EINVAL;
	}
	fact->field = field;
	return 0;
}

int sl_map_check_field(struct sl_env *env, unsigned regno, int32_t off, unsigned size,
	enum sl_access access, bool loads)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint32_t type = sl_env_reg(env, regno)->map->desc.type;
	const char *name = type < sl_array_size(struct_names) ? struct_names[type] : NULL;
	const struct sl_field *field;
	int err;

	pthread_once(&once, read_btf);
	if (!kernel_btf) {
		sl_say(env, "map_ptr access not supported without CONFIG_DEBUG_INFO_BTF\n");
		return -SL_ENOTSUPP;
	}
	if (!name || !struct_ids[type]) {
		sl_say(env, "map_ptr access not supported for map type %u\n", type);
		return -SL_ENOTSUPP;
	}
	if (off < 0) {
		sl_say(env, "R%u is %s invalid negative access: off=%d\n", regno, name, off);
		return -EACCES;
	}
	if (access != SL_READ) {
		sl_say(env, "only read from %s is supported\n", name);
		return -EACCES;
	}
	err = find_field(env, struct_ids[type], (uint32_t)off, size, &field);
	return err || !loads ? err : note_field(env, field);
}
