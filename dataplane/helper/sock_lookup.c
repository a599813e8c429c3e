#include "row.h"

#include <errno.h>

/*
 * Sockets. The data plane has none: a lookup finds nothing, so what takes a socket is never reached
 * at run time. The verifier checks all of it as the kernel does.
 */

#define NO_SOCKET 0

#define LOOKUP_ARGS \
	{ SL_ARG_CTX, SL_ARG_MEM, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING, SL_ARG_ANYTHING }

SL_HELPER_FN(sk_lookup_tcp)
{
	return NO_SOCKET;
}

const struct sl_helper sl_helper_sk_lookup_tcp = {
	SL_ROW(sk_lookup_tcp, TC_XDP),
	.flags = SL_HELPER_ACQUIRES | SL_HELPER_PACKET_ARGS,
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = LOOKUP_ARGS,
};

SL_HELPER_FN(sk_lookup_udp)
{
	return NO_SOCKET;
}

const struct sl_helper sl_helper_sk_lookup_udp = {
	SL_ROW(sk_lookup_udp, TC_XDP),
	.flags = SL_HELPER_ACQUIRES | SL_HELPER_PACKET_ARGS,
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = LOOKUP_ARGS,
};

SL_HELPER_FN(skc_lookup_tcp)
{
	return NO_SOCKET;
}

const struct sl_helper sl_helper_skc_lookup_tcp = {
	SL_ROW(skc_lookup_tcp, TC_XDP),
	.flags = SL_HELPER_ACQUIRES | SL_HELPER_PACKET_ARGS,
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
	return NO_SOCKET;
}

const struct sl_helper sl_helper_sk_fullsock = {
	SL_ROW(sk_fullsock, TC),
	.flags = SL_HELPER_CASTS,
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = { SL_ARG_SOCK_COMMON },
};

SL_HELPER_FN(tcp_sock)
{
	return NO_SOCKET;
}

const struct sl_helper sl_helper_tcp_sock = {
	SL_ROW(tcp_sock, TC),
	.flags = SL_HELPER_CASTS,
	.ret = SL_RET_TCP_SOCK_OR_NULL,
	.args = { SL_ARG_SOCK_COMMON },
};

SL_HELPER_FN(get_listener_sock)
{
	return NO_SOCKET;
}

/* A listening socket needs no reference of its own: no cast. */
const struct sl_helper sl_helper_get_listener_sock = {
	SL_ROW(get_listener_sock, TC),
	.ret = SL_RET_SOCKET_OR_NULL,
	.args = { SL_ARG_SOCK_COMMON },
};

SL_HELPER_FN(sk_assign)
{
	return sl_helper_ret(-EOPNOTSUPP);
}

const struct sl_helper sl_helper_sk_assign = {
	SL_ROW(sk_assign, TC),
	.args = { SL_ARG_CTX, SL_ARG_SOCK_OR_BTF, SL_ARG_ANYTHING },
};

SL_HELPER_FN(tcp_check_syncookie)
{
	return sl_helper_ret(-EINVAL);
}

const struct sl_helper sl_helper_tcp_check_syncookie = {
	SL_ROW(tcp_check_syncookie, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_SOCK_OR_BTF, SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_MEM, SL_ARG_SIZE },
};

SL_HELPER_FN(tcp_gen_syncookie)
{
	return sl_helper_ret(-EINVAL);
}

const struct sl_helper sl_helper_tcp_gen_syncookie = {
	SL_ROW(tcp_gen_syncookie, TC_XDP),
	.flags = SL_HELPER_GPL | SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_SOCK_OR_BTF, SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_MEM, SL_ARG_SIZE },
};
