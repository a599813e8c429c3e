#include <errno.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include "table.h"

/*
 * Address translation of a connection that is not in the table yet: its reply is made to come to,
 * or from, another address. As the kernel's nf_nat_setup_info with a range of one address, and of
 * one port or none. With a given port that is all. Without one the port stays when nobody has the
 * reply then; a source's is else the one that another connection of the same source got, or a free
 * one of the same class; a destination's stays anyhow.
 */
enum { SOURCE, DESTINATION };

enum { ATTEMPTS = 128, FEW_ATTEMPTS = 16 };

static void invert(struct sl_conn_tuple *to, const struct sl_conn_tuple *from)
{
	size_t bytes = from->l3num == AF_INET ? 4 : 16;

	*to = (struct sl_conn_tuple){
		.src_port = from->dst_port,
		.dst_port = from->src_port,
		.l3num = from->l3num,
		.protonum = from->protonum,
		.dir = !from->dir,
	};
	memcpy(to->src, from->dst, bytes);
	memcpy(to->dst, from->src, bytes);
}

static bool is_used(const struct sl_conn_tuple *tuple, const struct sl_conn *conn)
{
	struct sl_conn_tuple reply;

	invert(&reply, tuple);
	return sl_conn_is_taken(&reply, conn);
}

/*
 * The same for a source that keeps its tuple: then a connection without translation that was begun
 * from the other side at the same time does not count, unless the protocol is TCP.
 */
static bool is_used_by_others(const struct sl_conn_tuple *tuple, const struct sl_conn *conn)
{
	struct sl_conn_tuple reply;
	struct sl_conn *other;
	uint8_t dir;

	if (!is_used(tuple, conn))
		return false;
	if (tuple->protonum == IPPROTO_TCP)
		return true;
	other = sl_conn_peek(tuple, sl_conn_zone_of(conn), &dir);
	if (!other) {
		invert(&reply, tuple);
		other = sl_conn_peek(&reply, sl_conn_zone_of(conn), &dir);
	}
	if (!other)
		return false;
	if (__atomic_load_n(sl_conn_status(other), __ATOMIC_RELAXED) &
		(IPS_NAT_MASK | IPS_SEQ_ADJUST))
		return true;
	return !sl_conn_tuple_equal(
		sl_conn_tuple_of(other, SL_CONN_ORIGINAL), sl_conn_tuple_of(conn, SL_CONN_REPLY));
}

/* Sets the source's port so that nobody has the tuple, if a few attempts find one. */
static void find_port(struct sl_conn_tuple *tuple, const struct sl_conn *conn, uint64_t random)
{
	uint32_t port = ntohs(tuple->src_port), first = 1024, count = 65536 - 1024;
	uint32_t attempts;
	uint16_t off = (uint16_t)random;

	if (port < 512) {
		first = 1;
		count = 511;
	} else if (port < 1024) {
		first = 600;
		count = 1024 - 600;
	}
	for (attempts = sl_min(count, (uint32_t)ATTEMPTS);; attempts /= 2) {
		for (uint32_t i = 0; i < attempts; i++, off++) {
			tuple->src_port = htons((uint16_t)(first + off % count));
			if (!is_used(tuple, conn))
				return;
		}
		if (attempts >= count || attempts < FEW_ATTEMPTS)
			return;
		random = sl_hash_mix(random, sl_conns.seed[0]);
		off = (uint16_t)random;
	}
}

static void translate(struct sl_conn_tuple *tuple, const uint8_t addr[16], int port, int manip,
	const struct sl_conn *conn, uint64_t random)
{
	bool source = manip == SOURCE;
	size_t bytes = tuple->l3num == AF_INET ? 4 : 16;

	if (source && !memcmp(tuple->src, addr, bytes) &&
		(port <= 0 || tuple->src_port == htons((uint16_t)port)) &&
		!is_used_by_others(tuple, conn))
		return;
	memcpy(source ? tuple->src : tuple->dst, addr, 16);
	if (port > 0)
		*(source ? &tuple->src_port : &tuple->dst_port) = htons((uint16_t)port);
	else if (source && is_used(tuple, conn))
		find_port(tuple, conn, random);
}

int sl_conntrack_set_nat(
	struct sl_conn *conn, const uint8_t addr[16], int port, int manip, uint64_t random)
{
	uint64_t *status = sl_conn_status(conn);
	struct sl_conn_tuple *reply = sl_conn_tuple_of(conn, SL_CONN_REPLY), before, after;
	bool source = manip == SOURCE;

	if (*status & IPS_CONFIRMED)
		return 0;
	if (*status & (source ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE))
		return -ENOMEM;
	invert(&before, reply);
	after = before;
	translate(&after, addr, port, manip, conn, random);
	if (!sl_conn_tuple_equal(&after, &before)) {
		invert(reply, &after);
		*status |= source ? IPS_SRC_NAT : IPS_DST_NAT;
	}
	*status |= source ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE;
	return 0;
}
