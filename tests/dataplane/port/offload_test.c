#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sluice/tunnel.h>

#include "bed.h"
#include "client.h"
#include "offload_ops.h"
#include "oracle.h"
#include "test.h"

/*
 * Packets that ask for checksums and for being cut: the same program on the same packets, there from
 * a TAP device whose writer asks as a guest does, here from a ring in DPDK's words. What comes out
 * has to be the same, byte by byte.
 */

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum { LONG = 3000, SHORT = 90, MSS = 1000, FRAMES = 8, BYTES = 3200 };

static const struct kind {
	const char *name;
	bool ipv6, tcp, partial;
	uint16_t len, mss;
	bool zero_sum; /* its complete checksum is 0 */
} kinds[] = {
	{ "TCP, IPv4", false, true, true, SHORT, 0, false },
	{ "UDP, IPv4", false, false, true, SHORT, 0, false },
	{ "TCP, IPv6", true, true, true, SHORT, 0, false },
	{ "UDP, IPv6", true, false, true, SHORT, 0, false },
	{ "UDP, odd and long", false, false, true, LONG - 1, 0, false },
	{ "UDP, sum of 0", false, false, true, SHORT, 0, true },
	{ "complete TCP", false, true, false, SHORT, 0, false },
	{ "TCP to be cut, IPv4", false, true, true, LONG, MSS, false },
	{ "TCP to be cut, IPv6", true, true, true, LONG, MSS, false },
	{ "UDP to be cut, IPv4", false, false, true, LONG, MSS, false },
	{ "UDP to be cut, IPv6", true, false, true, LONG, MSS, false },
	{ "TCP in pieces above the MTU", false, true, true, LONG, 1480, false },
	{ "shorter than its pieces", false, true, true, SHORT, MSS, false },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

enum { PSEUDO = 0x10, MANGLED = 0x20, ENFORCE = 0x40 };

static const struct offload_order orders[] = {
	{ OP_NOTHING, 0, 0, 0 },
	{ OP_ADDRESS, 0, 0, PSEUDO },
	{ OP_ADDRESS, 0, 0, PSEUDO | MANGLED },
	{ OP_ADDRESS, 0, 0, PSEUDO | MANGLED | ENFORCE },
	{ OP_ADDRESS, 0, 0, 0 },
	{ OP_PORT, 0, 0, 0 },
	{ OP_PORT, 0, 0, MANGLED },
	{ OP_PORT, 0, 0, PSEUDO },
	{ OP_DIFF, 0, 0, PSEUDO },
	{ OP_DIFF, 0, 0, 0 },
	{ OP_STORE, 0, 0, 0 },
	{ OP_STORE, 0, 0, BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH },
	{ OP_TAG, 0, 1, 0 },
	{ OP_TAG, 0, 2, 0 },
	{ OP_TAG, 0, 3, 0 },
	{ OP_TAIL, 0, -7, 0 },
	{ OP_TAIL, 0, 60, 0 },
	{ OP_TAIL, 0, 51, 0 },
	{ OP_TAIL, 0, 52, 0 },
	{ OP_TAIL, 0, 42, 0 },
	{ OP_TAIL, 0, 41, 0 },
	{ OP_TAIL, 0, 200, 0 },
	{ OP_ROOM, 0, 8, 0 },
	{ OP_ROOM, 0, 8, BPF_F_ADJ_ROOM_FIXED_GSO },
	{ OP_ROOM, 0, -8, 0 },
	{ OP_ROOM, 0, -20, BPF_F_ADJ_ROOM_FIXED_GSO },
	{ OP_ROOM, 0, 8, BPF_F_ADJ_ROOM_NO_CSUM_RESET },
	{ OP_IPIP, 0, 0, 0 },
	{ OP_IPIP, 0, 0, BPF_F_ADJ_ROOM_FIXED_GSO },
	{ OP_UDP_TUNNEL, 0, 0, 0 },
	{ OP_UDP_TUNNEL, 0, 0, BPF_F_ADJ_ROOM_FIXED_GSO },
	{ OP_PROTO, 0, 0, 0 },
	{ OP_LEVEL, 0, BPF_CSUM_LEVEL_INC, 0 },
	{ OP_LEVEL, 0, BPF_CSUM_LEVEL_DEC, 0 },
	{ OP_LEVEL, 0, BPF_CSUM_LEVEL_RESET, 0 },
	{ OP_UPDATE, 0, 0, 0 },
	{ OP_CLONE, 0, 0, PSEUDO },
	{ OP_PULL, 0, 0, 0 },
	{ OP_PULL, 0, 70, 0 },
	{ OP_MTU, 0, 0, 0 },
	{ OP_MTU, 0, 0, BPF_MTU_CHK_SEGS },
};
enum { ORDERS = sizeof(orders) / sizeof(orders[0]) };

struct outcome {
	struct offload_sight sights[SIGHTS];
	unsigned frames;
	uint32_t len[FRAMES];
	uint8_t bytes[FRAMES][BYTES];
};

struct asked {
	int skipped; /* errno */
	struct outcome of[KINDS][ORDERS];
};

static uint32_t network_len(const struct kind *kind)
{
	return kind->ipv6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr);
}

