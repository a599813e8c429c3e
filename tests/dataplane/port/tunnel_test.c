#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <sluice/route.h>
#include <sluice/tunnel.h>

#include "bed.h"
#include "context.h"
#include "redirect.h"
#include "test.h"
#include "tunnel.h"

/*
 * Tunnels between two ring ports: a packet that comes in at port a is sent out of a tunnel over port
 * b by a filter that sets a key; the outer headers must be those of the table, which were made from
 * the RFCs and the kernel's rules by other code. With the addresses exchanged the packet is then sent
 * back, and the filter of the tunnel must see the same key, and the packet that it was.
 */

enum { INNER4 = 60, INNER6 = 74, OUTER_MAX = 256, OPTIONS = 8 };

/* IPv4 with ECT(0), DF, TTL 17; UDP. */
static const uint8_t inner4[INNER4] = { 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45,
	0x02, 0, 46, 0, 1, 0x40, 0, 17, 17, 0x15, 0xba, 10, 0, 0, 1, 10, 0, 0, 2, 0x03, 0xe8, 0x07,
	0xd0, 0, 26, 0, 0, 'p', 'a', 'y', 'l', 'o', 'a', 'd' };

/* IPv6 with ECT(0), hop limit 99. */
static const uint8_t inner6[INNER6] = { 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60,
	0x20, 0, 0, 0, 20, 17, 99, 0xfd, 1, [37] = 1, 0xfd, 1, [53] = 2, 0x03, 0xe8, 0x07, 0xd0, 0,
	20, 0, 0, 'p', 'a', 'y' };

struct row {
	const char *name;
	enum sluice_tunnel_kind kind;
	uint32_t flags;
	bool ipv6, inner_ipv6;
	struct sl_tunnel key; /* external: what the filter sets */
	struct sluice_tunnel_options fixed; /* otherwise */
	const char *outer; /* behind the Ethernet header; IDs, checksums and source ports are 0 */
};

#define EXTERNAL SLUICE_TUNNEL_EXTERNAL
#define FAR6 "fd090000000000000000000000000002fd090000000000000000000000000001"
#define FAR4 "0a0900020a090001"

