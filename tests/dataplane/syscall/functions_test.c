#include <bpf/btf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * Programs of two functions with BTF, as a compiler makes them: what the second one's linkage and
 * type, and a tail call in it, mean for the first. Both sides have to say the same.
 */

#define INSN(code_, dst, src, off_, imm_)    \
	((struct bpf_insn){ .code = (code_), \
		.dst_reg = (dst),            \
		.src_reg = (src),            \
		.off = (off_),               \
		.imm = (imm_) })
#define MOV(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define MOV_X(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define CALL(off) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, off)
#define TAIL_CALL INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call)
#define LD_PROGS(dst) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)
#define LD_ABS_BYTE INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 0)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* R6 = data, eight bytes of it readable; else to the return `skip` instructions on. */
#define PACKET(skip)                                           \
	LDX(BPF_W, 6, 1, 0), LDX(BPF_W, 3, 1, 4), MOV_X(2, 6), \
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, 8), \
		INSN(BPF_JMP | BPF_JGT | BPF_X, 2, 3, skip, 0)

enum result { INT, VOID, POINTER, TYPEDEF };

static const struct {
	const char *name;
	const char *reason; /* NULL: accepted */
	enum result result; /* of the second function */
	bool global;
	uint32_t second; /* where it begins */
	struct bpf_insn insns[20];
	enum bpf_prog_type type; /* 0: XDP */
} rows[] = {
	{ "static function that returns nothing", NULL, VOID, false, 3,
		{ CALL(2), MOV(0, 2), EXIT, MOV(0, 0), EXIT } },
	{ "global function that returns nothing",
		"Global function second() doesn't return scalar. Only those are supported.", VOID,
		true, 3, { CALL(2), MOV(0, 2), EXIT, MOV(0, 0), EXIT } },
	{ "global function that returns a pointer",
		"Caller passes invalid args into func#1 ('second')", POINTER, true, 3,
		{ CALL(2), MOV(0, 2), EXIT, MOV(0, 0), EXIT } },
	{ "global function that returns a number by another name", NULL, TYPEDEF, true, 3,
		{ CALL(2), MOV(0, 2), EXIT, MOV(0, 0), EXIT } },
	{ "packet after a callee without a tail call", NULL, INT, false, 10,
		{ PACKET(3), CALL(4), LDX(BPF_B, 0, 6, 7), EXIT, MOV(0, 0), EXIT, MOV(0, 0),
			EXIT } },
	{ "packet after a callee's tail call", "R6 invalid mem access 'scalar'", INT, false, 10,
		{ PACKET(3), CALL(4), LDX(BPF_B, 0, 6, 7), EXIT, MOV(0, 0), EXIT, LD_PROGS(2),
			MOV(3, 0), TAIL_CALL, MOV(0, 0), EXIT } },
	{ "packet in the callee after its tail call", NULL, INT, false, 2,
		{ CALL(1), EXIT, PACKET(5), LD_PROGS(2), MOV(3, 0), TAIL_CALL, LDX(BPF_B, 0, 6, 7),
			MOV(0, 0), EXIT } },
	{ "tail call in a function that returns nothing",
		"tail_call is only allowed in functions that return 'int'.", VOID, false, 2,
		{ CALL(1), EXIT, LD_PROGS(2), MOV(3, 0), TAIL_CALL, MOV(0, 0), EXIT } },
	{ "packet load in a function that returns nothing",
		"LD_ABS is only allowed in functions that return 'int'.", VOID, false, 3,
		{ CALL(2), MOV(0, 0), EXIT, MOV_X(6, 1), LD_ABS_BYTE, MOV(0, 0), EXIT },
		BPF_PROG_TYPE_SOCKET_FILTER },
	{ "packet load in a function that returns a pointer",
		"LD_ABS is only allowed in functions that return 'int'.", POINTER, false, 3,
		{ CALL(2), MOV(0, 0), EXIT, MOV_X(6, 1), LD_ABS_BYTE, MOV(0, 0), EXIT },
		BPF_PROG_TYPE_SOCKET_FILTER },
	{ "packet load in a function that returns a number", NULL, TYPEDEF, false, 3,
		{ CALL(2), MOV(0, 0), EXIT, MOV_X(6, 1), LD_ABS_BYTE, MOV(0, 0), EXIT },
		BPF_PROG_TYPE_SOCKET_FILTER },
	{ "a packet load's early end has its own result", "R0 invalid mem access 'scalar'", INT,
		false, 3,
		{ CALL(2), LDX(BPF_W, 0, 0, 0), EXIT, MOV_X(6, 1), LD_ABS_BYTE, MOV_X(0, 6), EXIT },
		BPF_PROG_TYPE_SOCKET_FILTER },
};

