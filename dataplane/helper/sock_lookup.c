#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "cpu.h"
#include "kernel_sock.h"
#include "row.h"

/*
 * Looking up the kernel's sockets, in the table that kernel_sock.h keeps. What was found stays until
 * the end of the read section that every program runs in, and no program keeps a reference for
 * longer: so references are not counted, and a release does nothing.
 */

#define NO_SOCKET 0

#define LOOKUP_ARGS \
	{ SL_ARG_CTX, SL_ARG_MEM, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING, SL_ARG_ANYTHING }
#define LOOKUP_FLAGS (SL_HELPER_ACQUIRES | SL_HELPER_PACKET_ARGS | SL_HELPER_FINDS_SOCKETS)

/* Some test runs are done by workers, which make no system call. */
static void know_sockets(const struct sl_ctx *ctx)
{
	if (!sl_cpu_is_owned(ctx->cpu))
		sl_sock_import();
}

/* The interface numbers of ports are not the kernel's. */
static uint32_t ifindex_of(const struct sl_ctx *ctx)
{
	if (ctx->run->worker)
		return 0;
	return ctx->is_skb ? ctx->ifindex : ctx->ingress_ifindex;
}

/*
 * len says which tuple it is. Namespaces by number are others than ours: not found. Of the number the
 * kernel looks at the lower half for "ours", as it does here.
 */
static const struct sl_sock *find(const struct sl_ctx *ctx, uint64_t tuple, uint64_t len,
	uint64_t netns, uint64_t flags, uint8_t protocol)
{
	const struct bpf_sock_tuple *t = (const struct bpf_sock_tuple *)tuple;
	struct sl_sock_query query = { .protocol = protocol, .ifindex = ifindex_of(ctx) };

	if (sl_unlikely(!ctx->run->worker))
		know_sockets(ctx);
	if (flags || (int32_t)netns >= 0)
		return NULL;
	if ((uint32_t)len == sizeof(t->ipv4)) {
		query.family = AF_INET;
		query.src = &t->ipv4.saddr;
		query.dst = &t->ipv4.daddr;
		__builtin_memcpy(&query.sport, &t->ipv4.sport, sizeof(query.sport));
		__builtin_memcpy(&query.dport, &t->ipv4.dport, sizeof(query.dport));
	} else if ((uint32_t)len == sizeof(t->ipv6)) {
		query.family = AF_INET6;
		query.src = &t->ipv6.saddr;
		query.dst = &t->ipv6.daddr;
		__builtin_memcpy(&query.sport, &t->ipv6.sport, sizeof(query.sport));
		__builtin_memcpy(&query.dport, &t->ipv6.dport, sizeof(query.dport));
	} else {
		return NULL;
	}
	return sl_sock_lookup(&query);
}

/* In the place of a request its listener; what is left of a closed connection is no socket. */
static const struct sl_sock *full_sock(const struct sl_sock *s)
{
	if (!s || s->full)
		return s;
	return s->sock.state == TCP_TIME_WAIT ? NULL : sl_sock_listener(s);
}

static uint64_t pointer_to(const struct sl_sock *s)
{
	return s ? (uint64_t)&s->sock : NO_SOCKET;
}

SL_HELPER_FN(sk_lookup_tcp)
{
	return pointer_to(full_sock(find(ctx, r2, r3, r4, r5, IPPROTO_TCP)));
}

const struct sl_helper sl_helper_sk_lookup_tcp = {
	SL_ROW(sk_lookup_tcp, TC_XDP),
	.flags = LOOKUP_FLAGS,
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = LOOKUP_ARGS,
};

SL_HELPER_FN(sk_lookup_udp)
{
	return pointer_to(find(ctx, r2, r3, r4, r5, IPPROTO_UDP));
}

const struct sl_helper sl_helper_sk_lookup_udp = {
	SL_ROW(sk_lookup_udp, TC_XDP),
	.flags = LOOKUP_FLAGS,
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = LOOKUP_ARGS,
};

SL_HELPER_FN(skc_lookup_tcp)
{
	return pointer_to(find(ctx, r2, r3, r4, r5, IPPROTO_TCP));
}

const struct sl_helper sl_helper_skc_lookup_tcp = {
	SL_ROW(skc_lookup_tcp, TC_XDP),
	.flags = LOOKUP_FLAGS,
	.ret = SL_RET_SOCK_COMMON_OR_NULL,
	.args = LOOKUP_ARGS,
};

SL_HELPER_FN(sk_release)
{
	return 0;
}

const struct sl_helper sl_helper_sk_release = {
	SL_ROW(sk_release, TC_XDP),
	.flags = SL_HELPER_RELEASES,
	.args = { SL_ARG_SOCK_OR_BTF },
};

SL_HELPER_FN(sk_fullsock)
{
	const struct sl_sock *s = sl_sock_of(r1);

	return s && s->full ? pointer_to(s) : NO_SOCKET;
}

const struct sl_helper sl_helper_sk_fullsock = {
	SL_ROW(sk_fullsock, TC),
	.flags = SL_HELPER_CASTS,
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = { SL_ARG_SOCK_COMMON },
};

SL_HELPER_FN(tcp_sock)
{
	const struct sl_sock *s = sl_sock_of(r1);

	return s && s->full && s->sock.protocol == IPPROTO_TCP ? (uint64_t)&s->tcp : NO_SOCKET;
}

const struct sl_helper sl_helper_tcp_sock = {
	SL_ROW(tcp_sock, TC),
	.flags = SL_HELPER_CASTS,
	.ret = SL_RET_TCP_SOCK_OR_NULL,
	.args = { SL_ARG_SOCK_COMMON },
};

SL_HELPER_FN(get_listener_sock)
{
	const struct sl_sock *s = full_sock(sl_sock_of(r1));

	return s && s->sock.state == TCP_LISTEN ? pointer_to(s) : NO_SOCKET;
}

/* A listening socket needs no reference of its own: no cast. */
const struct sl_helper sl_helper_get_listener_sock = {
	SL_ROW(get_listener_sock, TC),
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = { SL_ARG_SOCK_COMMON },
};
