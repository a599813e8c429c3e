#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sluice/dataplane.h>

#include "bed.h"
#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "ring_port.h"
#include "test.h"

/*
 * tcx: the order of programs at a hook and who may change it, compared with the kernel's on a veth
 * in a network namespace of its own, step by step; and what a packet meets. Links of XDP too.
 */

enum { INGRESS = 46, EGRESS = 47, NETKIT = 54, REPLACE = 4, BEFORE = 8, AFTER = 16, ID = 32 };
enum { LINK = 1 << 13 };
enum { PROGS = 6, LINKS = 4, IDS = 64 };

/* bpf(2)'s attributes as of Linux 6.6. */
union attr {
	union bpf_attr old;
	struct {
		uint32_t target, prog, type, flags, replace, relative;
		uint64_t revision;
	} attach;
	struct {
		uint32_t target, type, query_flags, attach_flags;
		uint64_t progs;
		uint32_t count, pad;
		uint64_t prog_flags, links, link_flags, revision;
	} query;
	struct {
		uint32_t prog, target, type, flags, relative, pad;
		uint64_t revision;
	} link;
	uint8_t bytes[168];
};

static long ask_for(enum side side, int cmd, union attr *attr)
{
	return call(side, cmd, &attr->old, sizeof(*attr));
}

/* One side's objects. The last program is one of XDP. */
struct world {
	enum side side;
	uint32_t ifindex;
	int progs[PROGS], links[LINKS];
	uint32_t prog_ids[PROGS], link_ids[LINKS];
};

static uint32_t info_u32(enum side side, int fd, unsigned offset)
{
	uint32_t info[32] = { 0 };
	union attr attr = { .bytes = { 0 } };

	attr.old.info.bpf_fd = (uint32_t)fd;
	attr.old.info.info_len = sizeof(info);
	attr.old.info.info = PTR(info);
	EXPECT_EQ(ask_for(side, BPF_OBJ_GET_INFO_BY_FD, &attr), 0);
	return info[offset / 4];
}

/* The side's device: a port, or one end of a veth pair. 0 when there is none. */
static uint32_t kernel_device(void)
{
	static uint32_t ifindex;

	if (ifindex)
		return ifindex;
	if (!oracle_permitted() || unshare(CLONE_NEWNET) != 0 ||
		system("ip link add tcx0 type veth peer name tcx1 2>/dev/null") != 0)
		return 0;
	ifindex = if_nametoindex("tcx0");
	return ifindex;
}

static void world_open(struct world *w, enum side side, uint32_t ifindex)
{
	memset(w, 0, sizeof(*w));
	w->side = side;
	w->ifindex = ifindex;
	for (unsigned i = 0; i < PROGS; i++) {
		w->progs[i] = prog_returning(
			side, i == PROGS - 1 ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS, (int)i);
		EXPECT_GE(w->progs[i], 0);
		w->prog_ids[i] = info_u32(side, w->progs[i], 4);
	}
	for (unsigned i = 0; i < LINKS; i++)
		w->links[i] = -1;
}

static void world_close(struct world *w)
{
	for (unsigned i = 0; i < LINKS; i++)
		close(w->links[i]);
	/* What was attached without a link stays otherwise. */
	for (uint32_t type = INGRESS; type <= EGRESS; type++) {
		union attr attr;

		do
			attr = (union attr){ .attach = { .target = w->ifindex, .type = type } };
		while (ask_for(w->side, BPF_PROG_DETACH, &attr) == 0);
	}
	for (unsigned i = 0; i < PROGS; i++)
		close(w->progs[i]);
}

/* What one step asks, the same on both sides. */
struct step {
	unsigned what; /* below */
	unsigned prog, old, near, link;
	uint32_t flags, type;
	bool near_link, wrong_revision, right_revision;
};

enum { ATTACH, DETACH, DETACH_ANY, CREATE, UPDATE, LEAVE, CLOSE, WHATS };