static uint32_t length(const struct bpf_insn *insns, uint32_t count)
{
	static const struct bpf_insn nothing;

	while (count && !memcmp(&insns[count - 1], &nothing, sizeof(nothing)))
		count--;
	return count;
}

static int load_types(enum side side, enum result result, bool global)
{
	struct btf *btf = btf__new_empty();
	int number = btf__add_int(btf, "int", 4, BTF_INT_SIGNED), results[] = {
		[INT] = number,
		[VOID] = 0,
		[POINTER] = btf__add_ptr(btf, number),
		[TYPEDEF] = btf__add_typedef(btf, "number", btf__add_const(btf, number)),
	};
	union bpf_attr attr;
	uint32_t size;
	long fd;

	/* Types 5 to 8. */
	btf__add_func_proto(btf, number);
	btf__add_func(btf, "first", BTF_FUNC_GLOBAL, 5);
	btf__add_func_proto(btf, results[result]);
	btf__add_func(btf, "second", global ? BTF_FUNC_GLOBAL : BTF_FUNC_STATIC, 7);
	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(btf__raw_data(btf, &size));
	attr.btf_size = size;
	fd = call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
	btf__free(btf);
	return (int)fd;
}

static long load(enum side side, unsigned row, char *text, uint32_t size)
{
	const struct bpf_func_info infos[] = { { 0, 6 }, { rows[row].second, 8 } };
	int types = load_types(side, rows[row].result, rows[row].global);
	int progs = map_new(side, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0);
	struct bpf_insn insns[sl_array_size(rows[row].insns)];
	union bpf_attr attr;
	long ret;

	EXPECT_GE(types, 0);
	EXPECT_GE(progs, 0);
	memcpy(insns, rows[row].insns, sizeof(insns));
	for (unsigned i = 0; i < sl_array_size(insns); i++) {
		if (insns[i].src_reg == BPF_PSEUDO_MAP_FD &&
			insns[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			insns[i].imm = progs;
	}
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = rows[row].type ? rows[row].type : BPF_PROG_TYPE_XDP;
	attr.insns = PTR(insns);
	attr.insn_cnt = length(insns, sl_array_size(insns));
	attr.license = PTR("GPL");
	attr.prog_btf_fd = (uint32_t)types;
	attr.func_info = PTR(infos);
	attr.func_info_cnt = sl_array_size(infos);
	attr.func_info_rec_size = sizeof(infos[0]);
	attr.log_level = 2;
	attr.log_buf = PTR(text);
	attr.log_size = size;
	text[0] = '\0';
	ret = call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
	close(types);
	close(progs);
	if (ret >= 0)
		close((int)ret);
	return sl_min(ret, 0L);
}

TEST(syscall_functions, verdicts)
{
	static char texts[SIDES][1 << 16];

	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		long ours = load(SLUICE, i, texts[SLUICE], sizeof(texts[0]));

		TRACE_PUSH("%s:\n%s", rows[i].name, texts[SLUICE]);
		EXPECT_EQ(ours < 0, rows[i].reason != NULL);
		if (rows[i].reason)
			EXPECT_CONTAINS(texts[SLUICE], rows[i].reason);
		if (oracle_permitted()) {
			long kernels = load(KERNEL, i, texts[KERNEL], sizeof(texts[0]));

			TRACE_PUSH("the kernel's:\n%s", texts[KERNEL]);
			EXPECT_EQ(ours, kernels);
			if (rows[i].reason)
				EXPECT_CONTAINS(texts[KERNEL], rows[i].reason);
			TRACE_POP();
		}
		TRACE_POP();
	}
}

/* Integers for keys and values: most types take them, some have no place for types. */
TEST(syscall_functions, types_of_keys_and_values)
{
	static const uint32_t types[] = { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY,
		BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_MAP_TYPE_PERCPU_HASH,
		BPF_MAP_TYPE_PERCPU_ARRAY };

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		long ret[SIDES];

		for (int side = 0; side < SIDES; side++) {
			int btf = btf_new(side);
			union bpf_attr attr = { .map_type = types[i],
				.key_size = 4,
				.value_size = 4,
				.max_entries = 1,
				.btf_fd = (uint32_t)btf,
				.btf_key_type_id = 1,
				.btf_value_type_id = 1 };

			ret[side] = call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
			if (ret[side] >= 0)
				close((int)ret[side]);
			close(btf);
		}
		TRACE_PUSH("type %u", types[i]);
		EXPECT_EQ(ret[SLUICE] < 0 ? ret[SLUICE] : 0, ret[KERNEL] < 0 ? ret[KERNEL] : 0);
		TRACE_POP();
	}
}
