#include "context.h"

#include <rte_mbuf_core.h>
#include <string.h>

#include "ctx_symbols.h"

/* Setting a context up and the fields that are more than a load or a store. */

#define ETH_HEADER 14
#define ETH_ADDR 6
#define ETH_P_8021Q 0x8100
#define ETH_TYPE_MIN 0x600 /* below it the field is a length: IEEE 802.3 */
#define PROTO_802_3 0x0001
#define PROTO_802_2 0x0004
#define NO_QUEUE_MAPPING 0xffff

enum { PKT_HOST, PKT_BROADCAST, PKT_MULTICAST, PKT_OTHERHOST };

static inline uint16_t be16(uint16_t x)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(x);
#else
	return x;
#endif
}

static inline void begin_packet(struct sl_ctx *ctx, struct rte_mbuf *mbuf)
{
	uint8_t *buf = mbuf->buf_addr;

	ctx->mbuf = mbuf;
	ctx->head = buf;
	ctx->tail = buf + mbuf->buf_len;
	ctx->data = buf + mbuf->data_off;
	ctx->data_end = ctx->data + mbuf->data_len;
	ctx->data_meta = ctx->data;
}

SL_FAST
void sl_ctx_begin_xdp(struct sl_ctx *ctx, struct rte_mbuf *mbuf)
{
	begin_packet(ctx, mbuf);
	ctx->is_skb = false;
}

/* As the kernel's eth_type_trans: 802.3 frames carry a length instead of a type. */
static inline uint16_t ethernet_protocol(const uint8_t *frame, uint32_t len)
{
	uint16_t type;

	if (len < ETH_HEADER)
		return 0;
	memcpy(&type, frame + 2 * ETH_ADDR, sizeof(type));
	if (sl_likely(be16(type) >= ETH_TYPE_MIN))
		return type;
	if (len >= ETH_HEADER + 2 && frame[ETH_HEADER] == 0xff && frame[ETH_HEADER + 1] == 0xff)
		return be16(PROTO_802_3);
	return be16(PROTO_802_2);
}

static inline uint32_t ethernet_pkt_type(const uint8_t *frame, const uint8_t *port_addr)
{
	static const uint8_t broadcast[ETH_ADDR] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (memcmp(frame, port_addr, ETH_ADDR) == 0)
		return PKT_HOST;
	if (!(frame[0] & 1))
		return PKT_OTHERHOST;
	return memcmp(frame, broadcast, ETH_ADDR) == 0 ? PKT_BROADCAST : PKT_MULTICAST;
}

SL_FAST
void sl_ctx_begin_skb(struct sl_ctx *ctx, struct rte_mbuf *mbuf)
{
	uint64_t flags = mbuf->ol_flags;
	uint64_t csum = flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	begin_packet(ctx, mbuf);
	ctx->is_skb = true;
	ctx->len = mbuf->pkt_len;
	ctx->wire_len = mbuf->pkt_len;
	ctx->protocol = ethernet_protocol(ctx->data, mbuf->data_len);
	ctx->pkt_type = mbuf->data_len < ETH_HEADER ? PKT_HOST
						    : ethernet_pkt_type(ctx->data, ctx->port_addr);
	ctx->vlan_present = (flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0;
	ctx->vlan_tci = ctx->vlan_present ? mbuf->vlan_tci : 0;
	ctx->vlan_proto = ctx->vlan_present ? be16(ETH_P_8021Q) : 0;
	ctx->hash_state = flags & RTE_MBUF_F_RX_RSS_HASH ? SL_HASH_L4 : SL_HASH_LAZY;
	ctx->hash = flags & RTE_MBUF_F_RX_RSS_HASH ? mbuf->hash.rss : 0;
	ctx->ip_summed = csum == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? SL_CSUM_UNNECESSARY : SL_CSUM_NONE;
	ctx->csum_level = 0;
	ctx->encapsulation = 0;
	ctx->mark = ctx->priority = ctx->queue_mapping = 0;
	ctx->tc_index = ctx->tc_classid = 0;
	memset(ctx->cb, 0, sizeof(ctx->cb));
	ctx->gso_segs = ctx->gso_size = 0;
	ctx->tstamp = ctx->hwtstamp = 0;
	ctx->tstamp_type = 0;
	ctx->mac_offset = ctx->data - ctx->head;
	ctx->network_offset = ctx->mac_offset + ETH_HEADER;
	ctx->tunnel = NULL;
}

/* The other segments are as they were unless a helper changed them and pkt_len with them. */
SL_FAST
void sl_ctx_end_xdp(struct sl_ctx *ctx)
{
	struct rte_mbuf *mbuf = ctx->mbuf;
	uint32_t rest = mbuf->pkt_len - mbuf->data_len;

	mbuf->data_off = ctx->data - (uint8_t *)mbuf->buf_addr;
	mbuf->data_len = ctx->data_end - ctx->data;
	mbuf->pkt_len = mbuf->data_len + rest;
}

SL_FAST
void sl_ctx_end_skb(struct sl_ctx *ctx)
{
	struct rte_mbuf *mbuf = ctx->mbuf;

	mbuf->data_off = ctx->data - (uint8_t *)mbuf->buf_addr;
	mbuf->data_len = ctx->data_end - ctx->data;
	mbuf->pkt_len = ctx->len;
	if (ctx->vlan_present) {
		mbuf->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
		mbuf->vlan_tci = ctx->vlan_tci;
	} else {
		mbuf->ol_flags &= ~(RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED);
	}
}

SL_FAST
uint64_t sl_ctx_get_hash(struct sl_ctx *ctx)
{
	if (sl_unlikely(ctx->hash_state == SL_HASH_LAZY))
		sl_ctx_compute_hash(ctx);
	return ctx->hash;
}

/* The kernel ignores a queue that would read as "none". */
SL_FAST
void sl_ctx_set_queue_mapping(struct sl_ctx *ctx, uint64_t value)
{
	if (value < NO_QUEUE_MAPPING)
		ctx->queue_mapping = value;
}
