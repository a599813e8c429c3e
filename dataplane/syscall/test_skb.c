#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "context.h"
#include "packet.h"
#include "prog.h"
#include "test_run.h"

enum {
	KERNEL_HEADROOM = 64, /* NET_SKB_PAD: what bounds the size of a test packet */
	FRAME_MAX = SL_TEST_PAGE - KERNEL_HEADROOM - SL_TEST_TAILROOM,
	/* Ours: an skb grows when a helper needs room, a buffer does not. */
	HEADROOM = 512,
	TAILROOM = 48 << 10,
	GSO_SIZE_MAX = 65536,
	GSO_SEGS_MAX = 65535,
};

/* Fields of __sk_buff in which a caller's context may differ from zero: [from, to) between them. */
#define END(field) (offsetof(struct __sk_buff, field) + sizeof(((struct __sk_buff *)0)->field))
static const struct {
	size_t from, to;
} must_be_zero[] = {
	{ 0, offsetof(struct __sk_buff, mark) },
	{ END(mark), offsetof(struct __sk_buff, priority) },
	{ END(ifindex), offsetof(struct __sk_buff, cb) },
	{ END(cb), offsetof(struct __sk_buff, tstamp) },
	{ END(gso_segs), offsetof(struct __sk_buff, gso_size) },
	{ END(gso_size), offsetof(struct __sk_buff, hwtstamp) },
};

/* A test run refuses frames that end within the IP header they announce. */
static bool is_truncated(const struct sl_test_packet *packet)
{
	const uint8_t *frame = (const uint8_t *)packet->mbufs[0].buf_addr + HEADROOM;
	uint32_t len = packet->mbufs[0].pkt_len;

	switch (rte_be_to_cpu_16(sl_packet_protocol(frame, len))) {
	case ETH_P_IP:
		return len < SL_ETH_HEADER + sizeof(struct iphdr);
	case ETH_P_IPV6:
		return len < SL_ETH_HEADER + sizeof(struct ipv6hdr);
	default:
		return false;
	}
}

static int check_skb(const struct __sk_buff *skb, uint32_t len)
{
	char name[IF_NAMESIZE];

	if (skb->ifindex > SL_TEST_IFINDEX && !if_indextoname(skb->ifindex, name))
		return -ENODEV;
	for (unsigned i = 0; i < sl_array_size(must_be_zero); i++) {
		if (!sl_test_all_zero(skb, must_be_zero[i].from, must_be_zero[i].to))
			return -EINVAL;
	}
	if (skb->wire_len && (skb->wire_len < len || skb->wire_len > GSO_SIZE_MAX))
		return -EINVAL;
	return skb->gso_segs > GSO_SEGS_MAX ? -EINVAL : 0;
}

static void set_up(struct sl_ctx *ctx, const struct __sk_buff *skb, struct rte_mbuf *m)
{
	sl_packet_begin_skb(ctx, m);
	ctx->hash_state = SL_HASH_NONE; /* nothing has computed one */
	ctx->ifindex = skb->ifindex > SL_TEST_IFINDEX ? skb->ifindex : SL_TEST_IFINDEX;
	/* The loopback interface has no broadcast address. */
	if (ctx->ifindex == SL_TEST_IFINDEX && ctx->pkt_type == SL_PKT_BROADCAST)
		ctx->pkt_type = SL_PKT_MULTICAST;
	ctx->ingress_ifindex = skb->ingress_ifindex;
	ctx->mark = skb->mark;
	ctx->priority = skb->priority;
	ctx->tstamp = skb->tstamp;
	ctx->hwtstamp = skb->hwtstamp;
	ctx->gso_segs = skb->gso_segs;
	ctx->gso_size = (uint16_t)skb->gso_size; /* as wide as the kernel keeps it */
	memcpy(ctx->cb, skb->cb, sizeof(ctx->cb));
}

static void give_back(struct __sk_buff *skb, const struct sl_ctx *ctx)
{
	skb->mark = ctx->mark;
	skb->priority = ctx->priority;
	skb->ingress_ifindex = ctx->ingress_ifindex;
	skb->ifindex = ctx->ifindex;
	skb->tstamp = ctx->tstamp;
	skb->hwtstamp = ctx->hwtstamp;
	skb->wire_len = ctx->wire_len;
	skb->gso_segs = ctx->gso_segs;
	memcpy(skb->cb, ctx->cb, sizeof(skb->cb));
}

/* Classifiers and actions see the link-layer header, a socket filter what follows it. */
static int run(const struct sl_call *call, struct sl_prog *prog, struct __sk_buff *skb,
	struct sl_test_packet *packet)
{
	bool with_link_layer = prog->type != BPF_PROG_TYPE_SOCKET_FILTER;
	struct sl_test_result result = { 0 };
	struct sl_ctx ctx = { 0 };
	struct rte_mbuf *m = packet->mbufs;
	int err;

	set_up(&ctx, skb, m);
	if (!with_link_layer) {
		ctx.data += SL_ETH_HEADER;
		ctx.data_meta = ctx.data;
		ctx.len -= SL_ETH_HEADER;
		m->data_off += SL_ETH_HEADER;
		m->data_len -= SL_ETH_HEADER;
		m->pkt_len -= SL_ETH_HEADER;
	}
	/* Without a context nobody has set it, and the kernel leaves 0. */
	if (call->attr->test.ctx_in || call->attr->test.ctx_out)
		ctx.wire_len = skb->wire_len ? skb->wire_len : ctx.len;
	else
		ctx.wire_len = 0;
	err = sl_test_run(call, prog, &ctx, &result);
	if (err)
		return err;
	/* Its header has been taken off; what comes back has an empty one. */
	if (!with_link_layer) {
		ctx.data -= SL_ETH_HEADER;
		memset(ctx.data, 0, SL_ETH_HEADER);
	}
	give_back(skb, &ctx);
	err = sl_test_packet_gather(packet, ctx.data, ctx.data_end, &result);
	if (!err)
		err = sl_test_finish(call, &result, skb, sizeof(*skb));
	free(result.data);
	return err;
}

int sl_test_run_skb(const struct sl_call *call, struct sl_prog *prog)
{
	const union bpf_attr *attr = call->attr;
	struct sl_test_packet packet;
	uint32_t size = attr->test.data_size_in;
	struct __sk_buff skb;
	int err;

	/* BPF_F_TEST_SKB_CHECKSUM_COMPLETE has no meaning here. */
	if (attr->test.flags || attr->test.cpu || attr->test.batch_size)
		return -EINVAL;
	if (size < SL_ETH_HEADER || size > FRAME_MAX)
		return -EINVAL;
	err = sl_test_packet_init(&packet, call, HEADROOM, size, TAILROOM);
	if (!err && is_truncated(&packet))
		err = -EINVAL;
	if (!err)
		err = sl_test_read_ctx(call, &skb, sizeof(skb));
	if (!err)
		err = check_skb(&skb,
			prog->type == BPF_PROG_TYPE_SOCKET_FILTER ? size - SL_ETH_HEADER : size);
	if (!err)
		err = run(call, prog, &skb, &packet);
	free(packet.buffer);
	return err;
}
