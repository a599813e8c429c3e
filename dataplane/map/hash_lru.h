#pragma once

#include "defs.h"

struct sl_hash;
struct sl_lru;
struct sl_pool_cache;

/* Which element leaves a full LRU table; hash_lru.c says how that is found. */

/* For elements numbered from 0 to total - 1. -ENOMEM. */
SL_CONTROL int sl_lru_new(uint32_t total, struct sl_lru **ret_lru);
SL_CONTROL void sl_lru_free(struct sl_lru *lru); /* NULL is fine */

/*
 * The element has its key and is about to be published, not used yet (`used` is its mark). From here
 * to the end of a grace period after sl_lru_remove, its key must not change. In a read section.
 */
SL_ANY void sl_lru_add(struct sl_lru *lru, uint32_t number, uint8_t *used);
/* The element is unlinked, and about to be retired. */
SL_ANY void sl_lru_remove(struct sl_lru *lru, uint32_t number);

/*
 * Takes one element out of the table, whose room is then the caller's. -ENOMEM when all elements
 * that could be seen were just being taken by others. In a read section; `cache` as in hash_table.h.
 */
SL_ANY int sl_lru_evict(struct sl_hash *h, struct sl_pool_cache *cache);
