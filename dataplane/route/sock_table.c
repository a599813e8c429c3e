#include "sock_table.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hash_key.h"

/*
 * The order of a look-up is the kernel's (inet_hashtables, udp.c): who is connected to the sender;
 * who is bound to the packet's address; who is bound to any. Each socket is in the index once: by
 * both of its addresses where it has them, else by its own, IPv6's "any" and mapped addresses as the
 * IPv4 ones that they stand for.
 *
 * Of TCP sockets that would do equally the kernel takes the first one of its list (all of them share
 * the port then, by SO_REUSEPORT), of UDP sockets the first one of the highest score. Several that
 * are bound alike are a group, of which the kernel takes any by a hash that nobody else knows: here
 * it is the first one, and the others are not indexed, so that no look-up has to pass them.
 */

/* What is hashed. */
struct key {
	uint32_t kind; /* the protocol, the family, whether with the remote end */
	uint16_t port, remote_port; /* big endian */
	uint32_t address[4], remote[4];
};

enum { BOUND_BYTES = offsetof(struct key, remote) };

static struct sl_sock_table *current; /* read through sl_rcu_load */
static uint64_t seed[SL_HASH_SEEDS]; /* before the first table */
static pthread_once_t seeded = PTHREAD_ONCE_INIT;

static void draw_seed(void)
{
	sl_hash_seed(seed, false);
}

static bool is_mapped(const uint32_t ip[4])
{
	return !ip[0] && !ip[1] && ip[2] == htonl(0xffff);
}

static bool is_any(const uint32_t ip[4])
{
	return !(ip[0] | ip[1] | ip[2] | ip[3]);
}

static uint32_t kind_of(uint8_t protocol, uint16_t family, bool connected)
{
	return (uint32_t)protocol | (uint32_t)family << 8 | (uint32_t)connected << 24;
}

static uint32_t hash(const struct key *key, bool connected)
{
	uint32_t len = connected ? sizeof(*key) : BOUND_BYTES;

	return (uint32_t)(sl_hash_key(key, len, seed) >> 32);
}

/* By its own end. */
static struct key bound_key(uint8_t protocol, uint16_t family, const uint32_t *ip, uint16_t port)
{
	struct key key = { .port = port };

	if (family == AF_INET) {
		key.address[0] = ip[0];
	} else if (is_mapped(ip) || is_any(ip)) {
		family = AF_INET;
		key.address[0] = ip[3];
	} else {
		memcpy(key.address, ip, sizeof(key.address));
	}
	key.kind = kind_of(protocol, family, false);
	return key;
}

static struct key connected_key(uint8_t protocol, uint16_t family, const uint32_t *ip,
	uint16_t port, const uint32_t *remote, uint16_t remote_port)
{
	struct key key = {
		.kind = kind_of(protocol, family, true), .port = port, .remote_port = remote_port
	};
	size_t len = family == AF_INET ? 4 : 16;

	memcpy(key.address, ip, len);
	memcpy(key.remote, remote, len);
	return key;
}

static bool is_ipv4(const struct sl_sock *s)
{
	return s->sock.family == AF_INET || is_mapped(s->sock.src_ip6);
}

static uint32_t hash_of(const struct sl_sock *s)
{
	const struct bpf_sock *sock = &s->sock;
	uint16_t port = htons((uint16_t)sock->src_port);
	uint8_t protocol = (uint8_t)sock->protocol;
	struct key key;

	if (!s->connected)
		key = bound_key(protocol, (uint16_t)sock->family,
			sock->family == AF_INET ? &sock->src_ip4 : sock->src_ip6, port);
	else if (is_ipv4(s))
		key = connected_key(
			protocol, AF_INET, &sock->src_ip4, port, &sock->dst_ip4, sock->dst_port);
	else
		key = connected_key(
			protocol, AF_INET6, sock->src_ip6, port, sock->dst_ip6, sock->dst_port);
	return hash(&key, s->connected);
}

struct sl_sock_table *sl_sock_table_new(uint32_t expected)
{
	struct sl_sock_table *table = calloc(1, sizeof(*table));

	pthread_once(&seeded, draw_seed);
	if (!table)
		return NULL;
	table->size = sl_min(sl_max(expected, 64u), (uint32_t)SL_SOCKS_MAX);
	table->socks = aligned_alloc(SL_CACHE_LINE, table->size * sizeof(struct sl_sock));
	if (!table->socks) {
		free(table);
		return NULL;
	}
	return table;
}

