#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_bpf.h>
#include <linux/tc_act/tc_gact.h>
#include <sluice/dataplane.h>

#include "bed.h"
#include "defs.h"
#include "netlink.h"
#include "ring_port.h"
#include "test.h"
#include "world.h"

/* rtnetlink for ports: what the kernel answers to the same requests about a veth. */

enum { CREATE = NLM_F_CREATE, EXCL = NLM_F_EXCL, REPLACE = NLM_F_REPLACE, ECHOED = NLM_F_ECHO };
enum { QDISC = (int)0xffff0000, INGRESS = (int)0xfffffff2, EGRESS = (int)0xfffffff3 };
enum { EXPECTED_FD = 8, REPLACE_XDP = 1 << 4 };

/* A descriptor in a request, which each side has its own of. */
enum fd { NO_FD, CLS0, CLS1, ACT, XDP0, XDP1, CLOSED, FOREIGN, NEGATIVE };

static int fd_of(const struct world *world, enum fd fd)
{
	const int fds[] = {
		[CLS0] = world->cls[0],
		[CLS1] = world->cls[1],
		[ACT] = world->act[0],
		[XDP0] = world->xdp[0],
		[XDP1] = world->xdp[1],
		[CLOSED] = world->none,
		[FOREIGN] = world->foreign,
		[NEGATIVE] = -1,
	};

	return fds[fd];
}

/* A request about qdiscs or filters. */
struct tc {
	uint16_t type, flags;
	uint32_t parent, handle, priority;
	uint16_t protocol;
	const char *kind;
	bool options; /* TCA_OPTIONS is there, with: */
	enum fd fd;
	uint32_t classid, bpf_flags, generic;
	const char *name;
	uint32_t chain; /* its number and 1 */
};

static void build_tc(const struct world *world, const struct tc *tc, struct nlmsghdr *message)
{
	struct tcmsg *head;
	struct nlattr *nest;

	mnl_nlmsg_put_header(message);
	message->nlmsg_type = tc->type;
	message->nlmsg_flags = tc->flags;
	head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
	head->tcm_ifindex = (int)world->ifindex;
	head->tcm_parent = tc->parent;
	head->tcm_handle = tc->handle;
	head->tcm_info = TC_H_MAKE(tc->priority << 16, htons(tc->protocol));
	if (tc->kind)
		mnl_attr_put_strz(message, TCA_KIND, tc->kind);
	if (tc->chain)
		mnl_attr_put_u32(message, TCA_CHAIN, tc->chain - 1);
	if (!tc->options)
		return;
	nest = mnl_attr_nest_start(message, TCA_OPTIONS);
	if (tc->fd)
		mnl_attr_put_u32(message, TCA_BPF_FD, (uint32_t)fd_of(world, tc->fd));
	if (tc->name)
		mnl_attr_put_strz(message, TCA_BPF_NAME, tc->name);
	if (tc->classid)
		mnl_attr_put_u32(message, TCA_BPF_CLASSID, tc->classid);
	if (tc->bpf_flags)
		mnl_attr_put_u32(message, TCA_BPF_FLAGS, tc->bpf_flags);
	if (tc->generic)
		mnl_attr_put_u32(message, TCA_BPF_FLAGS_GEN, tc->generic);
	mnl_attr_nest_end(message, nest);
}

static struct world worlds[SIDES];
static struct ring_port port;

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
	return true;
}

static void end(void)
{
	ring_port_close(&port);
	world_close(&worlds[KERNEL]);
	world_close(&worlds[SLUICE]);
}

/* The last answer of each side. */
static char answers[SIDES][ANSWER_LEN];

static void both_tc(const struct tc *tc)
{
	static _Alignas(4) uint8_t bytes[4096];

	for (enum side side = 0; side < SIDES; side++) {
		build_tc(&worlds[side], tc, (struct nlmsghdr *)bytes);
		world_ask(&worlds[side], (struct nlmsghdr *)bytes, answers[side]);
	}
	EXPECT_STREQ(answers[KERNEL], answers[SLUICE]);
}

static void both_lists(void)
{
	both_tc(&(struct tc){ RTM_GETQDISC, NLM_F_DUMP });
	both_tc(&(struct tc){ RTM_GETTFILTER, NLM_F_DUMP, (uint32_t)INGRESS });
	both_tc(&(struct tc){ RTM_GETTFILTER, NLM_F_DUMP, (uint32_t)EGRESS });
}

#define NEWQ(flags, ...) { RTM_NEWQDISC, flags, TC_H_INGRESS, __VA_ARGS__ }
#define DELQ(...) { RTM_DELQDISC, 0, TC_H_INGRESS, __VA_ARGS__ }
#define NEWF(flags, parent, ...) { RTM_NEWTFILTER, flags, (uint32_t)parent, __VA_ARGS__ }
#define DELF(parent, ...) { RTM_DELTFILTER, ECHOED, (uint32_t)parent, __VA_ARGS__ }
#define GETF(parent, ...) { RTM_GETTFILTER, 0, (uint32_t)parent, __VA_ARGS__ }
#define BPF .kind = "bpf", .options = true
#define ALL .protocol = ETH_P_ALL

