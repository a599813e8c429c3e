#include "conntrack.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "clock.h"
#include "conntrack_start.h"
#include "kfunc_row.h"

/* Connections of programs (conntrack/): the kernel's nf_conntrack_bpf.c, argument by argument. */

enum { DEFAULT_TIMEOUT_S = 10, MS_PER_S = 1000 };

/* struct bpf_ct_opts; programs from before zones know the first 12 bytes. */
struct opts {
	int32_t netns_id, error;
	uint8_t l4proto, dir;
	uint16_t zone_id;
	uint8_t zone_dir, reserved[3];
};
enum { OLD_OPTS_BYTES = 12 };

enum { ZONE_DIR_BOTH = 3 };

static uint32_t now(void)
{
	return (uint32_t)sl_bpf_jiffies64(NULL, 0, 0, 0, 0, 0);
}

int sl_conntrack_prepare(void)
{
	int err = sl_clock_start();

	return err ? err : sl_conntrack_start(now);
}

static uint64_t jiffies_of_ms(uint32_t ms)
{
	uint64_t jiffy_ns = sl_clock.jiffy_ns ? sl_clock.jiffy_ns : 4000000;
	uint64_t hz = (1000000000 + jiffy_ns / 2) / jiffy_ns;

	/* What is negative as an int is forever. */
	return (int32_t)ms < 0 ? UINT64_MAX : (ms * hz + MS_PER_S - 1) / MS_PER_S;
}

/* The tuple of a packet in direction `dir` of the connection whose first packet has `from`. */
static int parse(const struct bpf_sock_tuple *from, uint32_t bytes, uint8_t l4proto, uint8_t dir,
	struct sl_conn_tuple *ret_tuple)
{
	struct sl_conn_tuple tuple = { .protonum = l4proto, .dir = dir };
	void *src = dir ? tuple.dst : tuple.src, *dst = dir ? tuple.src : tuple.dst;
	uint16_t *src_port = dir ? &tuple.dst_port : &tuple.src_port;
	uint16_t *dst_port = dir ? &tuple.src_port : &tuple.dst_port;

	if (l4proto != IPPROTO_TCP && l4proto != IPPROTO_UDP)
		return -EPROTO;
	if (bytes == sizeof(from->ipv4)) {
		tuple.l3num = AF_INET;
		memcpy(src, &from->ipv4.saddr, 4);
		memcpy(dst, &from->ipv4.daddr, 4);
		*src_port = from->ipv4.sport;
		*dst_port = from->ipv4.dport;
	} else if (bytes == sizeof(from->ipv6)) {
		tuple.l3num = AF_INET6;
		memcpy(src, from->ipv6.saddr, 16);
		memcpy(dst, from->ipv6.daddr, 16);
		*src_port = from->ipv6.sport;
		*dst_port = from->ipv6.dport;
	} else {
		return -EAFNOSUPPORT;
	}
	*ret_tuple = tuple;
	return 0;
}

static int check_opts(const void *tuple, const struct opts *opts, uint32_t opts_bytes)
{
	if (!opts || !tuple)
		return -EINVAL;
	if (opts_bytes == sizeof(*opts))
		return opts->reserved[0] || opts->reserved[1] || opts->reserved[2] ? -EINVAL : 0;
	return opts_bytes != OLD_OPTS_BYTES || opts->zone_id ? -EINVAL : 0;
}

/* The process is one network namespace, which no other has a number for. */
static int check_netns(const struct opts *opts)
{
	return opts->netns_id >= 0 ? -ENONET : 0;
}

static struct sl_conn_zone zone_of(struct opts *opts, uint32_t opts_bytes)
{
	if (opts_bytes != sizeof(*opts))
		return (struct sl_conn_zone){ .dir = ZONE_DIR_BOTH };
	if (!opts->zone_dir)
		opts->zone_dir = ZONE_DIR_BOTH;
	return (struct sl_conn_zone){ .id = opts->zone_id, .dir = opts->zone_dir };
}

/* Where the memory has room for an error. */
static uint64_t fail(struct opts *opts, uint32_t opts_bytes, int err)
{
	if (opts && opts_bytes >= offsetof(struct opts, error) + sizeof(opts->error))
		opts->error = err;
	return 0;
}

static uint64_t conn_alloc(struct sl_ctx *ctx, const struct bpf_sock_tuple *from, uint32_t bytes,
	struct opts *opts, uint32_t opts_bytes)
{
	struct sl_conn_tuple tuples[SL_CONN_DIRS];
	struct sl_conn *conn;
	int err = check_opts(from, opts, opts_bytes);

	if (!err && opts->netns_id < BPF_F_CURRENT_NETNS)
		err = -EINVAL;
	for (uint8_t dir = 0; dir < SL_CONN_DIRS && !err; dir++)
		err = parse(from, bytes, opts->l4proto, dir, &tuples[dir]);
	if (!err)
		err = check_netns(opts);
	if (err)
		return fail(opts, opts_bytes, err);
	conn = sl_conntrack_alloc(tuples, zone_of(opts, opts_bytes),
		jiffies_of_ms(DEFAULT_TIMEOUT_S * MS_PER_S), ctx->cpu);
	return conn ? (uintptr_t)conn : fail(opts, opts_bytes, -ENOMEM);
}

