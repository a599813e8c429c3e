#include <bpf/btf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * The kernel's functions on strings, here and there: on short strings of few letters, so that much
 * is found; on one that is too long; and at addresses where there is nothing. Each program makes
 * random calls and leaves every result in the map that the strings are in.
 */

#define SHORT 512 /* bytes of short strings */
#define RESULTS SHORT
#define CALLS 64
#define LONG 2048
#define LONG_BYTES 70000
#define VALUE_BYTES (LONG + LONG_BYTES + 8)
#define ROUNDS 50
#define INSNS_MAX 1024

enum operand { NONE, STRING, CHARACTER, COUNT };

static const struct {
	const char *name;
	enum operand operands[3];
} functions[] = {
	{ "bpf_strcmp", { STRING, STRING } },
	{ "bpf_strcasecmp", { STRING, STRING } },
	{ "bpf_strchr", { STRING, CHARACTER } },
	{ "bpf_strnchr", { STRING, COUNT, CHARACTER } },
	{ "bpf_strchrnul", { STRING, CHARACTER } },
	{ "bpf_strrchr", { STRING, CHARACTER } },
	{ "bpf_strlen", { STRING } },
	{ "bpf_strnlen", { STRING, COUNT } },
	{ "bpf_strspn", { STRING, STRING } },
	{ "bpf_strcspn", { STRING, STRING } },
	{ "bpf_strstr", { STRING, STRING } },
	{ "bpf_strnstr", { STRING, STRING, COUNT } },
};

static const uint8_t letters[] = { 'a', 'b', 'A', 'B', 0, 0xc0, 0xe0, 0xd7, 0xf7, 0xff, '[' };
static int ids[sl_array_size(functions)];
static uint64_t random_state = 88172645463325252ull;

struct program {
	struct bpf_insn insns[INSNS_MAX];
	uint32_t count;
	char calls[CALLS][96];
};

static uint32_t below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % n;
}

static void emit(
	struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	p->insns[p->count++] = (struct bpf_insn){ code, dst, src, off, imm };
}

static void emit_wide(struct program *p, uint8_t dst, uint64_t value)
{
	emit(p, BPF_LD | BPF_IMM | BPF_DW, dst, 0, 0, (int32_t)(uint32_t)value);
	emit(p, 0, 0, 0, 0, (int32_t)(value >> 32));
}

/* Where a string may begin, or what is no address of the kernel's, or one with nothing there. */
static int64_t put_string(struct program *p, uint8_t reg)
{
	static const uint64_t nowhere[] = { 0, 1, 4095, 1ULL << 47, 0x7fffffffffffffff, -1ULL,
		0xfffffffffffff000 };
	uint64_t value = below(40) ? below(SHORT) : LONG + (below(2) ? 0 : below(6000));

	if (below(30) == 0) {
		value = nowhere[below(sl_array_size(nowhere))];
		emit_wide(p, reg, value);
		return (int64_t)value;
	}
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, reg, 6, 0, 0);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, (int32_t)value);
	return (int64_t)value;
}

static int64_t put_number(struct program *p, uint8_t reg, enum operand operand)
{
	static const uint64_t counts[] = { 0, 1, 65535, 65536, 65537, 1ULL << 32, -1ULL };
	uint64_t value;

	if (operand == CHARACTER)
		value = letters[below(sl_array_size(letters))] + (below(8) ? 0 : 0x100);
	else
		value = below(4) ? below(24) : counts[below(sl_array_size(counts))];
	emit_wide(p, reg, value);
	return (int64_t)value;
}