/* In order, from a port that has nothing; a step without a type starts anew. */
static const struct tc steps[] = {
	DELQ(QDISC, .kind = "clsact"),
	DELF(INGRESS),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = CLS0),
	GETF(INGRESS, 1, 1, ALL),
	NEWQ(CREATE | EXCL, QDISC, .kind = "zork"),
	NEWQ(0, QDISC, .kind = "clsact"),
	NEWQ(CREATE, QDISC | 1, .kind = "clsact"),
	NEWQ(CREATE, QDISC),
	NEWQ(CREATE | EXCL | ECHOED, QDISC, .kind = "clsact"),
	NEWQ(CREATE | EXCL, QDISC, .kind = "clsact"),
	NEWQ(CREATE | ECHOED, QDISC, .kind = "clsact"),
	NEWQ(CREATE | REPLACE, QDISC, .kind = "ingress"),
	NEWQ(CREATE, QDISC, .kind = "clsact", .options = true),
	NEWQ(CREATE, 0x10000, .kind = "clsact"),
	NEWQ(CREATE | REPLACE, 0, .kind = "ingress"),
	NEWQ(CREATE, 0, .kind = "clsact"),
	NEWQ(CREATE | EXCL, 0, .kind = "clsact"),
	{ RTM_NEWQDISC, 0, 0, QDISC, .kind = "clsact" },
	{ RTM_NEWQDISC, 0, 0, QDISC, .kind = "ingress" },
	{ RTM_GETQDISC, ECHOED, TC_H_INGRESS, QDISC },
	{ RTM_GETQDISC, 0, TC_H_INGRESS, QDISC },
	{ RTM_DELQDISC, 0, 0, QDISC },
	DELQ(0x10000),
	DELQ(QDISC, .kind = "ingress"),
	{ RTM_DELQDISC, ECHOED, TC_H_INGRESS, QDISC, .kind = "clsact" },
	{ 0 },
	NEWQ(CREATE | EXCL, QDISC, .kind = "ingress"),
	NEWF(CREATE, 0xffff0000, 0, 5, ALL, BPF, .fd = CLS0, .bpf_flags = 1),
	NEWF(CREATE | ECHOED, INGRESS, 0, 5, ALL, BPF, .fd = CLS0, .bpf_flags = 1),
	DELQ(QDISC),
	{ 0 },
	NEWQ(CREATE | EXCL, QDISC, .kind = "clsact"),
	/* What is not there, and how a request can be wrong. */
	NEWF(CREATE, INGRESS, ALL),
	NEWF(CREATE, INGRESS, 0, 1, BPF, .fd = CLS0),
	NEWF(0, INGRESS, 0, 1, ALL, BPF, .fd = CLS0),
	NEWF(0, INGRESS, ALL, BPF, .fd = CLS0),
	NEWF(CREATE, INGRESS, ALL, .kind = "zork"),
	NEWF(CREATE, INGRESS, ALL, .kind = "bpf"),
	NEWF(CREATE, 0xffff0007, ALL, BPF, .fd = CLS0),
	NEWF(CREATE, 0xffff0000, ALL, BPF, .fd = CLS0),
	NEWF(CREATE, 0xffffffff, ALL, BPF, .fd = CLS0),
	NEWF(CREATE, INGRESS, ALL, .kind = "bpf_bpf_bpf_bpf_bpf"),
	NEWF(CREATE, INGRESS, ALL, BPF, .chain = 0x10000001),
	NEWF(CREATE, INGRESS, ALL, BPF),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = CLOSED),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = NEGATIVE),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = FOREIGN),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = ACT),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = CLS0, .bpf_flags = 2),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = CLS0, .generic = 3),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = CLS0, .generic = 2),
	NEWF(CREATE, INGRESS, ALL, BPF, .fd = CLS0, .generic = 4),
	DELF(INGRESS, 0, 1, ALL, .kind = "bpf"),
	DELF(INGRESS, 0, 0, ALL),
	DELF(INGRESS, 1),
	DELF(INGRESS, 0, 0, 0, .kind = "bpf"),
	DELF(INGRESS, 0, 0, 0, .chain = 4),
	DELF(INGRESS, 0, 7, 0, .chain = 4),
	DELF(INGRESS),
	GETF(INGRESS, 1, 1, ALL, .kind = "bpf"),
	GETF(INGRESS, 1, 0, ALL, .kind = "bpf"),
	/* Filters. */
	NEWF(CREATE | EXCL | ECHOED, INGRESS, ALL, BPF, .fd = CLS0, .bpf_flags = 1, .name = "one"),
	NEWF(CREATE | EXCL | ECHOED, INGRESS, ALL, BPF, .fd = CLS0, .classid = 0x10007),
	NEWF(CREATE | EXCL | ECHOED, INGRESS, 0, 10, ETH_P_IP, BPF, .fd = CLS1),
	NEWF(CREATE | EXCL | ECHOED, INGRESS, 0, 10, ETH_P_IP, BPF, .fd = CLS1, .generic = 1),
	NEWF(CREATE | EXCL | ECHOED, INGRESS, 7, 10, ETH_P_IP, BPF, .fd = CLS1),
	NEWF(CREATE | EXCL | ECHOED, INGRESS, 0x80000001, 10, ETH_P_IP, BPF, .fd = CLS1),
	NEWF(CREATE | EXCL, INGRESS, 7, 10, ETH_P_IP, BPF, .fd = CLS1),
	NEWF(CREATE, INGRESS, 0, 10, ALL, BPF, .fd = CLS1),
	NEWF(CREATE, INGRESS, 0, 10, 0, BPF, .fd = CLS1),
	NEWF(CREATE, INGRESS, 0, 10, ETH_P_IP, .kind = "zork"),
	NEWF(CREATE | REPLACE | ECHOED, INGRESS, 7, 10, ETH_P_IP, BPF, .fd = CLS0, .name = "new"),
	NEWF(CREATE | REPLACE, INGRESS, 7, 10, ETH_P_IP, BPF, .fd = CLS0, .generic = 1),
	NEWF(0, INGRESS, 7, 10, ETH_P_IP, BPF, .fd = CLS1),
	NEWF(0, INGRESS, 8, 10, ETH_P_IP, BPF, .fd = CLS1),
	NEWF(CREATE | ECHOED, EGRESS, 1, 0xffff, ETH_P_IPV6, BPF, .fd = CLS1, .bpf_flags = 1),
	NEWF(CREATE | ECHOED, EGRESS, 0, 0, ETH_P_ARP, BPF, .fd = CLS1, .bpf_flags = 1),
	GETF(INGRESS, 7, 10, ETH_P_IP, .kind = "bpf"),
	GETF(INGRESS, 7, 10, 0),
	GETF(INGRESS, 7, 10, ALL),
	GETF(INGRESS, 9, 10, ETH_P_IP),
	GETF(INGRESS, 7, 11, ETH_P_IP),
	GETF(INGRESS, 7, 10, ETH_P_IP, .kind = "zork"),
	GETF(INGRESS, 7, 10, ETH_P_IP, .chain = 2),
	{ RTM_GETTFILTER, NLM_F_DUMP, (uint32_t)INGRESS, 0, 10 },
	{ RTM_GETTFILTER, NLM_F_DUMP, (uint32_t)INGRESS, 0, 0, ALL },
	{ RTM_GETTFILTER, NLM_F_DUMP, (uint32_t)INGRESS, .chain = 1 },
	{ RTM_GETTFILTER, NLM_F_DUMP, (uint32_t)INGRESS, .chain = 2 },
	DELF(INGRESS, 9, 10, ETH_P_IP),
	DELF(INGRESS, 7, 10, ALL),
	DELF(INGRESS, 7, 11, ETH_P_IP),
	DELF(INGRESS, 7, 10, ETH_P_IP, .kind = "zork"),
	DELF(INGRESS, 7, 10, ETH_P_IP, .kind = "bpf"),
	DELF(INGRESS, 0, 10, ETH_P_IP),
	DELF(INGRESS),
	DELF(EGRESS, 1, 0xffff, 0),
	{ RTM_DELQDISC, 0, TC_H_INGRESS, QDISC, .kind = "clsact" },
};

