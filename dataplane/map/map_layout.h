#pragma once

#include "defs.h"

struct sl_btf_record;

/*
 * The head of every map: what compiled code knows of it. All fields are immutable after creation,
 * so the JIT places a constant copy of this struct into each module, and an inlined operation folds
 * to an address computation. A map type that needs more for its fast path derives from it:
 *
 *	struct sl_hash_desc { struct sl_map_desc map; struct bucket *buckets; uint32_t mask; ... };
 *
 * and says in its ops how many bytes of `struct sl_map` from `desc` on are constant (desc_size).
 */
struct sl_map_desc {
	uint32_t type; /* enum bpf_map_type */
	uint32_t key_size; /* bytes */
	uint32_t value_size; /* bytes */
	uint32_t max_entries;
	uint32_t flags; /* BPF_F_* of BPF_MAP_CREATE */
	uint32_t value_stride; /* bytes from one value to the next: value_size rounded up to 8 */
	void *data; /* values of an array; a type's own otherwise */
	struct sl_map *map; /* the map itself */
	const struct sl_btf_record *record; /* special fields of the values; NULL without */
} sl_cache_aligned; /* so that a derived descriptor lies in memory as it is declared */
