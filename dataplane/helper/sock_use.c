#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>

#include "kernel_sock.h"
#include "row.h"

/* What programs do with a socket of the kernel's that they have found, and with a packet's. */

#define OVERFLOW_UID 65534

/* The packet's socket from here on: the programs after this one see it in `sk`. */
SL_HELPER_FN(sk_assign)
{
	const struct sl_sock *s = sl_sock_of(r2);

	if (r3)
		return sl_helper_ret(-EINVAL);
	if (!ctx->at_ingress || !s)
		return sl_helper_ret(-EOPNOTSUPP);
	ctx->socket = (void *)&s->sock;
	return 0;
}

const struct sl_helper sl_helper_sk_assign = {
	SL_ROW(sk_assign, TC),
	.args = { SL_ARG_CTX, SL_ARG_SOCK_OR_BTF, SL_ARG_ANYTHING },
};

static const struct sl_sock *socket_of(const struct sl_ctx *ctx)
{
	return ctx->socket ? sl_sock_of((uint64_t)ctx->socket) : NULL;
}

SL_HELPER_FN(get_socket_cookie)
{
	const struct sl_sock *s = socket_of(ctx);

	return s ? s->cookie : 0;
}

const struct sl_helper sl_helper_get_socket_cookie = {
	SL_ROW(get_socket_cookie, SKB),
	.args = { SL_ARG_CTX },
};

SL_HELPER_FN(get_socket_uid)
{
	const struct sl_sock *s = socket_of(ctx);

	if (s && !s->full && s->sock.state != TCP_TIME_WAIT)
		s = sl_sock_listener(s);
	return s && s->full ? s->uid : OVERFLOW_UID;
}

const struct sl_helper sl_helper_get_socket_uid = {
	SL_ROW(get_socket_uid, SKB),
	.args = { SL_ARG_CTX },
};

/*
 * The SYN cookies of a socket are made with secrets of the kernel's: one made here would open no
 * connection there, and none of there can be checked here. So after the kernel's checks of the
 * arguments there never is a cookie, as in the kernel as long as the socket's queue is not full.
 */

/* The socket and the headers of a SYN or an ACK: 0, or what the kernel says of them. */
static int check_headers(const struct sl_sock *s, uint64_t ip, uint32_t ip_len)
{
	uint8_t version;

	if (ip_len < sizeof(struct iphdr))
		return -EINVAL;
	version = *(const uint8_t *)ip >> 4;
	if (version == 4)
		return s->v6_only ? -EINVAL : 0;
	if (version == 6)
		return ip_len < sizeof(struct ip6_hdr) || s->sock.family != AF_INET6 ? -EINVAL : 0;
	return -EPROTONOSUPPORT;
}

static bool listens(const struct sl_sock *s)
{
	return s && s->full && s->sock.state == TCP_LISTEN;
}

static struct tcphdr tcp_at(uint64_t address)
{
	struct tcphdr th;

	memcpy(&th, (const void *)address, sizeof(th));
	return th;
}

SL_HELPER_FN(tcp_check_syncookie)
{
	struct tcphdr th;

	if ((uint32_t)r5 < sizeof(th) || !listens(sl_sock_of(r1)) || !sl_sock_syncookies())
		return sl_helper_ret(-EINVAL);
	th = tcp_at(r4);
	if (th.ack && !th.rst && !th.syn && (uint32_t)r3 < sizeof(struct iphdr))
		return sl_helper_ret(-EINVAL);
	return sl_helper_ret(-ENOENT);
}

const struct sl_helper sl_helper_tcp_check_syncookie = {
	SL_ROW(tcp_check_syncookie, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_SOCK_OR_BTF, SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_MEM, SL_ARG_SIZE },
};

SL_HELPER_FN(tcp_gen_syncookie)
{
	const struct sl_sock *s = sl_sock_of(r1);
	struct tcphdr th;
	int err;

	if ((uint32_t)r5 < sizeof(th))
		return sl_helper_ret(-EINVAL);
	th = tcp_at(r4);
	if ((uint32_t)r5 != th.doff * 4u || !listens(s))
		return sl_helper_ret(-EINVAL);
	if (!sl_sock_syncookies())
		return sl_helper_ret(-ENOENT);
	if (!th.syn || th.ack || th.fin || th.rst)
		return sl_helper_ret(-EINVAL);
	err = check_headers(s, r2, (uint32_t)r3);
	return sl_helper_ret(err ? err : -ENOENT);
}

const struct sl_helper sl_helper_tcp_gen_syncookie = {
	SL_ROW(tcp_gen_syncookie, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_SOCK_OR_BTF, SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_MEM, SL_ARG_SIZE },
};