static void start_anew(void)
{
	sluice_tc_qdisc_set(port.ifindex, SLUICE_TC_NO_QDISC);
	EXPECT_TRUE(world_renew(&worlds[KERNEL]));
}

TEST(netlink, qdiscs_and_filters_are_the_kernels)
{
	if (!begin())
		return;
	for (unsigned i = 0; i < sl_array_size(steps); i++) {
		TRACE_PUSH("step %u", i);
		if (steps[i].type)
			both_tc(&steps[i]);
		else
			start_anew();
		both_lists();
		TRACE_POP();
		if (sl_test_has_failed())
			break;
	}
	end();
}

static uint32_t choose(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)*seed * n) >> 32);
}

static struct tc random_tc(uint32_t *seed)
{
	static const uint16_t types[] = { RTM_NEWTFILTER, RTM_NEWTFILTER, RTM_NEWTFILTER,
		RTM_DELTFILTER, RTM_GETTFILTER, RTM_NEWQDISC };
	static const uint16_t flags[] = { CREATE, CREATE | EXCL, CREATE | REPLACE, 0, REPLACE };
	static const uint32_t parents[] = { (uint32_t)INGRESS, (uint32_t)INGRESS, (uint32_t)EGRESS,
		0xffff0000 };
	static const uint32_t priorities[] = { 0, 1, 2, 0xbfff, 0xc000, 0xffff };
	static const uint16_t protocols[] = { ETH_P_ALL, ETH_P_ALL, ETH_P_IP, 0 };
	static const char *const kinds[] = { "bpf", "bpf", "bpf", NULL, "ingress", "clsact" };
	static const enum fd fds[] = { CLS0, CLS1, CLS0, XDP0, CLOSED };
	struct tc tc = { .type = types[choose(seed, sl_array_size(types))] };