static uint64_t revision_of(const struct world *w, uint32_t type)
{
	union attr attr = { .query = { .target = w->ifindex, .type = type } };

	EXPECT_EQ(ask_for(w->side, BPF_PROG_QUERY, &attr), 0);
	return attr.query.revision;
}

static uint32_t relative_of(const struct world *w, const struct step *s)
{
	if (s->near == 0)
		return 0;
	if (s->near_link)
		return s->flags & ID ? w->link_ids[s->near % LINKS]
				     : (uint32_t)w->links[s->near % LINKS];
	return s->flags & ID ? w->prog_ids[s->near % PROGS] : (uint32_t)w->progs[s->near % PROGS];
}

static long change(struct world *w, const struct step *s)
{
	uint64_t revision = s->wrong_revision   ? 1000000
			    : s->right_revision ? revision_of(w, s->type)
						: 0;
	union attr attr = { .attach = {
				    .target = w->ifindex,
				    .prog = s->what == DETACH_ANY ? 0 : (uint32_t)w->progs[s->prog],
				    .type = s->type,
				    .flags = s->flags,
				    .replace = s->flags & REPLACE ? (uint32_t)w->progs[s->old] : 0,
				    .relative = relative_of(w, s),
				    .revision = revision,
			    } };

	return ask_for(w->side, s->what == ATTACH ? BPF_PROG_ATTACH : BPF_PROG_DETACH, &attr);
}

static long create(struct world *w, const struct step *s)
{
	union attr attr = { .link = {
				    .prog = (uint32_t)w->progs[s->prog],
				    .target = w->ifindex,
				    .type = s->type,
				    .flags = s->flags,
				    .relative = relative_of(w, s),
				    .revision = s->wrong_revision ? 1000000 : 0,
			    } };
	long fd;

	if (w->links[s->link] >= 0)
		return 1;
	fd = ask_for(w->side, BPF_LINK_CREATE, &attr);
	if (fd < 0)
		return fd;
	w->links[s->link] = (int)fd;
	w->link_ids[s->link] = info_u32(w->side, (int)fd, 4);
	return 0;
}

static long take_step(struct world *w, const struct step *s)
{
	union attr attr = { .bytes = { 0 } };

	switch (s->what) {
	case CREATE:
		return create(w, s);
	case UPDATE:
		attr.old.link_update.link_fd = (uint32_t)w->links[s->link];
		attr.old.link_update.new_prog_fd = (uint32_t)w->progs[s->prog];
		attr.old.link_update.flags = s->flags & REPLACE;
		if (s->flags & REPLACE)
			attr.old.link_update.old_prog_fd = (uint32_t)w->progs[s->old];
		return ask_for(w->side, BPF_LINK_UPDATE, &attr);
	case LEAVE:
		attr.old.link_detach.link_fd = (uint32_t)w->links[s->link];
		return ask_for(w->side, BPF_LINK_DETACH, &attr);
	case CLOSE:
		close(w->links[s->link]);
		w->links[s->link] = -1;
		return 0;
	default:
		return change(w, s);
	}
}

/* What is there, with numbers of objects that mean the same on both sides. */
struct view {
	long result;
	uint32_t count;
	uint64_t revision;
	uint32_t progs[IDS], links[IDS], flags[IDS];
	uint32_t link_ifindex[LINKS], link_prog[LINKS], link_type[LINKS], link_hook[LINKS];
};

static uint32_t number_of(const uint32_t *ids, unsigned count, uint32_t id)
{
	for (unsigned i = 0; i < count; i++) {
		if (ids[i] == id)
			return i + 1;
	}
	return id ? 999 : 0;
}

static struct view look(const struct world *w, uint32_t type, uint32_t room)
{
	struct view v = { .count = 0 };
	union attr attr = { .query = {
				    .target = w->ifindex,
				    .type = type,
				    .progs = PTR(v.progs),
				    .count = room,
				    .prog_flags = PTR(v.flags),
				    .links = PTR(v.links),
			    } };

