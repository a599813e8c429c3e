#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "network.h"
#include "oracle.h"
#include "test.h"

/*
 * Socket look-ups with random tuples, by one program in the kernel and here, over the sockets of a
 * network namespace: what is found, and every field of it that the kernel tells of its sockets.
 */

#define INSN(c, d, s, o, i) ((struct bpf_insn){ (c), (d), (s), (o), (i) })
#define MOV_X(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_K(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD_K(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(size, d, s, o) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define JUMP(op, d, imm, off) INSN(BPF_JMP | (op) | BPF_K, d, 0, off, imm)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* The packet: what goes in, and from AT_FOUND on what comes out. */
enum {
	AT_TUPLE = 16,
	AT_NETNS = 56,
	AT_FLAGS = 64,
	AT_FOUND = 72, /* bits of enum found */
	AT_SOCK = 80,
	AT_LISTENER = 160,
	AT_TCP = 240,
	PACKET = 400,
	INSNS_MAX = 512,
	LOOK_UPS = 240, /* each of ours asks the kernel for all sockets */
};

/* What `use` writes, in place of the fields. */
enum { AT_HEADERS = 80, AT_CHECK = 160, AT_MAKE = 168, AT_ASSIGN = 176 };

enum found { FOUND = 1, FULL = 2, IS_TCP = 4, LISTENER = 8 };

struct program {
	struct bpf_insn insns[INSNS_MAX];
	uint32_t count;
};

static void add(struct program *p, struct bpf_insn insn)
{
	p->insns[p->count++] = insn;
}

static void copy(struct program *p, unsigned from, unsigned size, int off, int to)
{
	uint8_t width = size == 8 ? BPF_DW : size == 4 ? BPF_W : BPF_H;

	add(p, LOAD(width, 1, from, (int16_t)off));
	add(p, STORE(width, 7, 1, (int16_t)(to + off)));
}

/* struct bpf_sock at the register; a common one has no type to priority. */
static void copy_sock(struct program *p, unsigned reg, bool full, int to)
{
	for (unsigned off = 0; off < sizeof(struct bpf_sock); off += 4) {
		if (!full && off >= offsetof(struct bpf_sock, type) &&
			off < offsetof(struct bpf_sock, src_ip4))
			continue;
		copy(p, reg, 4, (int)off, to);
	}
}

static void copy_tcp(struct program *p, unsigned reg)
{
	unsigned size;

	for (unsigned off = 0; off < sizeof(struct bpf_tcp_sock); off += size) {
		size = off == offsetof(struct bpf_tcp_sock, bytes_received) ||
				       off == offsetof(struct bpf_tcp_sock, bytes_acked)
			       ? 8
			       : 4;
		copy(p, reg, size, (int)off, AT_TCP);
	}
}

/* Jumps from `from`, over what has been added since. */
static void land(struct program *p, uint32_t from)
{
	p->insns[from].off = (int16_t)(p->count - from - 1);
}

/* R0 where it is not NULL: R8 = R0, the bit is noted; the caller lands the jump. */
static uint32_t if_found(struct program *p, int bit)
{
	uint32_t at = p->count;

	add(p, JUMP(BPF_JEQ, 0, 0, 0));
	add(p, MOV_X(8, 0));
	add(p, LOAD(BPF_W, 1, 7, AT_FOUND));
	add(p, INSN(BPF_ALU64 | BPF_OR | BPF_K, 1, 0, 0, bit));
	add(p, STORE(BPF_W, 7, 1, AT_FOUND));
	return at;
}

/* What only classifiers may ask of the socket in R9. */
static void derive(struct program *p)
{
	uint32_t at;

	add(p, MOV_X(1, 9));
	add(p, CALL(BPF_FUNC_sk_fullsock));
	at = if_found(p, FULL);
	copy_sock(p, 8, true, AT_SOCK);
	land(p, at);
	add(p, MOV_X(1, 9));
	add(p, CALL(BPF_FUNC_tcp_sock));
	at = if_found(p, IS_TCP);
	copy_tcp(p, 8);
	land(p, at);
	add(p, MOV_X(1, 9));
	add(p, CALL(BPF_FUNC_get_listener_sock));
	at = if_found(p, LISTENER);
	copy_sock(p, 8, true, AT_LISTENER);
	land(p, at);
}