	tc.flags = flags[choose(seed, sl_array_size(flags))] | (choose(seed, 2) ? ECHOED : 0);
	if (tc.type == RTM_NEWQDISC) {
		tc.parent = TC_H_INGRESS;
		tc.handle = choose(seed, 4) ? (uint32_t)QDISC : 0;
		tc.kind = kinds[3 + choose(seed, 3)];
		return tc;
	}
	tc.parent = parents[choose(seed, sl_array_size(parents))];
	tc.priority = priorities[choose(seed, sl_array_size(priorities))];
	tc.handle = choose(seed, 4);
	tc.protocol = protocols[choose(seed, sl_array_size(protocols))];
	tc.kind = kinds[choose(seed, 5)];
	if (tc.type != RTM_NEWTFILTER)
		return tc;
	tc.options = choose(seed, 20) != 0;
	tc.fd = fds[choose(seed, sl_array_size(fds))];
	tc.classid = choose(seed, 2) ? 0x10000 + choose(seed, 3) : 0;
	tc.bpf_flags = choose(seed, 2);
	tc.generic = choose(seed, 8) ? 0 : choose(seed, 5);
	tc.name = choose(seed, 2) ? "name" : NULL;
	return tc;
}

TEST(netlink, random_requests_are_answered_as_by_the_kernel)
{
	uint32_t seed = 20;

	if (!begin())
		return;
	for (unsigned i = 0; i < 1500 && !sl_test_has_failed(); i++) {
		struct tc tc = random_tc(&seed);

		TRACE_PUSH(
			"request %u: type %u flags %x parent %x handle %x priority %x proto %x %s",
			i, tc.type, tc.flags, tc.parent, tc.handle, tc.priority, tc.protocol,
			tc.kind ? tc.kind : "");
		both_tc(&tc);
		if (i % 8 == 0)
			both_lists();
		if (i % 300 == 299)
			start_anew();
		TRACE_POP();
	}
	end();
}

/* A request about IFLA_XDP. */
struct xdp {
	uint16_t type, flags;
	enum fd fd;
	uint32_t xdp_flags;
	enum fd expected;
	uint16_t extra; /* an attribute that is there too, of one byte */
};

static void build_xdp(const struct world *world, const struct xdp *xdp, struct nlmsghdr *message)
{
	struct ifinfomsg *head;
	struct nlattr *nest;

	mnl_nlmsg_put_header(message);
	message->nlmsg_type = xdp->type;
	message->nlmsg_flags = xdp->flags;
	head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
	head->ifi_index = (int)world->ifindex;
	if (xdp->type == RTM_GETLINK)
		return;
	nest = mnl_attr_nest_start(message, IFLA_XDP);
	if (xdp->fd)
		mnl_attr_put_u32(message, IFLA_XDP_FD, (uint32_t)fd_of(world, xdp->fd));
	if (xdp->xdp_flags)
		mnl_attr_put_u32(message, IFLA_XDP_FLAGS, xdp->xdp_flags);
	if (xdp->expected)
		mnl_attr_put_u32(message, EXPECTED_FD, (uint32_t)fd_of(world, xdp->expected));
	if (xdp->extra)
		mnl_attr_put_u8(message, xdp->extra, 0);
	mnl_attr_nest_end(message, nest);
}

static void both_xdp(const struct xdp *xdp)
{
	static _Alignas(4) uint8_t bytes[4096];

	for (enum side side = 0; side < SIDES; side++) {
		build_xdp(&worlds[side], xdp, (struct nlmsghdr *)bytes);
		world_ask(&worlds[side], (struct nlmsghdr *)bytes, answers[side]);
	}
	EXPECT_STREQ(answers[KERNEL], answers[SLUICE]);
}

#define SET(...) { RTM_SETLINK, 0, __VA_ARGS__ }

/* In order; what a link says of itself is looked at after each. */
static const struct xdp xdp_steps[] = {
	SET(NO_FD),
	SET(NEGATIVE),
	SET(CLOSED),
	SET(FOREIGN),
	SET(CLS0),
	SET(XDP0, 1 << 7),
	SET(XDP0, XDP_FLAGS_SKB_MODE | XDP_FLAGS_DRV_MODE),
	SET(XDP0, REPLACE_XDP),
	SET(XDP0, REPLACE_XDP, XDP0),
	SET(XDP0, REPLACE_XDP, CLOSED),
	SET(XDP0, XDP_FLAGS_HW_MODE),
	SET(NEGATIVE, XDP_FLAGS_HW_MODE),
	SET(XDP0, .extra = IFLA_XDP_ATTACHED),
	SET(XDP0, .extra = IFLA_XDP_PROG_ID),
	SET(XDP0, .extra = IFLA_XDP_FLAGS),
	SET(XDP0, .extra = EXPECTED_FD),
	SET(XDP0, .extra = 30),
	SET(XDP0, XDP_FLAGS_UPDATE_IF_NOEXIST),
	SET(XDP1),
	SET(XDP1, REPLACE_XDP, XDP0),
	SET(XDP0, REPLACE_XDP, XDP1),
	SET(XDP1, REPLACE_XDP, NEGATIVE),
	SET(XDP1, 0, CLOSED),
	SET(XDP1, XDP_FLAGS_SKB_MODE),
	SET(NEGATIVE, XDP_FLAGS_SKB_MODE),
	SET(NEGATIVE, REPLACE_XDP, XDP0),
	SET(NEGATIVE, REPLACE_XDP, XDP1),
	SET(XDP1, XDP_FLAGS_SKB_MODE),
	SET(XDP0, XDP_FLAGS_UPDATE_IF_NOEXIST | XDP_FLAGS_SKB_MODE),
	SET(XDP0, XDP_FLAGS_DRV_MODE),
	SET(XDP0),
	SET(NEGATIVE),
	SET(NEGATIVE, XDP_FLAGS_SKB_MODE),
	{ RTM_NEWLINK, CREATE | EXCL, XDP0 },
	{ RTM_NEWLINK, REPLACE, XDP0 },
	{ RTM_NEWLINK, CREATE, XDP0, XDP_FLAGS_DRV_MODE },
	{ RTM_NEWLINK, 0, NEGATIVE },
};

