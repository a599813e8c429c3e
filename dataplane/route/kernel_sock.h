#pragma once

#include <assert.h>
#include <linux/bpf.h>

#include "rcu.h"

/*
 * The kernel's TCP and UDP sockets of the process's network namespace, as NETLINK_SOCK_DIAG tells
 * them: an immutable table, replaced as a whole, whose readers take no lock. A socket that was found
 * stays as it is until the end of the read section; so do pointers to it, and a reference to one
 * needs no count.
 */

/*
 * One socket. Programs get pointers to `sock` and to `tcp`, which the kernel's uapi lays out. Helpers
 * take either; which one it is, and that it is one of these, the address says: sl_sock_of.
 */
struct sl_sock {
	uint64_t cookie;
	struct bpf_sock sock;
	uint32_t uid;
	uint8_t full; /* neither a request nor what is left of a closed connection */
	uint8_t v6_only; /* takes no IPv4 packets */
	uint8_t connected; /* found by both addresses */
	uint8_t spare[9];
	struct bpf_tcp_sock tcp; /* of a full TCP socket */
} sl_cache_aligned;

enum { SL_SOCK_AT = 8, SL_SOCK_TCP_AT = 104 };

static_assert(offsetof(struct sl_sock, sock) == SL_SOCK_AT, "sl_sock_of");
static_assert(offsetof(struct sl_sock, tcp) == SL_SOCK_TCP_AT, "sl_sock_of");
static_assert(offsetof(struct sl_sock, sock.dst_ip4) + 4 <= SL_CACHE_LINE,
	"an IPv4 look-up compares within one line");

/* NULL for a socket of another kind (AF_XDP), of which only that is known. */
static inline const struct sl_sock *sl_sock_of(uint64_t pointer)
{
	switch (pointer % SL_CACHE_LINE) {
	case SL_SOCK_AT:
		return (const struct sl_sock *)(pointer - SL_SOCK_AT);
	case SL_SOCK_TCP_AT % SL_CACHE_LINE:
		return (const struct sl_sock *)(pointer - SL_SOCK_TCP_AT);
	default:
		return NULL;
	}
}

/* Whom a packet is for. Addresses of 4 or 16 bytes; ports as in the packet. */
struct sl_sock_query {
	uint16_t family; /* AF_INET, AF_INET6 */
	uint8_t protocol; /* IPPROTO_TCP, _UDP */
	uint32_t ifindex; /* 0: none, which finds no socket that is bound to a device */
	uint16_t sport, dport;
	const void *src, *dst; /* may be unaligned */
};

/* The socket that the kernel would give the packet to, or NULL. In a read section. */
SL_ANY const struct sl_sock *sl_sock_lookup(const struct sl_sock_query *query);

/* The listening socket that a request belongs to, or NULL. In a read section. */
SL_ANY const struct sl_sock *sl_sock_listener(const struct sl_sock *request);

/* Whether the kernel may answer with SYN cookies: net.ipv4.tcp_syncookies. */
SL_ANY bool sl_sock_syncookies(void);

/*
 * A loaded program looks up sockets (or no longer does): while one does and there are workers, the
 * background thread reads the sockets every so often.
 */
SL_CONTROL void sl_sock_want(void);
SL_CONTROL void sl_sock_unwant(void);

/* A test run begins: the kernel's sockets may be others by now. */
SL_CONTROL void sl_sock_expire(void);

/* Reads them, once after each sl_sock_expire. In a read section or not, but not on a worker. */
SL_CONTROL void sl_sock_import(void);