/* R6 the context, R7 the packet, R9 the socket. */
static void make(struct program *p, bool skb, int helper, int len)
{
	uint32_t none;

	p->count = 0;
	add(p, MOV_X(6, 1));
	add(p, LOAD(BPF_W, 7, 1, skb ? 76 : 0));
	add(p, LOAD(BPF_W, 2, 1, skb ? 80 : 4));
	add(p, MOV_X(3, 7));
	add(p, ADD_K(3, PACKET));
	add(p, INSN(BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0));
	add(p, MOV_K(0, 9));
	add(p, EXIT);
	add(p, MOV_X(2, 7));
	add(p, ADD_K(2, AT_TUPLE));
	add(p, MOV_K(3, len));
	add(p, LOAD(BPF_DW, 4, 7, AT_NETNS));
	add(p, LOAD(BPF_DW, 5, 7, AT_FLAGS));
	add(p, CALL(helper));
	none = if_found(p, FOUND);
	add(p, MOV_X(9, 8));
	copy_sock(p, 9, helper != BPF_FUNC_skc_lookup_tcp, AT_SOCK);
	if (skb)
		derive(p);
	add(p, MOV_X(1, 9));
	add(p, CALL(BPF_FUNC_sk_release));
	land(p, none);
	add(p, MOV_K(0, 0));
	add(p, EXIT);
}

/* What there is in the namespace: the tuples under which sockets are to be found. */
struct end {
	struct bpf_sock_tuple tuple;
	uint16_t family;
};

enum { ENDS_MAX = 128, SOCKETS_MAX = 128, PORTS_MAX = 256, DEVICES = 3 };

static struct end ends[ENDS_MAX];
static uint16_t ports[PORTS_MAX]; /* big endian */
static int sockets[SOCKETS_MAX];
static unsigned end_count, socket_count, port_count;
static uint32_t devices[DEVICES];

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t len_of(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

static uint16_t port_of(const union address *a)
{
	return a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port;
}

static void fill(uint16_t family, const union address *a, void *ret_ip)
{
	if (family == AF_INET && a->any.sa_family == AF_INET)
		memcpy(ret_ip, &a->v4.sin_addr, 4);
	else if (family == AF_INET)
		memcpy(ret_ip, (const uint8_t *)&a->v6.sin6_addr + 12, 4);
	else
		memcpy(ret_ip, &a->v6.sin6_addr, 16);
}

/* Perhaps a request that no socket has been made for yet. */
static void add_other_end(const struct end *end)
{
	struct end *other = &ends[end_count++];

	other->family = end->family;
	if (end->family == AF_INET) {
		other->tuple.ipv4.saddr = end->tuple.ipv4.daddr;
		other->tuple.ipv4.daddr = end->tuple.ipv4.saddr;
		other->tuple.ipv4.sport = end->tuple.ipv4.dport;
		other->tuple.ipv4.dport = end->tuple.ipv4.sport;
		return;
	}
	memcpy(other->tuple.ipv6.saddr, end->tuple.ipv6.daddr, 16);
	memcpy(other->tuple.ipv6.daddr, end->tuple.ipv6.saddr, 16);
	other->tuple.ipv6.sport = end->tuple.ipv6.dport;
	other->tuple.ipv6.dport = end->tuple.ipv6.sport;
}

/* The socket is kept open, and the tuple of packets for it is noted. */
static int keep(int fd)
{
	union address self, peer = { .any.sa_family = AF_UNSPEC };
	socklen_t len = sizeof(self), peer_len = sizeof(peer);
	struct end *end = &ends[end_count++];
	const uint8_t *ip;

	sockets[socket_count++] = fd;
	EXPECT_EQ(getsockname(fd, &self.any, &len), 0);
	if (getpeername(fd, &peer.any, &peer_len) != 0)
		peer = (union address){ .any.sa_family = self.any.sa_family };
	end->family = self.any.sa_family;
	ip = (const uint8_t *)&self.v6.sin6_addr;
	if (end->family == AF_INET6 && IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)ip))
		end->family = AF_INET;
	if (end->family == AF_INET) {
		fill(AF_INET, &self, &end->tuple.ipv4.daddr);
		fill(AF_INET, &peer, &end->tuple.ipv4.saddr);
		end->tuple.ipv4.dport = port_of(&self);
		end->tuple.ipv4.sport = port_of(&peer);
	} else {
		fill(AF_INET6, &self, end->tuple.ipv6.daddr);
		fill(AF_INET6, &peer, end->tuple.ipv6.saddr);
		end->tuple.ipv6.dport = port_of(&self);
		end->tuple.ipv6.sport = port_of(&peer);
	}
	ports[port_count++] = port_of(&self);
	if (port_of(&peer)) {
		ports[port_count++] = port_of(&peer);
		add_other_end(end);
	}
	return fd;
}