TEST(netlink, xdp_is_attached_as_by_the_kernel)
{
	if (!begin())
		return;
	for (unsigned i = 0; i < sl_array_size(xdp_steps); i++) {
		TRACE_PUSH("step %u", i);
		both_xdp(&xdp_steps[i]);
		both_xdp(&(struct xdp){ RTM_GETLINK });
		both_xdp(&(struct xdp){ RTM_GETLINK, NLM_F_DUMP });
		TRACE_POP();
	}
	end();
}

TEST(netlink, random_xdp_requests_are_answered_as_by_the_kernel)
{
	static const enum fd fds[] = { XDP0, XDP1, NEGATIVE, NO_FD, CLS0 };
	static const uint32_t flags[] = { 0, XDP_FLAGS_UPDATE_IF_NOEXIST, XDP_FLAGS_SKB_MODE,
		XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, REPLACE_XDP };
	uint32_t seed = 3;

	if (!begin())
		return;
	for (unsigned i = 0; i < 150 && !sl_test_has_failed(); i++) {
		struct xdp xdp = {
			.type = RTM_SETLINK,
			.fd = fds[choose(&seed, sl_array_size(fds))],
			.xdp_flags = flags[choose(&seed, sl_array_size(flags))] |
				     flags[choose(&seed, sl_array_size(flags))],
			.expected = fds[choose(&seed, sl_array_size(fds))],
		};

		TRACE_PUSH("request %u: fd %d flags %x expected %d", i, xdp.fd, xdp.xdp_flags,
			xdp.expected);
		both_xdp(&xdp);
		both_xdp(&(struct xdp){ RTM_GETLINK });
		TRACE_POP();
	}
	end();
}

/* An action of a table. */
struct action {
	const char *kind;
	bool options;
	uint32_t index;
	int verdict;
	enum fd fd;
	const char *name;
	bool named; /* TCA_ACT_INDEX, as to find one */
	const char *cookie;
};

enum { TABLE = 3 };

static void put_table(const struct action *actions, uint16_t type, struct nlmsghdr *message)
{
	struct nlattr *table = mnl_attr_nest_start(message, type), *entry, *options;

	for (unsigned i = 0; i < TABLE && (actions[i].kind || actions[i].options); i++) {
		const struct action *a = &actions[i];
		struct tc_act_bpf parms = { .index = a->index, .action = a->verdict };
		bool bpf = a->kind && strcmp(a->kind, "bpf") == 0;

		entry = mnl_attr_nest_start(message, (uint16_t)(i + 1));
		if (a->kind)
			mnl_attr_put_strz(message, TCA_ACT_KIND, a->kind);
		if (a->named)
			mnl_attr_put_u32(message, TCA_ACT_INDEX, a->index);
		if (a->cookie)
			mnl_attr_put(message, TCA_ACT_COOKIE, strlen(a->cookie), a->cookie);
		if (a->options) {
			options = mnl_attr_nest_start(message, TCA_ACT_OPTIONS);
			mnl_attr_put(message, bpf ? TCA_ACT_BPF_PARMS : TCA_GACT_PARMS,
				sizeof(parms), &parms);
			if (a->fd)
				mnl_attr_put_u32(message, TCA_ACT_BPF_FD,
					(uint32_t)fd_of(&worlds[SLUICE], a->fd));
			if (a->name)
				mnl_attr_put_strz(message, TCA_ACT_BPF_NAME, a->name);
			mnl_attr_nest_end(message, options);
		}
		mnl_attr_nest_end(message, entry);
	}
	mnl_attr_nest_end(message, table);
}

/*
 * What the kernel's act_api.c, act_bpf.c and act_gact.c say (net/sched); many kernels are built
 * without the last two, this one for instance.
 */