	memset(v.flags, 0x55, sizeof(v.flags));
	v.result = ask_for(w->side, BPF_PROG_QUERY, &attr);
	v.count = attr.query.count;
	v.revision = attr.query.revision;
	for (unsigned i = 0; i < IDS; i++) {
		v.progs[i] = number_of(w->prog_ids, PROGS, v.progs[i]);
		v.links[i] = number_of(w->link_ids, LINKS, v.links[i]);
	}
	for (unsigned i = 0; i < LINKS; i++) {
		if (w->links[i] < 0)
			continue;
		v.link_type[i] = info_u32(w->side, w->links[i], 0);
		v.link_prog[i] = number_of(w->prog_ids, PROGS, info_u32(w->side, w->links[i], 8));
		v.link_ifindex[i] = info_u32(w->side, w->links[i], 16) == w->ifindex;
		v.link_hook[i] = info_u32(w->side, w->links[i], 20);
	}
	return v;
}

static unsigned random_below(uint64_t *state, unsigned n)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(*state >> 33) % n;
}

static struct step random_step(uint64_t *random)
{
	static const uint32_t flags[] = { 0, 0, 0, BEFORE, AFTER, BEFORE, AFTER, REPLACE, REPLACE,
		BEFORE | AFTER, REPLACE | BEFORE, REPLACE | AFTER, 1, 2, 64, 1 << 14 };
	struct step s = {
		.what = random_below(random, WHATS),
		/* Seldom one of the wrong type. */
		.prog = random_below(random, random_below(random, 8) ? PROGS - 1 : PROGS),
		.old = random_below(random, random_below(random, 8) ? PROGS - 1 : PROGS),
		.near = random_below(random, 3) ? random_below(random, PROGS) : 0,
		.link = random_below(random, LINKS),
		.flags = flags[random_below(random, sl_array_size(flags))],
		.type = random_below(random, 4) ? INGRESS : EGRESS,
		.near_link = random_below(random, 3) == 0,
		.wrong_revision = random_below(random, 12) == 0,
		.right_revision = random_below(random, 4) == 0,
	};

	if (random_below(random, 3) == 0)
		s.flags |= ID;
	if (s.near_link || random_below(random, 20) == 0)
		s.flags |= LINK;
	if (random_below(random, 3) && s.what == DETACH_ANY)
		s.what = ATTACH;
	return s;
}

TEST(tcx, any_steps_as_the_kernel)
{
	enum { STEPS = 400 };
	uint32_t device = kernel_device();
	struct world kernel, ours;
	uint64_t random = 1;
	struct bed bed;

	if (!device)
		SKIP("no veth pair in a network namespace for the kernel's side");
	ASSERT_TRUE(bed_open(&bed, 1));
	world_open(&kernel, KERNEL, device);
	world_open(&ours, SLUICE, bed.a.ifindex);
	for (unsigned i = 0; i < STEPS && !sl_test_has_failed(); i++) {
		struct step s = random_step(&random);
		uint32_t room = random_below(&random, 3) ? IDS : random_below(&random, 4);
		struct view a, b;

		TRACE_PUSH("step %u: %u prog %u old %u near %u link %u flags %x hook %u%s%s", i,
			s.what, s.prog, s.old, s.near, s.link, s.flags, s.type,
			s.wrong_revision ? " wrong revision" : "",
			s.right_revision ? " right revision" : "");
		EXPECT_EQ(take_step(&kernel, &s), take_step(&ours, &s));
		a = look(&kernel, s.type, room);
		b = look(&ours, s.type, room);
		EXPECT_EQ(a.result, b.result);
		EXPECT_EQ(a.count, b.count);
		EXPECT_EQ(a.revision, b.revision);
		EXPECT_TRUE(memcmp(&a, &b, sizeof(a)) == 0);
		TRACE_POP();
	}
	world_close(&kernel);
	world_close(&ours);
	bed_close(&bed);
}

