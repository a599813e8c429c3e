#include "background.h"
#include "cpu.h"
#include "rcu.h"
#include "table.h"

/*
 * Removal of connections whose time is over. The background thread goes through the table again and
 * again, a part of it at a time: all of it takes about a second when little is to be done. What it
 * has not come to yet is found by nobody all the same.
 */
enum { BUCKETS_AT_ONCE = 32768 };

static bool is_dead(struct sl_conn_entry *entry, uint32_t now)
{
	struct sl_conn *conn = sl_conn_of(entry);

	/* Acquire: the inserter's `linked`, when it was that who gave up. */
	if (__atomic_load_n(sl_conn_status(conn), __ATOMIC_ACQUIRE) & IPS_DYING)
		return true;
	if (!(__atomic_load_n(&entry->state, __ATOMIC_ACQUIRE) & SL_CONN_LIVE) ||
		!sl_conn_is_expired(conn, now))
		return false;
	__atomic_fetch_or(sl_conn_status(conn), IPS_DYING, __ATOMIC_RELAXED);
	return true;
}

/* The last of its directions is out: the table's reference ends. */
static void unlinked(struct sl_conn_entry *entry, unsigned dir)
{
	entry->linked &= (uint8_t)~(1u << dir);
	if (!entry->linked)
		sl_conn_put(sl_conn_of(entry), &sl_conns.pool.caches[sl_cpu_count()]);
}

/* Takes out what is dead; false when something was added at the head meanwhile. */
static bool clean(uint32_t *bucket, uint32_t now, bool *ret_found)
{
	uint32_t *from = bucket, link = __atomic_load_n(bucket, __ATOMIC_ACQUIRE), next;

	for (; link; link = next) {
		struct sl_conn_entry *entry = sl_conn_entry_at(link);
		unsigned dir = (link - 1) & 1;

		next = __atomic_load_n(&entry->next[dir], __ATOMIC_ACQUIRE);
		if (!is_dead(entry, now)) {
			from = &entry->next[dir];
			continue;
		}
		if (from != bucket)
			__atomic_store_n(from, next, __ATOMIC_RELEASE);
		else if (!__atomic_compare_exchange_n(
				 bucket, &link, next, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return false;
		unlinked(entry, dir);
		*ret_found = true;
	}
	return true;
}

static bool expire(void *arg)
{
	static uint32_t position;
	uint32_t mask = (1u << SL_CONN_BUCKET_BITS) - 1, now;
	bool found = false;

	(void)arg;
	if (!sl_conntrack_count())
		return false;
	now = sl_conns.now();
	sl_rcu_read_begin();
	for (unsigned i = 0; i < BUCKETS_AT_ONCE; i++) {
		uint32_t *bucket = &sl_conns.buckets[position++ & mask];

		while (!clean(bucket, now, &found))
			;
	}
	sl_rcu_read_end();
	return found;
}

int sl_conn_expire_start(void)
{
	return sl_background_add_poll(expire, NULL);
}