static const struct action_row {
	uint16_t type, flags;
	struct action actions[TABLE + 1];
	int err;
	const char *reason;
	unsigned bpf, gact; /* how many there are then */
} action_rows[] = {
	{ RTM_NEWACTION, 0, { { "zork", true }, { "gact", true } }, -2,
		"Failed to load TC action module", 0, 0 },
	{ RTM_NEWACTION, 0, { { NULL, true }, { "gact", true } }, -22,
		"TC action kind must be specified", 0, 0 },
	{ RTM_NEWACTION, 0, { { "gact" } }, -22, NULL, 0, 0 },
	{ RTM_NEWACTION, 0, { { "bpf", true } }, -22, NULL, 0, 0 },
	{ RTM_NEWACTION, 0, { { "bpf", true, .fd = CLOSED } }, -9, NULL, 0, 0 },
	{ RTM_NEWACTION, 0, { { "bpf", true, .fd = CLS0 } }, -22, NULL, 0, 0 },
	{ RTM_NEWACTION, 0, { { "gact", true, .verdict = 9 } }, -22, "invalid control action", 0,
		0 },
	{ RTM_NEWACTION, 0, { { "gact", true, .verdict = 2 } }, 0, NULL, 0, 1 },
	{ RTM_NEWACTION, 0, { { "gact", true, 5, 2 } }, 0, NULL, 0, 2 },
	{ RTM_NEWACTION, 0, { { "gact", true, 5, 2 } }, -17, NULL, 0, 2 },
	{ RTM_NEWACTION, REPLACE, { { "gact", true, 5, 3 } }, 0, NULL, 0, 2 },
	{ RTM_NEWACTION, 0, { { "bpf", true, 0, 3, ACT, "a" }, { "bpf", true, 0, 3, ACT } }, 0,
		NULL, 2, 2 },
	/* All or none. */
	{ RTM_NEWACTION, 0, { { "gact", true, 8, 2 }, { "gact", true, 5, 2 } }, -17, NULL, 2, 2 },
	{ RTM_NEWACTION, 0, { { "gact", true, 8, 2 }, { "bpf", true, 8, 2, CLOSED } }, -9, NULL, 2,
		2 },
	{ RTM_GETACTION, 0, { { "bpf", .index = 2 } }, -22, "Invalid TC action index value", 2, 2 },
	{ RTM_GETACTION, 0, { { "bpf", .index = 7, .named = true } }, -2,
		"TC action with specified index not found", 2, 2 },
	{ RTM_GETACTION, 0, { { "bpf", .index = 2, .named = true } }, 0, NULL, 2, 2 },
	{ RTM_DELACTION, 0,
		{ { "bpf", .index = 2, .named = true }, { "zork", .index = 2, .named = true } },
		-22, "Specified TC action kind not found", 2, 2 },
	{ RTM_DELACTION, 0, { { "bpf", .index = 2, .named = true } }, 0, NULL, 1, 2 },
	{ RTM_DELACTION, 0, { { "bpf", .index = 2, .named = true } }, -2,
		"TC action with specified index not found", 1, 2 },
	{ RTM_DELACTION, NLM_F_ROOT, { { "gact" } }, 0, NULL, 1, 0 },
	{ RTM_DELACTION, NLM_F_ROOT, { { "gact" } }, 0, NULL, 1, 0 },
	{ RTM_DELACTION, NLM_F_ROOT, { { "bpf" } }, 0, NULL, 0, 0 },
};

static unsigned actions_of(enum sluice_tc_kind kind)
{
	struct sluice_tc_action_info info = { 0 };
	unsigned n = 0;

	while (sluice_tc_action_next(kind, info.index + 1, &info) == 0)
		n++;
	return n;
}

static void ask_action(const struct action_row *row)
{
	static _Alignas(4) uint8_t bytes[4096];
	struct nlmsghdr *message = mnl_nlmsg_put_header(bytes);
	char expected[256];

	message->nlmsg_type = row->type;
	message->nlmsg_flags = row->flags;
	mnl_nlmsg_put_extra_header(message, sizeof(struct tcamsg));
	put_table(row->actions, TCA_ACT_TAB, message);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	snprintf(expected, sizeof(expected), row->reason ? "error %d '%s'" : "error %d\n", row->err,
		row->reason);
	EXPECT_CONTAINS(answers[SLUICE], expected);
	EXPECT_EQ(actions_of(SLUICE_TC_BPF), row->bpf);
	EXPECT_EQ(actions_of(SLUICE_TC_GACT), row->gact);
}

TEST(netlink, actions_are_objects)
{
	if (!begin())
		return;
	for (unsigned i = 0; i < sl_array_size(action_rows); i++) {
		TRACE_PUSH("row %u", i);
		ask_action(&action_rows[i]);
		TRACE_POP();
	}
	end();
}

/* A filter with that action: its errno. */
static int filter_with(const struct action *action, uint32_t handle)
{
	static _Alignas(4) uint8_t bytes[4096];
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;
	const struct tc tc = NEWF(CREATE | EXCL, INGRESS, handle, 1, ALL, .kind = "bpf");
	struct action table[TABLE + 1] = { *action };
	struct nlattr *options;
	int err = 1;

	build_tc(&worlds[SLUICE], &tc, message);
	options = mnl_attr_nest_start(message, TCA_OPTIONS);
	mnl_attr_put_u32(message, TCA_BPF_FD, (uint32_t)fd_of(&worlds[SLUICE], CLS0));
	put_table(table, TCA_BPF_ACT, message);
	mnl_attr_nest_end(message, options);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	sscanf(strstr(answers[SLUICE], "error"), "error %d", &err);
	return err;
}

