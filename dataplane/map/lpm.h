#pragma once

#include "context.h"
#include "map.h"

/*
 * LPM_TRIE as compiled code sees it; lpm_trie.c says how the trie works.
 *
 * A node stands for all keys that begin with its path of `depth` bits, a multiple of six, and tells
 * the next six bits apart: 64 children at most, and the prefixes that end one to six bits below
 * it. Bit i of `external` is the child of the keys that go on with i; bit i of `full` the prefix
 * of all six bits i; bit (1 << l) - 2 + v of `internal` the prefix of l < 6 bits v. `slots` has one
 * address for each bit that is set: first the children, then the full prefixes, then the others.
 *
 * Where a path does not branch nodes are left out: `skip` holds the bits from `start`, where the
 * parent ends, to `depth`, at its top.
 */
enum { SL_LPM_STRIDE = 6, SL_LPM_SKIP_MAX = 54, SL_LPM_TABLE_BITS_MAX = 18 };

struct sl_lpm_entry {
	uint32_t prefixlen;
	uint8_t data[]; /* the key's, all of it; then, at value_offset from the entry, the value */
};

struct sl_lpm_node {
	uint64_t external, full, internal;
	uint64_t skip;
	uint16_t start, depth; /* in bits from the key's first */
	uint32_t slot_count;
	uint64_t slots[]; /* addresses of nodes or entries; readers load with acquire */
};

/*
 * The top of a large trie once more: by the key's first bits, the longest prefix that is not longer
 * than those, and the first node that is not higher.
 */
struct sl_lpm_top {
	uint64_t best; /* address of the entry */
	uint64_t node;
};

struct sl_lpm_desc {
	struct sl_map_desc map;
	struct sl_lpm_top *table; /* NULL for a small trie */
	uint32_t table_bits;
	uint32_t data_size; /* bytes of a key after its length */
	uint32_t max_prefixlen;
	uint32_t value_offset; /* of the value in its entry */
	uint64_t *root; /* address of the first node, where there is no table */
	uint64_t *shortest; /* address of the entry with prefix length 0 */
};

SL_WORKER void *sl_lpm_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
/* The same for a key that is itself a prefix: the longest that is not longer than the key. */
SL_ANY void *sl_lpm_lookup_short(const struct sl_map_desc *desc, const void *key);

/* Native only. */
SL_WORKER long sl_lpm_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx,
	const void *key, const void *value, uint64_t flags);
SL_WORKER long sl_lpm_delete(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
