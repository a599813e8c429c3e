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
enum { SL_LPM_STRIDE = 6, SL_LPM_SKIP_MAX = 54 };

struct sl_lpm_node {
	uint64_t external, full, internal;
	uint64_t skip;
	uint16_t start, depth; /* in bits from the key's first */
	uint32_t slot_count;
	uint64_t best; /* of a leaf's node: the entry of the longest prefix that ends above */
	uint64_t slots[]; /* addresses of nodes or entries; readers load with acquire */
};

/*
 * The top of a large trie once more, so that most look-ups take two loads to an entry: `table` has
 * one word for each group of paths that begin with the same table_bits bits: the index of the
 * group's run, in pieces of the arena's area. A run tells the next six bits apart: bit i of
 * `starts` is set where those from i on have another leaf than those before (bit 0 always is), and
 * `leaves` has one for each bit. A leaf is the index of an entry, of 0 for none, or, with
 * SL_LPM_DEEP, of the first node below, which knows the entry that is the best above.
 *
 * Where a group has one leaf its word is that leaf's: each entry begins with a run that has the
 * entry for its only leaf. So does piece 0, for none.
 */
#define SL_LPM_DEEP 0x80000000u

enum { SL_LPM_PIECE_BYTES = 32, SL_LPM_TABLE_BITS_MAX = 18 };
enum { SL_LPM_LEAF_BITS_MAX = SL_LPM_TABLE_BITS_MAX + SL_LPM_STRIDE };

struct sl_lpm_run {
	uint64_t starts; /* never changes */
	uint32_t leaves[]; /* readers load with acquire */
};

struct sl_lpm_entry {
	uint64_t starts; /* of the entry as a run: 1, and itself */
	uint32_t self;
	uint32_t prefixlen;
	uint8_t data[]; /* the key's, all of it; then, at value_offset from the entry, the value */
};

struct sl_lpm_desc {
	struct sl_map_desc map;
	uint32_t *table; /* NULL for a small trie */
	uint8_t *area; /* of the pieces */
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