static void expect_action(
	enum sluice_tc_kind kind, uint32_t index, uint32_t references, uint32_t bindings)
{
	struct sluice_tc_action_info info = { 0 };

	EXPECT_EQ(sluice_tc_action_next(kind, index, &info), 0);
	EXPECT_EQ(info.index, index);
	EXPECT_EQ(info.references, references);
	EXPECT_EQ(info.bindings, bindings);
}

TEST(netlink, filters_share_actions)
{
	const struct action shared = { "gact", true, 5, TC_ACT_SHOT },
			    fresh = { "bpf", true, .fd = ACT };
	const struct action_row del = { RTM_DELACTION, 0, { { "gact", .index = 5, .named = true } },
		-1, "Failed to delete TC action", 1, 1 };
	const struct action_row flush = { RTM_DELACTION, NLM_F_ROOT, { { "gact" } }, -1, NULL, 1,
		1 };
	const struct action_row replace = { RTM_NEWACTION, REPLACE, { { "gact", true, 5, 4 } }, 0,
		NULL, 1, 1 };

	if (!begin())
		return;
	EXPECT_EQ(sluice_tc_qdisc_set(port.ifindex, SLUICE_TC_QDISC_CLSACT), 0);
	EXPECT_EQ(filter_with(&shared, 1), 0);
	expect_action(SLUICE_TC_GACT, 5, 1, 1);
	EXPECT_EQ(filter_with(&shared, 2), 0);
	expect_action(SLUICE_TC_GACT, 5, 2, 2);
	EXPECT_EQ(filter_with(&fresh, 3), 0);
	expect_action(SLUICE_TC_BPF, 1, 1, 1);
	/* A refused filter leaves nothing behind. */
	EXPECT_EQ(filter_with(&shared, 2), -17);
	expect_action(SLUICE_TC_GACT, 5, 2, 2);
	ask_action(&del);
	ask_action(&flush);
	ask_action(&replace);
	expect_action(SLUICE_TC_GACT, 5, 2, 2);
	EXPECT_EQ(sluice_tc_del(port.ifindex, SLUICE_TC_INGRESS, 1, 1), 0);
	expect_action(SLUICE_TC_GACT, 5, 1, 1);
	EXPECT_EQ(sluice_tc_qdisc_set(port.ifindex, SLUICE_TC_NO_QDISC), 0);
	EXPECT_EQ(actions_of(SLUICE_TC_GACT) + actions_of(SLUICE_TC_BPF), 0u);
	end();
}

TEST(netlink, only_the_privileged_change_things)
{
	static const struct tc allowed[] = { { RTM_GETTFILTER, NLM_F_DUMP, (uint32_t)INGRESS } };
	static const struct tc refused[] = { NEWQ(CREATE, QDISC, .kind = "clsact"), DELQ(QDISC),
		NEWF(CREATE, INGRESS, ALL, BPF, .fd = CLS0), DELF(INGRESS) };
	const struct action_row action = { RTM_NEWACTION, 0, { { "gact", true, .verdict = 2 } },
		-1 };
	static _Alignas(4) uint8_t bytes[4096];
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;

	if (!begin())
		return;
	worlds[SLUICE].privileged = false;
	build_tc(&worlds[SLUICE], &allowed[0], message);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	EXPECT_CONTAINS(answers[SLUICE], "done 0");
	for (unsigned i = 0; i < sl_array_size(refused); i++) {
		build_tc(&worlds[SLUICE], &refused[i], message);
		world_ask(&worlds[SLUICE], message, answers[SLUICE]);
		EXPECT_CONTAINS(answers[SLUICE], "error -1\n");
	}
	build_xdp(&worlds[SLUICE], &(struct xdp)SET(XDP0), message);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	EXPECT_CONTAINS(answers[SLUICE], "error -1\n");
	ask_action(&action);
	end();
}

