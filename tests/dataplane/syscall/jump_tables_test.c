#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/* Jump tables and tail calls, side by side with the kernel's. */

#define INSN(c, dst, src, o, i) \
	{ .code = (c), .dst_reg = (dst), .src_reg = (src), .off = (o), .imm = (i) }
#define LD_FD(dst, fd) \
	INSN(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define LD_U64(dst, v)                                            \
	INSN(BPF_LD | BPF_DW | BPF_IMM, dst, 0, 0, (int32_t)(v)), \
		INSN(0, 0, 0, 0, (int32_t)((uint64_t)(v) >> 32))
#define HELPER(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define RETURN(v) \
	INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, v), INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

enum { SLOTS = 40, MAX_CHAIN = 36, FELL = 77, LAST = 99 };

/* What a program is loaded as. */
struct kind {
	const char *name;
	enum bpf_prog_type type;
	uint32_t attach, flags;
};

static int load(
	enum side side, const struct kind *kind, const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = kind->type;
	attr.expected_attach_type = kind->attach;
	attr.prog_flags = kind->flags;
	attr.insns = PTR(insns);
	attr.insn_cnt = count;
	attr.license = PTR("GPL");
	return (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* Jumps to a slot, whose number is 64 bits of a register, and says when it comes back. */
static int load_jump(enum side side, const struct kind *kind, int table, uint64_t index)
{
	const struct bpf_insn insns[] = { LD_FD(2, table), LD_U64(3, index),
		HELPER(BPF_FUNC_tail_call), RETURN(FELL) };

	return load(side, kind, insns, sl_array_size(insns));
}

static int load_return(enum side side, const struct kind *kind, int value)
{
	const struct bpf_insn insns[] = { RETURN(value) };

	return load(side, kind, insns, sl_array_size(insns));
}

static long element(enum side side, int cmd, int table, uint32_t key, void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)table;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	attr.flags = flags;
	return call(side, cmd, &attr, sizeof(attr));
}

static long put(enum side side, int table, uint32_t index, int prog)
{
	return element(side, BPF_MAP_UPDATE_ELEM, table, index, &prog, BPF_ANY);
}

static int table_new(enum side side)
{
	return map_new(side, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, SLOTS, 0);
}

static long run(enum side side, int prog)
{
	uint8_t packet[64] = { 0 };
	union bpf_attr attr;
	long ret;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 1;
	ret = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	return ret < 0 ? ret : (long)attr.test.retval;
}

static const struct kind runnable[] = {
	{ "xdp", BPF_PROG_TYPE_XDP, 0, 0 },
	{ "sched_cls", BPF_PROG_TYPE_SCHED_CLS, 0, 0 },
};

/*
 * A chain of programs, each of which goes on with the next; the last one returns. results: of runs that
 * begin with each of them.
 */
static void run_chains(enum side side, const struct kind *kind, long results[MAX_CHAIN])
{
	int table = table_new(side), progs[MAX_CHAIN];

	for (unsigned i = 0; i < MAX_CHAIN; i++) {
		progs[i] = i < MAX_CHAIN - 1 ? load_jump(side, kind, table, i + 1)
					     : load_return(side, kind, LAST);
		EXPECT_EQ(0, put(side, table, i, progs[i]));
	}
	for (unsigned i = 0; i < MAX_CHAIN; i++) {
		results[i] = run(side, progs[i]);
		close(progs[i]);
	}
	close(table);
}

TEST(jump_tables, chains_end_where_the_kernels_do)
{
	ORACLE_OR_SKIP();
	for (size_t k = 0; k < sl_array_size(runnable); k++) {
		long results[SIDES][MAX_CHAIN];

		run_chains(KERNEL, &runnable[k], results[KERNEL]);
		run_chains(SLUICE, &runnable[k], results[SLUICE]);
		for (unsigned i = 0; i < MAX_CHAIN; i++) {
			unsigned jumps = MAX_CHAIN - 1 - i;

			TRACE_PUSH("%u jumps, %s", jumps, runnable[k].name);
			EXPECT_EQ(results[KERNEL][i], results[SLUICE][i]);
			EXPECT_EQ(jumps <= 33 ? LAST : FELL, results[SLUICE][i]);
			TRACE_POP();
		}
	}
}

static long run_index(enum side side, uint64_t index)
{
	int table = table_new(side), target = load_return(side, &runnable[0], LAST);
	int prog = load_jump(side, &runnable[0], table, index);
	long result = put(side, table, 3, target);

	if (result == 0)
		result = run(side, prog);
	close(prog);
	close(target);
	close(table);
	return result;
}

TEST(jump_tables, an_index_is_32_bits_and_may_lead_nowhere)
{
	static const uint64_t indices[] = { 3, 0, SLOTS - 1, SLOTS, SLOTS + 3, UINT32_MAX,
		(1ull << 32) + 3, (1ull << 32) + SLOTS, UINT64_MAX, (1ull << 63) + 3 };

	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(indices); i++) {
		TRACE_PUSH("index %#llx", (unsigned long long)indices[i]);
		EXPECT_EQ(run_index(KERNEL, indices[i]), run_index(SLUICE, indices[i]));
		TRACE_POP();
	}
}