static void emit_call(struct program *p, unsigned call)
{
	unsigned which = below(sl_array_size(functions));
	int64_t args[3] = { 0 };

	for (unsigned i = 0; i < 3 && functions[which].operands[i] != NONE; i++)
		args[i] = functions[which].operands[i] == STRING
				  ? put_string(p, (uint8_t)(BPF_REG_1 + i))
				  : put_number(p, (uint8_t)(BPF_REG_1 + i),
					    functions[which].operands[i]);
	emit(p, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, ids[which]);
	emit(p, BPF_STX | BPF_MEM | BPF_DW, 6, 0, (int16_t)(RESULTS + 8 * call), 0);
	snprintf(p->calls[call], sizeof(p->calls[call]), "%s(%lld, %lld, %lld)",
		functions[which].name, (long long)args[0], (long long)args[1], (long long)args[2]);
}

static void make_program(struct program *p)
{
	p->count = 0;
	emit(p, BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4);
	emit(p, BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, 0);
	emit(p, 0, 0, 0, 0, 0);
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
	emit(p, BPF_JMP | BPF_JNE | BPF_K, 0, 0, 1, 0);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0);
	for (unsigned i = 0; i < CALLS; i++)
		emit_call(p, i);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void make_value(uint8_t *value)
{
	memset(value, 0, VALUE_BYTES);
	for (unsigned i = 0; i < SHORT; i++)
		value[i] = letters[below(below(2) ? 5 : sl_array_size(letters))];
	value[SHORT - 1] = 0;
	memset(value + LONG, 'a', LONG_BYTES);
}

static long element(enum side side, int cmd, int map, uint8_t *value)
{
	union bpf_attr attr;
	uint32_t key = 0;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	return call(side, cmd, &attr, sizeof(attr));
}

/* The value as the program leaves it. */
static void run(enum side side, struct program *p, const uint8_t *before, uint8_t *after)
{
	int map = map_new(side, BPF_MAP_TYPE_ARRAY, 4, VALUE_BYTES, 1, 0), prog;
	uint8_t packet[64] = { 0 };
	union bpf_attr attr;

	memcpy(after, before, VALUE_BYTES);
	EXPECT_EQ(element(side, BPF_MAP_UPDATE_ELEM, map, after), 0);
	p->insns[3].imm = map;
	prog = prog_new(side, BPF_PROG_TYPE_XDP, p->insns, p->count);
	EXPECT_GE(prog, 0);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	EXPECT_EQ(call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	EXPECT_EQ(attr.test.retval, 1);
	EXPECT_EQ(element(side, BPF_MAP_LOOKUP_ELEM, map, after), 0);
	close(prog);
	close(map);
}

static bool find_ids(void)
{
	struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);
	bool found = btf;

	for (unsigned i = 0; found && i < sl_array_size(functions); i++) {
		ids[i] = btf__find_by_name_kind(btf, functions[i].name, BTF_KIND_FUNC);
		found = ids[i] > 0;
	}
	btf__free(btf);
	return found;
}

TEST(strings, random_calls_give_what_the_kernel_gives)
{
	static uint8_t before[VALUE_BYTES], after[SIDES][VALUE_BYTES];
	static struct program p;
	unsigned errors = 0, answers = 0;

	ORACLE_OR_SKIP();
	if (!find_ids())
		SKIP("the kernel has no functions on strings");
	for (unsigned round = 0; round < ROUNDS; round++) {
		make_value(before);
		make_program(&p);
		for (enum side side = 0; side < SIDES; side++)
			run(side, &p, before, after[side]);
		for (unsigned i = 0; i < CALLS; i++) {
			int64_t results[SIDES];

			for (enum side side = 0; side < SIDES; side++)
				memcpy(&results[side], after[side] + RESULTS + 8 * i,
					sizeof(int64_t));
			TRACE_PUSH("round %u, call %u: %s", round, i, p.calls[i]);
			EXPECT_EQ(results[KERNEL], results[SLUICE]);
			TRACE_POP();
			errors += (int32_t)results[KERNEL] < -2;
			answers += (int32_t)results[KERNEL] >= 0;
		}
	}
	EXPECT_GT(errors, ROUNDS);
	EXPECT_GT(answers, 10 * ROUNDS);
}
