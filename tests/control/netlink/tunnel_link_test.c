#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/rtnetlink.h>
#include <sluice/dataplane.h>
#include <sluice/port.h>

#include "defs.h"
#include "netlink.h"
#include "ring_port.h"
#include "test.h"
#include "tunnel_words.h"
#include "world.h"

/* Tunnels as links: what the kernel answers to the same requests for a VXLAN device over a veth. */

enum { NEW = NLM_F_CREATE | NLM_F_EXCL, ATTRS_MAX = 12, BYTES_MAX = 20 };

static struct world worlds[SIDES];
static struct ring_port port;
static char answers[SIDES][ANSWER_LEN];

static bool begin(void)
{
	const char *reason;

	if (ring_eal() != 0 || ring_port_open(&port, 1) != 0) {
		sl_test_fail(__FILE__, __LINE__, "no port");
		return false;
	}
	if (!world_open(&worlds[KERNEL], &worlds[SLUICE], port.ifindex, &reason)) {
		sl_test_skip(__FILE__, __LINE__, "%s", reason);
		ring_port_close(&port);
		return false;
	}
	if (system("ip link add probe type vxlan external dstport 9 2>/dev/null && ip link del probe")) {
		sl_test_skip(__FILE__, __LINE__, "the kernel has no VXLAN here");
		ring_port_close(&port);
		return false;
	}
	return true;
}

static void end(void)
{
	ring_port_close(&port);
	world_close(&worlds[KERNEL]);
	world_close(&worlds[SLUICE]);
}

struct attr {
	uint16_t type;
	uint16_t len;
	uint8_t bytes[BYTES_MAX];
};

/* Of the kind's own; the device below is always said. */
struct request {
	uint16_t flags;
	const char *name, *kind;
	unsigned count;
	struct attr attrs[ATTRS_MAX];
	struct attr link; /* one of the link's; type 0: none */
};

static void build(const struct world *world, const struct request *r, struct nlmsghdr *message)
{
	struct nlattr *info, *data;

	mnl_nlmsg_put_header(message);
	message->nlmsg_type = RTM_NEWLINK;
	message->nlmsg_flags = r->flags;
	mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg));
	if (r->name)
		mnl_attr_put_strz(message, IFLA_IFNAME, r->name);
	if (r->link.type)
		mnl_attr_put(message, r->link.type, r->link.len, r->link.bytes);
	if (strcmp(r->kind, "geneve") == 0)
		mnl_attr_put_u32(message, IFLA_LINK, world->ifindex);
	info = mnl_attr_nest_start(message, IFLA_LINKINFO);
	mnl_attr_put_str(message, IFLA_INFO_KIND, r->kind);
	data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
	if (strcmp(r->kind, "geneve") != 0)
		mnl_attr_put_u32(message,
			strcmp(r->kind, "vxlan") == 0 ? IFLA_VXLAN_LINK : IFLA_GRE_LINK,
			world->ifindex);
	for (unsigned i = 0; i < r->count; i++)
		mnl_attr_put(message, r->attrs[i].type, r->attrs[i].len, r->attrs[i].bytes);
	mnl_attr_nest_end(message, data);
	mnl_attr_nest_end(message, info);
}

/* Ours first: a name that the kernel has is not given twice. */
static const enum side order[] = { SLUICE, KERNEL };

static void ask_both(const struct request *r)
{
	static _Alignas(4) uint8_t bytes[4096];

	for (unsigned i = 0; i < SIDES; i++) {
		build(&worlds[order[i]], r, (struct nlmsghdr *)bytes);
		world_ask(&worlds[order[i]], (struct nlmsghdr *)bytes, answers[order[i]]);
	}
}

static void del_both(const char *name)
{
	static _Alignas(4) uint8_t bytes[256];
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;

	for (unsigned i = 0; i < SIDES; i++) {
		mnl_nlmsg_put_header(message);
		message->nlmsg_type = RTM_DELLINK;
		mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg));
		mnl_attr_put_strz(message, IFLA_IFNAME, name);
		world_ask(&worlds[order[i]], message, answers[order[i]]);
	}
}

static int error_of(const char *answer)
{
	const char *at = strstr(answer, "error ");

	return at ? atoi(at + strlen("error ")) : 1;
}

