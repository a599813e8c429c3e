#pragma once

#include "defs.h"

struct btf;

/*
 * The connections of this process, as programs see the kernel's: what its nf_conntrack_bpf.c and
 * nf_nat_bpf.c do, with their rules and errors. A connection is laid out as struct nf_conn of the
 * running kernel's BTF, since programs are relocated against that and read it directly. Only
 * programs add connections; only the background thread removes them, when their time is over.
 *
 * There is one table per process, which is one network namespace to the programs in it.
 */
struct sl_conn; /* the kernel's struct nf_conn */

/* struct nf_conntrack_tuple. Addresses and ports as in the packet. */
struct sl_conn_tuple {
	uint8_t src[16];
	uint16_t src_port, l3num;
	uint8_t dst[16];
	uint16_t dst_port;
	uint8_t protonum, dir;
};

/* struct nf_conntrack_zone. */
struct sl_conn_zone {
	uint16_t id;
	uint8_t flags, dir; /* dir: 1 << direction in which the id counts */
};

enum sl_conn_dir { SL_CONN_ORIGINAL, SL_CONN_REPLY, SL_CONN_DIRS };

/* Connections at one time: what the kernel allows where memory is not scarce. */
enum { SL_CONN_MAX = 262144 };

/*
 * Makes the table, at the first call. `now` are the low 32 bits of the kernel's jiffies, which
 * timeouts are in. -ENOTSUP when the kernel's struct nf_conn is not as known, -ENOMEM.
 */
SL_CONTROL int sl_conntrack_start(uint32_t (*now)(void));
/* The kernel's BTF, and the number in it of struct nf_conn, when the table was started. */
SL_ANY const struct btf *sl_conntrack_btf(uint32_t *ret_type_id);
/* Bytes of a struct nf_conn; where its member `mark` is in it. */
SL_ANY uint32_t sl_conntrack_size(void);
SL_ANY uint32_t sl_conntrack_mark_offset(void);
/* Connections there are, for tests and statistics. */
SL_ANY uint32_t sl_conntrack_count(void);

/*
 * The rest is for runs of programs: `cpu` is the caller's own (struct sl_run). Nothing waits.
 */

/* The connection that has this tuple in one of its directions, and which; a reference, or NULL. */
SL_WORKER struct sl_conn *sl_conntrack_lookup(
	const struct sl_conn_tuple *tuple, struct sl_conn_zone zone, uint8_t *ret_dir);
/* A connection that is not in the table; NULL when there is no room for one more. */
SL_WORKER struct sl_conn *sl_conntrack_alloc(const struct sl_conn_tuple tuples[SL_CONN_DIRS],
	struct sl_conn_zone zone, uint64_t timeout, unsigned cpu);
/*
 * Into the table, with a reference for the caller. -EEXIST: there is one with that tuple in either
 * direction; then it has been freed.
 */
SL_WORKER int sl_conntrack_insert(struct sl_conn *conn, unsigned cpu);
SL_WORKER void sl_conntrack_release(struct sl_conn *conn, unsigned cpu);

/* In jiffies from now, or, before it is inserted, from then. */
SL_WORKER void sl_conntrack_set_timeout(struct sl_conn *conn, uint64_t timeout);
/* -EPERM: it is fixed; -ETIME: too late. */
SL_WORKER int sl_conntrack_change_timeout(struct sl_conn *conn, uint64_t timeout);
/* -EBUSY: bits that may not change. */
SL_WORKER int sl_conntrack_change_status(struct sl_conn *conn, uint32_t status);
/*
 * Source (0) or destination (1) become this address, and the port unless it is 0, so that no other
 * connection has the same. Before insertion, once each. -ENOMEM, -EINVAL.
 */
SL_WORKER int sl_conntrack_set_nat(
	struct sl_conn *conn, const uint8_t addr[16], int port, int manip, uint64_t random);
