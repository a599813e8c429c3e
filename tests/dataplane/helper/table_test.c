#include "helper.h"

#include <stdio.h>
#include <string.h>

#include "oracle.h"
#include "probe.h"
#include "prog_type.h"
#include "test.h"

/* A call with whatever the registers hold; the kernel says first whether it knows the helper. */
static const char *kernel_answer(enum bpf_prog_type type, unsigned id, const char *license)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_JMP | BPF_CALL, .imm = (int)id },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	const char *log;

	probe_load(type, 0, insns, 3, license, &log);
	return log;
}

TEST(helper_table, program_types_are_the_kernels)
{
	ORACLE_OR_SKIP();
	for (unsigned id = 1; id < SL_HELPER_MAX_ID; id++) {
		const struct sl_helper *helper = sl_helper_by_id(id);

		ASSERT_TRUE(helper != NULL);
		for (size_t t = 0; t < probe_type_count; t++) {
			const char *log = kernel_answer(probe_types[t].type, id, "GPL");
			bool theirs = !strstr(log, "cannot use helper") && !strstr(log, "unknown");

			TRACE_PUSH("%s for %s", helper->name, probe_types[t].name);
			EXPECT_EQ(sl_helper_allowed(helper, probe_types[t].type), theirs);
			TRACE_POP();
		}
	}
}

TEST(helper_table, gpl_only_is_the_kernels)
{
	ORACLE_OR_SKIP();
	for (unsigned id = 1; id < SL_HELPER_MAX_ID; id++) {
		const struct sl_helper *helper = sl_helper_by_id(id);

		if (helper->unavailable || !helper->prog_types)
			continue;
		for (size_t t = 0; t < probe_type_count; t++) {
			const char *log;

			if (!sl_helper_allowed(helper, probe_types[t].type))
				continue;
			log = kernel_answer(probe_types[t].type, id, "Proprietary");
			TRACE_PUSH("%s for %s", helper->name, probe_types[t].name);
			EXPECT_EQ((helper->flags & SL_HELPER_GPL) != 0,
				strstr(log, "GPL-restricted") != NULL);
			TRACE_POP();
		}
	}
}

TEST(helper_table, names_carry_the_kernels_names)
{
	ORACLE_OR_SKIP();
	for (unsigned id = 1; id < SL_HELPER_MAX_ID; id++) {
		const struct sl_helper *helper = sl_helper_by_id(id);
		char call[80];
		const char *log = kernel_answer(BPF_PROG_TYPE_SCHED_CLS, id, "GPL");

		snprintf(call, sizeof(call), "%s#%u", helper->name, id);
		EXPECT_CONTAINS(log, call);
	}
}

TEST(helper_table, rows_are_complete)
{
	for (unsigned id = 1; id < SL_HELPER_MAX_ID; id++) {
		const struct sl_helper *helper = sl_helper_by_id(id);

		EXPECT_EQ(helper->id, id);
		if (helper->unavailable || !helper->prog_types)
			EXPECT_TRUE(helper->fn == NULL);
		else if (id != BPF_FUNC_tail_call)
			EXPECT_TRUE(helper->fn != NULL && helper->symbol != NULL);
	}
	EXPECT_TRUE(sl_helper_by_id(0) == NULL);
	EXPECT_TRUE(sl_helper_by_id(SL_HELPER_MAX_ID) == NULL);
	EXPECT_TRUE(sl_helper_by_id(UINT32_MAX) == NULL);
}

TEST(prog_type, four_types)
{
	for (size_t t = 0; t < probe_type_count; t++)
		EXPECT_STREQ(sl_prog_type_of(probe_types[t].type)->name, probe_types[t].name);
	EXPECT_TRUE(sl_prog_type_of(BPF_PROG_TYPE_KPROBE) == NULL);
}