struct spec {
	int type;
	const char *ip;
	uint16_t port;
	int device; /* from 1: of devices[] */
	bool reuse_port, reuse_address, v6_only;
	uint32_t mark, priority;
	const char *peer; /* connected, at peer_port */
	uint16_t peer_port;
	bool defer; /* connections wait for data */
};

static union address address(const char *ip, uint16_t port)
{
	union address a = { .any.sa_family = AF_INET };

	if (inet_pton(AF_INET, ip, &a.v4.sin_addr) == 1) {
		a.v4.sin_port = htons(port);
		return a;
	}
	a = (union address){ .v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) } };
	EXPECT_EQ(inet_pton(AF_INET6, ip, &a.v6.sin6_addr), 1);
	return a;
}

static void set(int fd, int level, int option, int value)
{
	EXPECT_EQ(setsockopt(fd, level, option, &value, sizeof(value)), 0);
}

static int open_socket(const struct spec *spec)
{
	union address a = address(spec->ip, spec->port), peer;
	int fd = socket(a.any.sa_family, spec->type | SOCK_CLOEXEC, 0);
	char name[IF_NAMESIZE];

	EXPECT_GE(fd, 0);
	if (a.any.sa_family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, spec->v6_only);
	set(fd, SOL_SOCKET, SO_REUSEPORT, spec->reuse_port);
	set(fd, SOL_SOCKET, SO_REUSEADDR, spec->reuse_address);
	set(fd, SOL_SOCKET, SO_MARK, (int)spec->mark);
	set(fd, SOL_SOCKET, SO_PRIORITY, (int)spec->priority);
	if (spec->device && if_indextoname(devices[spec->device - 1], name))
		EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, IF_NAMESIZE), 0);
	if (bind(fd, &a.any, len_of(&a)) != 0)
		sl_test_fail(__FILE__, __LINE__, "bind %s %u: %d", spec->ip, spec->port, errno);
	if (spec->defer)
		set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 30);
	if (spec->peer) {
		peer = address(spec->peer, spec->peer_port);
		if (connect(fd, &peer.any, len_of(&peer)) != 0)
			sl_test_fail(__FILE__, __LINE__, "connect %s %u: %d", spec->peer,
				spec->peer_port, errno);
	} else if (spec->type == SOCK_STREAM) {
		EXPECT_EQ(listen(fd, 8), 0);
	}
	return keep(fd);
}

