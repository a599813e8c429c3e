#include "tc.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>

#include "fd.h"
#include "stand_in.h"
#include "test.h"

/*
 * Eight scripts, each a program that returns its results one after the other and the last one for
 * ever after.
 */
enum { SCRIPTS = 8, RESULTS = 4 };

#define CLASSID_NONE 0xffffffffu

static struct script {
	int results[RESULTS];
	unsigned count;
	unsigned calls;
	uint32_t classid; /* what it writes to tc_classid, CLASSID_NONE: nothing */
	uint32_t seen_classid;
} scripts[SCRIPTS];

static uint64_t play(struct script *s, struct sl_ctx *ctx)
{
	unsigned i = s->calls++;

	s->seen_classid = ctx->tc_classid;
	if (s->classid != CLASSID_NONE)
		ctx->tc_classid = s->classid;
	return (uint32_t)s->results[sl_min(i, s->count - 1)];
}

#define SCRIPT(n)                                                          \
	static uint64_t script##n(struct sl_ctx *ctx, uint64_t tail_calls) \
	{                                                                  \
		(void)tail_calls;                                          \
		return play(&scripts[n], ctx);                             \
	}
SCRIPT(0)
SCRIPT(1)
SCRIPT(2)
SCRIPT(3)
SCRIPT(4)
SCRIPT(5)
SCRIPT(6)
SCRIPT(7)

static const sl_prog_fn script_fns[SCRIPTS] = { script0, script1, script2, script3, script4,
	script5, script6, script7 };

/* Results of a program; `n` 0: no program. */
struct results {
	unsigned n;
	int v[RESULTS];
};

#define R(...)                                           \
	{                                                \
		sl_array_size(((int[]){ __VA_ARGS__ })), \
		{                                        \
			__VA_ARGS__                      \
		}                                        \
	}

struct filter {
	bool da;
	uint32_t classid;
	struct results results;
	uint32_t writes; /* to tc_classid; 0: nothing */
	unsigned action_count;
	struct {
		struct results results; /* none: a plain verdict */
		int verdict;
	} actions[2];
};

