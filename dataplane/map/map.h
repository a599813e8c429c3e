#pragma once

#include <linux/bpf.h>

#include "map_layout.h"
#include "object.h"

struct btf;
struct sl_btf;
struct sl_btf_record;
struct sl_ctx;
struct sl_prog;
struct sl_timers;

/* A function of a program that is called from outside: R1 to R5, and the run's context. */
typedef uint64_t (*sl_callback_fn)(
	struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5);

enum sl_map_batch {
	SL_MAP_BATCH_LOOKUP = 1 << 0,
	SL_MAP_BATCH_LOOKUP_AND_DELETE = 1 << 1,
	SL_MAP_BATCH_UPDATE = 1 << 2,
	SL_MAP_BATCH_DELETE = 1 << 3,
};

/*
 * One map type: a file of its own with one `const struct sl_map_ops`, listed in types.def. Grouped
 * by caller. A NULL operation is answered as the kernel answers it: -EOPNOTSUPP or -EINVAL, by
 * syscall/.
 */
struct sl_map_ops {
	const char *name;

	/* BPF_MAP_CREATE. check: attributes only, no allocation. new: *ret_map with desc filled in. */
	int (*check)(const union bpf_attr *attr);
	int (*new)(const union bpf_attr *attr, struct sl_map **ret_map);
	/*
	 * Types of key and value as BPF_MAP_CREATE names them (ids in btf, sizes already compared; key
	 * 0 only with this operation): 0 or the kernel's errno. NULL: any will do.
	 */
	int (*check_btf)(const struct sl_map *map, const struct btf *btf, uint32_t key_type_id,
		uint32_t value_type_id);
	void (*free)(struct sl_map *map); /* after a grace period; NULL-safe, half-built maps too */
	/* The last user-space reference (fd or pin) went, programs may remain: PROG_ARRAY clears. */
	void (*user_release)(struct sl_map *map);
	uint64_t (*memory_bytes)(const struct sl_map *map);
	/* For statistics; NULL: the type does not count them. Events that found no room, or nobody. */
	uint64_t (*entry_count)(const struct sl_map *map);
	uint64_t (*lost_events)(const struct sl_map *map);

	/*
	 * From control threads, concurrently with workers and with one another, in an RCU read section.
	 * `value` of a per-CPU map is all CPUs' values, each padded to 8 bytes.
	 */
	int (*sys_lookup)(struct sl_map *map, const void *key, void *ret_value, uint64_t flags);
	int (*sys_update)(struct sl_map *map, const void *key, const void *value, uint64_t flags);
	int (*sys_delete)(struct sl_map *map, const void *key);
	int (*sys_lookup_and_delete)(
		struct sl_map *map, const void *key, void *ret_value, uint64_t flags);
	/* key NULL: the first. -ENOENT after the last. */
	int (*next_key)(struct sl_map *map, const void *key, void *ret_next);
	/* SL_MAP_BATCH_*: the batch commands that the type takes; -ENOTSUPP (524) for the others. */
	uint32_t batch;
	/*
	 * The lookup batches of a type whose position is not a key: copies up to *count elements from
	 * *position on (0 is the start), and sets both to where and how many. -ENOENT when that was
	 * the last, -ENOSPC when not even one step fits. NULL: element by element, along next_key.
	 */
	int (*sys_lookup_batch)(struct sl_map *map, uint32_t *position, void *keys, void *values,
		uint32_t *count, uint64_t flags, bool delete_too);
	/* BPF_MAP_UPDATE_BATCH as one step, where a type can: NULL means one by one. */
	int (*sys_update_all)(struct sl_map *map, const void *keys, const void *values,
		uint32_t count, uint64_t flags);
	/* The values are mappable memory: its memfd, owned by the map, -1 when not. */
	int (*mmap_fd)(const struct sl_map *map);
	/*
	 * User space may write no more: what it still maps writable must not change what programs
	 * that may only read see, since their code is made from it. NULL where nothing is mapped.
	 */
	int (*freeze)(struct sl_map *map);
	/* Address of constant data at `offset`, for BPF_PSEUDO_MAP_VALUE. */
	int (*direct_value)(const struct sl_map *map, uint32_t offset, uint64_t *ret_address);

	/*
	 * Whether `prog`, which is being loaded, may use the map: for types that hold programs. -EINVAL
	 * when it does not go with them. NULL: any program may.
	 */
	int (*admit)(struct sl_map *map, const struct sl_prog *prog);