static uint32_t start_of(const struct kind *kind)
{
	return ETH_HLEN + network_len(kind);
}

static uint32_t field_of(const struct kind *kind)
{
	return kind->tcp ? 16 : 6;
}

static void put16(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static void put_network(const struct kind *kind, uint8_t *ip)
{
	uint16_t csum;

	if (kind->ipv6) {
		memset(ip, 0, 40);
		ip[0] = 0x60;
		put16(ip + 4, kind->len - start_of(kind));
		ip[6] = kind->tcp ? IPPROTO_TCP : IPPROTO_UDP;
		ip[7] = 64;
		ip[8] = ip[24] = 0xfd;
		ip[23] = 1, ip[39] = 2;
		return;
	}
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, kind->len - ETH_HLEN);
	put16(ip + 4, 0xfffe);
	ip[8] = 64;
	ip[9] = kind->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	memcpy(ip + 12, "\x0a\x01\x00\x01\x0a\x01\x00\x02", 8);
	csum = rte_ipv4_cksum((struct rte_ipv4_hdr *)ip);
	memcpy(ip + 10, &csum, sizeof(csum));
}

static void put_l4(const struct kind *kind, uint8_t *l4)
{
	put16(l4, 1000);
	put16(l4 + 2, 2000);
	if (!kind->tcp) {
		put16(l4 + 4, kind->len - start_of(kind));
		return;
	}
	memset(l4 + 4, 0xff, 4); /* the sequence number wraps */
	l4[12] = 0x50;
	l4[13] = 0x80 | 0x10 | 0x08 | 0x01; /* CWR, ACK, PSH, FIN */
}

/* With the pseudo header's sum, or all of it, in the field. */
static void make_frame(const struct kind *kind, uint8_t *frame)
{
	uint8_t *ip = frame + ETH_HLEN, *l4 = frame + start_of(kind);
	uint32_t l4_len = kind->len - start_of(kind), sum;
	uint16_t field;

	for (unsigned i = 0; i < kind->len; i++)
		frame[i] = (uint8_t)(i * 7 + i / 251);
	memcpy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 12);
	put16(frame + 12, kind->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	put_network(kind, ip);
	put_l4(kind, l4);
	memset(l4 + field_of(kind), 0, 2);
	sum = rte_raw_cksum(kind->ipv6 ? ip + 8 : ip + 12, kind->ipv6 ? 32 : 8);
	sum += htons(kind->tcp ? IPPROTO_TCP : IPPROTO_UDP) + htons((uint16_t)l4_len);
	sum = (sum & 0xffff) + (sum >> 16);
	field = (uint16_t)((sum & 0xffff) + (sum >> 16));
	if (kind->zero_sum) {
		memset(l4 + l4_len - 2, 0, 2);
		sum = (uint32_t)field + rte_raw_cksum(l4, l4_len);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (uint16_t)~sum;
		memcpy(l4 + l4_len - 2, &sum, 2);
	}
	memcpy(l4 + field_of(kind), &field, sizeof(field));
	if (!kind->partial) {
		field = (uint16_t)~rte_raw_cksum(l4, l4_len);
		memcpy(l4 + field_of(kind), &field, sizeof(field));
	}
}

struct programs {
	struct bpf_object *object;
	int enter, leave, pass, orders, sights;
};

static bool load(struct programs *p)
{
	p->object = bpf_object__open_file(OFFLOAD_OBJECT, NULL);
	if (!p->object || bpf_object__load(p->object) != 0)
		return false;
	p->enter = bpf_program__fd(bpf_object__find_program_by_name(p->object, "enter"));
	p->leave = bpf_program__fd(bpf_object__find_program_by_name(p->object, "leave"));
	p->pass = bpf_program__fd(bpf_object__find_program_by_name(p->object, "pass"));
	p->orders = bpf_object__find_map_fd_by_name(p->object, "orders");
	p->sights = bpf_object__find_map_fd_by_name(p->object, "sights");
	return true;
}