static const struct row rows[] = {
	{ "vxlan", SLUICE_TUNNEL_VXLAN, EXTERNAL, .key = { .id = 0x123456, .flags = SL_TUNNEL_KEY },
		.outer = "450200600000000040110000" FAR4 "000012b5004c00000800000012345600" },
	{ "vxlan over IPv6", SLUICE_TUNNEL_VXLAN, EXTERNAL, .ipv6 = true,
		.key = { .id = 0x123456,
			.flags = SL_TUNNEL_KEY | SL_TUNNEL_CSUM,
			.tos = 0xb9,
			.ttl = 9,
			.label = 0xabcde },
		.outer = "6baabcde004c1109" FAR6 "000012b5004c00000800000012345600" },
	{ "vxlan, policy", SLUICE_TUNNEL_VXLAN, EXTERNAL | SLUICE_TUNNEL_GBP,
		.key = { .id = 0x123456,
			.ttl = 5,
			.flags = SL_TUNNEL_KEY | SL_TUNNEL_CSUM | SL_TUNNEL_DONT_FRAGMENT |
				 SL_TUNNEL_OPTIONS,
			.options_len = 4,
			.options = { 0xef, 0xbe, 0x48, 0 } },
		.outer = "450200600000400005110000" FAR4 "000012b5004c00008848beef12345600" },
	{ "geneve, options", SLUICE_TUNNEL_GENEVE, EXTERNAL,
		.key = { .id = 0xdead,
			.tos = 0xfc,
			.ttl = 7,
			.flags = SL_TUNNEL_KEY | SL_TUNNEL_DONT_FRAGMENT | SL_TUNNEL_OPTIONS,
			.options_len = 8,
			.options = { 1, 2, 0x80, 1, 0x11, 0x22, 0x33, 0x44 } },
		.outer = "45fe00680000400007110000" FAR4
			 "000017c1005400000200655800dead000102800111223344" },
	{ "geneve over IPv6", SLUICE_TUNNEL_GENEVE, EXTERNAL, .ipv6 = true,
		.key = { .id = 1, .flags = SL_TUNNEL_KEY | SL_TUNNEL_CSUM },
		.outer = "60200000004c1100" FAR6 "000017c1004c00000000655800000100" },
	{ "gre", SLUICE_TUNNEL_GRE, EXTERNAL | SLUICE_TUNNEL_CSUM,
		.key = { .id = 0x0badcafe,
			.flags = SL_TUNNEL_KEY | SL_TUNNEL_CSUM | SL_TUNNEL_SEQ },
		.outer = "4502005200004000112f0000" FAR4 "b0000800000000000badcafe00000000" },
	{ "gretap", SLUICE_TUNNEL_GRETAP, EXTERNAL, .key = { .tos = 1, .ttl = 33 },
		.outer = "4502005400004000212f0000" FAR4 "00006558" },
	{ "gre of IPv6", SLUICE_TUNNEL_GRE, EXTERNAL, .inner_ipv6 = true,
		.key = { .id = 7, .ttl = 9, .flags = SL_TUNNEL_KEY },
		.outer = "4502005800000000092f0000" FAR4 "200086dd00000007" },
	{ "ip6gretap", SLUICE_TUNNEL_IP6GRETAP, EXTERNAL, .ipv6 = true,
		.key = { .id = 2,
			.tos = 4,
			.ttl = 64,
			.label = 0x12345,
			.flags = SL_TUNNEL_KEY | SL_TUNNEL_SEQ },
		.outer = "6041234500482f40" FAR6 "300065580000000200000000" },
	{ "ip6gre", SLUICE_TUNNEL_IP6GRE, EXTERNAL, .ipv6 = true, .key = { .label = 1 },
		.outer = "6000000100322f11" FAR6 "00000800" },
	{ "ipip", SLUICE_TUNNEL_IPIP, EXTERNAL, .key = { .tos = 0x10 },
		.outer = "451200420000400011040000" FAR4 },
	{ "ip6tnl of IPv4", SLUICE_TUNNEL_IP6TNL, EXTERNAL, .ipv6 = true,
		.key = { .tos = 0x28, .label = 0x77 }, .outer = "62a00077002e0411" FAR6 },
	{ "ip6tnl of IPv6", SLUICE_TUNNEL_IP6TNL, EXTERNAL, .ipv6 = true, .inner_ipv6 = true,
		.key = { .ttl = 3, .label = 0x77 }, .outer = "60200077003c2903" FAR6 },
	{ "sit, fixed", SLUICE_TUNNEL_SIT, 0, .inner_ipv6 = true,
		.fixed = { .df = SLUICE_TUNNEL_DF_SET }, .outer = "450200500000400063290000" FAR4 },
	{ "vxlan, fixed", SLUICE_TUNNEL_VXLAN,
		SLUICE_TUNNEL_TTL_INHERIT | SLUICE_TUNNEL_TOS_INHERIT,
		.fixed = { .id = 42, .dst_port = 8472, .df = SLUICE_TUNNEL_DF_INHERIT },
		.outer = "450200600000400011110000" FAR4 "00002118004c00000800000000002a00" },
	{ "gre, fixed", SLUICE_TUNNEL_GRE, SLUICE_TUNNEL_KEY | SLUICE_TUNNEL_SEQ,
		.fixed = { .id = 99, .ttl = 44 },
		.outer = "4502004e000040002c2f0000" FAR4 "30000800000000630000"
			 "0000" },
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

struct tunnel_bed {
	struct bed bed;
	struct ring_port tunnel; /* only its ifindex */
	uint8_t mac_b[6];
};

/* What the filters below do, and what they saw. */
static struct sl_tunnel key_to_set;
static bool sets_key;
static uint32_t redirect_to;

static struct seen {
	unsigned count;
	bool has_key;
	struct sl_tunnel key;
	uint32_t ifindex, ingress_ifindex, protocol, len;
	uint8_t bytes[OUTER_MAX];
} seen;

static uint64_t set_key(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	if (sets_key) {
		ctx->run->tunnel = key_to_set;
		ctx->tunnel = &ctx->run->tunnel;
	}
	ctx->run->redirect_ifindex = redirect_to;
	return TC_ACT_REDIRECT;
}

static uint64_t note(struct sl_ctx *ctx, uint64_t tail_calls)
{
	uint32_t len;

	(void)tail_calls;
	seen.has_key = ctx->tunnel;
	if (ctx->tunnel)
		seen.key = *ctx->tunnel;
	seen.ifindex = ctx->ifindex;
	seen.ingress_ifindex = ctx->ingress_ifindex;
	seen.protocol = ctx->protocol;
	seen.len = ctx->len;
	len = (uint32_t)(ctx->data_end - ctx->data); /* of the first segment */
	memcpy(seen.bytes, ctx->data, len < OUTER_MAX ? len : OUTER_MAX);
	seen.count++;
	return TC_ACT_OK;
}

static struct sluice_tunnel_address address_of(bool ipv6, uint8_t last)
{
	struct sluice_tunnel_address a = { .family = 4, .bytes = { 10, 9, 0, last } };

	if (ipv6)
		a = (struct sluice_tunnel_address){ .family = 6,
			.bytes = { 0xfd, 9, [15] = last } };
	return a;
}

static struct sluice_tunnel_options options_of(const struct row *row, uint32_t underlay)
{
	struct sluice_tunnel_options o = row->fixed;

	o.name = "tunnel";
	o.kind = row->kind;
	o.flags = row->flags | SLUICE_TUNNEL_NEXTHOP;
	o.underlay = underlay;
	o.local[0] = address_of(row->ipv6, 2);
	if (!(row->flags & EXTERNAL))
		o.remote = address_of(row->ipv6, 1);
	memcpy(o.nexthop, "\x02\x99\x00\x00\x00\x01", 6);
	return o;
}

static void open_bed(struct tunnel_bed *t, const struct row *row)
{
	struct sluice_port_info info = { 0 };
	struct sluice_tunnel_options o;
	struct sluice_tunnel_address far = address_of(row->ipv6, 1);

	ASSERT_TRUE(bed_open(&t->bed, 1));
	ASSERT_EQ(sluice_port_next(t->bed.b.ifindex - 1, &info), 0);
	memcpy(t->mac_b, info.mac, sizeof(t->mac_b));
	o = options_of(row, t->bed.b.ifindex);
	ASSERT_EQ(sluice_tunnel_add(&o, &t->tunnel.ifindex), 0);
	memset(&seen, 0, sizeof(seen));
	key_to_set = row->key;
	key_to_set.transmit = true;
	key_to_set.ipv6 = row->ipv6;
	memcpy(key_to_set.dst, far.bytes, sizeof(key_to_set.dst));
	sets_key = row->flags & EXTERNAL;
	redirect_to = t->tunnel.ifindex;
	ASSERT_EQ(attach_tc(&t->bed.a, SLUICE_TC_INGRESS, set_key), 0);
	ASSERT_EQ(attach_tc(&t->tunnel, SLUICE_TC_INGRESS, note), 0);
}

static void close_bed(struct tunnel_bed *t)
{
	EXPECT_EQ(sluice_port_remove(t->tunnel.ifindex), 0);
	bed_close(&t->bed);
}

static void send_to(struct ring_port *port, const uint8_t *frame, uint32_t len)
{
	uint64_t before = counter_of(port, SLUICE_RX);

	ring_send(port, frame, len, 1);
	settle(port, before + 1);
}

static const uint8_t *inner_of(const struct row *row, uint32_t *ret_len)
{
	*ret_len = row->inner_ipv6 ? INNER6 : INNER4;
	return row->inner_ipv6 ? inner6 : inner4;
}

static bool carries_frames(enum sluice_tunnel_kind kind)
{
	return kind == SLUICE_TUNNEL_VXLAN || kind == SLUICE_TUNNEL_GENEVE ||
	       kind == SLUICE_TUNNEL_GRETAP || kind == SLUICE_TUNNEL_IP6GRETAP;
}

static uint32_t sum16(const uint8_t *p, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : p[i] * 256u;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Checks and clears what is not in the table. */
static void clear_variables(const struct row *row, uint8_t *ip, uint32_t len)
{
	uint8_t *next = ip + (row->ipv6 ? 40 : 20), proto = ip[row->ipv6 ? 6 : 9];
	uint32_t left = len - (uint32_t)(next - ip);

	if (!row->ipv6) {
		EXPECT_EQ(sum16(ip, 20), 0xffffu);
		memset(ip + 4, 0, 2);
		memset(ip + 10, 0, 2);
	}
	if (proto == IPPROTO_UDP) {
		uint32_t pseudo = row->ipv6 ? sum16(ip + 8, 32) : sum16(ip + 12, 8);
		bool wanted = row->key.flags & SL_TUNNEL_CSUM;

		EXPECT_EQ(next[6] || next[7], wanted);
		if (wanted)
			EXPECT_EQ(fold(pseudo + IPPROTO_UDP + left + sum16(next, left)), 0xffffu);
		if (row->kind == SLUICE_TUNNEL_VXLAN) {
			EXPECT_GE(next[0] * 256 + next[1], 32768);
			EXPECT_LE(next[0] * 256 + next[1], 60999);
		}
		memset(next, 0, 2);
		memset(next + 6, 0, 2);
	} else if (proto == IPPROTO_GRE && (next[0] & 0x80)) {
		EXPECT_EQ(sum16(next, left), 0xffffu);
		memset(next + 4, 0, 2);
	}
}

static uint32_t unhex(const char *hex, uint8_t *ret_bytes)
{
	uint32_t n = 0;

	for (; sscanf(hex, "%2hhx", &ret_bytes[n]) == 1; hex += 2)
		n++;
	return n;
}

static void check_outer(const struct row *row, const uint8_t *frame, uint32_t len)
{
	uint8_t bytes[OUTER_MAX], expected[OUTER_MAX];
	uint32_t inner_len, headers = unhex(row->outer, expected);
	const uint8_t *inner = inner_of(row, &inner_len);
	uint32_t skip = carries_frames(row->kind) ? 0 : ETH_HLEN;

	ASSERT_EQ(len, ETH_HLEN + headers + inner_len - skip);
	memcpy(bytes, frame, len);
	EXPECT_MEMEQ(bytes, "\x02\x99\x00\x00\x00\x01", 6);
	EXPECT_EQ(bytes[12] * 256 + bytes[13], row->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	clear_variables(row, bytes + ETH_HLEN, len - ETH_HLEN);
	EXPECT_MEMEQ(bytes + ETH_HLEN, expected, headers);
	EXPECT_MEMEQ(bytes + ETH_HLEN + headers, inner + skip, inner_len - skip);
}

/* As the far end sends it: sums stay what they are. */
static void turn_round(const struct tunnel_bed *t, const struct row *row, uint8_t *frame)
{
	uint32_t at = ETH_HLEN + (row->ipv6 ? 8 : 12), len = row->ipv6 ? 16 : 4;
	uint8_t src[16];

	memcpy(frame, t->mac_b, 6);
	memcpy(src, frame + at, len);
	memcpy(frame + at, frame + at + len, len);
	memcpy(frame + at + len, src, len);
}

static void check_key(const struct row *row)
{
	uint16_t flags = row->key.flags & (SL_TUNNEL_KEY | SL_TUNNEL_CSUM);
	uint8_t outer[OUTER_MAX];

	unhex(row->outer, outer);
	if (!row->ipv6 && (outer[6] & 0x40))
		flags |= SL_TUNNEL_DONT_FRAGMENT;
	EXPECT_EQ(seen.has_key, !!(row->flags & EXTERNAL));
	if (!seen.has_key)
		return;
	if (row->key.flags & SL_TUNNEL_OPTIONS)
		flags |= row->kind == SLUICE_TUNNEL_VXLAN ? SL_TUNNEL_VXLAN_OPT
							  : SL_TUNNEL_GENEVE_OPT;
	EXPECT_EQ(seen.key.id, row->key.id);
	EXPECT_EQ(seen.key.flags, flags);
	EXPECT_EQ(seen.key.ipv6, row->ipv6);
	EXPECT_EQ(seen.key.label, row->key.label);
	EXPECT_FALSE(seen.key.transmit);
	EXPECT_MEMEQ(seen.key.src, address_of(row->ipv6, 1).bytes, 16);
	EXPECT_MEMEQ(seen.key.dst, address_of(row->ipv6, 2).bytes, 16);
	EXPECT_EQ(seen.key.options_len, row->key.options_len);
	EXPECT_MEMEQ(seen.key.options, row->key.options, row->key.options_len);
}

static void check_inner(const struct tunnel_bed *t, const struct row *row)
{
	uint32_t len, skip = carries_frames(row->kind) ? 0 : ETH_HLEN;
	const uint8_t *inner = inner_of(row, &len);

	ASSERT_EQ(seen.count, 1u);
	EXPECT_EQ(seen.ifindex, t->tunnel.ifindex);
	EXPECT_EQ(seen.ingress_ifindex, t->tunnel.ifindex);
	EXPECT_EQ(ntohs((uint16_t)seen.protocol), row->inner_ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	ASSERT_EQ(seen.len, len - skip);
	EXPECT_MEMEQ(seen.bytes, inner + skip, len - skip);
}

TEST(tunnel, there_and_back)
{
	for (unsigned i = 0; i < ROWS; i++) {
		const struct row *row = &rows[i];
		struct tunnel_bed t;
		uint8_t frame[OUTER_MAX];
		uint32_t len;
		const uint8_t *inner = inner_of(row, &len);

		TRACE_PUSH("%s", row->name);
		open_bed(&t, row);
		send_to(&t.bed.a, inner, len);
		len = ring_receive(&t.bed.b, frame);
		check_outer(row, frame, len);
		turn_round(&t, row, frame);
		send_to(&t.bed.b, frame, len);
		check_key(row);
		check_inner(&t, row);
		EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_ENCAP), 1u);
		EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_DECAP), 1u);
		close_bed(&t);
		TRACE_POP();
	}
}

