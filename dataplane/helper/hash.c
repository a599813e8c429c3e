#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>

#include "ctx_symbols.h"
#include "segments.h"
#include "row.h"
#include "start.h"

/*
 * The packet's flow hash where the NIC gave none: addresses, ports and protocol, dissected from the
 * network header on, sorted so that both directions of a flow have one hash, under a key that is
 * drawn at start-up. Packets without a known network header hash their link-layer addresses.
 */

#define ETH_ADDRS 12
#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define TYPE_VLAN 0x8100
#define TYPE_QINQ 0x88a8
#define VLAN_TAG 4
#define MAX_VLANS 4
#define MAX_EXTENSIONS 8
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define IPV4_MORE_OR_OFFSET 0x3fff

struct flow {
	uint8_t a[16], b[16]; /* addresses */
	uint16_t a_port, b_port;
	uint32_t proto; /* with the network protocol above */
	uint32_t label; /* IPv6 */
};

static uint64_t hash_key[2] = { 0x243f6a8885a308d3, 0x13198a2e03707344 };

void sl_hash_start(void)
{
	ssize_t got = getrandom(hash_key, sizeof(hash_key), GRND_NONBLOCK);

	/* The fixed key serves where there is no entropy yet. */
	(void)got;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_bytes(const void *bytes, uint32_t len)
{
	const uint8_t *at = bytes;
	uint64_t hash = hash_key[0], word;

	for (; len; len -= sl_min(len, 8u), at += 8) {
		word = 0;
		memcpy(&word, at, sl_min(len, 8u));
		hash = mix(hash ^ word, hash_key[1] | 1);
	}
	hash = mix(hash ^ hash_key[1], 0x9e3779b97f4a7c15);
	return (uint32_t)(hash >> 32) ? (uint32_t)(hash >> 32) : 1;
}

static void sort_ends(struct flow *flow)
{
	struct flow swapped = *flow;
	int order = memcmp(flow->a, flow->b, sizeof(flow->a));

	if (order < 0 || (order == 0 && ntohs(flow->a_port) <= ntohs(flow->b_port)))
		return;
	memcpy(swapped.a, flow->b, sizeof(flow->a));
	memcpy(swapped.b, flow->a, sizeof(flow->b));
	swapped.a_port = flow->b_port;
	swapped.b_port = flow->a_port;
	*flow = swapped;
}

static bool has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP ||
	       proto == IPPROTO_DCCP || proto == IPPROTO_UDPLITE;
}

static bool read_ports(
	const struct sl_ctx *ctx, uint32_t offset, uint8_t proto, struct flow *ret_flow)
{
	uint16_t ports[2];

	if (!has_ports(proto) || !sl_segments_read(ctx, offset, ports, sizeof(ports)))
		return false;
	ret_flow->a_port = ports[0];
	ret_flow->b_port = ports[1];
	return true;
}

/* Returns whether the hash covers ports. */
static bool dissect_ipv4(const struct sl_ctx *ctx, uint32_t offset, struct flow *ret_flow)
{
	uint8_t header[IPV4_HEADER];
	uint16_t fragment;

	if (!sl_segments_read(ctx, offset, header, sizeof(header)))
		return false;
	memcpy(ret_flow->a, header + 12, 4);
	memcpy(ret_flow->b, header + 16, 4);
	ret_flow->proto = TYPE_IPV4 << 8 | header[9];
	memcpy(&fragment, header + 6, sizeof(fragment));
	/* No fragment has them, so that all hash alike. */
	if (ntohs(fragment) & IPV4_MORE_OR_OFFSET)
		return false;
	return read_ports(ctx, offset + (header[0] & 0xf) * 4, header[9], ret_flow);
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS;
}

static bool dissect_ipv6(const struct sl_ctx *ctx, uint32_t offset, struct flow *ret_flow)
{
	uint8_t header[IPV6_HEADER], extension[2];
	uint32_t label;
	uint8_t proto;

	if (!sl_segments_read(ctx, offset, header, sizeof(header)))
		return false;
	memcpy(&label, header, sizeof(label));
	memcpy(ret_flow->a, header + 8, 16);
	memcpy(ret_flow->b, header + 24, 16);
	proto = header[6];
	offset += IPV6_HEADER;
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(proto); i++) {
		if (!sl_segments_read(ctx, offset, extension, sizeof(extension)))
			break;
		proto = extension[0];
		offset += (extension[1] + 1) * 8;
	}
	ret_flow->proto = TYPE_IPV6 << 8 | proto;
	ret_flow->label = ntohl(label) & 0xfffff;
	return read_ports(ctx, offset, proto, ret_flow);
}

void sl_ctx_compute_hash(struct sl_ctx *ctx)
{
	uint32_t offset = ctx->network_offset - (uint32_t)(ctx->data - ctx->head);
	uint16_t type = ntohs(ctx->protocol), tag[2];
	struct flow flow;
	bool ports = false;

	memset(&flow, 0, sizeof(flow));
	for (int i = 0; i < MAX_VLANS && (type == TYPE_VLAN || type == TYPE_QINQ); i++) {
		if (!sl_segments_read(ctx, offset, tag, sizeof(tag)))
			break;
		type = ntohs(tag[1]);
		offset += VLAN_TAG;
	}
	if (type == TYPE_IPV4)
		ports = dissect_ipv4(ctx, offset, &flow);
	else if (type == TYPE_IPV6)
		ports = dissect_ipv6(ctx, offset, &flow);
	else if (sl_segments_read(ctx, 0, flow.a, ETH_ADDRS))
		flow.proto = type << 8;
	sort_ends(&flow);
	ctx->hash = hash_bytes(&flow, sizeof(flow));
	ctx->hash_state = ports ? SL_HASH_L4 : SL_HASH_SET;
}

static bool is_valid(const struct sl_ctx *ctx)
{
	return ctx->hash_state == SL_HASH_L4 || ctx->hash_state == SL_HASH_SET;
}

SL_HELPER_FN(get_hash_recalc)
{
	if (!is_valid(ctx))
		sl_ctx_compute_hash(ctx);
	return ctx->hash;
}

const struct sl_helper sl_helper_get_hash_recalc = {
	SL_ROW(get_hash_recalc, TC),
	.args = { SL_ARG_CTX },
};

SL_HELPER_FN(set_hash)
{
	ctx->hash = (uint32_t)r2;
	ctx->hash_state = SL_HASH_SET;
	return 0;
}

const struct sl_helper sl_helper_set_hash = {
	SL_ROW(set_hash, TC),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};

SL_HELPER_FN(set_hash_invalid)
{
	ctx->hash = 0;
	ctx->hash_state = SL_HASH_NONE;
	return 0;
}

const struct sl_helper sl_helper_set_hash_invalid = {
	SL_ROW(set_hash_invalid, TC),
	.args = { SL_ARG_CTX },
};