/* As many as there can be, and what remains possible then. */
TEST(tcx, a_full_hook)
{
	enum { TRIES = 66 };
	int fds[SIDES][TRIES];
	uint32_t device = kernel_device();
	struct bed bed;
	union attr attr;

	if (!device)
		SKIP("no veth pair in a network namespace for the kernel's side");
	ASSERT_TRUE(bed_open(&bed, 1));
	for (unsigned i = 0; i < TRIES; i++) {
		long ret[SIDES];

		for (enum side side = 0; side < SIDES; side++) {
			fds[side][i] = prog_returning(side, BPF_PROG_TYPE_SCHED_CLS, -1);
			attr = (union attr){ .attach = {
						     .target = side == KERNEL ? device
									      : bed.a.ifindex,
						     .prog = (uint32_t)fds[side][i],
						     .type = INGRESS,
						     .flags = i % 2 ? BEFORE : 0,
					     } };
			ret[side] = ask_for(side, BPF_PROG_ATTACH, &attr);
		}
		EXPECT_EQ(ret[KERNEL], ret[SLUICE]);
	}
	for (unsigned i = 0; i < TRIES + 1; i++) {
		long ret[SIDES];

		for (enum side side = 0; side < SIDES; side++) {
			attr = (union attr){ .attach = {
						     .target = side == KERNEL ? device
									      : bed.a.ifindex,
						     .prog = i % 3 || i == TRIES
								     ? 0
								     : (uint32_t)fds[side][i],
						     .type = INGRESS,
						     .flags = i == 1   ? BEFORE
							      : i == 2 ? AFTER
								       : 0,
					     } };
			ret[side] = ask_for(side, BPF_PROG_DETACH, &attr);
		}
		TRACE_PUSH("detach %u", i);
		EXPECT_EQ(ret[KERNEL], ret[SLUICE]);
		TRACE_POP();
	}
	for (unsigned i = 0; i < TRIES; i++) {
		close(fds[KERNEL][i]);
		close(fds[SLUICE][i]);
	}
	bed_close(&bed);
}

/* Hooks that are not there, types that do not fit, attributes that nobody knows. */
TEST(tcx, errors_as_the_kernel)
{
	static const struct {
		uint32_t target, type;
		unsigned prog;
		uint32_t query_flags, attach_flags;
	} rows[] = {
		{ 9999, INGRESS, 0, 0, 0 },
		{ 9999, EGRESS, 0, 0, 0 },
		{ 1, NETKIT, 0, 0, 0 },
		{ 1, NETKIT + 1, 0, 0, 0 },
		{ 1, INGRESS, PROGS - 1, 0, 0 },
		{ 1, INGRESS, 0, 1, 0 },
		{ 1, INGRESS, 0, 2, 0 },
		{ 1, INGRESS, 0, 0, 1 },
		{ 1, BPF_XDP, PROGS - 1, 0, 0 },
		{ 9999, INGRESS, 0, 2, 0 },
		{ 1, BPF_XDP, 0, 0, 8 },
		{ 1, 47, 0, 0, 1 << 7 },
	};
	uint32_t device = kernel_device();
	struct world worlds[SIDES];
	struct bed bed;

	if (!device)
		SKIP("no veth pair in a network namespace for the kernel's side");
	ASSERT_TRUE(bed_open(&bed, 1));
	world_open(&worlds[KERNEL], KERNEL, device);
	world_open(&worlds[SLUICE], SLUICE, bed.a.ifindex);
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		long ret[4][SIDES];

		for (enum side side = 0; side < SIDES; side++) {
			const struct world *w = &worlds[side];
			uint32_t target = rows[i].target == 1 ? w->ifindex : rows[i].target;
			uint32_t prog = (uint32_t)w->progs[rows[i].prog];
			union attr query = { .query = { target, rows[i].type, rows[i].query_flags,
						     rows[i].attach_flags } };
			union attr attach = { .attach = { target, prog, rows[i].type,
						      rows[i].attach_flags } };
			union attr detach = attach;
			union attr link = { .link = { prog, target, rows[i].type,
						    rows[i].attach_flags } };

			ret[0][side] = ask_for(side, BPF_PROG_QUERY, &query);
			ret[1][side] = ask_for(side, BPF_PROG_ATTACH, &attach);
			ret[2][side] = ask_for(side, BPF_PROG_DETACH, &detach);
			ret[3][side] = ask_for(side, BPF_LINK_CREATE, &link);
			if (ret[3][side] >= 0) {
				close((int)ret[3][side]);
				ret[3][side] = 0;
			}
		}
		for (unsigned k = 0; k < 4; k++) {
			TRACE_PUSH("row %u, command %u", i, k);
			EXPECT_EQ(ret[k][KERNEL], ret[k][SLUICE]);
			TRACE_POP();
		}
	}
	world_close(&worlds[KERNEL]);
	world_close(&worlds[SLUICE]);
	bed_close(&bed);
}