/* What the tunnel of a row sends for its inner packet, turned round. */
static uint32_t outer_of(struct tunnel_bed *t, const struct row *row, uint8_t *ret_frame)
{
	uint32_t len;
	const uint8_t *inner = inner_of(row, &len);

	send_to(&t->bed.a, inner, len);
	len = ring_receive(&t->bed.b, ret_frame);
	turn_round(t, row, ret_frame);
	return len;
}

TEST(tunnel, no_part_of_a_packet_is_enough)
{
	for (unsigned i = 0; i < ROWS; i++) {
		struct tunnel_bed t;
		uint8_t frame[OUTER_MAX];
		uint32_t len;

		TRACE_PUSH("%s", rows[i].name);
		open_bed(&t, &rows[i]);
		len = outer_of(&t, &rows[i], frame);
		for (uint32_t cut = 1; cut < len; cut++)
			ring_send(&t.bed.b, frame, cut, 1);
		settle(&t.bed.b, len - 1);
		EXPECT_EQ(seen.count, 0u);
		EXPECT_GT(counter_of(&t.tunnel, SLUICE_TUNNEL_TRUNCATED), 0u);
		/* Padding of the link is no part of the packet. */
		memset(frame + len, 0xa5, 7);
		send_to(&t.bed.b, frame, len + 7);
		check_inner(&t, &rows[i]);
		close_bed(&t);
		TRACE_POP();
	}
}