static void give_order(const struct programs *p, const struct offload_order *order, uint32_t out)
{
	static const struct offload_sight none;
	struct offload_order o = *order;
	uint32_t key = 0;

	o.out = out;
	bpf_map_update_elem(p->orders, &key, &o, BPF_ANY);
	for (key = 0; key < SIGHTS; key++)
		bpf_map_update_elem(p->sights, &key, &none, BPF_ANY);
}

static void take_sights(const struct programs *p, struct outcome *outcome)
{
	for (uint32_t key = 0; key < SIGHTS; key++)
		bpf_map_lookup_elem(p->sights, &key, &outcome->sights[key]);
}

/* The kernel's side, in a child with a network of its own. */

static int open_tap(const char *name, bool header)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | (header ? IFF_VNET_HDR : 0) };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0 ? fd : -1;
}

static bool attach(const char *name, int prog, enum bpf_tc_attach_point point)
{
	DECLARE_LIBBPF_OPTS(
		bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(name), .attach_point = point);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog, .handle = 1, .priority = 1);
	int err = bpf_tc_hook_create(&hook);

	return (err == 0 || err == -EEXIST) && bpf_tc_attach(&hook, &opts) == 0;
}

static bool send_to_tap(int fd, const struct kind *kind, uint8_t *frame)
{
	struct virtio_net_hdr header = {
		.flags = kind->partial ? VIRTIO_NET_HDR_F_NEEDS_CSUM : VIRTIO_NET_HDR_F_DATA_VALID,
		.csum_start = kind->partial ? (uint16_t)start_of(kind) : 0,
		.csum_offset = kind->partial ? (uint16_t)field_of(kind) : 0,
		.gso_size = kind->mss,
		.gso_type = !kind->mss   ? VIRTIO_NET_HDR_GSO_NONE
			    : !kind->tcp ? VIRTIO_NET_HDR_GSO_UDP_L4
			    : kind->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6
					 : VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = (uint16_t)(start_of(kind) + (kind->tcp ? 20 : 8)),
	};
	struct iovec parts[] = { { &header, sizeof(header) }, { frame, kind->len } };

	if (kind->mss && kind->tcp)
		header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	return writev(fd, parts, 2) == (ssize_t)(sizeof(header) + kind->len);
}

static void receive_from_tap(int fd, struct outcome *outcome)
{
	ssize_t n;

	while (outcome->frames < FRAMES &&
		(n = read(fd, outcome->bytes[outcome->frames], BYTES)) > 0)
		outcome->len[outcome->frames++] = (uint32_t)n;
}

static int ask_kernel(struct asked *asked)
{
	struct programs p;
	uint8_t frame[BYTES];
	uint32_t out_index;
	int in, out;

	sl_client_use(SL_CLIENT_KERNEL);
	if (unshare(CLONE_NEWNET) != 0)
		return errno;
	in = open_tap("in", true);
	out = open_tap("out", false);
	if (in < 0 || out < 0)
		return errno;
	if (system("for d in in out; do echo 1 >/proc/sys/net/ipv6/conf/$d/disable_ipv6; "
		   "ip link set $d up; done") != 0 ||
		!load(&p) || !attach("in", p.enter, BPF_TC_INGRESS) ||
		!attach("out", p.leave, BPF_TC_EGRESS))
		return errno ?: EIO;
	out_index = if_nametoindex("out");
	for (unsigned k = 0; k < KINDS; k++) {
		make_frame(&kinds[k], frame);
		for (unsigned o = 0; o < ORDERS; o++) {
			give_order(&p, &orders[o], out_index);
			if (!send_to_tap(in, &kinds[k], frame))
				return errno;
			receive_from_tap(out, &asked->of[k][o]);
			take_sights(&p, &asked->of[k][o]);
		}
	}
	return 0;
}

