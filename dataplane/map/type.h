#pragma once

#include <linux/bpf.h>

#include "map.h"

/* What the files of the map types share. */

#define SL_MAP_TYPE(type, name) extern const struct sl_map_ops name;
#include "types.def"
#undef SL_MAP_TYPE

/* The kernel's ENOTSUPP, which bpf(2) lets through to user space. */
#define SL_ENOTSUPP 524

#define SL_MAP_ACCESS_FLAGS (BPF_F_RDONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY | BPF_F_WRONLY_PROG)

/* Largest value of a per-CPU map, rounded up to 8 bytes: the kernel's PCPU_MIN_UNIT_SIZE. */
#define SL_PERCPU_VALUE_MAX 32768

/* Read-only for programs or write-only for programs, not both. */
static inline bool sl_map_access_ok(uint32_t flags)
{
	return (flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) !=
	       (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG);
}

/* Node 0 is also what a map without BPF_F_NUMA_NODE has in that field, hence the flag. */
static inline bool sl_map_has_node(const union bpf_attr *attr)
{
	return (attr->map_flags & BPF_F_NUMA_NODE) && attr->numa_node != UINT32_MAX;
}

/* sl_array_check: what ARRAY, PERCPU_ARRAY, PROG_ARRAY and PERF_EVENT_ARRAY have in common. */
SL_ANY int sl_array_check(const union bpf_attr *attr);
/* Their BPF_MAP_GET_NEXT_KEY: all indexes, set or not. */
SL_ANY int sl_array_next_key(struct sl_map *map, const void *key, void *ret_next);

/* check_btf of ARRAY and PERCPU_ARRAY: keys are 32-bit integers, data sections have none. */
SL_ANY int sl_array_check_btf(const struct sl_map *map, const struct btf *btf, uint32_t key_type_id,
	uint32_t value_type_id);
/* check_btf of types whose keys and values have no types. */
SL_ANY int sl_map_check_no_btf(const struct sl_map *map, const struct btf *btf,
	uint32_t key_type_id, uint32_t value_type_id);

/*
 * The template of a map of maps from BPF_MAP_CREATE's inner_map_fd: -EBADF, -EINVAL for what is no
 * map or a map of maps itself, -ENOTSUPP for a type that may not be inner.
 */
SL_CONTROL int sl_inner_template_new(int fd, struct sl_map **ret_template);
SL_CONTROL void sl_inner_template_free(struct sl_map *inner); /* NULL is fine */
/* The map behind a descriptor that is to go into `outer`, with a reference; -EINVAL if unlike it. */
SL_CONTROL int sl_inner_get(const struct sl_map *outer, const void *value, struct sl_map **ret_map);

/* An index as a key, which need not be aligned. */
static inline uint32_t sl_array_index(const void *key)
{
	uint32_t index;

	__builtin_memcpy(&index, key, sizeof(index));
	return index;
}
