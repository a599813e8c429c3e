#include "rx_hints.h"

#include <errno.h>
#include <rte_mbuf_core.h>
#include <rte_mbuf_dyn.h>
#include <rte_mbuf_ptype.h>
#include <string.h>

#include "kfunc_row.h"
#include "prog.h"

bool (*sl_rx_device_find)(uint32_t ifindex, struct sl_rx_device *ret_device);

/* Written before the first port that gives time stamps is there. */
static struct {
	int offset;
	uint64_t flag;
} stamp;

void sl_rx_timestamp_set(int offset, uint64_t flag)
{
	stamp.offset = offset;
	stamp.flag = flag;
}

/* The kernel's enum xdp_rss_hash_type. */
enum {
	RSS_IPV4 = 1 << 0,
	RSS_IPV6 = 1 << 1,
	RSS_EXTENDED = 1 << 2, /* options or extension headers */
	RSS_L4 = 1 << 3,
	RSS_TCP = 1 << 4,
	RSS_UDP = 1 << 5,
	RSS_SCTP = 1 << 6,
	RSS_IPSEC = 1 << 7,
	RSS_ICMP = 1 << 8,
};

static const struct {
	uint32_t mask, ptype, hash_type;
} hash_types[] = {
	{ RTE_PTYPE_L3_MASK, RTE_PTYPE_L3_IPV4, RSS_IPV4 },
	{ RTE_PTYPE_L3_MASK, RTE_PTYPE_L3_IPV4_EXT, RSS_IPV4 | RSS_EXTENDED },
	{ RTE_PTYPE_L3_MASK, RTE_PTYPE_L3_IPV4_EXT_UNKNOWN, RSS_IPV4 },
	{ RTE_PTYPE_L3_MASK, RTE_PTYPE_L3_IPV6, RSS_IPV6 },
	{ RTE_PTYPE_L3_MASK, RTE_PTYPE_L3_IPV6_EXT, RSS_IPV6 | RSS_EXTENDED },
	{ RTE_PTYPE_L3_MASK, RTE_PTYPE_L3_IPV6_EXT_UNKNOWN, RSS_IPV6 },
	{ RTE_PTYPE_L4_MASK, RTE_PTYPE_L4_TCP, RSS_L4 | RSS_TCP },
	{ RTE_PTYPE_L4_MASK, RTE_PTYPE_L4_UDP, RSS_L4 | RSS_UDP },
	{ RTE_PTYPE_L4_MASK, RTE_PTYPE_L4_SCTP, RSS_L4 | RSS_SCTP },
	{ RTE_PTYPE_L4_MASK, RTE_PTYPE_L4_ICMP, RSS_L4 | RSS_ICMP },
	{ RTE_PTYPE_TUNNEL_MASK, RTE_PTYPE_TUNNEL_ESP, RSS_L4 | RSS_IPSEC },
};

static uint32_t hash_type_of(uint32_t packet_type)
{
	uint32_t hash_type = 0;

	for (unsigned i = 0; i < sl_array_size(hash_types); i++)
		if ((packet_type & hash_types[i].mask) == hash_types[i].ptype)
			hash_type |= hash_types[i].hash_type;
	return hash_type;
}

/* 0, or what the function says; `prog` is bound to the device that the packet came from. */
static int check(const struct sl_ctx *ctx, uint64_t prog, enum sl_rx_hint hint, uint64_t flag)
{
	if (!(((const struct sl_prog *)(uintptr_t)prog)->rx_hints & hint))
		return -EOPNOTSUPP;
	return ctx->mbuf->ol_flags & flag ? 0 : -ENODATA;
}

SL_HELPER_FN(xdp_metadata_rx_timestamp)
{
	int err = check(ctx, r3, SL_RX_HINT_TIMESTAMP, stamp.flag);

	if (!err)
		memcpy((void *)(uintptr_t)r2, RTE_MBUF_DYNFIELD(ctx->mbuf, stamp.offset, void *),
			sizeof(uint64_t));
	return (uint32_t)err;
}

SL_HELPER_FN(xdp_metadata_rx_hash)
{
	int err = check(ctx, r4, SL_RX_HINT_HASH, RTE_MBUF_F_RX_RSS_HASH);
	uint32_t hash_type;

	if (err)
		return (uint32_t)err;
	hash_type = hash_type_of(ctx->mbuf->packet_type);
	memcpy((void *)(uintptr_t)r2, &ctx->mbuf->hash.rss, sizeof(uint32_t));
	memcpy((void *)(uintptr_t)r3, &hash_type, sizeof(hash_type));
	return 0;
}

SL_HELPER_FN(xdp_metadata_rx_vlan_tag)
{
	int err = check(ctx, r4, SL_RX_HINT_VLAN, RTE_MBUF_F_RX_VLAN_STRIPPED);
	uint16_t proto = RTE_BE16(0x8100);

	if (err)
		return (uint32_t)err;
	memcpy((void *)(uintptr_t)r2, &proto, sizeof(proto));
	memcpy((void *)(uintptr_t)r3, &ctx->mbuf->vlan_tci, sizeof(uint16_t));
	return 0;
}

#define HINT_ROW(kfunc) SL_KFUNC_ROW(kfunc, XDP), .flags = SL_HELPER_GETS_PROG

const struct sl_kfunc sl_kfunc_xdp_metadata_rx_timestamp = {
	.call = { HINT_ROW(xdp_metadata_rx_timestamp), .args = { SL_ARG_CTX, SL_ARG_MEM_FIXED },
		.fixed_size = { 0, sizeof(uint64_t) } },
	.flags = SL_KFUNC_DEV_BOUND,
};

const struct sl_kfunc sl_kfunc_xdp_metadata_rx_hash = {
	.call = { HINT_ROW(xdp_metadata_rx_hash),
		.args = { SL_ARG_CTX, SL_ARG_MEM_FIXED, SL_ARG_MEM_FIXED },
		.fixed_size = { 0, sizeof(uint32_t), sizeof(uint32_t) } },
	.flags = SL_KFUNC_DEV_BOUND,
};

const struct sl_kfunc sl_kfunc_xdp_metadata_rx_vlan_tag = {
	.call = { HINT_ROW(xdp_metadata_rx_vlan_tag),
		.args = { SL_ARG_CTX, SL_ARG_MEM_FIXED, SL_ARG_MEM_FIXED },
		.fixed_size = { 0, sizeof(uint16_t), sizeof(uint16_t) } },
	.flags = SL_KFUNC_DEV_BOUND,
};