/* Every packet has an end, whatever is in it, and what comes out is whole. */
TEST(tunnel, survives_mutations)
{
	srand(20);
	for (unsigned i = 0; i < ROWS; i++) {
		struct tunnel_bed t;
		uint8_t frame[OUTER_MAX], changed[OUTER_MAX];
		uint32_t len;
		enum { ROUNDS = 1500 };

		TRACE_PUSH("%s", rows[i].name);
		open_bed(&t, &rows[i]);
		len = outer_of(&t, &rows[i], frame);
		for (unsigned n = 0; n < ROUNDS; n++) {
			memcpy(changed, frame, len);
			for (int k = rand() % 3; k >= 0; k--)
				changed[ETH_HLEN + rand() % (int)(len - ETH_HLEN)] =
					(uint8_t)rand();
			ring_send(&t.bed.b, changed,
				len - (uint32_t)(rand() % 4 ? 0 : rand() % (int)len), 1);
		}
		settle(&t.bed.b, ROUNDS);
		EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_DECAP), seen.count);
		EXPECT_GT(seen.count, 0u);
		EXPECT_LT(seen.count, (unsigned)ROUNDS);
		close_bed(&t);
		TRACE_POP();
	}
}

/* A change of one byte of the outer frame, and where it ends. */
static const struct refusal {
	unsigned row, at;
	uint8_t value;
	enum sluice_counter end;
	bool at_underlay; /* no tunnel is to blame */
} refusals[] = {
	{ 0, 0, 0x06, SLUICE_KERNEL, true }, /* another station's */
	{ 0, ETH_HLEN + 19, 77, SLUICE_KERNEL, true }, /* another address */
	{ 0, ETH_HLEN + 23, 0xb6, SLUICE_KERNEL, true }, /* another UDP port */
	{ 0, ETH_HLEN + 9, IPPROTO_TCP, SLUICE_KERNEL, true },
	{ 0, ETH_HLEN + 8, 0x41, SLUICE_TUNNEL_BAD_CSUM, false },
	{ 0, ETH_HLEN + 25, 0x4d, SLUICE_TUNNEL_TRUNCATED, false }, /* UDP longer than IP */
	{ 0, ETH_HLEN + 28, 0x00, SLUICE_TUNNEL_BAD_HEADER, false }, /* no VNI */
	{ 0, ETH_HLEN + 28, 0x88, SLUICE_TUNNEL_BAD_HEADER, false }, /* a policy, not asked for */
	{ 0, ETH_HLEN + 35, 0x01, SLUICE_TUNNEL_BAD_HEADER, false },
	{ 1, ETH_HLEN + 40 + 8 + 8 + 20, 0x55, SLUICE_TUNNEL_BAD_CSUM, false },
	{ 3, ETH_HLEN + 28, 0x3f, SLUICE_TUNNEL_BAD_OPTIONS, false },
	{ 3, ETH_HLEN + 28, 0x42, SLUICE_TUNNEL_BAD_HEADER, false }, /* version 1 */
	{ 3, ETH_HLEN + 31, 0x00, SLUICE_TUNNEL_BAD_HEADER, false }, /* no frame */
	{ 5, ETH_HLEN + 20, 0xf0, SLUICE_TUNNEL_BAD_HEADER, false }, /* routing */
	{ 5, ETH_HLEN + 21, 0x01, SLUICE_TUNNEL_BAD_HEADER, false }, /* version 1 */
	{ 5, ETH_HLEN + 50, 0x99, SLUICE_TUNNEL_BAD_CSUM, false },
	{ 5, ETH_HLEN + 20, 0x30, SLUICE_TUNNEL_BAD_CSUM, false }, /* no checksum, and one wanted */
	{ 8, ETH_HLEN + 43, 0x59, SLUICE_TUNNEL_UNKNOWN, true }, /* no frame */
	{ 14, ETH_HLEN + 34, 43, SLUICE_TUNNEL_UNKNOWN, true },
	{ 15, ETH_HLEN + 27, 98, SLUICE_TUNNEL_UNKNOWN, true },
	{ 15, ETH_HLEN + 20, 0x20, SLUICE_TUNNEL_ORDER, false }, /* no sequence number */
};