TEST(netlink, garbage_is_refused_or_the_kernels)
{
	static _Alignas(4) uint8_t bytes[4096];
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;
	uint32_t seed = 7;

	if (!begin())
		return;
	EXPECT_EQ(sluice_tc_qdisc_set(port.ifindex, SLUICE_TC_QDISC_CLSACT), 0);
	for (unsigned i = 0; i < 20000; i++) {
		struct tc tc = random_tc(&seed);
		struct sl_netlink_socket socket = {
			.ext_ack = true, .with_twins = true, .privileged = true
		};
		struct sl_netlink_list out = { 0 }, none = { 0 };
		enum sl_netlink_verdict verdict;
		uint32_t len;

		build_tc(&worlds[SLUICE], &tc, message);
		message->nlmsg_flags |= NLM_F_REQUEST;
		len = message->nlmsg_len;
		/* Somewhere in the attributes; the last bytes end the message early. */
		for (unsigned n = choose(&seed, 4);
			n > 0 && len > NLMSG_LENGTH(sizeof(struct tcmsg)); n--)
			bytes[NLMSG_LENGTH(sizeof(struct tcmsg)) +
				choose(&seed, len - NLMSG_LENGTH(sizeof(struct tcmsg)))] =
				(uint8_t)choose(&seed, 64);
		if (choose(&seed, 4) == 0)
			message->nlmsg_len = NLMSG_HDRLEN + choose(&seed, len - NLMSG_HDRLEN);
		if (choose(&seed, 8) == 0)
			message->nlmsg_type = (uint16_t)(RTM_NEWLINK + choose(&seed, 40));
		EXPECT_EQ(sl_netlink_serve(message, &socket, NULL, &verdict, &out), 0);
		if (verdict == SL_NETLINK_ASK) {
			sl_netlink_list_done(&out);
			EXPECT_EQ(sl_netlink_serve(message, &socket, &none, &verdict, &out), 0);
		}
		sl_netlink_list_done(&out);
	}
	end();
}

/* ---- with the port's kernel interface beside it ---- */

static bool begin_twin(void)
{
	const struct sluice_port_options options = { .kernel_twin = SLUICE_TWIN_REQUIRE };
	const char *reason;

	if (ring_eal() != 0) {
		sl_test_fail(__FILE__, __LINE__, "no EAL");
		return false;
	}
	if (!world_open(&worlds[KERNEL], &worlds[SLUICE], 0, &reason)) {
		sl_test_skip(__FILE__, __LINE__, "%s", reason);
		return false;
	}
	if (ring_port_open_as(&port, 1, &options) != 0) {
		sl_test_skip(__FILE__, __LINE__, "this user may not make a kernel interface");
		return false;
	}
	worlds[SLUICE].ifindex = port.ifindex;
	return true;
}

static const char *ask_xdp(const struct xdp *xdp)
{
	static _Alignas(4) uint8_t bytes[4096];

	build_xdp(&worlds[SLUICE], xdp, (struct nlmsghdr *)bytes);
	world_ask(&worlds[SLUICE], (struct nlmsghdr *)bytes, answers[SLUICE]);
	return answers[SLUICE];
}

/* IFLA_XDP with the port's MTU: one part is the kernel's. */
static const char *ask_both_parts(enum fd fd, uint32_t mtu)
{
	static _Alignas(4) uint8_t bytes[4096];
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;

	build_xdp(&worlds[SLUICE], &(struct xdp)SET(fd), message);
	mnl_attr_put_u32(message, IFLA_MTU, mtu);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	return answers[SLUICE];
}

TEST(netlink, a_twin_is_the_kernels_but_for_the_programs)
{
	static const char shown[] = "16 flags 2  xdp={ 5 2=01 4 }\n3 flags 2 done 0\n";
	const struct tc qdisc = NEWQ(CREATE, QDISC, .kind = "clsact");
	const struct tc root = { RTM_NEWQDISC, CREATE, TC_H_ROOT, 0x10000, .kind = "tbf" };
	const struct tc list = { RTM_GETQDISC, NLM_F_DUMP };
	static _Alignas(4) uint8_t bytes[4096];
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;

	if (!begin_twin())
		return;
	EXPECT_CONTAINS(ask_xdp(&(struct xdp)SET(XDP0)), "error 0\n");
	EXPECT_STREQ(ask_xdp(&(struct xdp){ RTM_GETLINK, NLM_F_DUMP }), shown);
	EXPECT_CONTAINS(ask_xdp(&(struct xdp){ RTM_GETLINK }), "xdp={ 5 2=01 4 }");
	EXPECT_CONTAINS(ask_both_parts(NEGATIVE, 1300), "error 0\n");
	EXPECT_CONTAINS(ask_xdp(&(struct xdp){ RTM_GETLINK }), "xdp={ 2=00 }");
	/* What the kernel refuses is not done in part. */
	EXPECT_CONTAINS(ask_both_parts(XDP0, 1), "error -22");
	EXPECT_CONTAINS(ask_xdp(&(struct xdp){ RTM_GETLINK }), "xdp={ 2=00 }");
	build_tc(&worlds[SLUICE], &qdisc, message);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	EXPECT_CONTAINS(answers[SLUICE], "error 0\n");
	build_tc(&worlds[SLUICE], &list, message);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	EXPECT_CONTAINS(answers[SLUICE], "handle ffff0000 info 1 1=636c7361637400");
	build_tc(&worlds[SLUICE], &root, message);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	EXPECT_STREQ(answers[SLUICE], "passed\n");
	/* Elsewhere the number is somebody else's. */
	worlds[SLUICE].elsewhere = true;
	EXPECT_STREQ(ask_xdp(&(struct xdp)SET(XDP0)), "passed\n");
	build_tc(&worlds[SLUICE], &qdisc, message);
	world_ask(&worlds[SLUICE], message, answers[SLUICE]);
	EXPECT_STREQ(answers[SLUICE], "passed\n");
	end();
}