/* 0: both have one, which then goes. */
static int both(const struct request *r)
{
	int err;

	ask_both(r);
	err = error_of(answers[KERNEL]);
	EXPECT_EQ(err, error_of(answers[SLUICE]));
	if (err != error_of(answers[SLUICE]))
		printf("kernel: %sSluice: %s", answers[KERNEL], answers[SLUICE]);
	if (!err)
		del_both(r->name);
	EXPECT_EQ(error_of(answers[KERNEL]), error_of(answers[SLUICE]));
	return err;
}

#define EXTERNAL { IFLA_VXLAN_COLLECT_METADATA, 1, { 1 } }
#define REMOTE { IFLA_VXLAN_GROUP, 4, { 10, 0, 0, 2 } }
#define REMOTE6 { IFLA_VXLAN_GROUP6, 16, { 0xfd, [15] = 2 } }
#define VXLAN(n, ...)                   \
	{                               \
		NEW, "tun", "vxlan", n, \
		{                       \
			__VA_ARGS__     \
		}                       \
	}

static const struct request requests[] = {
	VXLAN(1, EXTERNAL),
	VXLAN(1, REMOTE),
	VXLAN(2, REMOTE6, { IFLA_VXLAN_ID, 4, { 5 } }),
	VXLAN(2, REMOTE, { IFLA_VXLAN_ID, 4, { 0xff, 0xff, 0xff } }),
	VXLAN(2, REMOTE, { IFLA_VXLAN_ID, 4, { 0, 0, 0, 1 } }),
	VXLAN(2, REMOTE, { IFLA_VXLAN_ID, 3, { 5 } }),
	VXLAN(2, REMOTE, REMOTE6),
	VXLAN(2, REMOTE, { IFLA_VXLAN_LOCAL, 4, { 10, 0, 0, 1 } }),
	VXLAN(2, REMOTE, { IFLA_VXLAN_LOCAL6, 16, { 0xfd, [15] = 1 } }),
	VXLAN(2, REMOTE, { IFLA_VXLAN_LOCAL6, 15, { 0xfd } }),
	VXLAN(2, REMOTE, { IFLA_VXLAN_LABEL, 4, { 0, 0, 0, 1 } }),
	VXLAN(2, REMOTE6, { IFLA_VXLAN_LABEL, 4, { 0, 0, 0, 1 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_DF, 1, { 3 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_DF, 1, { 1 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_DF, 0 }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_PORT_RANGE, 4, { 0, 9, 0, 8 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_PORT_RANGE, 4, { 0, 8, 0, 9 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_PORT_RANGE, 2, { 0, 8 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_ID, 4, { 5 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_TTL, 1, { 9 } }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_TTL_INHERIT, 0 }),
	VXLAN(2, EXTERNAL, { IFLA_VXLAN_GBP, 0 }),
	{ NEW, "tun", "vxlan", 1, { EXTERNAL }, { IFLA_MTU, 4, { 67 } } },
	{ NEW, "tun", "vxlan", 1, { EXTERNAL }, { IFLA_MTU, 4, { 68 } } },
	{ NEW, "tun", "vxlan", 1, { EXTERNAL }, { IFLA_MTU, 4, { 0, 0, 1 } } },
	{ NEW, "tun", "vxlan", 1, { EXTERNAL }, { IFLA_ADDRESS, 6, { 2, 0, 0, 0, 0, 1 } } },
	{ NEW, "tun", "vxlan", 1, { EXTERNAL }, { IFLA_ADDRESS, 6, { 3, 0, 0, 0, 0, 1 } } },
	{ NEW, "tun", "vxlan", 1, { EXTERNAL }, { IFLA_ADDRESS, 6 } },
	{ NEW, "tun", "vxlan", 1, { EXTERNAL }, { IFLA_ADDRESS, 5, { 2 } } },
	{ NEW, "a/b", "vxlan", 1, { EXTERNAL } },
	{ NEW, "a b", "vxlan", 1, { EXTERNAL } },
	{ NEW, "..", "vxlan", 1, { EXTERNAL } },
	{ NEW, "sixteen letters!", "vxlan", 1, { EXTERNAL } },
	/* What there is already, of either side's. */
	{ NEW, "v0", "vxlan", 1, { EXTERNAL } },
	{ NLM_F_CREATE | NLM_F_REPLACE, "v0", "vxlan", 1, { EXTERNAL } },
	{ NLM_F_CREATE | NLM_F_REPLACE, "tun", "vxlan", 1, { EXTERNAL } },
};

TEST(tunnel_link, vxlan_is_added_as_by_the_kernel)
{
	if (!begin())
		return;
	for (unsigned i = 0; i < sl_array_size(requests); i++) {
		TRACE_PUSH("request %u", i);
		both(&requests[i]);
		TRACE_POP();
	}
	end();
}

TEST(tunnel_link, a_second_one_for_the_same_packets_is_refused)
{
	const struct request first = VXLAN(2, REMOTE, { IFLA_VXLAN_ID, 4, { 5 } });
	struct request second = first;

	if (!begin())
		return;
	ask_both(&first);
	EXPECT_EQ(0, error_of(answers[SLUICE]));
	ask_both(&first);
	EXPECT_EQ(error_of(answers[KERNEL]), error_of(answers[SLUICE]));
	second.name = "other";
	both(&second);
	second.attrs[1].bytes[0] = 6;
	EXPECT_EQ(0, both(&second));
	del_both("tun");
	EXPECT_STREQ(answers[KERNEL], answers[SLUICE]);
	end();
}

static uint32_t choose(uint32_t *seed, uint32_t limit)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 16) % limit;
}

/* What both have; `most` is the first byte's limit, and the others are 0. */
static const struct {
	uint16_t type, len, most;
} random_attrs[] = {
	{ IFLA_VXLAN_ID, 4, 256 },
	{ IFLA_VXLAN_TTL, 1, 256 },
	{ IFLA_VXLAN_TTL_INHERIT, 0, 1 },
	{ IFLA_VXLAN_TOS, 1, 256 },
	{ IFLA_VXLAN_DF, 1, 4 },
	{ IFLA_VXLAN_LEARNING, 1, 2 },
	{ IFLA_VXLAN_AGEING, 4, 256 },
	{ IFLA_VXLAN_LIMIT, 4, 256 },
	{ IFLA_VXLAN_PORT, 2, 256 },
	{ IFLA_VXLAN_UDP_CSUM, 1, 2 },
	{ IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 1, 2 },
	{ IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1, 2 },
	{ IFLA_VXLAN_GBP, 0, 1 },
	{ IFLA_VXLAN_PROXY, 1, 1 },
	{ IFLA_VXLAN_L2MISS, 1, 1 },
};

TEST(tunnel_link, random_vxlan_requests_are_answered_as_by_the_kernel)
{
	const struct attr ends[] = { EXTERNAL, REMOTE, REMOTE6 };
	uint32_t seed = 4789;
	unsigned added = 0;

	if (!begin())
		return;
	for (unsigned i = 0; i < 150 && !sl_test_has_failed(); i++) {
		struct request r = { NEW, "tun", "vxlan", 1, { ends[choose(&seed, 3)] } };
		unsigned more = choose(&seed, 6);

		for (unsigned n = 0; n < more; n++) {
			unsigned which = choose(&seed, sl_array_size(random_attrs));
			struct attr *attr = &r.attrs[r.count++];

			*attr = (struct attr){ random_attrs[which].type, random_attrs[which].len };
			attr->bytes[0] = (uint8_t)choose(&seed, random_attrs[which].most);
			attr->bytes[1] = attr->len == 2; /* a port is not 0 */
			if (attr->len && choose(&seed, 12) == 0)
				attr->len--;
		}
		TRACE_PUSH("request %u", i);
		added += both(&r) == 0;
		TRACE_POP();
	}
	EXPECT_TRUE(added > 50 || sl_test_has_failed());
	end();
}

struct text {
	char *at;
	size_t room;
};

static void add_word(const char *key, const char *value, void *arg)
{
	struct text *text = arg;
	int len = snprintf(
		text->at, text->room, ",%s%s%s", key, value ? "=" : "", value ? value : "");

	text->at += len;
	text->room -= (size_t)len;
}

/* The tunnel's options as one would type them. */
static const char *words_of(const char *name)
{
	static char words[512];
	struct text text = { words, sizeof(words) };
	struct sl_tunnel_words t = { 0 };
	uint32_t ifindex;

	if (sluice_port_find(name, &ifindex) != 0 || sluice_tunnel_get(ifindex, &t.options) != 0)
		return "none";
	EXPECT_EQ(port.ifindex, t.options.underlay);
	sl_tunnel_words_show(&t, add_word, &text);
	return words;
}

/* Kinds that a kernel may not have: what becomes of their attributes, as ip(8) sends them. */
static const struct {
	struct request request;
	const char *words; /* NULL: it is refused */
} others[] = {
	{ { NEW, "tun", "geneve", 1, { { IFLA_GENEVE_COLLECT_METADATA, 0 } } },
		",external,address=02:00:00:00:00:01,dstport=6081,mtu=1450,udp6zerocsumrx" },
	{ { NEW, "tun", "geneve", 5,
		  { { IFLA_GENEVE_ID, 4, { 5 } }, { IFLA_GENEVE_REMOTE6, 16, { 0xfd, [15] = 2 } },
			  { IFLA_GENEVE_TTL, 1, { 9 } }, { IFLA_GENEVE_TOS, 1, { 1 } },
			  { IFLA_GENEVE_UDP_ZERO_CSUM6_TX, 1, { 1 } } } },
		",remote=fd00::2,address=02:00:00:00:00:01,id=5,dstport=6081,mtu=1430,ttl=9,"
		"tos=inherit,udp6zerocsumtx" },
	{ { NEW, "tun", "geneve", 2,
		{ { IFLA_GENEVE_ID, 4, { 0, 0, 0, 1 } },
			{ IFLA_GENEVE_REMOTE, 4, { 10, 0, 0, 2 } } } } },
	{ { NEW, "tun", "geneve", 1, { { IFLA_GENEVE_INNER_PROTO_INHERIT, 0 } } } },
	{ { NEW, "tun", "gretap", 6,
		  { { IFLA_GRE_IFLAGS, 2, { 0xb0 } }, { IFLA_GRE_OFLAGS, 2, { 0xb0 } },
			  { IFLA_GRE_IKEY, 4, { 0, 0, 0, 7 } },
			  { IFLA_GRE_OKEY, 4, { 0, 0, 0, 7 } },
			  { IFLA_GRE_REMOTE, 4, { 10, 0, 0, 2 } },
			  { IFLA_GRE_LOCAL, 4, { 10, 0, 0, 1 } } } },
		",local=10.0.0.1,remote=10.0.0.2,address=02:00:00:00:00:01,key=7,mtu=1450,df=set,csum,seq" },
	{ { NEW, "tun", "gretap", 3,
		{ { IFLA_GRE_IFLAGS, 2, { 0x20 } }, { IFLA_GRE_OFLAGS, 2, { 0 } },
			{ IFLA_GRE_REMOTE, 4, { 10, 0, 0, 2 } } } } },
	{ { NEW, "tun", "gretap", 2,
		{ { IFLA_GRE_IFLAGS, 2, { 0x40 } }, { IFLA_GRE_REMOTE, 4, { 10, 0, 0, 2 } } } } },
	{ { NEW, "tun", "gre", 4,
		  { { IFLA_GRE_COLLECT_METADATA, 0 }, { IFLA_GRE_TTL, 1, { 0 } },
			  { IFLA_GRE_PMTUDISC, 1, { 1 } }, { IFLA_GRE_ENCAP_TYPE, 2 } } },
		",external,mtu=1476" },
	{ { NEW, "tun", "gre", 2,
		{ { IFLA_GRE_COLLECT_METADATA, 0 }, { IFLA_GRE_ENCAP_TYPE, 2, { 1 } } } } },
	{ { NEW, "tun", "ip6gre", 5,
		  { { IFLA_GRE_REMOTE, 16, { 0xfd, [15] = 2 } }, { IFLA_GRE_ENCAP_LIMIT, 1, { 4 } },
			  { IFLA_GRE_FLOWINFO, 4, { 0, 0x41, 0, 5 } }, { IFLA_GRE_FLAGS, 4, { 0 } },
			  { IFLA_GRE_TTL, 1, { 64 } } } },
		",remote=fd00::2,mtu=1456,ttl=64,tos=4,flowlabel=65541" },
	{ { NEW, "tun", "ip6gretap", 1, { { IFLA_GRE_COLLECT_METADATA, 0 } } },
		",external,address=02:00:00:00:00:01,mtu=1442" },
	{ { NEW, "tun", "ipip", 4,
		  { { IFLA_IPTUN_REMOTE, 4, { 10, 0, 0, 2 } }, { IFLA_IPTUN_PROTO, 1, { 4 } },
			  { IFLA_IPTUN_PMTUDISC, 1, { 0 } }, { IFLA_IPTUN_TOS, 1, { 8 } } } },
		",remote=10.0.0.2,mtu=1480,tos=8" },
	{ { NEW, "tun", "ipip", 2,
		{ { IFLA_IPTUN_REMOTE, 4, { 10, 0, 0, 2 } }, { IFLA_IPTUN_PROTO, 1, { 137 } } } } },
	{ { NEW, "tun", "sit", 2,
		  { { IFLA_IPTUN_REMOTE, 4, { 10, 0, 0, 2 } }, { IFLA_IPTUN_PROTO, 1, { 41 } } } },
		",remote=10.0.0.2,mtu=1480,df=set" },
	{ { NEW, "tun", "sit", 1, { { IFLA_IPTUN_COLLECT_METADATA, 0 } } } },
	{ { NEW, "tun", "ip6tnl", 4,
		  { { IFLA_IPTUN_REMOTE, 16, { 0xfd, [15] = 2 } }, { IFLA_IPTUN_PROTO, 1, { 0 } },
			  { IFLA_IPTUN_FLAGS, 4, { 2 } }, { IFLA_IPTUN_FLOWINFO, 4 } } },
		",remote=fd00::2,mtu=1460,tos=inherit" },
	{ { NEW, "tun", "ip6tnl", 2,
		{ { IFLA_IPTUN_REMOTE, 16, { 0xfd, [15] = 2 } },
			{ IFLA_IPTUN_FLAGS, 4, { 4 } } } } },
};

TEST(tunnel_link, options_of_other_kinds_arrive)
{
	static _Alignas(4) uint8_t bytes[4096];

	if (!begin())
		return;
	for (unsigned i = 0; i < sl_array_size(others); i++) {
		struct request r = others[i].request;

		TRACE_PUSH("request %u", i);
		if (others[i].words && strstr(others[i].words, "address="))
			r.link = (struct attr){ IFLA_ADDRESS, 6, { 2, [5] = 1 } };
		build(&worlds[SLUICE], &r, (struct nlmsghdr *)bytes);
		world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
		EXPECT_EQ(others[i].words == NULL, error_of(answers[SLUICE]) < 0);
		EXPECT_STREQ(others[i].words ? others[i].words : "none", words_of("tun"));
		del_both("tun");
		TRACE_POP();
	}
	end();
}

/* Who may not, and what is the kernel's. */
TEST(tunnel_link, others_are_refused_or_left_to_the_kernel)
{
	const struct request external = VXLAN(1, EXTERNAL);
	static _Alignas(4) uint8_t bytes[4096];
	struct request dummy = external;

	if (!begin())
		return;
	worlds[SLUICE].privileged = false;
	build(&worlds[SLUICE], &external, (struct nlmsghdr *)bytes);
	world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
	EXPECT_EQ(-EPERM, error_of(answers[SLUICE]));
	worlds[SLUICE].privileged = true;
	dummy.kind = "vlan";
	build(&worlds[SLUICE], &dummy, (struct nlmsghdr *)bytes);
	world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
	EXPECT_STREQ("passed\n", answers[SLUICE]);
	/* The device below is the kernel's. */
	build(&(struct world){ .ifindex = 999 }, &external, (struct nlmsghdr *)bytes);
	world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
	EXPECT_STREQ("passed\n", answers[SLUICE]);
	end();
}

/* Over a twin the kernel's own device does what a fixed tunnel is for. */
TEST(tunnel_link, only_external_ones_are_added_over_a_twin)
{
	const struct sluice_port_options options = { .kernel_twin = SLUICE_TWIN_REQUIRE };
	const struct request external = VXLAN(1, EXTERNAL), fixed = VXLAN(1, REMOTE);
	struct request other = external;
	static _Alignas(4) uint8_t bytes[4096];
	const char *reason;

	if (ring_eal() != 0 || !world_open(&worlds[KERNEL], &worlds[SLUICE], 0, &reason)) {
		sl_test_skip(__FILE__, __LINE__, "%s", reason);
		return;
	}
	if (ring_port_open_as(&port, 1, &options) != 0) {
		sl_test_skip(__FILE__, __LINE__, "this user may not make a kernel interface");
		return;
	}
	worlds[SLUICE].ifindex = port.ifindex;
	build(&worlds[SLUICE], &fixed, (struct nlmsghdr *)bytes);
	world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
	EXPECT_STREQ("passed\n", answers[SLUICE]);
	build(&worlds[SLUICE], &external, (struct nlmsghdr *)bytes);
	world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
	EXPECT_EQ(0, error_of(answers[SLUICE]));
	/* Elsewhere the number is another interface's. */
	worlds[SLUICE].elsewhere = true;
	other.name = "other";
	build(&worlds[SLUICE], &other, (struct nlmsghdr *)bytes);
	world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
	EXPECT_STREQ("passed\n", answers[SLUICE]);
	end();
}