TEST(tunnel, counts_why_it_refuses)
{
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *r = &refusals[i];
		struct tunnel_bed t;
		uint8_t frame[OUTER_MAX];
		uint32_t len;

		TRACE_PUSH("%u: %s", i, rows[r->row].name);
		open_bed(&t, &rows[r->row]);
		len = outer_of(&t, &rows[r->row], frame);
		frame[r->at] = r->value;
		/* Sums that are not what the row is about. */
		if (r->at < ETH_HLEN + 20 && r->at >= ETH_HLEN && r->end == SLUICE_KERNEL &&
			!rows[r->row].ipv6) {
			uint32_t sum;

			memset(frame + ETH_HLEN + 10, 0, 2);
			sum = ~sum16(frame + ETH_HLEN, 20);
			frame[ETH_HLEN + 10] = (uint8_t)(sum >> 8);
			frame[ETH_HLEN + 11] = (uint8_t)sum;
		}
		send_to(&t.bed.b, frame, len);
		EXPECT_EQ(seen.count, 0u);
		EXPECT_EQ(counter_of(r->at_underlay ? &t.bed.b : &t.tunnel, r->end), 1u);
		close_bed(&t);
		TRACE_POP();
	}
}

/* What cannot be sent. */
TEST(tunnel, counts_what_it_cannot_send)
{
	struct tunnel_bed t;
	uint8_t big[1500] = { 0 };

	open_bed(&t, &rows[0]);
	sets_key = false;
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_NO_KEY), 1u);
	sets_key = true;
	memset(key_to_set.dst, 0, sizeof(key_to_set.dst));
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_NO_ROUTE), 1u);
	key_to_set.dst[0] = 10;
	key_to_set.ipv6 = true; /* without a source */
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_NO_ROUTE), 2u);
	key_to_set.ipv6 = false;
	key_to_set.flags |= SL_TUNNEL_OPTIONS;
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_BAD_OPTIONS), 1u);
	key_to_set.flags &= (uint16_t)~SL_TUNNEL_OPTIONS;
	memcpy(big, inner4, INNER4);
	ring_send(&t.bed.a, big, sizeof(big), 1);
	settle(&t.bed.a, 5);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_TOO_BIG), 1u);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_ENCAP), 0u);
	close_bed(&t);
}

/* RFC 6040: rows by the outer mark, columns by the inner one; 0xff: dropped. */
TEST(tunnel, merges_congestion_marks)
{
	static const uint8_t merged[4][4] = {
		{ 0, 1, 2, 3 },
		{ 0, 1, 1, 3 },
		{ 0, 1, 2, 3 },
		{ 0xff, 3, 3, 3 },
	};
	struct tunnel_bed t;
	uint8_t outer[OUTER_MAX], frame[OUTER_MAX];
	uint32_t len, sum;

	open_bed(&t, &rows[0]);
	len = outer_of(&t, &rows[0], outer);
	for (unsigned i = 0; i < 16; i++) {
		uint8_t *ip = frame + ETH_HLEN, *inner = ip + 20 + 8 + 8 + ETH_HLEN;
		uint8_t want = merged[i / 4][i % 4];

		TRACE_PUSH("outer %u, inner %u", i / 4, i % 4);
		memcpy(frame, outer, len);
		ip[1] = (uint8_t)(i / 4);
		inner[1] = (uint8_t)(0x44 | i % 4);
		for (uint8_t *p = ip; p; p = p == ip ? inner : NULL) {
			memset(p + 10, 0, 2);
			sum = ~sum16(p, 20);
			p[10] = (uint8_t)(sum >> 8);
			p[11] = (uint8_t)sum;
		}
		seen.count = 0;
		send_to(&t.bed.b, frame, len);
		EXPECT_EQ(seen.count, want == 0xff ? 0u : 1u);
		if (seen.count) {
			EXPECT_EQ(seen.bytes[ETH_HLEN + 1], 0x44 | want);
			EXPECT_EQ(sum16(seen.bytes + ETH_HLEN, 20), 0xffffu);
		}
		TRACE_POP();
	}
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_ECN), 1u);
	close_bed(&t);
}