/* A link of XDP: what it says before, between and after. */
TEST(tcx, xdp_links_as_the_kernel)
{
	uint32_t device = kernel_device();
	uint32_t seen[SIDES][32];
	struct bed bed;

	if (!device)
		SKIP("no veth pair in a network namespace for the kernel's side");
	ASSERT_TRUE(bed_open(&bed, 1));
	for (enum side side = 0; side < SIDES; side++) {
		int a = prog_returning(side, BPF_PROG_TYPE_XDP, 1);
		int b = prog_returning(side, BPF_PROG_TYPE_XDP, 2);
		int cls = prog_returning(side, BPF_PROG_TYPE_SCHED_CLS, 2), link;
		uint32_t ifindex = side == KERNEL ? device : bed.a.ifindex, *s = seen[side];
		union attr create = { .link = {
					      (uint32_t)a, ifindex, BPF_XDP, XDP_FLAGS_SKB_MODE } };
		union attr attr, again = create;

		link = (int)ask_for(side, BPF_LINK_CREATE, &create);
		EXPECT_GE(link, 0);
		*s++ = (uint32_t)ask_for(side, BPF_LINK_CREATE, &again);
		for (unsigned i = 0; i < 8; i++) {
			memset(&attr, 0, sizeof(attr));
			attr.old.link_update.link_fd = (uint32_t)link;
			attr.old.link_update.new_prog_fd = (uint32_t)(i == 3 ? cls : i % 2 ? a : b);
			attr.old.link_update.flags = i == 1 || i == 2 ? REPLACE : i == 6 ? 1 : 0;
			attr.old.link_update.old_prog_fd =
				(uint32_t)(i == 1 || i == 2 || i == 4 ? a : 0);
			*s++ = (uint32_t)ask_for(side, BPF_LINK_UPDATE, &attr);
			*s++ = info_u32(side, link, 8) == info_u32(side, a, 4);
			*s++ = info_u32(side, link, 16) == ifindex;
			if (i != 4 && i != 5)
				continue;
			memset(&attr, 0, sizeof(attr));
			attr.old.link_detach.link_fd = (uint32_t)link;
			*s++ = (uint32_t)ask_for(side, BPF_LINK_DETACH, &attr);
			*s++ = info_u32(side, link, 8) != 0;
			*s++ = info_u32(side, link, 16);
		}
		*s++ = info_u32(side, link, 0);
		EXPECT_LE((unsigned)(s - seen[side]), 32u);
		close(link);
		close(a);
		close(b);
		close(cls);
	}
	EXPECT_MEMEQ(seen[KERNEL], seen[SLUICE], 30 * sizeof(seen[0][0]));
	bed_close(&bed);
}

