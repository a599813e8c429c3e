#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sluice/route.h>
#include <string.h>

#include "bed.h"
#include "context.h"
#include "redirect.h"
#include "test.h"

/* bpf_redirect_neigh and bpf_redirect_peer: where packets go, and what their headers become. */

static uint32_t asked_ifindex;
static uint64_t asked_flags;
static struct bpf_redir_neigh asked_hop;

/* As the helpers do. */
static uint64_t tc_redirect(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	ctx->run->redirect_ifindex = asked_ifindex;
	ctx->run->redirect_flags = asked_flags;
	memcpy(ctx->run->redirect_nexthop, &asked_hop, sizeof(asked_hop));
	return TC_ACT_REDIRECT;
}

static uint64_t tc_shot(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return TC_ACT_SHOT;
}

static struct sluice_ip ip_of(const char *text)
{
	struct sluice_ip ip = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	EXPECT_EQ(inet_pton(ip.family, text, ip.bytes), 1);
	return ip;
}

static struct frame packet_to(const char *text)
{
	struct frame f = frame_of(0, 0);
	struct sluice_ip ip = ip_of(text);
	bool v4 = ip.family == AF_INET;

	f.bytes[12] = v4 ? 0x08 : 0x86;
	f.bytes[13] = v4 ? 0x00 : 0xdd;
	memset(f.bytes + PAYLOAD, 0, 40);
	f.bytes[PAYLOAD] = v4 ? 0x45 : 0x60;
	memcpy(f.bytes + PAYLOAD + (v4 ? 16 : 24), ip.bytes, v4 ? 4 : 16);
	return f;
}

static void add_neighbour(uint32_t ifindex, const char *address, uint8_t last)
{
	struct sluice_neighbour n = {
		.ifindex = ifindex, .address = ip_of(address), .lladdr = { 2, 0, 0, 9, 9, last }
	};

	EXPECT_EQ(sluice_neighbour_set(&n), 0);
}

static void add_route(const char *prefix, uint8_t len, uint8_t type, const char *gateway)
{
	struct sluice_nexthop hop = { 0 };
	struct sluice_route route = { .prefix = ip_of(prefix), .prefix_len = len, .type = type };

	if (gateway) {
		hop.gateway = ip_of(gateway);
		route.nexthop_count = 1;
		route.nexthops = &hop;
	}
	EXPECT_EQ(sluice_route_add(&route, 0), 0);
}

static const struct row {
	const char *name;
	const char *dst;
	const char *hop; /* given with the call */
	uint8_t last; /* of the link-layer address; 0: the packet ends in `end` */
	enum sluice_counter end;
} rows[] = {
	{ "on the link", "192.0.2.7", NULL, 7 },
	{ "by a gateway", "10.1.2.3", NULL, 1 },
	{ "by a gateway of IPv6", "10.2.2.3", NULL, 61 },
	{ "no route: taken to be on the link", "198.51.100.1", NULL, 8 },
	{ "our own network's broadcast", "192.0.2.255", NULL, 0, SLUICE_NO_ROUTE },
	{ "nobody is known", "192.0.2.9", NULL, 0, SLUICE_NO_NEIGHBOUR },
	{ "a next hop that is given", "10.9.9.9", "192.0.2.7", 7 },
	{ "one of IPv6 for IPv4", "10.9.9.9", "fd00::61", 61 },
	{ "one that is not known", "192.0.2.7", "192.0.2.9", 0, SLUICE_NO_NEIGHBOUR },
	{ "IPv6 on the link", "fd00::61", NULL, 61 },
	{ "IPv6 by a gateway", "fd01::1", NULL, 61 },
	{ "IPv6 without a route", "fd02::1", NULL, 0, SLUICE_NO_ROUTE },
	{ "IPv6 to nowhere", "fd01:bad::1", NULL, 0, SLUICE_NO_ROUTE },
	{ "IPv6 with a next hop", "fd02::1", "fd00::61", 61 },
	{ "IPv6 with one of IPv4", "fd00::61", "192.0.2.7", 0, SLUICE_REDIRECT_DROP },
};

static void ask(const struct row *row)
{
	struct sluice_ip ip;

	asked_flags = SL_REDIRECT_NEIGH;
	memset(&asked_hop, 0, sizeof(asked_hop));
	if (!row->hop)
		return;
	ip = ip_of(row->hop);
	asked_flags |= SL_REDIRECT_NEXTHOP;
	asked_hop.nh_family = ip.family;
	memcpy(asked_hop.ipv6_nh, ip.bytes, sizeof(asked_hop.ipv6_nh));
}

static void run_row(struct bed *bed, const struct row *row, const struct sluice_interface *port)
{
	struct frame f = packet_to(row->dst);
	uint64_t before = counter_of(&bed->b, row->end);
	uint8_t out[RING_FRAME_MAX], mac[6] = { 2, 0, 0, 9, 9, row->last };

	TRACE_PUSH("%s", row->name);
	ask(row);
	if (row->last) {
		ring_send(&bed->a, f.bytes, FRAME, 1);
		ASSERT_EQ(ring_receive(&bed->b, out), (uint32_t)FRAME);
		EXPECT_MEMEQ(out, mac, 6);
		EXPECT_MEMEQ(out + 6, port->mac, 6);
		EXPECT_MEMEQ(out + 12, f.bytes + 12, FRAME - 12);
	} else {
		send_one(bed, f);
		EXPECT_EQ(ring_receive_all(&bed->b), 0u);
		EXPECT_EQ(counter_of(&bed->b, row->end), before + 1);
	}
	TRACE_POP();
}