/* Once for all tests. */
static const struct asked *kernel_said(void)
{
	static struct asked *asked;
	int status;
	pid_t child;

	if (asked)
		return asked;
	asked = mmap(
		NULL, sizeof(*asked), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child = fork();
	if (child == 0) {
		asked->skipped = ask_kernel(asked);
		_exit(0);
	}
	EXPECT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	return asked;
}

/* Sluice's side. */

static struct rte_mbuf *new_packet(const uint8_t *frame, uint32_t len)
{
	enum { PART = 1500 };
	struct rte_mbuf *m = ring_new_frame(frame, len < PART ? len : PART);

	for (uint32_t at = PART; at < len; at += PART)
		rte_pktmbuf_chain(m, ring_new_frame(frame + at, len - at < PART ? len - at : PART));
	return m;
}

/* As vhost and virtio drivers note it. */
static void ask_as_guest(const struct kind *kind, struct rte_mbuf *m)
{
	if (kind->partial)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
	if (!kind->mss)
		return;
	m->ol_flags |= RTE_MBUF_F_RX_LRO;
	m->tso_segsz = kind->mss;
}

/* As programs ask a driver: the pseudo header is the driver's matter. */
static void ask_as_sender(const struct kind *kind, struct rte_mbuf *m)
{
	uint8_t *field = rte_pktmbuf_mtod_offset(m, uint8_t *, start_of(kind) + field_of(kind));

	if (!kind->partial)
		return;
	memset(field, 0xa5, 2);
	m->ol_flags |=
		kind->ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
	if (!kind->ipv6)
		memset(rte_pktmbuf_mtod_offset(m, uint8_t *, ETH_HLEN + 10), 0x5a, 2);
	m->l2_len = ETH_HLEN;
	m->l3_len = network_len(kind);
	m->l4_len = kind->tcp ? 20 : 8;
	m->tso_segsz = kind->mss;
	/* What senders without outer headers leave behind. */
	m->outer_l2_len = 99;
	if (kind->mss)
		m->ol_flags |= kind->tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
	else
		m->ol_flags |= kind->tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
}

static void receive_from_ring(struct ring_port *port, struct outcome *outcome)
{
	void *m;

	while (rte_ring_dequeue(port->out[0], &m) == 0 || rte_ring_dequeue(port->out[1], &m) == 0) {
		uint32_t len = rte_pktmbuf_pkt_len((struct rte_mbuf *)m);
		const void *bytes;

		EXPECT_EQ(0u, ((struct rte_mbuf *)m)->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK);
		if (outcome->frames < FRAMES && len <= BYTES) {
			uint8_t *to = outcome->bytes[outcome->frames];

			bytes = rte_pktmbuf_read(m, 0, len, to);
			if (bytes != to)
				memcpy(to, bytes, len);
			outcome->len[outcome->frames++] = len;
		}
		rte_pktmbuf_free(m);
	}
}

static int attach_fd(uint32_t ifindex, enum sluice_tc_hook hook, int prog)
{
	struct sluice_tc_filter filter = { .direct_action = true, .prog_fd = prog };

	return sluice_tc_add(ifindex, hook, &filter, 0);
}

typedef void (*ask_fn)(const struct kind *kind, struct rte_mbuf *m);

/* With programs of TC; with one of XDP before them; with none at all, from port to port. */
enum way { BY_TC, BY_XDP, BY_PORTS };

static void set_up_way(const struct bed *bed, const struct programs *p, enum way way)
{
	if (way == BY_PORTS) {
		ASSERT_EQ(0, sluice_port_pass_to(bed->a.ifindex, bed->b.ifindex));
		return;
	}
	ASSERT_EQ(0, attach_fd(bed->a.ifindex, SLUICE_TC_INGRESS, p->enter));
	ASSERT_EQ(0, attach_fd(bed->b.ifindex, SLUICE_TC_EGRESS, p->leave));
	if (way == BY_XDP)
		ASSERT_EQ(0, sluice_xdp_attach(bed->a.ifindex, p->pass, -1, 0));
}

/* What programs that saw a complete packet do to it in the same way. */
static bool is_same_when_complete(enum way way, const struct offload_order *order)
{
	switch (order->op) {
	case OP_NOTHING:
		return true;
	case OP_TAG:
		return way == BY_XDP;
	case OP_ADDRESS:
		return way == BY_XDP && order->flags == (PSEUDO | MANGLED);
	default:
		return false;
	}
}

static void ask_sluice(ask_fn ask, enum way way, struct asked *asked)
{
	struct programs p;
	struct bed bed;
	uint8_t frame[BYTES];
	uint64_t sent = 0;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_TRUE(load(&p));
	set_up_way(&bed, &p, way);
	for (unsigned k = 0; k < KINDS; k++) {
		make_frame(&kinds[k], frame);
		for (unsigned o = 0; o < ORDERS; o++) {
			struct rte_mbuf *m;

			if (way != BY_TC && !is_same_when_complete(way, &orders[o]))
				continue;
			m = new_packet(frame, kinds[k].len);
			give_order(&p, &orders[o], bed.b.ifindex);
			ask(&kinds[k], m);
			ring_send_mbuf(&bed.a, m);
			settle(&bed.a, ++sent);
			receive_from_ring(&bed.b, &asked->of[k][o]);
			take_sights(&p, &asked->of[k][o]);
		}
	}
	bed_close(&bed);
	bpf_object__close(p.object);
}

static void compare_sights(const struct offload_sight *kernel, const struct offload_sight *sluice)
{
	EXPECT_EQ(kernel->calls, sluice->calls);
	EXPECT_EQ(kernel->len, sluice->len);
	EXPECT_EQ(kernel->wire_len, sluice->wire_len);
	EXPECT_EQ(kernel->gso_segs, sluice->gso_segs);
	EXPECT_EQ(kernel->gso_size, sluice->gso_size);
	EXPECT_EQ(kernel->protocol, sluice->protocol);
	for (unsigned i = 0; i < sizeof(kernel->ret) / sizeof(kernel->ret[0]); i++)
		EXPECT_EQ(kernel->ret[i], sluice->ret[i]);
}

static void compare_frames(const struct outcome *kernel, const struct outcome *sluice)
{
	EXPECT_EQ(kernel->frames, sluice->frames);
	for (unsigned i = 0; i < kernel->frames && i < sluice->frames; i++) {
		EXPECT_EQ(kernel->len[i], sluice->len[i]);
		if (kernel->len[i] == sluice->len[i])
			EXPECT_MEMEQ(kernel->bytes[i], sluice->bytes[i], kernel->len[i]);
	}
}

static void compare_one(const struct outcome *kernel, const struct outcome *sluice, enum way way,
	unsigned k, unsigned o)
{
	TRACE_PUSH("%s: %u, %d, flags %#x", kinds[k].name, orders[o].op, orders[o].argument,
		orders[o].flags);
	for (unsigned s = 0; s < SIGHTS && way == BY_TC; s++) {
		TRACE_PUSH("sight %u", s);
		compare_sights(&kernel->sights[s], &sluice->sights[s]);
		TRACE_POP();
	}
	compare_frames(kernel, sluice);
	TRACE_POP();
}

static void compare(ask_fn ask, enum way way)
{
	const struct asked *kernel;
	struct asked *sluice;

	ORACLE_OR_SKIP();
	kernel = kernel_said();
	if (kernel->skipped)
		SKIP("no TAP device for this user: %s", strerror(kernel->skipped));
	sluice = calloc(1, sizeof(*sluice));
	ask_sluice(ask, way, sluice);
	for (unsigned k = 0; k < KINDS; k++) {
		for (unsigned o = 0; o < ORDERS; o++) {
			if (way == BY_TC || is_same_when_complete(way, &orders[o]))
				compare_one(&kernel->of[k][o], &sluice->of[k][o], way, k, o);
		}
	}
	free(sluice);
}

TEST(offload, guests_packets_end_as_in_the_kernel)
{
	compare(ask_as_guest, BY_TC);
}

TEST(offload, senders_packets_end_as_in_the_kernel)
{
	compare(ask_as_sender, BY_TC);
}

TEST(offload, xdp_programs_get_complete_packets)
{
	compare(ask_as_guest, BY_XDP);
	compare(ask_as_sender, BY_XDP);
}

TEST(offload, no_program_is_needed)
{
	compare(ask_as_guest, BY_PORTS);
	compare(ask_as_sender, BY_PORTS);
}

/* Lengths and sizes that come with packets are others' words. */
static const struct lie {
	const char *name;
	uint64_t flags;
	unsigned kind; /* of the frame */
	uint16_t l2_len, l3_len, outer_l2_len, outer_l3_len, mss;
	enum sluice_counter end;
} lies[] = {
	{ "L4 header behind the end", RTE_MBUF_F_TX_TCP_CKSUM, 0, 14, 500, 0, 0, 0,
		SLUICE_BAD_OFFLOAD },
	{ "no IP header there", RTE_MBUF_F_TX_TCP_CKSUM, 0, 15, 20, 0, 0, 0, SLUICE_BAD_OFFLOAD },
	{ "another length than the header's", RTE_MBUF_F_TX_UDP_CKSUM, 1, 14, 24, 0, 0, 0,
		SLUICE_BAD_OFFLOAD },
	{ "pieces of nothing", RTE_MBUF_F_TX_TCP_SEG, 7, 14, 20, 0, 0, 0, SLUICE_BAD_OFFLOAD },
	{ "too many pieces", RTE_MBUF_F_TX_TCP_SEG, 7, 14, 20, 0, 0, 2, SLUICE_NOT_CUT },
	{ "no outer header", RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TUNNEL_VXLAN, 0, 14, 20, 20,
		20, 0, SLUICE_BAD_OFFLOAD },
	{ "SCTP without room for it", RTE_MBUF_F_TX_SCTP_CKSUM, 0, 60, 20, 0, 0, 0,
		SLUICE_BAD_OFFLOAD },
	{ "a guest's pieces of no protocol", RTE_MBUF_F_RX_LRO, KINDS, 0, 0, 0, 0, 100,
		SLUICE_BAD_OFFLOAD },
};

TEST(offload, what_headers_do_not_bear_is_dropped_and_counted)
{
	struct bed bed;
	uint8_t frame[BYTES];
	unsigned sent = 0;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		const struct lie *lie = &lies[i];
		const struct kind *kind = &kinds[lie->kind < KINDS ? lie->kind : 0];
		const struct ring_port *end = lie->end == SLUICE_NOT_CUT ? &bed.b : &bed.a;
		uint64_t before = counter_of(end, lie->end);
		struct rte_mbuf *m;

		TRACE_PUSH("%s", lie->name);
		make_frame(kind, frame);
		if (lie->kind == KINDS)
			put16(frame + 12, 0x88b5);
		m = new_packet(frame, kind->len);
		m->ol_flags |= lie->flags;
		m->l2_len = lie->l2_len & 127;
		m->l3_len = lie->l3_len & 511;
		m->outer_l2_len = lie->outer_l2_len & 127;
		m->outer_l3_len = lie->outer_l3_len & 511;
		m->tso_segsz = lie->mss;
		ring_send_mbuf(&bed.a, m);
		settle(&bed.a, ++sent);
		EXPECT_EQ(before + 1, counter_of(end, lie->end));
		EXPECT_EQ(0u, ring_receive_all(&bed.b));
		TRACE_POP();
	}
	bed_close(&bed);
}