/* Filters in order; scripts are given out filter by filter, a filter's before its actions'. */
static const struct row {
	const char *name;
	unsigned filter_count;
	struct filter filters[2];
	int verdict;
	uint32_t classid; /* CLASSID_NONE: not set */
	unsigned calls[4];
} rows[] = {
	{ "classic: 0 is no match", 2,
		{ { .classid = 0x10001, .results = R(0) },
			{ .classid = 0x10002, .results = R(-1) } },
		TC_ACT_OK, 0x10002, { 1, 1 } },
	{ "classic: -1 is the configured class", 1, { { .classid = 0x10001, .results = R(-1) } },
		TC_ACT_OK, 0x10001, { 1 } },
	{ "classic: else the value is the class", 1,
		{ { .classid = 0x10001, .results = R(0x20003) } }, TC_ACT_OK, 0x20003, { 1 } },
	{ "classic: no filter matches", 1, { { .results = R(0) } }, TC_ACT_UNSPEC, CLASSID_NONE,
		{ 1 } },
	{ "classic: the action's verdict counts", 1,
		{ { .classid = 7,
			.results = R(-1),
			.action_count = 1,
			.actions = { { R(TC_ACT_SHOT), TC_ACT_PIPE } } } },
		TC_ACT_SHOT, 7, { 1, 1 } },
	{ "classic: no match, no action", 1,
		{ { .results = R(0),
			.action_count = 1,
			.actions = { { R(TC_ACT_SHOT), TC_ACT_PIPE } } } },
		TC_ACT_UNSPEC, CLASSID_NONE, { 1, 0 } },
	{ "action: pipe goes on", 1,
		{ { .results = R(-1),
			.action_count = 2,
			.actions = { { R(TC_ACT_PIPE), TC_ACT_OK },
				{ R(TC_ACT_SHOT), TC_ACT_OK } } } },
		TC_ACT_SHOT, 0, { 1, 1, 1 } },
	{ "action: ok stops", 1,
		{ { .results = R(-1),
			.action_count = 2,
			.actions = { { R(TC_ACT_OK), TC_ACT_PIPE },
				{ R(TC_ACT_SHOT), TC_ACT_OK } } } },
		TC_ACT_OK, 0, { 1, 1, 0 } },
	{ "action: the last pipe is the verdict", 1,
		{ { .results = R(-1),
			.action_count = 1,
			.actions = { { R(TC_ACT_PIPE), TC_ACT_OK } } } },
		TC_ACT_PIPE, 0, { 1, 1 } },
	{ "action: -1 is the configured verdict", 1,
		{ { .results = R(-1),
			.action_count = 1,
			.actions = { { R(TC_ACT_UNSPEC), TC_ACT_STOLEN } } } },
		TC_ACT_STOLEN, 0, { 1, 1 } },
	{ "action: unknown verdicts mean the next filter", 2,
		{ { .results = R(-1),
			  .action_count = 1,
			  .actions = { { R(TC_ACT_STOLEN), TC_ACT_OK } } },
			{ .classid = 9, .results = R(-1) } },
		TC_ACT_OK, 9, { 1, 1, 1 } },
	{ "action: queued of a program is unknown too", 1,
		{ { .results = R(-1),
			.action_count = 1,
			.actions = { { R(TC_ACT_QUEUED), TC_ACT_OK } } } },
		TC_ACT_UNSPEC, CLASSID_NONE, { 1, 1 } },
	{ "action: redirect", 1,
		{ { .results = R(-1),
			.action_count = 1,
			.actions = { { R(TC_ACT_REDIRECT), TC_ACT_OK } } } },
		TC_ACT_REDIRECT, 0, { 1, 1 } },
	{ "action: plain verdicts", 1,
		{ { .results = R(-1),
			.action_count = 2,
			.actions = { { .verdict = TC_ACT_PIPE }, { .verdict = TC_ACT_TRAP } } } },
		TC_ACT_TRAP, 0, { 1 } },
	{ "action: repeat runs again", 1,
		{ { .results = R(-1),
			.action_count = 1,
			.actions = { { R(TC_ACT_UNSPEC, TC_ACT_UNSPEC, TC_ACT_SHOT),
				TC_ACT_REPEAT } } } },
		TC_ACT_SHOT, 0, { 1, 3 } },
	{ "action: endless repeat passes", 1,
		{ { .results = R(-1),
			.action_count = 2,
			.actions = { { R(TC_ACT_UNSPEC), TC_ACT_REPEAT },
				{ R(TC_ACT_SHOT), TC_ACT_OK } } } },
		TC_ACT_OK, 0, { 1, 32, 0 } },
	{ "action: reclassify starts again", 2,
		{ { .results = R(0) },
			{ .classid = 5,
				.results = R(-1),
				.action_count = 1,
				.actions = { { R(TC_ACT_RECLASSIFY, TC_ACT_OK), TC_ACT_OK } } } },
		TC_ACT_OK, 5, { 2, 2, 2 } },
	{ "action: endless reclassify drops", 1,
		{ { .results = R(-1),
			.action_count = 1,
			.actions = { { R(TC_ACT_RECLASSIFY), TC_ACT_OK } } } },
		TC_ACT_SHOT, 0, { 17, 17 } },
	{ "da: verdict and written class", 1,
		{ { .da = true, .classid = 0x50001, .results = R(TC_ACT_OK), .writes = 0x2 } },
		TC_ACT_OK, 0x50002, { 1 } },
	{ "da: the class is the configured one before", 1,
		{ { .da = true, .classid = 0x50001, .results = R(TC_ACT_OK) } }, TC_ACT_OK, 0x50001,
		{ 1 } },
	{ "da: only the minor is written", 1,
		{ { .da = true, .classid = 0x50001, .results = R(TC_ACT_OK), .writes = 0x70008 } },
		TC_ACT_OK, 0x50008, { 1 } },
	{ "da: unspec means the next filter", 2,
		{ { .da = true, .results = R(TC_ACT_UNSPEC) },
			{ .da = true, .results = R(TC_ACT_SHOT) } },
		TC_ACT_SHOT, 0, { 1, 1 } },
	{ "da: reclassify is not a verdict", 1, { { .da = true, .results = R(TC_ACT_RECLASSIFY) } },
		TC_ACT_UNSPEC, CLASSID_NONE, { 1 } },
	{ "da: pipe is not a verdict", 1, { { .da = true, .results = R(TC_ACT_PIPE) } },
		TC_ACT_UNSPEC, CLASSID_NONE, { 1 } },
	{ "da: queued is not a verdict", 1, { { .da = true, .results = R(TC_ACT_QUEUED) } },
		TC_ACT_UNSPEC, CLASSID_NONE, { 1 } },
	{ "da: stolen", 1, { { .da = true, .results = R(TC_ACT_STOLEN) } }, TC_ACT_STOLEN, 0,
		{ 1 } },
	{ "da: trap", 1, { { .da = true, .results = R(TC_ACT_TRAP) } }, TC_ACT_TRAP, 0, { 1 } },
	{ "da: redirect", 1, { { .da = true, .results = R(TC_ACT_REDIRECT) } }, TC_ACT_REDIRECT, 0,
		{ 1 } },
	{ "da: actions do not run", 1,
		{ { .da = true,
			.results = R(TC_ACT_OK),
			.action_count = 1,
			.actions = { { R(TC_ACT_SHOT), TC_ACT_OK } } } },
		TC_ACT_OK, 0, { 1, 0 } },
};

