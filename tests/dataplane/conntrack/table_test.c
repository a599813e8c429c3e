#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "conntrack.h"
#include "cpu.h"
#include "rcu.h"
#include "table.h"
#include "test.h"

/*
 * The table itself, by a clock of ours: two CPUs that insert the same connections, a full table, what
 * becomes of connections whose time is over, and ports that are found.
 */

enum { THREADS = 2, KEYS = 2000, TIMEOUT = 100, WAIT_MS = 20000 };

static uint32_t clock_now = 0xffffff00; /* it wraps meanwhile */

static uint32_t now(void)
{
	return __atomic_load_n(&clock_now, __ATOMIC_RELAXED);
}

static const struct sl_conn_zone both_ways = { .dir = 3 };

/* Connection n, of UDP: to the same server, each from an address of its own. */
static void tuples_of(uint32_t n, struct sl_conn_tuple tuples[SL_CONN_DIRS])
{
	memset(tuples, 0, SL_CONN_DIRS * sizeof(*tuples));
	for (uint8_t dir = 0; dir < SL_CONN_DIRS; dir++) {
		struct sl_conn_tuple *t = &tuples[dir];

		t->l3num = AF_INET;
		t->protonum = IPPROTO_UDP;
		t->dir = dir;
		memcpy(dir ? t->dst : t->src, &n, sizeof(n));
		*(dir ? &t->dst_port : &t->src_port) = htons(4000);
		*(dir ? &t->src_port : &t->dst_port) = htons(53);
	}
}

static struct sl_conn *make(uint32_t n, unsigned cpu)
{
	struct sl_conn_tuple tuples[SL_CONN_DIRS];

	tuples_of(n, tuples);
	return sl_conntrack_alloc(tuples, both_ways, TIMEOUT, cpu);
}

/* One that comes from another port for every CPU, and all are translated to the same. */
static struct sl_conn *make_translated(uint32_t n, unsigned cpu)
{
	struct sl_conn_tuple tuples[SL_CONN_DIRS];

	tuples_of(n, tuples);
	tuples[SL_CONN_ORIGINAL].src_port = htons((uint16_t)(5000 + cpu));
	return sl_conntrack_alloc(tuples, both_ways, TIMEOUT, cpu);
}

static struct sl_conn *look_up(uint32_t n, unsigned dir)
{
	struct sl_conn_tuple tuples[SL_CONN_DIRS];
	struct sl_conn *conn;
	uint8_t found = 9;

	tuples_of(n, tuples);
	conn = sl_conntrack_lookup(&tuples[dir], both_ways, &found);
	if (conn)
		EXPECT_EQ(found, dir);
	return conn;
}

/* All time is over: the background thread has to remove all. */
static bool becomes_empty(void)
{
	__atomic_add_fetch(&clock_now, 2 * TIMEOUT, __ATOMIC_RELAXED);
	for (unsigned ms = 0; sl_conntrack_count() && ms < WAIT_MS; ms++)
		usleep(1000);
	return !sl_conntrack_count();
}

struct worker {
	pthread_t thread;
	unsigned cpu;
	bool translated; /* the second direction is what others may have taken */
	uint32_t inserted, missing;
};

static void *insert_all(void *arg)
{
	struct worker *w = arg;

	sl_rcu_online();
	for (uint32_t i = 0; i < KEYS; i++) {
		struct sl_conn *conn = w->translated ? make_translated(i, w->cpu) : make(i, w->cpu);

		/* Who loses frees it; in either case it is there now, or just about to be. */
		if (conn && sl_conntrack_insert(conn, w->cpu) == 0) {
			w->inserted++;
			sl_conntrack_release(conn, w->cpu);
			conn = look_up(i, w->translated || (i & 1));
			w->missing += !conn;
			if (conn)
				sl_conntrack_release(conn, w->cpu);
		}
		sl_rcu_quiescent();
	}
	sl_rcu_offline();
	return NULL;
}

TEST(conntrack_table, one_of_two_cpus_inserts)
{
	if (sl_cpu_count() < THREADS)
		SKIP("there is one CPU only");
	if (sl_conntrack_start(now))
		SKIP("the kernel does not show its BTF");
	for (unsigned round = 0; round < 6; round++) {
		struct worker workers[THREADS] = {
			{ .cpu = 0, .translated = round & 1 },
			{ .cpu = 1, .translated = round & 1 },
		};
		uint32_t inserted = 0;

		for (unsigned i = 0; i < THREADS; i++)
			pthread_create(&workers[i].thread, NULL, insert_all, &workers[i]);
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(workers[i].thread, NULL);
			inserted += workers[i].inserted;
			EXPECT_EQ(workers[i].missing, 0u);
		}
		EXPECT_EQ(inserted, (uint32_t)KEYS);
		/* Those that lost late may not have been removed yet. */
		EXPECT_GE(sl_conntrack_count(), (uint32_t)KEYS);
		EXPECT_TRUE(becomes_empty());
	}
}