static const struct wrong {
	const char *why;
	struct sluice_tunnel_options options;
	int err;
} wrongs[] = {
	{ "no remote", { .kind = SLUICE_TUNNEL_VXLAN }, -EINVAL },
	{ "two remotes", { .kind = SLUICE_TUNNEL_VXLAN, .flags = EXTERNAL, .remote = { 4, { 1 } } },
		-EINVAL },
	{ "family", { .kind = SLUICE_TUNNEL_GRE, .remote = { 6, { 1 } } }, -EINVAL },
	{ "families",
		{ .kind = SLUICE_TUNNEL_VXLAN, .remote = { 6, { 1 } }, .local = { { 4, { 1 } } } },
		-EINVAL },
	{ "external sit", { .kind = SLUICE_TUNNEL_SIT, .flags = EXTERNAL }, -EINVAL },
	{ "gbp", { .kind = SLUICE_TUNNEL_GENEVE, .flags = EXTERNAL | SLUICE_TUNNEL_GBP }, -EINVAL },
	{ "vni", { .kind = SLUICE_TUNNEL_VXLAN, .remote = { 4, { 1 } }, .id = 1 << 24 }, -EINVAL },
	{ "range",
		{ .kind = SLUICE_TUNNEL_VXLAN,
			.flags = EXTERNAL,
			.src_port_min = 9,
			.src_port_max = 8 },
		-EINVAL },
	{ "external id", { .kind = SLUICE_TUNNEL_VXLAN, .flags = EXTERNAL, .id = 1 }, -EINVAL },
	{ "kind", { .kind = SLUICE_TUNNEL_KINDS, .flags = EXTERNAL }, -EINVAL },
	{ "same packets",
		{ .kind = SLUICE_TUNNEL_VXLAN,
			.flags = EXTERNAL,
			.local = { { 4, { 10, 9, 0, 2 } } } },
		-EEXIST },
	{ "UDP port of another kind",
		{ .kind = SLUICE_TUNNEL_GENEVE, .flags = EXTERNAL, .dst_port = 4789 }, -EEXIST },
	{ "no underlay", { .kind = SLUICE_TUNNEL_GRE, .flags = EXTERNAL, .underlay = 31 },
		-ENODEV },
};

TEST(tunnel, refuses_options_that_do_not_fit)
{
	struct tunnel_bed t;
	uint32_t ifindex;

	open_bed(&t, &rows[0]);
	for (unsigned i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct sluice_tunnel_options o = wrongs[i].options;

		o.name = "wrong";
		o.underlay = o.underlay ? o.underlay : t.bed.b.ifindex;
		TRACE_PUSH("%s", wrongs[i].why);
		EXPECT_EQ(sluice_tunnel_add(&o, &ifindex), wrongs[i].err);
		TRACE_POP();
	}
	close_bed(&t);
}

/* The tunnels of a port go with it. */
TEST(tunnel, goes_with_its_underlay)
{
	struct tunnel_bed t;
	struct sluice_port_info info = { 0 };

	open_bed(&t, &rows[0]);
	EXPECT_EQ(sluice_port_next(t.tunnel.ifindex - 1, &info), 0);
	EXPECT_STREQ(info.driver, "vxlan");
	EXPECT_STREQ(info.name, "tunnel");
	bed_close(&t.bed);
	EXPECT_EQ(sluice_port_next(t.bed.b.ifindex - 1, &info), -ENOENT);
}

static uint64_t accept_all(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return UINT32_MAX;
}

/* A tap outlives the tunnel that it was on. */
TEST(tunnel, leaves_its_taps_behind)
{
	struct sluice_tap_counters counters = { 0 };
	struct tunnel_bed t;
	uint32_t tap;
	int fd = stand_in_fd(BPF_PROG_TYPE_SOCKET_FILTER, accept_all);

	open_bed(&t, &rows[0]);
	ASSERT_EQ(sluice_tap_add(t.tunnel.ifindex, fd, NULL, &tap), 0);
	close(fd);
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_EQ(sluice_port_remove(t.tunnel.ifindex), 0);
	EXPECT_EQ(sluice_tap_counters(tap, &counters), 0);
	EXPECT_EQ(counters.accepted, 1u);
	EXPECT_EQ(counters.bytes, INNER4);
	EXPECT_EQ(sluice_tap_del(tap), 0);
	bed_close(&t.bed);
}

static struct sluice_ip ip_of(bool ipv6, uint8_t third, uint8_t last)
{
	struct sluice_ip ip = { .family = AF_INET, .bytes = { 10, 9, third, last } };

	if (ipv6)
		ip = (struct sluice_ip){ .family = AF_INET6,
			.bytes = { 0xfd, 9, third, [15] = last } };
	return ip;
}

