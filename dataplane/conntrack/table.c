#include "table.h"

#include <errno.h>
#include <pthread.h>

#include "area.h"
#include "cpu.h"
#include "rcu.h"

/*
 * A hash table with a chain of connections per bucket, each connection in two chains: one for the
 * tuple of either direction.
 *
 * Workers look up without locks and never wait. They add only at the head of a chain, by a compare
 * and swap that fails when another one added meanwhile: then they look for their tuple again, so that
 * no two connections have the same. Only the background thread removes (expire.c): inside of a
 * chain it alone writes links, and at the head it swaps as well. What it removed is reused after a
 * grace period (hash_pool.h), so whoever stands on it goes on from there.
 *
 * A connection is added to two chains one after the other, and counts only when it is in both
 * (SL_CONN_LIVE). Until then others take its tuples as taken. When the second turns out to be taken,
 * which the first look did not see, it dies at once and is removed like one that expired.
 */

struct sl_conn_table sl_conns;

static int table_new(void)
{
	uint64_t total = sl_pool_total(SL_CONN_MAX);
	size_t bucket_bytes = sizeof(uint32_t) << SL_CONN_BUCKET_BITS;
	int err = sl_conn_layout_read(&sl_conns.layout);

	if (!err)
		err = sl_pool_init(&sl_conns.pool, SL_CONN_MAX);
	if (err)
		return err;
	sl_conns.stride = sl_round_up(
		(uint32_t)sizeof(struct sl_conn_entry) + sl_conns.layout.size, SL_CACHE_LINE);
	sl_conns.entries = sl_area_new(total * sl_conns.stride, 0);
	sl_conns.buckets = sl_area_new(bucket_bytes, bucket_bytes);
	if (!sl_conns.entries || !sl_conns.buckets)
		return -ENOMEM;
	sl_hash_seed(sl_conns.seed, false);
	return sl_conn_expire_start();
}

int sl_conntrack_start(uint32_t (*now)(void))
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool tried;
	static int result;

	pthread_mutex_lock(&lock);
	if (!tried) {
		sl_conns.now = now;
		result = table_new();
		tried = true;
	}
	pthread_mutex_unlock(&lock);
	return result;
}

uint32_t sl_conntrack_size(void)
{
	return sl_conns.layout.size;
}

uint32_t sl_conntrack_mark_offset(void)
{
	return sl_conns.layout.mark;
}

uint32_t sl_conntrack_count(void)
{
	return sl_conns.buckets ? sl_pool_count(&sl_conns.pool) : 0;
}

/* Nobody finds a connection whose time is over, however long the background thread takes. */
static bool bury_expired(struct sl_conn *conn)
{
	if (!sl_conn_is_expired(conn, sl_conns.now()))
		return false;
	__atomic_fetch_or(sl_conn_status(conn), IPS_DYING, __ATOMIC_RELEASE);
	return true;
}

static bool has_key(const struct sl_conn *conn, unsigned dir, const struct sl_conn_tuple *tuple,
	struct sl_conn_zone zone)
{
	return sl_conn_tuple_equal(sl_conn_tuple_of(conn, dir), tuple) &&
	       sl_conn_zone_id(sl_conn_zone_of(conn), dir) == sl_conn_zone_id(zone, dir);
}

/* A chain is that of a tuple in the zone `id`, and of what else fell into the bucket. */
struct chain {
	const struct sl_conn_tuple *tuple;
	struct sl_conn_zone zone;
	uint16_t id;
	uint64_t hash;
};

static struct chain chain_for(
	const struct sl_conn_tuple *tuple, struct sl_conn_zone zone, uint16_t id)
{
	return (struct chain){ tuple, zone, id, sl_conn_hash(tuple, id) };
}

static uint32_t *bucket_of(const struct chain *chain)
{
	return &sl_conns.buckets[chain->hash >> (64 - SL_CONN_BUCKET_BITS)];
}

static bool is_of(const struct sl_conn *conn, unsigned dir, const struct chain *chain)
{
	return has_key(conn, dir, chain->tuple, chain->zone) &&
	       sl_conn_zone_id(chain->zone, dir) == chain->id;
}

static uint32_t head_of(const struct chain *chain)
{
	return __atomic_load_n(bucket_of(chain), __ATOMIC_ACQUIRE);
}

