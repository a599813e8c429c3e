#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_net.h>
#include <rte_ring.h>

#include "offload.h"
#include "packet.h"
#include "port.h"
#include "transmit.h"
#include "twin.h"

/*
 * The packet sockets of twins, in bursts. What packets ask of their sender crosses in the header of
 * virtio, in both directions. The kernel keeps a packet's outer VLAN tag beside it, DPDK where the
 * device has taken it out; here it is in the packet's bytes.
 */

enum {
	OVERFLOW = 1 << 16, /* of a packet that is more than an mbuf holds */
	SEGMENTS = 64, /* of a packet for the kernel */
	SOCKET_BYTES = 1 << 23,
	SEND_RETRIES = 4,
};

/* Where packets of the kernel arrive. */
struct sl_twin_area {
	struct mmsghdr messages[SL_BURST];
	struct iovec iov[SL_BURST][3];
	struct virtio_net_hdr headers[SL_BURST];
	union {
		char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
		size_t align;
	} control[SL_BURST];
	uint8_t overflow[SL_BURST][OVERFLOW];
};

int sl_twin_area_new(struct sl_twin_area **ret_area)
{
	struct sl_twin_area *area = malloc(sizeof(*area)); /* most of it is hardly ever touched */

	if (!area)
		return -ENOMEM;
	memset(area, 0, offsetof(struct sl_twin_area, overflow));
	*ret_area = area;
	return 0;
}

void sl_twin_area_free(struct sl_twin_area *area)
{
	free(area);
}

static int set_option(int fd, int option)
{
	int on = 1;

	return setsockopt(fd, SOL_PACKET, option, &on, sizeof(on)) == 0 ? 0 : -errno;
}

static void set_size(int fd, int forced, int usual)
{
	int size = SOCKET_BYTES;

	if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) != 0)
		setsockopt(fd, SOL_SOCKET, usual, &size, sizeof(size));
}