static void open_with_network(struct bed *bed, struct sluice_interface *ret_port)
{
	struct sluice_ip v4 = ip_of("192.0.2.1"), v6 = ip_of("fd00::1");

	ASSERT_TRUE(bed_open(bed, 2));
	asked_ifindex = bed->b.ifindex;
	ASSERT_EQ(sluice_interface_get(asked_ifindex, ret_port), 0);
	/* The rings have none. */
	ret_port->mac[0] = 2;
	ret_port->mac[5] = 0xbb;
	ASSERT_EQ(sluice_interface_set(ret_port), 0);
	ASSERT_EQ(sluice_address_add(asked_ifindex, &v4, 24), 0);
	ASSERT_EQ(sluice_address_add(asked_ifindex, &v6, 64), 0);
	add_neighbour(asked_ifindex, "192.0.2.2", 1);
	add_neighbour(asked_ifindex, "192.0.2.7", 7);
	add_neighbour(asked_ifindex, "198.51.100.1", 8);
	add_neighbour(asked_ifindex, "fd00::61", 61);
	add_route("10.1.0.0", 16, 0, "192.0.2.2");
	add_route("10.2.0.0", 16, 0, "fd00::61");
	add_route("fd01::", 16, 0, "fd00::61");
	add_route("fd01:bad::", 32, 6 /* RTN_BLACKHOLE */, NULL);
}

/* The one with a path goes with its port, the other one does not. */
static void close_with_network(struct bed *bed)
{
	struct sluice_route route = { .prefix = ip_of("fd01:bad::"), .prefix_len = 32 };

	bed_close(bed);
	EXPECT_EQ(sluice_route_del(&route), 0);
	route = (struct sluice_route){ .prefix = ip_of("10.1.0.0"), .prefix_len = 16 };
	EXPECT_EQ(sluice_route_del(&route), -ESRCH);
}

TEST(redirect_neigh, the_header_is_that_of_the_next_hop)
{
	struct sluice_interface port;
	struct bed bed;

	open_with_network(&bed, &port);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_redirect), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		run_row(&bed, &rows[i], &port);
	close_with_network(&bed);
}

TEST(redirect_neigh, what_is_no_plain_ip_packet_is_dropped)
{
	struct sluice_interface port;
	struct bed bed;
	struct frame f;

	open_with_network(&bed, &port);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_redirect), 0);
	ask(&rows[0]);
	send_one(&bed, frame_of(0, 0));
	f = packet_to("192.0.2.7");
	f.bytes[0] = 1;
	send_one(&bed, f);
	/* Too short for its header. */
	f = packet_to("192.0.2.7");
	ring_send(&bed.a, f.bytes, ETH_HLEN + 19, 1);
	settle(&bed.a, 3);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_REDIRECT_DROP), 3u);
	EXPECT_EQ(ring_receive_all(&bed.b), 0u);
	close_with_network(&bed);
}

TEST(redirect_neigh, groups_have_addresses_of_their_own)
{
	static const uint8_t mac[6] = { 0x33, 0x33, 0, 0, 0, 5 };
	const struct row row = { .hop = "ff02::5" };
	struct sluice_interface port;
	uint8_t out[RING_FRAME_MAX];
	struct bed bed;
	struct frame f = packet_to("fd02::1");

	open_with_network(&bed, &port);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_redirect), 0);
	ask(&row);
	ring_send(&bed.a, f.bytes, FRAME, 1);
	ASSERT_EQ(ring_receive(&bed.b, out), (uint32_t)FRAME);
	EXPECT_MEMEQ(out, mac, 6);
	close_with_network(&bed);
}

TEST(redirect_peer, passes_egress_filters_by_and_starts_at_ingress_only)
{
	struct sluice_interface port;
	struct bed bed;

	open_with_network(&bed, &port);
	asked_flags = SL_REDIRECT_PEER;
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_redirect), 0);
	ASSERT_EQ(attach_tc(&bed.b, SLUICE_TC_EGRESS, tc_shot), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.b), 1u);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_EGRESS_SHOT), 0u);
	ASSERT_EQ(sluice_tc_del(bed.a.ifindex, SLUICE_TC_INGRESS, 0, 0), 0);
	ASSERT_EQ(sluice_tc_del(bed.b.ifindex, SLUICE_TC_EGRESS, 0, 0), 0);
	/* Out of port b, whose egress asks for it: too late. */
	ASSERT_EQ(sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex), 0);
	ASSERT_EQ(attach_tc(&bed.b, SLUICE_TC_EGRESS, tc_redirect), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.b), 0u);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_REDIRECT_DROP), 1u);
	close_with_network(&bed);
}
