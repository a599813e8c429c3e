#pragma once

#include <string.h>

#include <linux/netfilter/nf_conntrack_common.h>

#include "conntrack.h"
#include "hash_key.h"
#include "hash_pool.h"

/* Inside of conntrack/: layout.c, table.c, nat.c, expire.c. */

/* Where the members are in the kernel's struct nf_conn. */
struct sl_conn_layout {
	uint32_t size;
	uint32_t use, timeout, zone, status, mark;
	uint32_t tuple[SL_CONN_DIRS];
};

/* SL_CONN_LIVE is what makes others find it: set when both directions are linked. */
enum { SL_CONN_LIVE = 1 << 0 };

/* Before each struct nf_conn. A link is the number of an entry twice plus the direction, plus 1. */
struct sl_conn_entry {
	/* Written before it is linked; the links then by the background thread. */
	uint32_t next[SL_CONN_DIRS];
	uint64_t hash[SL_CONN_DIRS]; /* tells most others from it */
	uint32_t state; /* release by who inserts, acquire by who finds */
	uint8_t linked; /* directions that are in the table; inserter, then background thread */
} sl_cache_aligned;

struct sl_conn_table {
	/* Immutable. */
	struct sl_conn_layout layout;
	uint8_t *entries;
	uint32_t stride;
	uint32_t *buckets; /* links */
	uint64_t seed[SL_HASH_SEEDS];
	uint32_t (*now)(void);

	struct sl_pool pool;
};

enum { SL_CONN_BUCKET_BITS = 20, SL_CONN_TUPLE_KEY = 39 /* all but the direction */ };

extern struct sl_conn_table sl_conns;

static inline struct sl_conn_entry *sl_conn_entry_at(uint32_t link)
{
	return (struct sl_conn_entry *)(sl_conns.entries +
					(size_t)((link - 1) >> 1) * sl_conns.stride);
}

static inline struct sl_conn_entry *sl_conn_entry_of(struct sl_conn *conn)
{
	return (struct sl_conn_entry *)((uint8_t *)conn - sizeof(struct sl_conn_entry));
}

static inline struct sl_conn *sl_conn_of(struct sl_conn_entry *entry)
{
	return (struct sl_conn *)(entry + 1);
}

static inline void *sl_conn_member(const struct sl_conn *conn, uint32_t offset)
{
	return (uint8_t *)conn + offset;
}

static inline struct sl_conn_tuple *sl_conn_tuple_of(const struct sl_conn *conn, unsigned dir)
{
	return sl_conn_member(conn, sl_conns.layout.tuple[dir]);
}

static inline uint64_t *sl_conn_status(const struct sl_conn *conn)
{
	return sl_conn_member(conn, sl_conns.layout.status);
}

static inline uint32_t *sl_conn_timeout(const struct sl_conn *conn)
{
	return sl_conn_member(conn, sl_conns.layout.timeout);
}

static inline uint32_t *sl_conn_use(const struct sl_conn *conn)
{
	return sl_conn_member(conn, sl_conns.layout.use);
}

static inline struct sl_conn_zone sl_conn_zone_of(const struct sl_conn *conn)
{
	struct sl_conn_zone zone;

	memcpy(&zone, sl_conn_member(conn, sl_conns.layout.zone), sizeof(zone));
	return zone;
}

static inline uint16_t sl_conn_zone_id(struct sl_conn_zone zone, unsigned dir)
{
	return zone.dir & 1u << dir ? zone.id : 0;
}

static inline bool sl_conn_tuple_equal(const struct sl_conn_tuple *a, const struct sl_conn_tuple *b)
{
	return memcmp(a, b, SL_CONN_TUPLE_KEY) == 0;
}

/* Its highest bits say which bucket. */
static inline uint64_t sl_conn_hash(const struct sl_conn_tuple *tuple, uint16_t zone_id)
{
	uint64_t seed[SL_HASH_SEEDS] = { sl_conns.seed[0], sl_conns.seed[1] ^ zone_id,
		sl_conns.seed[2] };

	return sl_hash_key(tuple, SL_CONN_TUPLE_KEY, seed);
}

/* Its time is over, and nobody finds it any more. */
static inline bool sl_conn_is_dying(const struct sl_conn *conn)
{
	return __atomic_load_n(sl_conn_status(conn), __ATOMIC_RELAXED) & IPS_DYING;
}

static inline bool sl_conn_is_expired(const struct sl_conn *conn, uint32_t now)
{
	return (int32_t)(__atomic_load_n(sl_conn_timeout(conn), __ATOMIC_RELAXED) - now) <= 0;
}

/*
 * table.c: another connection in the table has this tuple, and not the original tuple of `but` as well:
 * then both are the same flow.
 */
bool sl_conn_is_taken(const struct sl_conn_tuple *tuple, const struct sl_conn *but);
/* table.c: a look-up without a reference: until the caller's next quiescent state. */
struct sl_conn *sl_conn_peek(
	const struct sl_conn_tuple *tuple, struct sl_conn_zone zone, uint8_t *ret_dir);
/* table.c: one reference less; `cache` is the caller's. */
void sl_conn_put(struct sl_conn *conn, struct sl_pool_cache *cache);

/* layout.c: -ENOTSUP. */
int sl_conn_layout_read(struct sl_conn_layout *layout);
/* expire.c: begins to look through the table. */
int sl_conn_expire_start(void);