int sl_twin_socket(uint32_t ifindex, int *ret_fd)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	set_size(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_size(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	err = set_option(fd, PACKET_IGNORE_OUTGOING);
	if (!err)
		err = set_option(fd, PACKET_VNET_HDR);
	if (!err)
		err = set_option(fd, PACKET_AUXDATA);
	/* The queue of an interface that has just come up swallows packets until the kernel notes it. */
	if (!err)
		err = set_option(fd, PACKET_QDISC_BYPASS);
	if (!err && bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0)
		err = -errno;
	if (err)
		close(fd);
	else
		*ret_fd = fd;
	return err;
}

/* What a packet asks for, in virtio's words. */
static struct virtio_net_hdr describe(const struct rte_mbuf *m)
{
	struct virtio_net_hdr h = { 0 };
	uint32_t start;
	bool tcp;

	if (sl_likely(!(m->ol_flags & SL_OFFLOADS)))
		return h;
	start = sl_offload_start(m);
	tcp = (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
	h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h.csum_start = (uint16_t)start;
	h.csum_offset = tcp ? SL_TCP_CSUM : SL_UDP_CSUM;
	if (!(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG))
		return h;
	h.hdr_len = (uint16_t)(start + sl_offload_l4_len(m, start));
	h.gso_size = m->tso_segsz;
	h.gso_type = *rte_pktmbuf_mtod_offset(m, uint8_t *, start - m->l3_len) >> 4 == 6
			     ? VIRTIO_NET_HDR_GSO_TCPV6
			     : VIRTIO_NET_HDR_GSO_TCPV4;
	return h;
}

static void end(struct sl_twin *twin, struct rte_mbuf **pkts, unsigned n, enum sluice_counter why)
{
	sl_twin_count(twin, why, n);
	sl_transmit_free(pkts, n);
}

/* A tag that the device has taken out goes back. Returns how many are left. */
static unsigned put_tags_back(struct sl_twin *twin, struct rte_mbuf **pkts, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (pkts[i]->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED &&
			rte_vlan_insert(&pkts[i]) != 0)
			end(twin, &pkts[i], 1, SLUICE_NO_ROOM);
		else if (pkts[i]->nb_segs >= SEGMENTS)
			end(twin, &pkts[i], 1, SLUICE_KERNEL_REFUSED);
		else
			pkts[kept++] = pkts[i];
	}
	return kept;
}

struct burst {
	struct mmsghdr messages[SL_BURST];
	struct virtio_net_hdr headers[SL_BURST];
	struct iovec iov[SL_BURST * 4 + SEGMENTS];
};

/* As many packets as there are iovecs for; returns how many. */
static unsigned fill(struct burst *b, struct rte_mbuf *const *pkts, unsigned n)
{
	unsigned used = 0, i;

	for (i = 0; i < n && used + 1 + pkts[i]->nb_segs <= sl_array_size(b->iov); i++) {
		struct msghdr *message = &b->messages[i].msg_hdr;

		b->headers[i] = describe(pkts[i]);
		memset(message, 0, sizeof(*message));
		message->msg_iov = &b->iov[used];
		b->iov[used++] = (struct iovec){ &b->headers[i], sizeof(b->headers[i]) };
		for (const struct rte_mbuf *s = pkts[i]; s; s = s->next)
			b->iov[used++] = (struct iovec){ rte_pktmbuf_mtod(s, void *), s->data_len };
		message->msg_iovlen = (size_t)(&b->iov[used] - message->msg_iov);
	}
	return i;
}

static enum sluice_counter reason_of(int error)
{
	switch (error) {
	case EAGAIN:
	case ENOBUFS:
		return SLUICE_KERNEL_FULL;
	case ENETDOWN:
	case ENXIO:
	case ENODEV:
		return SLUICE_KERNEL_DOWN;
	default:
		return SLUICE_KERNEL_REFUSED;
	}
}

static void send_filled(struct sl_twin *twin, struct burst *b, struct rte_mbuf **pkts, unsigned n)
{
	unsigned at = 0, retries = 0;

	while (at < n) {
		int sent = sendmmsg(twin->fd, b->messages + at, n - at, MSG_DONTWAIT);

		if (sent > 0) {
			end(twin, pkts + at, (unsigned)sent, SLUICE_KERNEL);
			at += (unsigned)sent;
			continue;
		}
		if (errno == EINTR || (errno == EAGAIN && retries++ < SEND_RETRIES))
			continue;
		end(twin, pkts + at, 1, reason_of(errno));
		at++;
	}
}

unsigned sl_twin_send(struct sl_twin *twin)
{
	struct rte_mbuf *pkts[SL_BURST];
	unsigned taken = rte_ring_sc_dequeue_burst(twin->to_kernel, (void **)pkts, SL_BURST, NULL);
	struct burst b;
	unsigned n, at = 0;

	if (taken == 0)
		return 0;
	if (!twin->up || twin->gone) {
		end(twin, pkts, taken, SLUICE_KERNEL_DOWN);
		return taken;
	}
	n = put_tags_back(twin, pkts, taken);
	while (at < n) {
		unsigned filled = fill(&b, pkts + at, n - at);

		send_filled(twin, &b, pkts + at, filled);
		at += filled;
	}
	return taken;
}

/* Where a message lands: its header, an mbuf, and what goes beyond that. */
static void prepare(struct sl_twin_area *area, unsigned i, struct rte_mbuf *m)
{
	struct msghdr *message = &area->messages[i].msg_hdr;

	area->iov[i][0] = (struct iovec){ &area->headers[i], sizeof(area->headers[i]) };
	area->iov[i][1] = (struct iovec){ rte_pktmbuf_mtod(m, void *), rte_pktmbuf_tailroom(m) };
	area->iov[i][2] = (struct iovec){ area->overflow[i], OVERFLOW };
	*message = (struct msghdr){
		.msg_iov = area->iov[i],
		.msg_iovlen = 3,
		.msg_control = &area->control[i],
		.msg_controllen = sizeof(area->control[i]),
	};
}

/* The part of a packet that did not fit into the first segment. */
static bool append_rest(struct rte_mbuf *m, const uint8_t *from, uint32_t len)
{
	while (len > 0) {
		struct rte_mbuf *s = rte_pktmbuf_alloc(m->pool);
		uint16_t part;

		if (!s)
			return false;
		part = (uint16_t)sl_min(len, (uint32_t)rte_pktmbuf_tailroom(s));
		memcpy(rte_pktmbuf_append(s, part), from, part);
		if (rte_pktmbuf_chain(m, s) != 0) {
			rte_pktmbuf_free(s);
			return false;
		}
		from += part;
		len -= part;
	}
	return true;
}

/* Puts the tag that the kernel keeps beside the packet into it; returns how long it is. */
static unsigned put_tag(struct msghdr *message, struct rte_mbuf *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		struct tpacket_auxdata aux;
		uint8_t *data;
		uint16_t tag[2];

		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID) || m->data_len < 2 * ETH_ALEN)
			return 0;
		data = (uint8_t *)rte_pktmbuf_prepend(m, sizeof(tag));
		if (!data)
			return 0;
		tag[0] = htons(
			aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q);
		tag[1] = htons(aux.tp_vlan_tci);
		memmove(data, data + sizeof(tag), 2 * ETH_ALEN);
		memcpy(data + 2 * ETH_ALEN, tag, sizeof(tag));
		return sizeof(tag);
	}
	return 0;
}