static const struct spec specs[] = {
	{ SOCK_STREAM, "127.0.0.1", 1000, .mark = 5, .priority = 3 },
	{ SOCK_STREAM, "0.0.0.0", 1001 },
	{ SOCK_STREAM, "::", 1001, .v6_only = true, .priority = 6 },
	{ SOCK_STREAM, "10.0.0.1", 1002 },
	{ SOCK_STREAM, "10.0.1.1", 1002, .mark = 77 },
	{ SOCK_STREAM, "0.0.0.0", 1003, .device = 2 },
	{ SOCK_STREAM, "0.0.0.0", 1003, .device = 3, .mark = 1 },
	{ SOCK_STREAM, "::", 1004 },
	{ SOCK_STREAM, "::1", 1005 },
	{ SOCK_STREAM, "::ffff:127.0.0.1", 1006 },
	{ SOCK_STREAM, "0.0.0.0", 1007, .reuse_port = true },
	{ SOCK_STREAM, "0.0.0.0", 1007, .reuse_port = true },
	{ SOCK_STREAM, "0.0.0.0", 1007, .reuse_port = true, .device = 1, .mark = 4 },
	{ SOCK_STREAM, "::", 1007, .reuse_port = true, .mark = 9 },
	{ SOCK_STREAM, "0.0.0.0", 1008, .reuse_port = true, .device = 1, .mark = 4 },
	{ SOCK_STREAM, "0.0.0.0", 1008, .reuse_port = true },
	{ SOCK_STREAM, "fd00::1", 1009 },
	{ SOCK_STREAM, "0.0.0.0", 1010, .defer = true },
	{ SOCK_STREAM, "127.0.0.2", 0, .peer = "127.0.0.1", .peer_port = 1000, .mark = 2 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1001, .priority = 4 },
	{ SOCK_STREAM, "::", 0, .peer = "::1", .peer_port = 1005 },
	{ SOCK_STREAM, "::", 0, .peer = "::1", .peer_port = 1004 },
	{ SOCK_STREAM, "::", 0, .peer = "::ffff:127.0.0.1", .peer_port = 1004 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1006 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1010 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1010 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1010 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1010 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1010 },
	{ SOCK_STREAM, "0.0.0.0", 0, .peer = "127.0.0.1", .peer_port = 1010 },
	{ SOCK_DGRAM, "127.0.0.1", 2000, .reuse_address = true, .mark = 8 },
	{ SOCK_DGRAM, "0.0.0.0", 2000, .reuse_address = true, .priority = 2 },
	{ SOCK_DGRAM, "::", 2001 },
	{ SOCK_DGRAM, "::1", 2002 },
	{ SOCK_DGRAM, "127.0.0.1", 2003, .peer = "127.0.0.1", .peer_port = 2000, .mark = 6 },
	{ SOCK_DGRAM, "127.0.0.1", 2004, .reuse_address = true },
	{ SOCK_DGRAM, "127.0.0.1", 2004, .reuse_address = true, .peer = "127.0.0.2",
		.peer_port = 2000 },
	{ SOCK_DGRAM, "::1", 2005, .peer = "::1", .peer_port = 2002 },
	{ SOCK_DGRAM, "::", 2006, .peer = "::ffff:127.0.0.1", .peer_port = 2000 },
	{ SOCK_DGRAM, "0.0.0.0", 2007, .reuse_address = true, .device = 2 },
	{ SOCK_DGRAM, "0.0.0.0", 2007, .reuse_address = true, .mark = 3 },
	{ SOCK_DGRAM, "::", 2007, .reuse_address = true, .device = 3 },
	{ SOCK_DGRAM, "0.0.0.0", 2008, .reuse_port = true },
	{ SOCK_DGRAM, "0.0.0.0", 2008, .reuse_port = true },
	{ SOCK_DGRAM, "::", 2009, .v6_only = true },
	{ SOCK_DGRAM, "::ffff:10.0.0.1", 2010 },
	{ SOCK_DGRAM, "fd00::1", 2011 },
	{ SOCK_DGRAM, "::", 2012, .peer = "::1", .peer_port = 2002 },
};