/* Without a next hop of its own: by routes, neighbours, and the addresses of the underlay. */
static void follow_routes(bool ipv6)
{
	struct sluice_tunnel_options o = {
		.name = "tunnel", .kind = SLUICE_TUNNEL_VXLAN, .flags = EXTERNAL
	};
	struct sluice_ip own = ip_of(ipv6, 0, 2), gateway = ip_of(ipv6, 0, 7);
	struct sluice_nexthop via = { .gateway = gateway };
	struct sluice_route route = {
		.prefix = ip_of(ipv6, 5, 0), .prefix_len = 24, .nexthop_count = 1, .nexthops = &via
	};
	struct sluice_interface interface = { .mtu = 1500, .header_bytes = ETH_HLEN };
	struct sluice_neighbour neighbour = { .address = gateway,
		.lladdr = { 2, 0x77, 0, 0, 0, 7 } };
	struct row row = rows[ipv6];
	struct tunnel_bed t;
	uint8_t frame[OUTER_MAX];
	unsigned len = ipv6 ? 16 : 4;

	open_bed(&t, &row);
	EXPECT_EQ(sluice_port_remove(t.tunnel.ifindex), 0);
	o.underlay = interface.ifindex = neighbour.ifindex = via.ifindex = t.bed.b.ifindex;
	EXPECT_EQ(sluice_tunnel_add(&o, &redirect_to), 0);
	EXPECT_EQ(redirect_to, t.tunnel.ifindex);
	memcpy(interface.mac, t.mac_b, sizeof(t.mac_b));
	EXPECT_EQ(sluice_interface_set(&interface), 0);
	EXPECT_EQ(sluice_address_add(interface.ifindex, &own, 24), 0);
	memcpy(key_to_set.dst, ip_of(ipv6, 5, 1).bytes, len);
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_NO_ROUTE), 1u);
	EXPECT_EQ(sluice_route_add(&route, 0), 0);
	send_to(&t.bed.a, inner4, INNER4); /* nobody knows the gateway's address */
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_NO_ROUTE), 2u);
	EXPECT_EQ(sluice_neighbour_set(&neighbour), 0);
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_GT(ring_receive(&t.bed.b, frame), 0u);
	EXPECT_MEMEQ(frame, neighbour.lladdr, 6);
	EXPECT_MEMEQ(frame + ETH_HLEN + (ipv6 ? 8 : 12), own.bytes, len);
	EXPECT_MEMEQ(frame + ETH_HLEN + (ipv6 ? 24 : 16), key_to_set.dst, len);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_ENCAP), 1u);
	EXPECT_EQ(sluice_interface_del(interface.ifindex), 0);
	close_bed(&t);
}

TEST(tunnel, follows_routes)
{
	follow_routes(false);
	follow_routes(true);
}

/* Two clones and the packet itself, each with a key of its own; the ids are 1, 2 and 3. */
static uint64_t clone_with_keys(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	for (uint32_t id = 1; id <= 3; id++) {
		ctx->run->tunnel = key_to_set;
		ctx->run->tunnel.id = id;
		ctx->tunnel = &ctx->run->tunnel;
		if (id < 3 && sl_clone_redirect(ctx, redirect_to, 0) != 0)
			return TC_ACT_SHOT;
	}
	ctx->run->redirect_ifindex = redirect_to;
	return TC_ACT_REDIRECT;
}

/* At the egress of the tunnel: one that forgets what it was told. */
static uint64_t overwrite_key(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	if (ctx->tunnel->id == 1)
		ctx->run->tunnel.id = 0x777;
	return TC_ACT_OK;
}

TEST(tunnel, clones_keep_their_keys)
{
	static const uint32_t ids[] = { 0x777, 2, 3 };
	struct tunnel_bed t;
	uint8_t frame[OUTER_MAX];

	open_bed(&t, &rows[0]);
	EXPECT_EQ(sluice_tc_del(t.bed.a.ifindex, SLUICE_TC_INGRESS, 0, 0), 0);
	EXPECT_EQ(attach_tc(&t.bed.a, SLUICE_TC_INGRESS, clone_with_keys), 0);
	EXPECT_EQ(attach_tc(&t.tunnel, SLUICE_TC_EGRESS, overwrite_key), 0);
	send_to(&t.bed.a, inner4, INNER4);
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *vni = frame + ETH_HLEN + 20 + 8 + 4;

		EXPECT_GT(ring_receive(&t.bed.b, frame), 0u);
		EXPECT_EQ((uint32_t)(vni[0] << 16 | vni[1] << 8 | vni[2]), ids[i]);
	}
	close_bed(&t);
}

/* The filters of the port below see the outer packet, whichever way it came. */
TEST(tunnel, underlay_sees_the_outer_packet)
{
	struct tunnel_bed t;
	uint8_t frame[OUTER_MAX];

	open_bed(&t, &rows[0]);
	EXPECT_EQ(attach_tc(&t.bed.b, SLUICE_TC_EGRESS, note), 0);
	send_to(&t.bed.a, inner4, INNER4);
	EXPECT_EQ(seen.count, 1u);
	EXPECT_EQ(seen.len, ETH_HLEN + 20u + 8 + 8 + INNER4);
	EXPECT_EQ(seen.ifindex, t.bed.b.ifindex);
	EXPECT_EQ(ntohs((uint16_t)seen.protocol), ETH_P_IP);
	EXPECT_FALSE(seen.has_key);
	EXPECT_GT(ring_receive(&t.bed.b, frame), 0u);
	close_bed(&t);
}

static uint64_t xdp_redirect(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	ctx->run->redirect_map = NULL;
	ctx->run->redirect_ifindex = redirect_to;
	return XDP_REDIRECT;
}

/* XDP_REDIRECT has no key: only a tunnel that needs none sends such packets. */
TEST(tunnel, takes_packets_from_xdp)
{
	enum { VXLAN_FIXED = 14, SIT = 13 };
	static const struct {
		unsigned row;
		enum sluice_counter counter;
	} cases[] = { { 0, SLUICE_TUNNEL_NO_KEY }, { VXLAN_FIXED, SLUICE_TUNNEL_ENCAP },
		{ SIT, SLUICE_TUNNEL_ENCAP } };

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct row *row = &rows[cases[i].row];
		struct tunnel_bed t;
		uint8_t frame[OUTER_MAX];
		uint32_t len;
		const uint8_t *inner = inner_of(row, &len);

		TRACE_PUSH("%s", row->name);
		open_bed(&t, row);
		EXPECT_EQ(attach_xdp(&t.bed.a, xdp_redirect), 0);
		EXPECT_EQ(attach_xdp(&t.tunnel, xdp_redirect), -EOPNOTSUPP);
		EXPECT_EQ(attach_tc(&t.bed.b, SLUICE_TC_EGRESS, note), 0);
		send_to(&t.bed.a, inner, len);
		EXPECT_EQ(counter_of(&t.tunnel, cases[i].counter), 1u);
		if (cases[i].counter == SLUICE_TUNNEL_ENCAP) {
			len = ring_receive(&t.bed.b, frame);
			check_outer(row, frame, len);
			EXPECT_EQ(seen.count, 1u);
		}
		close_bed(&t);
		TRACE_POP();
	}
}