/* What a packet meets: tcx programs in their order, then the filters. */
TEST(tcx, verdicts)
{
	static const struct {
		int results[3]; /* of the programs; -2: none */
		int filter;
		enum sluice_counter counter;
	} rows[] = {
		{ { 0, 2, -2 }, 2, SLUICE_KERNEL },
		{ { -1, 2, -2 }, 0, SLUICE_INGRESS_SHOT },
		{ { -1, -1, -1 }, 2, SLUICE_INGRESS_SHOT },
		{ { -1, -1, -1 }, 0, SLUICE_KERNEL },
		{ { 5, 2, -2 }, 0, SLUICE_KERNEL }, /* ends the list, decides nothing */
		{ { 5, 0, -2 }, 2, SLUICE_INGRESS_SHOT },
		{ { 2, 0, -2 }, 0, SLUICE_INGRESS_SHOT },
		{ { 7, -2, -2 }, 0, SLUICE_NO_PORT },
	};
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 1));
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		struct sluice_tc_filter filter = {
			.direct_action = true,
			.prog_fd = prog_returning(SLUICE, BPF_PROG_TYPE_SCHED_CLS, rows[i].filter),
		};
		uint64_t before = counter_of(&bed.a, rows[i].counter);
		int progs[3] = { -1, -1, -1 };
		union attr attr;

		EXPECT_EQ(sluice_tc_add(bed.a.ifindex, SLUICE_TC_INGRESS, &filter, 0), 0);
		for (unsigned k = 0; k < 3 && rows[i].results[k] != -2; k++) {
			progs[k] =
				prog_returning(SLUICE, BPF_PROG_TYPE_SCHED_CLS, rows[i].results[k]);
			attr = (union attr){ .attach = {
						     bed.a.ifindex, (uint32_t)progs[k], INGRESS } };
			EXPECT_EQ(ask_for(SLUICE, BPF_PROG_ATTACH, &attr), 0);
		}
		TRACE_PUSH("row %u", i);
		send_one(&bed, frame_of(0, 0));
		EXPECT_EQ(counter_of(&bed.a, rows[i].counter), before + 1);
		TRACE_POP();
		for (unsigned k = 0; k < 3 && progs[k] >= 0; k++) {
			attr = (union attr){ .attach = { bed.a.ifindex, 0, INGRESS } };
			EXPECT_EQ(ask_for(SLUICE, BPF_PROG_DETACH, &attr), 0);
			close(progs[k]);
		}
		EXPECT_EQ(sluice_tc_del(bed.a.ifindex, SLUICE_TC_INGRESS, 0, 0), 0);
		close(filter.prog_fd);
	}
	bed_close(&bed);
}

/* The port goes, the link stays and knows. */
TEST(tcx, links_without_their_port)
{
	int prog = prog_returning(SLUICE, BPF_PROG_TYPE_SCHED_CLS, 0);
	int xdp = prog_returning(SLUICE, BPF_PROG_TYPE_XDP, 2), link, xdp_link;
	union attr attr;
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 1));
	attr = (union attr){ .link = { (uint32_t)prog, bed.b.ifindex, EGRESS } };
	link = (int)ask_for(SLUICE, BPF_LINK_CREATE, &attr);
	attr = (union attr){ .link = { (uint32_t)xdp, bed.b.ifindex, BPF_XDP } };
	xdp_link = (int)ask_for(SLUICE, BPF_LINK_CREATE, &attr);
	EXPECT_EQ(info_u32(SLUICE, link, 16), bed.b.ifindex);
	EXPECT_EQ(info_u32(SLUICE, xdp_link, 16), bed.b.ifindex);
	ring_port_close(&bed.b);
	EXPECT_EQ(info_u32(SLUICE, link, 16), 0u);
	EXPECT_EQ(info_u32(SLUICE, link, 20), (uint32_t)EGRESS);
	EXPECT_EQ(info_u32(SLUICE, xdp_link, 16), 0u);
	EXPECT_EQ(info_u32(SLUICE, xdp_link, 8), info_u32(SLUICE, xdp, 4));
	memset(&attr, 0, sizeof(attr));
	attr.old.link_update.link_fd = (uint32_t)link;
	attr.old.link_update.new_prog_fd = (uint32_t)prog;
	EXPECT_EQ(ask_for(SLUICE, BPF_LINK_UPDATE, &attr), -ENOLINK);
	ASSERT_EQ(ring_port_open(&bed.b, 1), 0);
	close(link);
	close(xdp_link);
	close(prog);
	close(xdp);
	bed_close(&bed);
}