/* Takes what connects, says something each way, and closes every third. */
static void accept_all(void)
{
	unsigned listeners = socket_count, taken = 0;
	char text[100] = "some bytes";

	for (unsigned i = 0; i < listeners; i++) {
		struct pollfd poll_fd = { .fd = sockets[i], .events = POLLIN };
		int type = 0, listens = 0, fd;
		socklen_t len = sizeof(int);

		getsockopt(sockets[i], SOL_SOCKET, SO_TYPE, &type, &len);
		getsockopt(sockets[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
		while (type == SOCK_STREAM && listens && poll(&poll_fd, 1, 10) == 1) {
			fd = accept4(sockets[i], NULL, NULL, SOCK_CLOEXEC);
			if (fd < 0)
				break;
			keep(fd);
			EXPECT_EQ(send(fd, text, sizeof(text), 0), (ssize_t)sizeof(text));
			if (++taken % 3 == 0) {
				close(fd);
				sockets[socket_count - 1] = -1;
			}
		}
	}
	EXPECT_GT(taken, 4u);
}

static bool ready(void)
{
	static int state; /* 1: there are sockets, 2: there is no namespace */
	const char *reason = "the kernel's bpf(2) is not permitted to this user";
	uint32_t links[NETWORK_LINKS];

	if (!state) {
		state = 2;
		network_is_mirrored = false;
		if (oracle_permitted() && network_enter(&reason)) {
			state = 1;
			network_make_links(links);
			network_both("addr add 10.0.0.1/24 dev d0");
			network_both("addr add 10.0.1.1/24 dev d1");
			network_both("addr add fd00::1/64 dev d0 nodad");
			devices[0] = 1;
			devices[1] = links[0];
			devices[2] = links[1];
			for (unsigned i = 0; i < sl_array_size(specs); i++)
				open_socket(&specs[i]);
			accept_all();
		}
	}
	if (state == 2)
		sl_test_skip(__FILE__, __LINE__, "%s", reason);
	return state == 1;
}

static uint16_t random_port(void)
{
	if (rand() % 10 == 0)
		return (uint16_t)rand();
	if (rand() % 10 == 0)
		return 0;
	return ports[(unsigned)rand() % port_count];
}

static void random_ip(uint16_t family, void *ret_ip)
{
	static const char *const v4[] = { "127.0.0.1", "127.0.0.1", "127.0.0.2", "10.0.0.1",
		"10.0.1.1", "10.0.0.9", "0.0.0.0", "127.0.0.6" };
	static const char *const v6[] = { "::1", "::1", "fd00::1", "fd00::2",
		"::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0.0.0.0" };
	const char *const *from = family == AF_INET ? v4 : v6;

	inet_pton(family, from[rand() % 8], ret_ip);
}

/* A tuple of the family: one of a socket, mostly with a change, or any. */
static void random_tuple(uint16_t family, struct bpf_sock_tuple *t)
{
	const struct end *end = &ends[(unsigned)rand() % end_count];
	bool v4 = family == AF_INET;
	unsigned change = (unsigned)rand() % 32;

	memset(t, 0, sizeof(*t));
	if (end->family == family && rand() % 8)
		*t = end->tuple;
	else if (end->family == AF_INET6 || rand() % 2)
		change = 15;
	else {
		/* An IPv4 end in IPv6. */
		t->ipv6.saddr[2] = t->ipv6.daddr[2] = htonl(0xffff);
		t->ipv6.saddr[3] = end->tuple.ipv4.saddr;
		t->ipv6.daddr[3] = end->tuple.ipv4.daddr;
		t->ipv6.sport = end->tuple.ipv4.sport;
		t->ipv6.dport = end->tuple.ipv4.dport;
	}
	change = change > 15 ? 0 : change;
	if (change & 1)
		random_ip(family, v4 ? &t->ipv4.saddr : t->ipv6.saddr);
	if (change & 2)
		random_ip(family, v4 ? &t->ipv4.daddr : t->ipv6.daddr);
	if (change & 4)
		*(v4 ? &t->ipv4.sport : &t->ipv6.sport) = random_port();
	if (change & 8)
		*(v4 ? &t->ipv4.dport : &t->ipv6.dport) = random_port();
}

static void random_packet(uint8_t packet[PACKET], uint16_t family)
{
	struct bpf_sock_tuple tuple;
	uint64_t netns = rand() % 12 ? (uint64_t)-1 : (uint64_t)rand() << (rand() % 40);
	uint64_t flags = rand() % 20 == 0;

	if (rand() % 12 == 0)
		netns = UINT32_MAX - 3;
	random_tuple(family, &tuple);
	memset(packet, 0, PACKET);
	memcpy(packet + AT_TUPLE, &tuple, sizeof(tuple));
	memcpy(packet + AT_NETNS, &netns, sizeof(netns));
	memcpy(packet + AT_FLAGS, &flags, sizeof(flags));
}

static long run(enum side side, int fd, uint8_t *packet, uint32_t ifindex)
{
	struct __sk_buff skb = { .ifindex = ifindex };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = attr.test.data_out = PTR(packet);
	attr.test.data_size_in = attr.test.data_size_out = PACKET;
	if (ifindex) {
		attr.test.ctx_in = PTR(&skb);
		attr.test.ctx_size_in = sizeof(skb);
	}
	return call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
}

/* What sock_diag does not tell, or the kernel leaves undefined: the same in both. */
static void forget(uint8_t *packet)
{
	struct bpf_sock *sock = (void *)(packet + AT_SOCK);
	struct bpf_tcp_sock *tcp = (void *)(packet + AT_TCP);
	uint32_t found;

	memcpy(&found, packet + AT_FOUND, sizeof(found));
	sock->rx_queue_mapping = 0;
	if (sock->family == AF_INET && (sock->state == TCP_TIME_WAIT || sock->state == 12)) {
		memset(sock->src_ip6, 0, 16);
		memset(sock->dst_ip6, 0, 16);
	}
	if (sock->family == AF_INET6 && sock->dst_ip6[2] != htonl(0xffff))
		sock->dst_ip4 = 0;
	/* Not where the socket was bound to an address before it was connected. */
	if (sock->family == AF_INET && sock->src_ip6[2] && sock->dst_ip6[2])
		memset(sock->src_ip6, 0, 16);
	if (!(found & IS_TCP))
		return;
	tcp->srtt_us &= ~7u;
	tcp->rcv_nxt = tcp->snd_nxt = tcp->snd_una = 0;
	tcp->rate_delivered = tcp->rate_interval_us = 0;
	tcp->ecn_flags &= 9;
}

static unsigned found_kinds[64], states[16];

static void report(const uint8_t *before, uint8_t packet[SIDES][PACKET], const char *what)
{
	char text[4096];
	size_t len = 0;

	for (int i = AT_TUPLE; i < AT_TUPLE + 36; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%02x", before[i]);
	for (int at = AT_FOUND; at < PACKET; at += 4) {
		uint32_t v[SIDES];

		for (enum side s = 0; s < SIDES; s++)
			memcpy(&v[s], packet[s] + at, 4);
		if (v[KERNEL] != v[SLUICE] || at == AT_FOUND)
			len += (size_t)snprintf(text + len, sizeof(text) - len,
				"\n%d: kernel %#x, here %#x", at, v[KERNEL], v[SLUICE]);
	}
	sl_test_fail(__FILE__, __LINE__, "%s: tuple %s", what, text);
}

static void compare(enum bpf_prog_type type, int helper, int len, unsigned count)
{
	bool skb = type != BPF_PROG_TYPE_XDP;
	uint8_t packet[SIDES][PACKET], before[PACKET];
	struct program p;
	int fd[SIDES];
	char what[64];

	make(&p, skb, helper, len);
	for (enum side s = 0; s < SIDES; s++) {
		fd[s] = prog_new(s, type, p.insns, p.count);
		ASSERT_GE(fd[s], 0);
	}
	for (unsigned i = 0; i < count && !sl_test_has_failed(); i++) {
		uint32_t ifindex = skb && rand() % 3 ? devices[rand() % DEVICES] : 0;

		random_packet(before, len == 12 ? AF_INET : AF_INET6);
		for (enum side s = 0; s < SIDES; s++) {
			memcpy(packet[s], before, PACKET);
			ASSERT_EQ(run(s, fd[s], packet[s], ifindex), 0);
			forget(packet[s]);
		}
		found_kinds[packet[KERNEL][AT_FOUND]]++;
		if (packet[KERNEL][AT_FOUND])
			states[packet[KERNEL][AT_SOCK + offsetof(struct bpf_sock, state)] % 16]++;
		if (memcmp(packet[KERNEL], packet[SLUICE], PACKET) == 0)
			continue;
		snprintf(what, sizeof(what), "type %d helper %d ifindex %u", type, helper, ifindex);
		report(before, packet, what);
	}
	for (enum side s = 0; s < SIDES; s++)
		close(fd[s]);
}

TEST(sock_lookup, finds_as_the_kernel)
{
	static const int helpers[] = { BPF_FUNC_sk_lookup_tcp, BPF_FUNC_sk_lookup_udp,
		BPF_FUNC_skc_lookup_tcp };
	enum { ESTABLISHED = 1, TIME_WAIT = 6, CLOSE = 7, LISTEN = 10, NEW_SYN_RECV = 12 };

	if (!ready())
		return;
	srand(1);
	for (unsigned i = 0; i < sl_array_size(helpers); i++) {
		for (int len = 12; len <= 36; len += 24) {
			compare(BPF_PROG_TYPE_SCHED_CLS, helpers[i], len, LOOK_UPS);
			compare(BPF_PROG_TYPE_XDP, helpers[i], len, LOOK_UPS / 4);
		}
	}
	EXPECT_GT(states[ESTABLISHED], 0u);
	EXPECT_GT(states[TIME_WAIT], 0u);
	EXPECT_GT(states[CLOSE], 0u);
	EXPECT_GT(states[LISTEN], 0u);
	EXPECT_GT(states[NEW_SYN_RECV], 0u);
	EXPECT_GT(found_kinds[FOUND | FULL | IS_TCP | LISTENER], 0u);
	EXPECT_GT(found_kinds[FOUND | FULL], 0u);
	EXPECT_GT(found_kinds[FOUND], 0u);
	EXPECT_GT(found_kinds[0], 0u);
}

/* The cookie helpers' result with the headers in the packet, TCP's 40 bytes on. */
static void ask_cookie(struct program *p, int helper, int ip_len, int to)
{
	add(p, MOV_X(1, 9));
	add(p, MOV_X(2, 7));
	add(p, ADD_K(2, AT_HEADERS));
	add(p, MOV_K(3, ip_len));
	add(p, MOV_X(4, 7));
	add(p, ADD_K(4, AT_HEADERS + 40));
	add(p, MOV_K(5, 20));
	add(p, CALL(helper));
	add(p, STORE(BPF_DW, 7, 0, (int16_t)to));
}

static void make_use(struct program *p, int len, int ip_len)
{
	uint32_t none;

	make(p, true, BPF_FUNC_skc_lookup_tcp, len);
	/* Up to the look-up. */
	for (p->count = 0; p->insns[p->count].imm != BPF_FUNC_skc_lookup_tcp; p->count++)
		;
	p->count++;
	none = if_found(p, FOUND);
	add(p, MOV_X(9, 8));
	ask_cookie(p, BPF_FUNC_tcp_check_syncookie, ip_len, AT_CHECK);
	ask_cookie(p, BPF_FUNC_tcp_gen_syncookie, ip_len, AT_MAKE);
	for (int flags = 0; flags < 2; flags++) {
		add(p, MOV_X(1, 6));
		add(p, MOV_X(2, 9));
		add(p, MOV_K(3, flags));
		add(p, CALL(BPF_FUNC_sk_assign));
		add(p, STORE(BPF_DW, 7, 0, (int16_t)(AT_ASSIGN + 8 * flags)));
	}
	add(p, MOV_X(1, 9));
	add(p, CALL(BPF_FUNC_sk_release));
	land(p, none);
	add(p, MOV_K(0, 0));
	add(p, EXIT);
}

static void random_headers(uint8_t *headers)
{
	struct tcphdr th = { .doff = rand() % 8 ? 5 : 6 };

	th.syn = rand() % 2;
	th.ack = rand() % 2;
	th.rst = rand() % 8 == 0;
	th.fin = rand() % 8 == 0;
	headers[0] = rand() % 8 ? (rand() % 2 ? 0x45 : 0x60) : (uint8_t)rand();
	memcpy(headers + 40, &th, sizeof(th));
}

static unsigned errors[256];

static void compare_use(int len, int ip_len)
{
	uint8_t packet[SIDES][PACKET], before[PACKET];
	struct program p;
	int fd[SIDES];
	char what[64];

	make_use(&p, len, ip_len);
	for (enum side s = 0; s < SIDES; s++) {
		fd[s] = prog_new(s, BPF_PROG_TYPE_SCHED_CLS, p.insns, p.count);
		ASSERT_GE(fd[s], 0);
	}
	for (unsigned i = 0; i < LOOK_UPS / 2 && !sl_test_has_failed(); i++) {
		random_packet(before, len == 12 ? AF_INET : AF_INET6);
		random_headers(before + AT_HEADERS);
		for (enum side s = 0; s < SIDES; s++) {
			memcpy(packet[s], before, PACKET);
			ASSERT_EQ(run(s, fd[s], packet[s], 0), 0);
		}
		errors[(uint8_t)-packet[KERNEL][AT_CHECK]]++;
		errors[(uint8_t)-packet[KERNEL][AT_MAKE]]++;
		errors[(uint8_t)-packet[KERNEL][AT_ASSIGN]]++;
		snprintf(what, sizeof(what), "IP header of %d", ip_len);
		if (memcmp(packet[KERNEL], packet[SLUICE], PACKET) != 0)
			report(before, packet, what);
	}
	for (enum side s = 0; s < SIDES; s++)
		close(fd[s]);
}

TEST(sock_lookup, cookies_and_assignment_fail_as_in_the_kernel)
{
	if (!ready())
		return;
	srand(2);
	for (int len = 12; len <= 36; len += 24) {
		compare_use(len, 19);
		compare_use(len, 20);
		compare_use(len, 40);
	}
	EXPECT_GT(errors[EINVAL], 0u);
	EXPECT_GT(errors[ENOENT], 0u);
	EXPECT_GT(errors[EPROTONOSUPPORT], 0u);
	EXPECT_GT(errors[EOPNOTSUPP], 0u);
}