void sl_sock_table_free(struct sl_sock_table *table)
{
	if (!table)
		return;
	free(table->socks);
	free(table->slots);
	free(table);
}

struct sl_sock *sl_sock_table_add(struct sl_sock_table *table)
{
	struct sl_sock *s;

	if (table->count == table->size) {
		if (table->size == SL_SOCKS_MAX)
			return NULL;
		s = aligned_alloc(SL_CACHE_LINE, table->size * 2 * sizeof(*s));
		if (!s)
			return NULL;
		memcpy(s, table->socks, table->count * sizeof(*s));
		free(table->socks);
		table->socks = s;
		table->size = sl_min(table->size * 2, (uint32_t)SL_SOCKS_MAX);
	}
	s = &table->socks[table->count++];
	memset(s, 0, sizeof(*s));
	return s;
}

/* Whether every look-up that finds one of them could as well find the other. */
static bool bound_alike(const struct sl_sock *a, const struct sl_sock *b)
{
	return a->sock.protocol == b->sock.protocol && a->sock.family == b->sock.family &&
	       a->sock.src_port == b->sock.src_port && a->sock.src_ip4 == b->sock.src_ip4 &&
	       memcmp(a->sock.src_ip6, b->sock.src_ip6, 16) == 0 &&
	       a->sock.dst_port == b->sock.dst_port && a->sock.dst_ip4 == b->sock.dst_ip4 &&
	       memcmp(a->sock.dst_ip6, b->sock.dst_ip6, 16) == 0 &&
	       a->sock.bound_dev_if == b->sock.bound_dev_if && a->v6_only == b->v6_only &&
	       a->connected == b->connected;
}

static void index_one(struct sl_sock_table *table, uint32_t number)
{
	const struct sl_sock *s = &table->socks[number];
	uint32_t h, at;

	h = hash_of(s);
	for (at = h & table->mask; table->slots[at].number; at = (at + 1) & table->mask)
		if (table->slots[at].hash == h &&
			bound_alike(&table->socks[table->slots[at].number - 1], s))
			return;
	table->slots[at] = (struct sl_sock_slot){ .hash = h, .number = number + 1 };
}

int sl_sock_table_index(struct sl_sock_table *table, uint32_t max)
{
	uint32_t until = sl_min(table->count, table->indexed + max), slots = 64;

	if (!table->slots) {
		while (slots < table->count * 2)
			slots *= 2;
		table->slots = calloc(slots, sizeof(*table->slots));
		if (!table->slots)
			return -ENOMEM;
		table->mask = slots - 1;
	}
	while (table->indexed < until)
		index_one(table, table->indexed++);
	return table->indexed < table->count;
}

static void free_table(struct sl_rcu_head *head)
{
	sl_sock_table_free(sl_container_of(head, struct sl_sock_table, rcu));
}

void sl_sock_table_publish(struct sl_sock_table *table)
{
	struct sl_sock_table *old = __atomic_exchange_n(&current, table, __ATOMIC_ACQ_REL);

	if (old)
		sl_rcu_call(&old->rcu, free_table);
}

/* The query with addresses that may be read as words. */
struct flow {
	struct sl_sock_query q;
	uint32_t src[4], dst[4];
};

static bool device_matches(const struct sl_sock *s, uint32_t ifindex)
{
	return !s->sock.bound_dev_if || s->sock.bound_dev_if == ifindex;
}

/* -1 for no match. Connected in part: UDP sockets that are so are in the index by their own end. */
static int score_udp(const struct sl_sock *s, const struct flow *f)
{
	bool ipv4 = f->q.family == AF_INET;
	int score = ipv4 && s->sock.family == AF_INET;

	if (s->sock.dst_port) {
		if (s->sock.dst_port != f->q.sport)
			return -1;
		score += 4;
	}
	if (ipv4 ? s->sock.dst_ip4 : !is_any(s->sock.dst_ip6)) {
		if (ipv4 ? s->sock.dst_ip4 != f->src[0] : memcmp(s->sock.dst_ip6, f->src, 16) != 0)
			return -1;
		score += 4;
	}
	return s->sock.bound_dev_if ? score + 4 : score;
}

static bool bound_to(const struct sl_sock *s, const struct flow *f, const uint32_t *ip)
{
	if (s->connected || s->sock.protocol != f->q.protocol ||
		s->sock.src_port != ntohs(f->q.dport) || !device_matches(s, f->q.ifindex))
		return false;
	if (f->q.family == AF_INET)
		return !s->v6_only && s->sock.src_ip4 == ip[0];
	return s->sock.family == AF_INET6 && memcmp(s->sock.src_ip6, ip, 16) == 0;
}