TEST(conntrack_table, who_holds_an_expired_connection_keeps_it)
{
	struct sl_conn *conn, *again;

	if (sl_conntrack_start(now))
		SKIP("the kernel does not show its BTF");
	sl_rcu_read_begin();
	conn = make(1, 0);
	ASSERT_EQ(sl_conntrack_insert(conn, 0), 0);
	EXPECT_EQ(sl_conntrack_change_timeout(conn, TIMEOUT), 0);
	sl_rcu_read_end();
	__atomic_add_fetch(&clock_now, 2 * TIMEOUT, __ATOMIC_RELAXED);
	/* Ours is the last reference when the table has given up its own. */
	for (unsigned ms = 0; __atomic_load_n(sl_conn_use(conn), __ATOMIC_RELAXED) > 1; ms++) {
		ASSERT_LT(ms, (unsigned)WAIT_MS);
		usleep(1000);
	}
	EXPECT_EQ(sl_conntrack_count(), 1u);
	sl_rcu_read_begin();
	EXPECT_TRUE(look_up(1, SL_CONN_ORIGINAL) == NULL);
	EXPECT_TRUE(look_up(1, SL_CONN_REPLY) == NULL);
	EXPECT_EQ(sl_conntrack_change_timeout(conn, TIMEOUT), -ETIME);
	EXPECT_EQ(sl_conn_tuple_of(conn, SL_CONN_ORIGINAL)->src_port, htons(4000));
	/* Its place in the table is free. */
	again = make(1, 0);
	EXPECT_EQ(sl_conntrack_insert(again, 0), 0);
	sl_conntrack_release(again, 0);
	sl_conntrack_release(conn, 0);
	EXPECT_EQ(sl_conntrack_count(), 1u);
	sl_rcu_read_end();
	EXPECT_TRUE(becomes_empty());
}

TEST(conntrack_table, an_expired_connection_is_as_if_it_were_not_there)
{
	struct sl_conn *conn;

	if (sl_conntrack_start(now))
		SKIP("the kernel does not show its BTF");
	sl_rcu_read_begin();
	for (unsigned i = 0; i < 100; i++) {
		conn = make(7, 0);
		EXPECT_EQ(sl_conntrack_insert(conn, 0), 0);
		sl_conntrack_release(conn, 0);
		conn = make(7, 0);
		EXPECT_EQ(sl_conntrack_insert(conn, 0), -EEXIST);
		__atomic_add_fetch(&clock_now, TIMEOUT, __ATOMIC_RELAXED);
	}
	EXPECT_TRUE(look_up(7, SL_CONN_ORIGINAL) == NULL);
	sl_rcu_read_end();
	EXPECT_TRUE(becomes_empty());
}

TEST(conntrack_table, is_full_and_empty_again)
{
	struct sl_conn *conn;
	uint32_t made = 0;

	if (sl_conntrack_start(now))
		SKIP("the kernel does not show its BTF");
	for (unsigned round = 0; round < 2; round++) {
		sl_rcu_read_begin();
		for (made = 0; made <= SL_CONN_MAX && (conn = make(made, 0)); made++) {
			sl_conntrack_insert(conn, 0);
			sl_conntrack_release(conn, 0);
		}
		sl_rcu_read_end();
		EXPECT_EQ(made, (uint32_t)SL_CONN_MAX);
		EXPECT_TRUE(becomes_empty());
	}
}

/* Sources behind one address: as many as there are ports get one each. */
TEST(conntrack_table, translated_sources_get_ports_of_their_own)
{
	static const uint8_t address[16] = { 192, 0, 2, 1 };
	enum { SOURCES = 3000 };
	static bool seen[65536];
	uint32_t kept = 0, inserted = 0;

	if (sl_conntrack_start(now))
		SKIP("the kernel does not show its BTF");
	sl_rcu_read_begin();
	for (uint32_t i = 0; i < SOURCES; i++) {
		struct sl_conn *conn = make(i, 0);
		uint16_t port;

		EXPECT_EQ(sl_conntrack_set_nat(conn, address, 0, 0, i * 77777), 0);
		EXPECT_EQ(sl_conntrack_set_nat(conn, address, 0, 0, 0), -ENOMEM);
		port = ntohs(sl_conn_tuple_of(conn, SL_CONN_REPLY)->dst_port);
		EXPECT_GE(port, 1024);
		EXPECT_FALSE(seen[port]);
		seen[port] = true;
		kept += port == 4000;
		if (sl_conntrack_insert(conn, 0) == 0) {
			inserted++;
			sl_conntrack_release(conn, 0);
		}
	}
	sl_rcu_read_end();
	EXPECT_EQ(kept, 1u);
	EXPECT_EQ(inserted, (uint32_t)SOURCES);
	EXPECT_TRUE(becomes_empty());
}