/* 0, or the link to what is in the chain from `link` on and neither dead nor `but`. */
static uint32_t find(uint32_t link, const struct chain *chain, const struct sl_conn *but)
{
	while (link) {
		struct sl_conn_entry *entry = sl_conn_entry_at(link);
		struct sl_conn *conn = sl_conn_of(entry);
		unsigned dir = (link - 1) & 1;
		uint32_t state = __atomic_load_n(&entry->state, __ATOMIC_ACQUIRE);

		if (entry->hash[dir] == chain->hash && conn != but && is_of(conn, dir, chain) &&
			!sl_conn_is_dying(conn) && !((state & SL_CONN_LIVE) && bury_expired(conn)))
			return link;
		link = __atomic_load_n(&entry->next[dir], __ATOMIC_ACQUIRE);
	}
	return 0;
}

/* While anybody has a reference, one more. */
static bool try_get(struct sl_conn *conn)
{
	uint32_t use = __atomic_load_n(sl_conn_use(conn), __ATOMIC_RELAXED);

	while (use) {
		if (__atomic_compare_exchange_n(sl_conn_use(conn), &use, use + 1, true,
			    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

static struct sl_conn *peek_in(const struct chain *chain, uint8_t *ret_dir)
{
	uint32_t link = find(head_of(chain), chain, NULL);
	struct sl_conn_entry *entry = link ? sl_conn_entry_at(link) : NULL;

	if (!entry || !(__atomic_load_n(&entry->state, __ATOMIC_ACQUIRE) & SL_CONN_LIVE))
		return NULL;
	*ret_dir = (link - 1) & 1;
	return sl_conn_of(entry);
}

struct sl_conn *sl_conn_peek(
	const struct sl_conn_tuple *tuple, struct sl_conn_zone zone, uint8_t *ret_dir)
{
	struct chain chain = chain_for(tuple, zone, sl_conn_zone_id(zone, SL_CONN_ORIGINAL));
	uint16_t reply_id = sl_conn_zone_id(zone, SL_CONN_REPLY);
	struct sl_conn *conn = peek_in(&chain, ret_dir);

	if (conn || reply_id == chain.id)
		return conn;
	chain = chain_for(tuple, zone, reply_id);
	return peek_in(&chain, ret_dir);
}

struct sl_conn *sl_conntrack_lookup(
	const struct sl_conn_tuple *tuple, struct sl_conn_zone zone, uint8_t *ret_dir)
{
	uint8_t dir;
	struct sl_conn *conn = sl_conn_peek(tuple, zone, &dir);

	if (!conn || !try_get(conn))
		return NULL;
	*ret_dir = dir;
	return conn;
}

struct sl_conn *sl_conntrack_alloc(const struct sl_conn_tuple tuples[SL_CONN_DIRS],
	struct sl_conn_zone zone, uint64_t timeout, unsigned cpu)
{
	struct sl_pool_cache *cache = &sl_conns.pool.caches[cpu];
	struct sl_conn_entry *entry;
	struct sl_conn *conn;
	uint32_t number;

	if (!sl_pool_enter(&sl_conns.pool, cache))
		return NULL;
	number = sl_pool_get(&sl_conns.pool, cache);
	if (number == SL_POOL_NONE) {
		sl_pool_leave(cache);
		return NULL;
	}
	entry = sl_conn_entry_at(number * 2 + 1);
	conn = sl_conn_of(entry);
	memset(entry, 0, sizeof(*entry) + sl_conns.layout.size);
	for (unsigned dir = 0; dir < SL_CONN_DIRS; dir++)
		memcpy(sl_conn_tuple_of(conn, dir), &tuples[dir], sizeof(tuples[dir]));
	memcpy(sl_conn_member(conn, sl_conns.layout.zone), &zone, sizeof(zone));
	sl_conntrack_set_timeout(conn, timeout);
	return conn;
}

static uint32_t link_of(const struct sl_conn_entry *entry, unsigned dir)
{
	size_t number = (size_t)((const uint8_t *)entry - sl_conns.entries) / sl_conns.stride;

	return (uint32_t)number * 2 + dir + 1;
}

bool sl_conn_is_taken(const struct sl_conn_tuple *tuple, const struct sl_conn *but)
{
	struct sl_conn_zone zone = sl_conn_zone_of(but);
	struct chain chain = chain_for(tuple, zone, sl_conn_zone_id(zone, SL_CONN_REPLY));
	uint32_t link = head_of(&chain);

	while ((link = find(link, &chain, but)) != 0) {
		struct sl_conn_entry *entry = sl_conn_entry_at(link);

		if (!has_key(sl_conn_of(entry), SL_CONN_ORIGINAL,
			    sl_conn_tuple_of(but, SL_CONN_ORIGINAL), zone))
			return true;
		link = __atomic_load_n(&entry->next[(link - 1) & 1], __ATOMIC_ACQUIRE);
	}
	return false;
}

static struct chain chain_of(const struct sl_conn *conn, unsigned dir)
{
	struct sl_conn_zone zone = sl_conn_zone_of(conn);

	return chain_for(sl_conn_tuple_of(conn, dir), zone, sl_conn_zone_id(zone, dir));
}

static bool push(struct sl_conn *conn, unsigned dir)
{
	struct sl_conn_entry *entry = sl_conn_entry_of(conn);
	struct chain chain = chain_of(conn, dir);
	uint32_t *bucket = bucket_of(&chain);
	uint32_t head = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);

	entry->hash[dir] = chain.hash;
	do {
		if (find(head, &chain, conn))
			return false;
		__atomic_store_n(&entry->next[dir], head, __ATOMIC_RELAXED);
	} while (!__atomic_compare_exchange_n(
		bucket, &head, link_of(entry, dir), false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE));
	entry->linked |= 1u << dir;
	return true;
}

static void discard(struct sl_conn *conn, struct sl_pool_cache *cache)
{
	sl_pool_leave(cache);
	sl_pool_retire(
		&sl_conns.pool, cache, (link_of(sl_conn_entry_of(conn), SL_CONN_ORIGINAL) - 1) / 2);
}

int sl_conntrack_insert(struct sl_conn *conn, unsigned cpu)
{
	struct sl_conn_entry *entry = sl_conn_entry_of(conn);
	struct sl_pool_cache *cache = &sl_conns.pool.caches[cpu];
	bool taken = false;

	*sl_conn_timeout(conn) += sl_conns.now();
	*sl_conn_status(conn) |= IPS_CONFIRMED;
	for (unsigned dir = 0; dir < SL_CONN_DIRS && !taken; dir++) {
		struct chain chain = chain_of(conn, dir);

		taken = find(head_of(&chain), &chain, conn);
	}
	/* The table's reference and the caller's. */
	*sl_conn_use(conn) = 2;
	if (taken || !push(conn, SL_CONN_ORIGINAL)) {
		discard(conn, cache);
		return -EEXIST;
	}
	if (push(conn, SL_CONN_REPLY)) {
		__atomic_store_n(&entry->state, SL_CONN_LIVE, __ATOMIC_RELEASE);
		return 0;
	}
	/* The background thread takes it out again; `linked` is written before. */
	__atomic_fetch_or(sl_conn_status(conn), IPS_DYING, __ATOMIC_RELEASE);
	sl_conn_put(conn, cache);
	return -EEXIST;
}

void sl_conn_put(struct sl_conn *conn, struct sl_pool_cache *cache)
{
	if (__atomic_sub_fetch(sl_conn_use(conn), 1, __ATOMIC_ACQ_REL) == 0)
		discard(conn, cache);
}

void sl_conntrack_release(struct sl_conn *conn, unsigned cpu)
{
	sl_conn_put(conn, &sl_conns.pool.caches[cpu]);
}

void sl_conntrack_set_timeout(struct sl_conn *conn, uint64_t timeout)
{
	uint32_t jiffies = (uint32_t)sl_min(timeout, (uint64_t)INT32_MAX);

	if (__atomic_load_n(sl_conn_status(conn), __ATOMIC_RELAXED) & IPS_CONFIRMED)
		jiffies += sl_conns.now();
	__atomic_store_n(sl_conn_timeout(conn), jiffies, __ATOMIC_RELAXED);
}

int sl_conntrack_change_timeout(struct sl_conn *conn, uint64_t timeout)
{
	if (__atomic_load_n(sl_conn_status(conn), __ATOMIC_RELAXED) & IPS_FIXED_TIMEOUT)
		return -EPERM;
	sl_conntrack_set_timeout(conn, timeout);
	return sl_conn_is_dying(conn) ? -ETIME : 0;
}

int sl_conntrack_change_status(struct sl_conn *conn, uint32_t status)
{
	uint64_t now = __atomic_load_n(sl_conn_status(conn), __ATOMIC_RELAXED);
	uint64_t changed = now ^ status;

	if (changed & (IPS_EXPECTED | IPS_CONFIRMED | IPS_DYING))
		return -EBUSY;
	/* Once seen, or assured, always. */
	if (changed & ~(uint64_t)status & (IPS_SEEN_REPLY | IPS_ASSURED))
		return -EBUSY;
	__atomic_fetch_or(sl_conn_status(conn),
		status & ~IPS_UNCHANGEABLE_MASK & ((1ull << __IPS_MAX_BIT) - 1), __ATOMIC_RELAXED);
	return 0;
}