static bool puts_header;

static uint64_t to_port_a(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	if (puts_header) {
		/* As bpf_skb_change_head does. */
		ctx->data -= ETH_HLEN;
		ctx->len += ETH_HLEN;
		ctx->data_meta = ctx->data;
		ctx->mac_offset = (uint16_t)(ctx->data - ctx->head);
		memcpy(ctx->data, inner4, ETH_HLEN);
	}
	ctx->run->redirect_ifindex = redirect_to;
	return TC_ACT_REDIRECT;
}

/* What comes out of a tunnel for network packets has no link-layer header until somebody puts one. */
TEST(tunnel, redirects_network_packets_with_a_header)
{
	enum { IPIP = 10 };
	struct tunnel_bed t;
	uint8_t outer[OUTER_MAX], frame[OUTER_MAX];
	uint32_t len;

	open_bed(&t, &rows[IPIP]);
	EXPECT_EQ(sluice_tc_del(t.tunnel.ifindex, SLUICE_TC_INGRESS, 0, 0), 0);
	EXPECT_EQ(attach_tc(&t.tunnel, SLUICE_TC_INGRESS, to_port_a), 0);
	len = outer_of(&t, &rows[IPIP], outer);
	redirect_to = t.bed.a.ifindex;
	puts_header = false;
	send_to(&t.bed.b, outer, len);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_NO_LINK_HEADER), 1u);
	puts_header = true;
	send_to(&t.bed.b, outer, len);
	EXPECT_EQ(ring_receive(&t.bed.a, frame), (uint32_t)INNER4);
	EXPECT_MEMEQ(frame, inner4, INNER4);
	/* Nobody puts one for the port that it passes to. */
	EXPECT_EQ(sluice_tc_del(t.tunnel.ifindex, SLUICE_TC_INGRESS, 0, 0), 0);
	EXPECT_EQ(sluice_port_pass_to(t.tunnel.ifindex, t.bed.a.ifindex), 0);
	send_to(&t.bed.b, outer, len);
	EXPECT_EQ(counter_of(&t.tunnel, SLUICE_NO_LINK_HEADER), 2u);
	close_bed(&t);
}

static void send_in_two(struct ring_port *port, const uint8_t *frame, uint32_t len, uint32_t first)
{
	uint64_t before = counter_of(port, SLUICE_RX);
	struct rte_mbuf *m = ring_new_frame(frame, first);

	EXPECT_EQ(rte_pktmbuf_chain(m, ring_new_frame(frame + first, len - first)), 0);
	ring_send_mbuf(port, m);
	settle(port, before + 1);
}

/* Sums and lengths of packets in several mbufs, cut at even and odd places. */
TEST(tunnel, takes_packets_in_segments)
{
	for (unsigned i = 0; i < ROWS; i++) {
		const struct row *row = &rows[i];
		struct tunnel_bed t;
		uint8_t frame[OUTER_MAX], back[OUTER_MAX];
		uint32_t len, skip = carries_frames(row->kind) ? 0 : ETH_HLEN;
		const uint8_t *inner = inner_of(row, &len);
		bool summed = row->key.flags & SL_TUNNEL_CSUM;

		TRACE_PUSH("%s", row->name);
		open_bed(&t, row);
		send_in_two(&t.bed.a, inner, len, len - 5);
		len = ring_receive(&t.bed.b, frame);
		check_outer(row, frame, len);
		turn_round(&t, row, frame);
		memset(frame + len, 0xa5, 2); /* padding */
		for (unsigned cut = 1; cut <= 6; cut++) {
			seen.count = 0;
			send_in_two(&t.bed.b, frame, len + 2, len - cut);
			EXPECT_EQ(seen.count, row->flags & SLUICE_TUNNEL_SEQ && cut > 1 ? 0u : 1u);
			if (!seen.count)
				continue;
			check_key(row);
			EXPECT_EQ(seen.len, (row->inner_ipv6 ? INNER6 : INNER4) - skip);
			EXPECT_MEMEQ(seen.bytes, inner + skip, seen.len - cut);
		}
		if (skip == 0) {
			EXPECT_EQ(sluice_port_pass_to(t.tunnel.ifindex, t.bed.a.ifindex), 0);
			send_in_two(&t.bed.b, frame, len + 2, len - 3);
			EXPECT_EQ(ring_receive(&t.bed.a, back), row->inner_ipv6 ? INNER6 : INNER4);
			EXPECT_MEMEQ(back, inner, row->inner_ipv6 ? INNER6 : INNER4);
		}
		frame[len - 1] ^= 1;
		seen.count = 0;
		send_in_two(&t.bed.b, frame, len, len - 3);
		EXPECT_EQ(counter_of(&t.tunnel, SLUICE_TUNNEL_BAD_CSUM), summed ? 1u : 0u);
		close_bed(&t);
		TRACE_POP();
	}
}