/* The pieces of each packet are what the kernel sends without a tunnel. */
TEST(offload, tunnels_carry_complete_packets)
{
	enum { OUTER = ETH_HLEN + 20 + 8 + 8 };
	static const struct sluice_tunnel_address local = { .family = 4, .bytes = { 10, 9, 0, 2 } };
	static const struct sluice_tunnel_address remote = { .family = 4,
		.bytes = { 10, 9, 0, 1 } };
	struct sluice_tunnel_options options = { .name = "tunnel",
		.kind = SLUICE_TUNNEL_VXLAN,
		.flags = SLUICE_TUNNEL_NEXTHOP,
		.remote = remote,
		.nexthop = { 2, 0x99 } };
	const struct asked *kernel;
	uint32_t tunnel, sent = 0;
	uint8_t frame[BYTES];
	struct bed bed;

	ORACLE_OR_SKIP();
	kernel = kernel_said();
	if (kernel->skipped)
		SKIP("no TAP device for this user: %s", strerror(kernel->skipped));
	ASSERT_TRUE(bed_open(&bed, 2));
	options.local[0] = local;
	options.underlay = bed.b.ifindex;
	ASSERT_EQ(0, sluice_tunnel_add(&options, &tunnel));
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, tunnel));
	for (unsigned k = 0; k < KINDS; k++) {
		const struct outcome *expected = &kernel->of[k][0];
		struct outcome got = { .frames = 0 };
		struct rte_mbuf *m;

		if (kinds[k].len > 1400 && (!kinds[k].mss || kinds[k].mss > 1400))
			continue;
		TRACE_PUSH("%s", kinds[k].name);
		make_frame(&kinds[k], frame);
		m = new_packet(frame, kinds[k].len);
		ask_as_guest(&kinds[k], m);
		ring_send_mbuf(&bed.a, m);
		settle(&bed.a, ++sent);
		receive_from_ring(&bed.b, &got);
		EXPECT_EQ(expected->frames, got.frames);
		for (unsigned i = 0; i < expected->frames && i < got.frames; i++) {
			EXPECT_EQ(expected->len[i] + OUTER, got.len[i]);
			EXPECT_MEMEQ(expected->bytes[i], got.bytes[i] + OUTER, expected->len[i]);
		}
		TRACE_POP();
	}
	EXPECT_EQ(0, sluice_port_remove(tunnel));
	bed_close(&bed);
}