static const struct sl_sock *find_bound(
	const struct sl_sock_table *table, const struct flow *f, const uint32_t *ip)
{
	struct key key = bound_key(f->q.protocol, f->q.family, ip, f->q.dport);
	uint32_t h = hash(&key, false);
	const struct sl_sock *best = NULL;
	int best_score = -1;

	for (uint32_t at = h & table->mask; table->slots[at].number; at = (at + 1) & table->mask) {
		const struct sl_sock *s = &table->socks[table->slots[at].number - 1];
		int score;

		if (table->slots[at].hash != h || !bound_to(s, f, ip))
			continue;
		if (f->q.protocol == IPPROTO_TCP)
			return s;
		score = score_udp(s, f);
		if (score > best_score) {
			best = s;
			best_score = score;
		}
	}
	return best;
}

static bool connects(const struct sl_sock *s, const struct flow *f)
{
	if (!s->connected || s->sock.protocol != f->q.protocol ||
		s->sock.src_port != ntohs(f->q.dport) || s->sock.dst_port != f->q.sport ||
		!device_matches(s, f->q.ifindex))
		return false;
	if (f->q.family == AF_INET)
		return is_ipv4(s) && s->sock.src_ip4 == f->dst[0] && s->sock.dst_ip4 == f->src[0];
	return s->sock.family == AF_INET6 && memcmp(s->sock.src_ip6, f->dst, 16) == 0 &&
	       memcmp(s->sock.dst_ip6, f->src, 16) == 0;
}

static const struct sl_sock *find_connected(const struct sl_sock_table *table, const struct flow *f)
{
	/* Mapped addresses in IPv6: the kernel hashes them as IPv4's for UDP, and TCP finds nothing. */
	bool mapped = f->q.family == AF_INET6 && is_mapped(f->dst);
	struct key key = connected_key(f->q.protocol, mapped ? AF_INET : f->q.family,
		mapped ? &f->dst[3] : f->dst, f->q.dport, mapped ? &f->src[3] : f->src, f->q.sport);
	uint32_t h = hash(&key, true);
	const struct sl_sock *found = NULL;

	if (mapped && f->q.protocol == IPPROTO_TCP)
		return NULL;

	for (uint32_t at = h & table->mask; table->slots[at].number; at = (at + 1) & table->mask) {
		const struct sl_sock *s = &table->socks[table->slots[at].number - 1];

		if (table->slots[at].hash != h || !connects(s, f))
			continue;
		if (s->sock.bound_dev_if || f->q.protocol == IPPROTO_TCP)
			return s;
		if (!found)
			found = s;
	}
	return found;
}

static const struct sl_sock *find(const struct sl_sock_table *table, const struct flow *f)
{
	static const uint32_t any[4];
	const struct sl_sock *s = find_connected(table, f);

	if (!s)
		s = find_bound(table, f, f->dst);
	if (!s)
		s = find_bound(table, f, any);
	return s;
}

const struct sl_sock *sl_sock_lookup(const struct sl_sock_query *query)
{
	const struct sl_sock_table *table = sl_rcu_load(current);
	size_t len = query->family == AF_INET ? 4 : 16;
	struct flow f = { .q = *query };

	if (!table)
		return NULL;
	memcpy(f.src, query->src, len);
	memcpy(f.dst, query->dst, len);
	return find(table, &f);
}

const struct sl_sock *sl_sock_listener(const struct sl_sock *request)
{
	static const uint32_t any[4];
	const struct sl_sock_table *table = sl_rcu_load(current);
	const struct bpf_sock *sock = &request->sock;
	struct flow f = { .q = { .family = is_ipv4(request) ? AF_INET : AF_INET6,
				  .protocol = IPPROTO_TCP,
				  .ifindex = sock->bound_dev_if,
				  .dport = htons((uint16_t)sock->src_port) } };
	const struct sl_sock *s;

	if (!table)
		return NULL;
	memcpy(f.dst, is_ipv4(request) ? &sock->src_ip4 : sock->src_ip6, is_ipv4(request) ? 4 : 16);
	s = find_bound(table, &f, f.dst);
	return s ? s : find_bound(table, &f, any);
}

bool sl_sock_syncookies(void)
{
	const struct sl_sock_table *table = sl_rcu_load(current);

	return table && table->syncookies;
}
