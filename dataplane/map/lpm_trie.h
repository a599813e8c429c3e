#pragma once

#include "lpm.h"

/* The trie under LPM_TRIE; lpm_trie.c says how it works. */

struct sl_lpm_arena; /* where nodes and entries come from: lpm_arena.c */

struct sl_lpm {
	struct sl_map map;
	/* The rest of struct sl_lpm_desc, which begins at map.desc. */
	uint8_t desc_rest[sizeof(struct sl_lpm_desc) - sizeof(struct sl_map_desc)];

	size_t table_bytes;
	struct sl_lpm_arena *arena;

	/* Readers any thread, writers whoever holds the lock. */
	uint64_t root, shortest;
	uint32_t entry_count;
	uint32_t lock; /* 1 while held; taken through sl_lpm_lock */
};

static inline struct sl_lpm *sl_lpm_of(const struct sl_map *map)
{
	return (struct sl_lpm *)map;
}

static inline struct sl_lpm_desc *sl_lpm_desc_of(const struct sl_lpm *lpm)
{
	return (struct sl_lpm_desc *)((char *)lpm + offsetof(struct sl_map, desc));
}

/* The entry of exactly this prefix, or NULL. In a read section. */
SL_ANY struct sl_lpm_entry *sl_lpm_exact(const struct sl_lpm *lpm, const void *key);
/* What follows the prefix in postorder, the most specific first; of NULL, what comes first. */
SL_ANY struct sl_lpm_entry *sl_lpm_next(const struct sl_lpm *lpm, const void *key);

/* Both with the lock held, in a read section. put: -EEXIST, -ENOENT, -ENOSPC, -ENOMEM. */
SL_ANY int sl_lpm_put(struct sl_lpm *lpm, const void *key, const void *value, uint64_t flags);
SL_ANY int sl_lpm_take(struct sl_lpm *lpm, const void *key);

struct prefix;

/*
 * The table's part of a change, after the trie's and before anything is retired: what is below a
 * path with these first bits (at the top of the word) has changed; a prefix has `entry` instead of
 * `old` (NULL: what is there now, or a shorter one).
 */
SL_ANY void sl_lpm_table_refresh(struct sl_lpm *lpm, uint64_t word);
SL_ANY void sl_lpm_table_spread(struct sl_lpm *lpm, const struct prefix *p,
	const struct sl_lpm_entry *old, const struct sl_lpm_entry *entry);

/*
 * Memory of nodes and entries: pieces of some sizes cut from one area of address space, so that
 * a worker can take one without a system call. Only with the trie's lock held. A retired
 * piece is given out again after a grace period.
 */
SL_CONTROL struct sl_lpm_arena *sl_lpm_arena_new(
	uint32_t max_entries, uint32_t max_prefixlen, uint32_t entry_bytes);
SL_CONTROL void sl_lpm_arena_free(struct sl_lpm_arena *arena);
/* All pieces are below *ret_len_bytes; piece 0 is an empty run. */
SL_CONTROL void *sl_lpm_arena_area(const struct sl_lpm_arena *arena, size_t *ret_len_bytes);
/* Whether a change of the trie can go on: that many pieces of any size can be had and retired. */
SL_ANY bool sl_lpm_arena_ready(struct sl_lpm_arena *arena, unsigned pieces);
SL_ANY void *sl_lpm_arena_get(struct sl_lpm_arena *arena, uint32_t bytes);
SL_ANY void sl_lpm_arena_retire(struct sl_lpm_arena *arena, void *piece, uint32_t bytes);
/* One that no reader has seen. */
SL_ANY void sl_lpm_arena_put(struct sl_lpm_arena *arena, void *piece, uint32_t bytes);
SL_ANY uint64_t sl_lpm_arena_used_bytes(const struct sl_lpm_arena *arena);
