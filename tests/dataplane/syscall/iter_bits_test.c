#include <bpf/btf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/* Iterators over random bits of a map's value, several at a time, one in the other. */

#define WORDS 520
#define RESULTS 4
#define ROUNDS 60
#define LEVELS_MAX 3
#define BLOCKS 16 /* of more than one word that may be open at a time */

static int new_id, next_id, destroy_id;
static uint64_t random_state = 88172645463325252ull;

struct program {
	struct bpf_insn insns[512];
	uint32_t count;
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

static void call_with_iter(struct program *p, int id, int32_t at)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, at);
	emit(p, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, id);
}

static void emit_new(struct program *p, int32_t at, uint32_t first, uint32_t count)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 2, 6, 0, 0);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, (int32_t)(8 * (RESULTS + first)));
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, (int32_t)count);
	call_with_iter(p, new_id, at);
	/* R7 = 3 * R7 + R0 */
	emit(p, BPF_ALU64 | BPF_MUL | BPF_K, 7, 0, 0, 3);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_X, 7, 0, 0, 0);
}

/* The loop of one iterator, with those of the others in it; the sum is kept in the map. */
static void emit_level(struct program *p, unsigned level, unsigned levels)
{
	/* What is inside runs once for each bit outside. */
	uint32_t count = level ? below(4) : below(8) ? below(20) : below(WORDS);
	uint32_t first = below(WORDS - count), loop, done;
	int32_t at = -32 - 16 * (int32_t)level;

	emit_new(p, at, first, count);
	loop = p->count;
	call_with_iter(p, next_id, at);
	done = p->count;
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 0, 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 1, 0, 0, 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_DW, 2, 6, 0, 0);
	emit(p, BPF_ALU64 | BPF_MUL | BPF_K, 2, 0, 0, 31);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_X, 2, 1, 0, 0);
	emit(p, BPF_STX | BPF_MEM | BPF_DW, 6, 2, 0, 0);
	if (level + 1 < levels)
		emit_level(p, level + 1, levels);
	emit(p, BPF_JMP | BPF_JA, 0, 0, (int16_t)(loop - p->count - 1), 0);
	p->insns[done].off = (int16_t)(p->count - done - 1);
	call_with_iter(p, destroy_id, at);
}

static void begin(struct program *p)
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
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 7, 0, 0, 0);
}

static void end(struct program *p)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 0, 7, 0, 0);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* The program's result; the sum that it left in *ret_sum. */
static uint32_t run(enum side side, struct program *p, const uint64_t *words, uint64_t *ret_sum)
{
	int map = map_new(side, BPF_MAP_TYPE_ARRAY, 4, 8 * (RESULTS + WORDS), 1, 0), prog;
	uint64_t value[RESULTS + WORDS] = { 0 };
	uint8_t packet[64] = { 0 };
	union bpf_attr attr;
	uint32_t key = 0, ret;

	memcpy(value + RESULTS, words, 8 * WORDS);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	EXPECT_EQ(call(side, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
	p->insns[3].imm = map;
	prog = prog_new(side, BPF_PROG_TYPE_SCHED_CLS, p->insns, p->count);
	EXPECT_GE(prog, 0);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	EXPECT_EQ(call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	ret = attr.test.retval;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	EXPECT_EQ(call(side, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)), 0);
	*ret_sum = value[0];
	close(prog);
	close(map);
	return ret;
}

static bool find_ids(void)
{
	struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);

	if (btf) {
		new_id = btf__find_by_name_kind(btf, "bpf_iter_bits_new", BTF_KIND_FUNC);
		next_id = btf__find_by_name_kind(btf, "bpf_iter_bits_next", BTF_KIND_FUNC);
		destroy_id = btf__find_by_name_kind(btf, "bpf_iter_bits_destroy", BTF_KIND_FUNC);
	}
	btf__free(btf);
	return new_id > 0;
}

static void make_words(uint64_t *words)
{
	unsigned rare = 1 + below(40);

	for (unsigned i = 0; i < WORDS; i++) {
		words[i] = 0;
		for (unsigned bit = 0; bit < 64; bit++)
			words[i] |= (uint64_t)(below(rare) == 0) << bit;
		if (below(8) == 0)
			words[i] = below(2) ? -1ULL : 1ULL << 63;
	}
}

TEST(iter_bits, random_bits_come_in_order)
{
	uint64_t words[WORDS], sums[SIDES];
	static struct program p;
	unsigned some = 0;

	ORACLE_OR_SKIP();
	if (!find_ids())
		SKIP("the kernel has no iterators over bits");
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t rets[SIDES];

		make_words(words);
		begin(&p);
		for (unsigned i = 0; i < 2; i++)
			emit_level(&p, 0, 1 + below(LEVELS_MAX));
		end(&p);
		for (enum side side = 0; side < SIDES; side++)
			rets[side] = run(side, &p, words, &sums[side]);
		TRACE_PUSH("round %u", round);
		EXPECT_EQ(rets[KERNEL], rets[SLUICE]);
		EXPECT_EQ(sums[KERNEL], sums[SLUICE]);
		TRACE_POP();
		some += sums[KERNEL] != 0;
	}
	EXPECT_GT(some, ROUNDS / 2);
}

/* Every one that is open has a block; the next gets none, and all are there again afterwards. */
TEST(iter_bits, memory_is_limited_and_comes_back)
{
	uint64_t words[WORDS] = { 3 }, sum;
	static struct program p;

	if (!find_ids())
		SKIP("the kernel has no iterators over bits");
	begin(&p);
	for (int i = 0; i < BLOCKS; i++)
		emit_new(&p, -32 - 16 * i, 0, 2);
	emit(&p, BPF_ALU64 | BPF_ADD | BPF_K, 7, 0, 0, 1);
	emit_new(&p, -32 - 16 * BLOCKS, 0, 2);
	for (int i = 0; i <= BLOCKS; i++)
		call_with_iter(&p, destroy_id, -32 - 16 * i);
	end(&p);
	for (unsigned i = 0; i < 3; i++)
		EXPECT_EQ(run(SLUICE, &p, words, &sum), (uint32_t)(3 - ENOMEM));
}