/* TCP or UDP whose checksum is where its headers say. */
static bool is_plain(const struct rte_mbuf *m, uint32_t start, uint32_t field)
{
	struct rte_net_hdr_lens lens;
	uint32_t type = rte_net_get_ptype(m, &lens, RTE_PTYPE_ALL_MASK);

	if (type & RTE_PTYPE_TUNNEL_MASK || (uint32_t)lens.l2_len + lens.l3_len != start)
		return false;
	return ((type & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_TCP && field == SL_TCP_CSUM) ||
	       ((type & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_UDP && field == SL_UDP_CSUM);
}

/* What the kernel asks for, as a guest of vhost would: the worker brings it into its own form. */
static bool ask(struct rte_mbuf *m, const struct virtio_net_hdr *h, unsigned tag)
{
	uint32_t start = h->csum_start + tag, field = h->csum_offset;
	bool csum = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;

	if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->ol_flags |= csum ? RTE_MBUF_F_RX_L4_CKSUM_NONE : RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		m->tso_segsz = h->gso_size;
		return h->gso_size && (!csum || is_plain(m, start, field));
	}
	if (!csum)
		return true;
	if (start + field + sizeof(uint16_t) > m->data_len)
		return false;
	if (is_plain(m, start, field))
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
	else
		sl_offload_complete(m, start, field);
	return true;
}

/* From a message to a packet. */
static bool accept_message(struct sl_twin_area *area, unsigned i, struct rte_mbuf *m)
{
	struct mmsghdr *message = &area->messages[i];
	uint32_t len = message->msg_len, first;

	if (len <= sizeof(area->headers[i]) || message->msg_hdr.msg_flags & MSG_TRUNC)
		return false;
	len -= sizeof(area->headers[i]);
	first = sl_min(len, (uint32_t)rte_pktmbuf_tailroom(m));
	rte_pktmbuf_append(m, (uint16_t)first);
	return append_rest(m, area->overflow[i], len - first) &&
	       ask(m, &area->headers[i], put_tag(&message->msg_hdr, m));
}

/* Came in and went. */
static void count_lost(struct sl_twin *twin, uint64_t n, enum sluice_counter why)
{
	sl_twin_count(twin, SLUICE_FROM_KERNEL, n);
	sl_twin_count(twin, why, n);
}

void sl_twin_count_lost(struct sl_twin *twin)
{
	struct tpacket_stats stats;
	socklen_t size = sizeof(stats);

	/* Reading it starts it anew. */
	if (getsockopt(twin->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) == 0 &&
		stats.tp_drops)
		count_lost(twin, stats.tp_drops, SLUICE_FROM_KERNEL_LOST);
}

static bool refill(struct sl_twin *twin)
{
	unsigned missing = SL_BURST - twin->spare_count;

	if (missing && rte_pktmbuf_alloc_bulk(
			       twin->port->pool, twin->spare + twin->spare_count, missing) == 0)
		twin->spare_count = SL_BURST;
	return twin->spare_count > 0;
}

/* What has been received, without what was not usable; returns how many are left in pkts. */
static unsigned accept_all(
	struct sl_twin *twin, struct sl_twin_area *area, struct rte_mbuf **pkts, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		m->port = twin->port->id;
		if (accept_message(area, i, m)) {
			pkts[kept++] = m;
			continue;
		}
		count_lost(twin, 1, SLUICE_FROM_KERNEL_LOST);
		rte_pktmbuf_free(m);
	}
	return kept;
}

unsigned sl_twin_receive(struct sl_twin *twin, struct sl_twin_area *area, bool *ret_full)
{
	unsigned room = rte_ring_free_count(twin->from_kernel), want, kept;
	struct rte_mbuf *pkts[SL_BURST];
	int n;

	*ret_full = false;
	if (twin->gone)
		return 0;
	if (room < SL_BURST || !refill(twin)) {
		*ret_full = true;
		return 0;
	}
	want = twin->spare_count;
	for (unsigned i = 0; i < want; i++)
		prepare(area, i, twin->spare[i]);
	n = recvmmsg(twin->fd, area->messages, want, MSG_DONTWAIT, NULL);
	if (n <= 0)
		return 0;
	memcpy(pkts, twin->spare, (size_t)n * sizeof(pkts[0]));
	twin->spare_count -= (unsigned)n;
	memmove(twin->spare, twin->spare + n, twin->spare_count * sizeof(pkts[0]));
	kept = accept_all(twin, area, pkts, (unsigned)n);
	rte_ring_sp_enqueue_bulk(twin->from_kernel, (void **)pkts, kept, NULL);
	return (unsigned)n;
}