static int script_fd(unsigned *next, enum bpf_prog_type type, const struct results *results)
{
	struct script *s = &scripts[*next];

	*s = (struct script){ .count = results->n, .classid = CLASSID_NONE };
	memcpy(s->results, results->v, sizeof(s->results));
	return stand_in_fd(type, script_fns[(*next)++]);
}

static void add_filter(
	struct sl_tc_list **list, const struct filter *f, uint32_t priority, unsigned *next)
{
	struct sluice_tc_action actions[2] = { 0 };
	struct sluice_tc_filter spec = {
		.priority = priority,
		.classid = f->classid,
		.direct_action = f->da,
		.action_count = f->action_count,
		.actions = actions,
	};

	spec.prog_fd = script_fd(next, BPF_PROG_TYPE_SCHED_CLS, &f->results);
	if (f->writes)
		scripts[*next - 1].classid = f->writes;
	for (unsigned i = 0; i < f->action_count; i++) {
		actions[i].verdict = f->actions[i].verdict;
		actions[i].prog_fd = -1;
		if (f->actions[i].results.n)
			actions[i].prog_fd =
				script_fd(next, BPF_PROG_TYPE_SCHED_ACT, &f->actions[i].results);
	}
	EXPECT_EQ(sl_tc_list_add(list, &spec, 0), 0);
	close(spec.prog_fd);
	for (unsigned i = 0; i < f->action_count; i++) {
		if (actions[i].prog_fd >= 0)
			close(actions[i].prog_fd);
	}
}

TEST(tc, verdicts_are_the_kernels)
{
	for (unsigned r = 0; r < sl_array_size(rows); r++) {
		const struct row *row = &rows[r];
		struct sl_tc_list *list = NULL;
		uint32_t classid = CLASSID_NONE;
		struct sl_ctx ctx = { 0 };
		unsigned next = 0;

		TRACE_PUSH("%s", row->name);
		for (unsigned f = 0; f < row->filter_count; f++)
			add_filter(&list, &row->filters[f], f + 1, &next);
		EXPECT_EQ(sl_tc_classify(list, &ctx, &classid), row->verdict);
		EXPECT_EQ(classid, row->classid);
		for (unsigned i = 0; i < next; i++)
			EXPECT_EQ(scripts[i].calls, row->calls[i]);
		sl_tc_list_clear(&list);
		EXPECT_TRUE(list == NULL);
		EXPECT_EQ(stand_in_wait(0), 0u);
		TRACE_POP();
	}
}

static uint64_t return_ok(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return TC_ACT_OK;
}

static int add(struct sl_tc_list **list, uint32_t *priority, uint32_t *handle, uint16_t protocol,
	unsigned flags)
{
	struct sluice_tc_filter spec = {
		.priority = *priority,
		.handle = *handle,
		.protocol = protocol,
		.direct_action = true,
		.prog_fd = stand_in_fd(BPF_PROG_TYPE_SCHED_CLS, return_ok),
	};
	int err = sl_tc_list_add(list, &spec, flags);

	close(spec.prog_fd);
	*priority = spec.priority;
	*handle = spec.handle;
	return err;
}