static uint64_t conn_lookup(
	const struct bpf_sock_tuple *from, uint32_t bytes, struct opts *opts, uint32_t opts_bytes)
{
	struct sl_conn_tuple tuple;
	struct sl_conn *conn;
	int err = check_opts(from, opts, opts_bytes);

	if (!err && opts->l4proto != IPPROTO_TCP && opts->l4proto != IPPROTO_UDP)
		err = -EPROTO;
	if (!err && opts->netns_id < BPF_F_CURRENT_NETNS)
		err = -EINVAL;
	if (!err)
		err = parse(from, bytes, opts->l4proto, SL_CONN_ORIGINAL, &tuple);
	if (!err)
		err = check_netns(opts);
	if (err)
		return fail(opts, opts_bytes, err);
	conn = sl_conntrack_lookup(&tuple, zone_of(opts, opts_bytes), &opts->dir);
	return conn ? (uintptr_t)conn : fail(opts, opts_bytes, -ENOENT);
}

#define MAKER(kfunc, types, call_it, result)                                         \
	SL_HELPER_FN(kfunc)                                                          \
	{                                                                            \
		return call_it;                                                      \
	}                                                                            \
	const struct sl_kfunc sl_kfunc_##kfunc = {                                   \
		.call = { SL_KFUNC_ROW(kfunc, CLS_XDP), .ret = (result),             \
			.flags = SL_HELPER_ACQUIRES,                                 \
			.args = { SL_ARG_CTX, SL_ARG_MEM_WRITE, SL_ARG_SIZE_OR_ZERO, \
				SL_ARG_MEM_WRITE, SL_ARG_SIZE_OR_ZERO } },           \
		.ctx_types = SL_TYPES_##types,                                       \
	}
#define TUPLE ((const struct bpf_sock_tuple *)(uintptr_t)r2), (uint32_t)r3
#define OPTS ((struct opts *)(uintptr_t)r4), (uint32_t)r5

MAKER(skb_ct_alloc, SKB, conn_alloc(ctx, TUPLE, OPTS), SL_RET_CONN_INIT_OR_NULL);
MAKER(xdp_ct_alloc, XDP, conn_alloc(ctx, TUPLE, OPTS), SL_RET_CONN_INIT_OR_NULL);
MAKER(skb_ct_lookup, SKB, conn_lookup(TUPLE, OPTS), SL_RET_CONN_OR_NULL);
MAKER(xdp_ct_lookup, XDP, conn_lookup(TUPLE, OPTS), SL_RET_CONN_OR_NULL);

#define CONN ((struct sl_conn *)(uintptr_t)r1)

SL_HELPER_FN(ct_insert_entry)
{
	return sl_conntrack_insert(CONN, ctx->cpu) ? 0 : r1;
}

const struct sl_kfunc sl_kfunc_ct_insert_entry = {
	.call = { SL_KFUNC_ROW(ct_insert_entry, CLS_XDP), .ret = SL_RET_CONN_OR_NULL,
		.flags = SL_HELPER_ACQUIRES | SL_HELPER_RELEASES, .args = { SL_ARG_CONN_INIT } },
};

SL_HELPER_FN(ct_release)
{
	sl_conntrack_release(CONN, ctx->cpu);
	return 0;
}

const struct sl_kfunc sl_kfunc_ct_release = {
	.call = { SL_KFUNC_ROW(ct_release, CLS_XDP), .ret = SL_RET_VOID,
		.flags = SL_HELPER_RELEASES, .args = { SL_ARG_CONN } },
};

SL_HELPER_FN(ct_set_timeout)
{
	sl_conntrack_set_timeout(CONN, jiffies_of_ms((uint32_t)r2));
	return 0;
}

const struct sl_kfunc sl_kfunc_ct_set_timeout = {
	.call = { SL_KFUNC_ROW(ct_set_timeout, CLS_XDP), .ret = SL_RET_VOID,
		.args = { SL_ARG_CONN_INIT, SL_ARG_SCALAR } },
};

SL_HELPER_FN(ct_change_timeout)
{
	return (uint32_t)sl_conntrack_change_timeout(CONN, jiffies_of_ms((uint32_t)r2));
}

const struct sl_kfunc sl_kfunc_ct_change_timeout = {
	.call = { SL_KFUNC_ROW(ct_change_timeout, CLS_XDP),
		.args = { SL_ARG_CONN, SL_ARG_SCALAR } },
};

SL_HELPER_FN(ct_set_status)
{
	return (uint32_t)sl_conntrack_change_status(CONN, (uint32_t)r2);
}

const struct sl_kfunc sl_kfunc_ct_set_status = {
	.call = { SL_KFUNC_ROW(ct_set_status, CLS_XDP),
		.args = { SL_ARG_CONN_INIT, SL_ARG_SCALAR } },
};

SL_HELPER_FN(ct_change_status)
{
	return (uint32_t)sl_conntrack_change_status(CONN, (uint32_t)r2);
}

const struct sl_kfunc sl_kfunc_ct_change_status = {
	.call = { SL_KFUNC_ROW(ct_change_status, CLS_XDP), .args = { SL_ARG_CONN, SL_ARG_SCALAR } },
};

SL_HELPER_FN(ct_set_nat_info)
{
	uint64_t random = sl_bpf_get_prandom_u32(ctx, 0, 0, 0, 0, 0);

	return (uint32_t)sl_conntrack_set_nat(
		CONN, (const uint8_t *)(uintptr_t)r2, (int)r3, (int)r4, random);
}

const struct sl_kfunc sl_kfunc_ct_set_nat_info = {
	.call = { SL_KFUNC_ROW(ct_set_nat_info, CLS_XDP),
		.args = { SL_ARG_CONN_INIT, SL_ARG_MEM_FIXED, SL_ARG_SCALAR, SL_ARG_SCALAR },
		.fixed_size = { 0, 16 } },
};