	/*
	 * From programs, on workers: native functions, and the names under which the same functions
	 * stand in the bitcode (first argument the descriptor, then as in bpf-helpers(7)). The
	 * lookup returns the value's address or NULL.
	 */
	void *(*lookup)(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
	long (*update)(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key,
		const void *value, uint64_t flags);
	long (*delete)(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
	/*
	 * Calls back with the map, the key, the value and callback_ctx, until that returns something
	 * else than 0; returns how often. NULL for a type that programs may not walk.
	 */
	long (*for_each)(const struct sl_map_desc *desc, struct sl_ctx *ctx,
		sl_callback_fn callback, void *callback_ctx, uint64_t flags);
	/*
	 * QUEUE, STACK and BLOOM_FILTER: bpf_map_push_elem, _pop_elem and _peek_elem. The first two
	 * have all of them, which take a lock (spin_lock.h); a BLOOM_FILTER cannot pop, and reads the
	 * value that it peeks for.
	 */
	long (*push)(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *value,
		uint64_t flags);
	long (*pop)(const struct sl_map_desc *desc, const struct sl_ctx *ctx, void *ret_value);
	long (*peek)(const struct sl_map_desc *desc, const struct sl_ctx *ctx, void *ret_value);
	/* For timers: how many elements there can be, the number of a value's, its key (NULL: it). */
	uint32_t (*element_count)(const struct sl_map *map);
	uint32_t (*element)(const struct sl_map *map, const void *value, const void **ret_key);
	const char *lookup_symbol, *update_symbol, *delete_symbol, *for_each_symbol, *push_symbol,
		*peek_symbol;
	bool lookup_reads_value; /* sys_lookup gets what the caller has at `value` */
	bool takes_extra; /* `check` looks at map_extra; others take none */
	/* Elements that are there, for programs that ask; NULL: the type does not count them. */
	uint64_t (*sum_count)(const struct sl_map *map);
	bool never_inner; /* may not be in a map of maps: -ENOTSUPP */
	uint32_t desc_size; /* constant bytes from desc on; at least sizeof(struct sl_map_desc) */
};

/* A map type's own struct begins with this one. */
struct sl_map {
	/* Control side first: the object, what info reports. */
	struct sl_object obj;
	const struct sl_map_ops *ops;
	char name[BPF_OBJ_NAME_LEN];
	struct sl_btf *btf; /* reference, NULL without */
	uint32_t btf_key_type_id, btf_value_type_id;
	uint64_t map_extra;
	/*
	 * A map of maps: what all maps in it have in common, as a map that is no object and holds
	 * nothing (is_template). Owned.
	 */
	struct sl_map *inner;
	bool is_template;
	bool frozen; /* under the freeze lock */
	uint64_t program_writers; /* programs that may write: BPF_F_RDONLY_PROG constant folding */

	/* What else programs may read of the kernel's struct of such a map (verifier/map_field.c). */
	struct {
		int32_t numa_node;
		uint32_t elem_size, index_mask, bucket_count, slot_count;
		uint64_t data_size, max_prefixlen;
	} shown;

	struct sl_timers *timers; /* NULL when the values have none */
	struct sl_btf *objects_btf; /* reference: of the types of what the values hold; NULL */

	struct sl_map_desc desc sl_cache_aligned; /* last: a type's descriptor goes on from here */
};

static inline struct sl_map *sl_map_of(struct sl_object *obj)
{
	return sl_container_of(obj, struct sl_map, obj);
}

static inline bool sl_map_holds_sockets(const struct sl_map *map)
{
	return map->desc.type == BPF_MAP_TYPE_SOCKMAP || map->desc.type == BPF_MAP_TYPE_SOCKHASH;
}

/* The ops of a type; NULL when Sluice does not have it. */
SL_ANY const struct sl_map_ops *sl_map_ops_of(enum bpf_map_type type);
/* Why Sluice does not have the type; NULL when it has, or nobody can. */
SL_ANY const char *sl_map_unavailable(enum bpf_map_type type);

/*
 * For a type's `new`: `size` zeroed bytes that begin with a struct sl_map, its ops and descriptor
 * filled in from attr. NULL when out of memory; freed with free().
 */
SL_CONTROL void *sl_map_alloc(
	size_t size, const struct sl_map_ops *ops, const union bpf_attr *attr);

/*
 * BPF_MAP_CREATE without names and BTF: checks, allocates, and fills obj, ops, desc and name. The
 * caller owns a reference.
 */
SL_CONTROL int sl_map_new(const union bpf_attr *attr, struct sl_map **ret_map);

SL_CONTROL struct sl_map *sl_map_ref(struct sl_map *map);
SL_CONTROL void sl_map_unref(struct sl_map *map);

/*
 * The value's special fields (btf_record.h), before the map is published. Takes over the record,
 * NULL for none. -EACCES and -EOPNOTSUPP for a map that cannot have such fields.
 */
SL_CONTROL int sl_map_set_record(
	struct sl_map *map, const struct sl_btf *btf, struct sl_btf_record *record);