TEST(tc, priorities_and_handles)
{
	/* In order of addition; what is found at the end is the column `rank`. */
	static const struct {
		uint32_t priority, handle;
		uint16_t protocol;
		unsigned flags;
		int err;
		uint32_t got_priority, got_handle;
		int rank;
	} adds[] = {
		{ 10, 0, 0, 0, 0, 10, 1, 2 },
		{ 5, 0, 0, 0, 0, 5, 1, 0 },
		{ 10, 0, 0, 0, 0, 10, 2, 1 },
		{ 0, 0, 0, 0, 0, 0xc000, 1, 4 },
		{ 0, 0, 0, 0, 0, 0xbfff, 1, 3 },
		{ 10, 2, 0, 0, -EEXIST, 10, 2, -1 },
		{ 10, 2, ETH_P_IP, SLUICE_TC_REPLACE, -EINVAL, 10, 2, -1 },
		{ 10, 3, ETH_P_IP, 0, -EINVAL, 10, 3, -1 },
		{ 0x10000, 0, 0, 0, -EINVAL, 0x10000, 0, -1 },
		{ 10, 2, ETH_P_ALL, SLUICE_TC_REPLACE, 0, 10, 2, 1 },
	};
	struct sl_tc_list *list = NULL;

	for (unsigned i = 0; i < sl_array_size(adds); i++) {
		uint32_t priority = adds[i].priority, handle = adds[i].handle;

		TRACE_PUSH("addition %u", i);
		EXPECT_EQ(add(&list, &priority, &handle, adds[i].protocol, adds[i].flags),
			adds[i].err);
		EXPECT_EQ(priority, adds[i].got_priority);
		EXPECT_EQ(handle, adds[i].got_handle);
		TRACE_POP();
	}
	ASSERT_EQ(list->count, 5u);
	for (unsigned i = 0; i < sl_array_size(adds); i++) {
		if (adds[i].rank < 0)
			continue;
		EXPECT_EQ(list->filters[adds[i].rank]->priority, adds[i].got_priority);
		EXPECT_EQ(list->filters[adds[i].rank]->handle, adds[i].got_handle);
	}
	EXPECT_EQ(sl_tc_list_del(&list, 11, 0), -ENOENT);
	EXPECT_EQ(sl_tc_list_del(&list, 10, 3), -ENOENT);
	EXPECT_EQ(sl_tc_list_del(&list, 0, 1), -EINVAL);
	EXPECT_EQ(sl_tc_list_del(&list, 10, 1), 0);
	EXPECT_EQ(list->count, 4u);
	EXPECT_EQ(stand_in_wait(4), 4u);
	EXPECT_EQ(sl_tc_list_del(&list, 0, 0), 0);
	EXPECT_TRUE(list == NULL);
	EXPECT_EQ(stand_in_wait(0), 0u);
}

TEST(tc, bad_filters_are_refused)
{
	struct sluice_tc_action action = { .prog_fd = -1, .verdict = TC_ACT_TRAP + 1 };
	struct sluice_tc_filter spec = { .prog_fd = -1 };
	struct sl_tc_list *list = NULL;

	EXPECT_EQ(sl_tc_list_add(&list, &spec, 0), -EBADF);
	spec.prog_fd = stand_in_fd(BPF_PROG_TYPE_XDP, return_ok);
	EXPECT_EQ(sl_tc_list_add(&list, &spec, 0), -EINVAL);
	close(spec.prog_fd);
	spec.prog_fd = stand_in_fd(BPF_PROG_TYPE_SCHED_CLS, return_ok);
	spec.actions = &action;
	spec.action_count = SLUICE_TC_ACTIONS + 1;
	EXPECT_EQ(sl_tc_list_add(&list, &spec, 0), -EINVAL);
	spec.action_count = 1;
	EXPECT_EQ(sl_tc_list_add(&list, &spec, 0), -EINVAL);
	action.verdict = TC_ACT_OK;
	action.prog_fd = spec.prog_fd;
	EXPECT_EQ(sl_tc_list_add(&list, &spec, 0), -EINVAL);
	close(spec.prog_fd);
	EXPECT_TRUE(list == NULL);
	EXPECT_EQ(stand_in_wait(0), 0u);
}

TEST(tc, protocol_selects_by_tag_or_type)
{
	static const struct {
		uint16_t filter, packet, tag;
		bool runs;
	} cases[] = {
		{ ETH_P_ALL, ETH_P_IP, 0, true },
		{ ETH_P_IP, ETH_P_IP, 0, true },
		{ ETH_P_IP, ETH_P_IPV6, 0, false },
		{ ETH_P_IP, ETH_P_IP, ETH_P_8021Q, false },
		{ ETH_P_8021Q, ETH_P_IP, ETH_P_8021Q, true },
	};

	for (unsigned i = 0; i < sl_array_size(cases); i++) {
		struct sl_ctx ctx = {
			.protocol = htons(cases[i].packet),
			.vlan_present = cases[i].tag != 0,
			.vlan_proto = htons(cases[i].tag),
		};
		uint32_t priority = 1, handle = 1, classid = 0;
		struct sl_tc_list *list = NULL;

		TRACE_PUSH("case %u", i);
		ASSERT_EQ(add(&list, &priority, &handle, cases[i].filter, 0), 0);
		EXPECT_EQ(sl_tc_classify(list, &ctx, &classid),
			cases[i].runs ? TC_ACT_OK : TC_ACT_UNSPEC);
		sl_tc_list_clear(&list);
		TRACE_POP();
	}
	EXPECT_EQ(stand_in_wait(0), 0u);
}