/* Of two programs the first one decides what else may be in the table, or use it. */
static const struct kind kinds[] = {
	{ "xdp", BPF_PROG_TYPE_XDP, 0, 0 },
	{ "xdp, attach type", BPF_PROG_TYPE_XDP, BPF_XDP, 0 },
	{ "xdp of a devmap", BPF_PROG_TYPE_XDP, BPF_XDP_DEVMAP, 0 },
	{ "xdp of a cpumap", BPF_PROG_TYPE_XDP, BPF_XDP_CPUMAP, 0 },
	{ "xdp with frags", BPF_PROG_TYPE_XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS },
	{ "sched_cls", BPF_PROG_TYPE_SCHED_CLS, 0, 0 },
	{ "tcx ingress", BPF_PROG_TYPE_SCHED_CLS, 46, 0 },
	{ "tcx egress", BPF_PROG_TYPE_SCHED_CLS, 47, 0 },
	{ "sched_act", BPF_PROG_TYPE_SCHED_ACT, 0, 0 },
	{ "socket_filter", BPF_PROG_TYPE_SOCKET_FILTER, 0, 0 },
	{ "strict alignment", BPF_PROG_TYPE_XDP, 0, BPF_F_STRICT_ALIGNMENT },
};

/* Puts a program of this kind into the slot, or loads one that jumps through the table. */
static long use(enum side side, const struct kind *kind, int table, bool as_caller)
{
	int prog = as_caller ? load_jump(side, kind, table, 0) : load_return(side, kind, LAST);
	long result = prog;

	if (prog < 0)
		return result;
	result = as_caller ? 0 : put(side, table, 0, prog);
	close(prog);
	return result;
}

/* Programs of each kind, which do not jump, are loaded once. */
static int returning[SIDES][sl_array_size(kinds)];

static void compare_owners(const struct kind *first, bool caller)
{
	int tables[SIDES] = { table_new(KERNEL), table_new(SLUICE) };

	EXPECT_EQ(use(KERNEL, first, tables[KERNEL], caller),
		use(SLUICE, first, tables[SLUICE], caller));
	for (size_t i = 0; i < sl_array_size(kinds); i++) {
		TRACE_PUSH("then %s", kinds[i].name);
		EXPECT_EQ(put(KERNEL, tables[KERNEL], 1, returning[KERNEL][i]),
			put(SLUICE, tables[SLUICE], 1, returning[SLUICE][i]));
		EXPECT_EQ(use(KERNEL, &kinds[i], tables[KERNEL], true),
			use(SLUICE, &kinds[i], tables[SLUICE], true));
		TRACE_POP();
	}
	close(tables[KERNEL]);
	close(tables[SLUICE]);
}

TEST(jump_tables, whoever_comes_first_decides_as_in_the_kernel)
{
	ORACLE_OR_SKIP();
	for (enum side side = KERNEL; side < SIDES; side++) {
		for (size_t i = 0; i < sl_array_size(kinds); i++) {
			returning[side][i] = load_return(side, &kinds[i], LAST);
			ASSERT_GE(returning[side][i], 0);
		}
	}
	for (size_t i = 0; i < sl_array_size(kinds); i++) {
		for (unsigned caller = 0; caller < 2; caller++) {
			TRACE_PUSH("%s%s", kinds[i].name, caller ? " that jumps" : "");
			compare_owners(&kinds[i], caller);
			TRACE_POP();
		}
	}
	for (enum side side = KERNEL; side < SIDES; side++) {
		for (size_t i = 0; i < sl_array_size(kinds); i++)
			close(returning[side][i]);
	}
}

/* The table stays its first program's when that has gone. */
static long use_after(enum side side)
{
	int table = table_new(side);
	long result = use(side, &kinds[0], table, false);

	if (result == 0)
		result = element(side, BPF_MAP_DELETE_ELEM, table, 0, NULL, 0);
	if (result == 0)
		result = use(side, &kinds[5], table, false);
	close(table);
	return result;
}

TEST(jump_tables, an_empty_table_keeps_its_owner)
{
	ORACLE_OR_SKIP();
	EXPECT_EQ(use_after(KERNEL), use_after(SLUICE));
	EXPECT_EQ(-EINVAL, use_after(SLUICE));
}

static long freeze(enum side side, int table)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)table;
	return call(side, BPF_MAP_FREEZE, &attr, sizeof(attr));
}

/* What may be done with a table, in this order. */
static void ask_table(enum side side, uint32_t map_flags, bool frozen, long results[10])
{
	int table = map_new(side, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, SLOTS, map_flags);
	int prog = load_return(side, &kinds[0], LAST), cls = load_return(side, &kinds[5], LAST);
	uint32_t id = 0;
	unsigned n = 0;

	results[n++] = table < 0 ? table : 0;
	results[n++] = frozen ? freeze(side, table) : 0;
	results[n++] = put(side, table, 1, prog);
	results[n++] = put(side, table, 1, cls);
	results[n++] = put(side, table, SLOTS, prog);
	results[n++] = element(side, BPF_MAP_UPDATE_ELEM, table, 2, &prog, BPF_NOEXIST);
	results[n++] = element(side, BPF_MAP_UPDATE_ELEM, table, 1, &prog, BPF_EXIST);
	results[n++] = element(side, BPF_MAP_LOOKUP_ELEM, table, 1, &id, 0);
	results[n++] = element(side, BPF_MAP_DELETE_ELEM, table, 1, NULL, 0);
	results[n++] = element(side, BPF_MAP_DELETE_ELEM, table, 1, NULL, 0);
	close(table);
	close(prog);
	close(cls);
}

TEST(jump_tables, access_and_flags_are_as_in_the_kernel)
{
	static const uint32_t flags[] = { 0, BPF_F_RDONLY, BPF_F_WRONLY, BPF_F_RDONLY_PROG,
		BPF_F_WRONLY_PROG, BPF_F_MMAPABLE, BPF_F_INNER_MAP, BPF_F_NO_PREALLOC };

	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(flags); i++) {
		for (unsigned frozen = 0; frozen < 2; frozen++) {
			long theirs[10], ours[10];

			TRACE_PUSH("flags %#x%s", flags[i], frozen ? ", frozen" : "");
			ask_table(KERNEL, flags[i], frozen, theirs);
			ask_table(SLUICE, flags[i], frozen, ours);
			for (unsigned n = 0; n < 10; n++) {
				TRACE_PUSH("step %u", n);
				EXPECT_EQ(theirs[n], ours[n]);
				TRACE_POP();
			}
			TRACE_POP();
		}
	}
}
