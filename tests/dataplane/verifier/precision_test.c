#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"
#include "log.h"
#include "random.h"
#include "test.h"

/*
 * What we say of registers is what the kernel says: random straight programs of arithmetic and
 * comparisons on R6..R9 are walked with the scalar analysis alone, and every value that the kernel
 * prints at log level 2 on the same way must be printed by us in the same letters.
 *
 * A comparison either jumps to the end of the program, and the walk goes on behind it, or jumps
 * over an exit, and the walk goes on where it jumps to.
 */

#define FIRST_REG 6
#define REGS 4
#define MAX_INSNS 64
#define STEPS 14
#define LOG_BYTES (1u << 18)
#define REG_TEXT 256

struct walk {
	struct bpf_insn insns[MAX_INSNS];
	uint32_t count;
	struct sl_reg now[REGS];
	bool dead; /* the rest is not reached, as the analysis decided */
	/* Texts before (of a jump's target) and after each instruction; "" where not reached. */
	char before[MAX_INSNS][REGS][REG_TEXT];
	char after[MAX_INSNS][REGS][REG_TEXT];
	bool reached[MAX_INSNS];
	/* What the analysis of single values does not decide: states that are split. */
	bool unfit;
};

static void print_regs(const struct sl_reg *regs, char texts[REGS][REG_TEXT])
{
	for (int i = 0; i < REGS; i++) {
		struct sl_log_buf buf = { texts[i], REG_TEXT, 1, 0 };
		struct sl_reg reg = regs[i];
		struct sl_log log;

		reg.id = 0;
		reg.precise = false;
		texts[i][0] = '\0';
		sl_vlog_init(&log, &buf);
		sl_vlog_reg(&log, &reg, 0);
	}
}

static void add_insn(struct walk *walk, struct bpf_insn insn)
{
	uint32_t index = walk->count++;

	walk->insns[index] = insn;
	if (walk->dead)
		return;
	walk->reached[index] = true;
	print_regs(walk->now, walk->after[index]);
}

/* An all-or-nothing mask is followed as two states, one for each of its values. */
static bool splits_state(const struct sl_reg *dst, const struct sl_reg *src, struct bpf_insn insn)
{
	uint8_t op = BPF_OP(insn.code);

	if ((op != BPF_AND && op != BPF_OR) ||
		(BPF_SRC(insn.code) == BPF_X && !sl_reg_is_const(src)))
		return false;
	return (dst->smin == -1 && dst->smax == 0) || (dst->s32_min == -1 && dst->s32_max == 0);
}

static void add_alu(struct walk *walk, struct bpf_insn insn)
{
	struct sl_reg *dst = &walk->now[insn.dst_reg - FIRST_REG];
	struct sl_reg *src = &walk->now[(insn.src_reg ? insn.src_reg : FIRST_REG) - FIRST_REG];

	if (!walk->dead) {
		struct sl_reg copy = *src;

		walk->unfit |= splits_state(dst, src, insn);
		sl_reg_alu(dst, &copy, &insn);
	}
	add_insn(walk, insn);
}

static uint8_t any_reg(struct sl_random *random)
{
	return (uint8_t)(FIRST_REG + random_below(random, REGS));
}

static void add_random_alu(struct walk *walk, struct sl_random *random)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_AND,
		BPF_LSH, BPF_RSH, BPF_NEG, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH, BPF_END, BPF_AND };
	static const int16_t sext[] = { 0, 8, 16, 32 };
	uint8_t op = ops[random_below(random, sl_array_size(ops))];
	bool is32 = random_below(random, 2), from_reg = random_below(random, 2);
	struct bpf_insn insn = { .code = (is32 ? BPF_ALU : BPF_ALU64) | op };

	insn.dst_reg = any_reg(random);
	if (op == BPF_END) {
		insn.imm = 16 << random_below(random, 3);
	} else if (op != BPF_NEG && from_reg) {
		insn.code |= BPF_X;
		insn.src_reg = any_reg(random);
		if (op == BPF_MOV)
			insn.off = sext[random_below(random, is32 ? 3 : 4)];
	} else if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) {
		insn.imm = (int32_t)random_below(random, is32 ? 32 : 64);
		if (!is32 && random_below(random, 4) == 0)
			insn.imm = 32;
	} else if (op != BPF_NEG) {
		insn.imm = (int32_t)random_value(random);
		if ((op == BPF_DIV || op == BPF_MOD) && insn.imm == 0)
			insn.imm = 3;
	}
	add_alu(walk, insn);
	/* Cuts the link between a register and its copy, which is not the scalar analysis'. */
	if (op == BPF_MOV && from_reg)
		add_alu(walk, ALU_K(BPF_XOR, insn.src_reg, 0));
}

/* off is the target's distance; SKIP_EXIT: the walk goes on at the target. */
static void add_jump(struct walk *walk, struct bpf_insn insn, bool skip_exit)
{
	bool is32 = BPF_CLASS(insn.code) == BPF_JMP32;
	struct sl_reg *dst = &walk->now[insn.dst_reg - FIRST_REG], imm, *src = &imm;
	struct sl_reg pairs[2][2];
	int outcome;

	sl_reg_set_const(&imm, (uint64_t)(int64_t)insn.imm);
	if (BPF_SRC(insn.code) == BPF_X)
		src = &walk->now[insn.src_reg - FIRST_REG];
	if (walk->dead) {
		add_insn(walk, insn);
		return;
	}
	outcome = sl_reg_branch(dst, src, BPF_OP(insn.code), is32);
	if (outcome >= 0) {
		add_insn(walk, insn);
		walk->dead = outcome != skip_exit;
		return;
	}
	pairs[0][0] = pairs[1][0] = *dst;
	pairs[0][1] = pairs[1][1] = *src;
	sl_reg_refine(
		&pairs[1][0], &pairs[1][1], &pairs[0][0], &pairs[0][1], BPF_OP(insn.code), is32);
	*dst = pairs[0][0];
	*src = pairs[0][1];
	add_insn(walk, insn);
	if (skip_exit) {
		*dst = pairs[1][0];
		*src = pairs[1][1];
		print_regs(walk->now, walk->before[walk->count + (uint32_t)insn.off]);
	}
}

static void add_random_jump(struct walk *walk, struct sl_random *random)
{
	static const uint8_t ops[] = { BPF_JEQ, BPF_JNE, BPF_JSET, BPF_JGT, BPF_JGE, BPF_JLT,
		BPF_JLE, BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE };
	struct bpf_insn insn = { .code = ops[random_below(random, sl_array_size(ops))] };
	bool skip_exit = random_below(random, 2);
	struct sl_reg saved[REGS];

	insn.code |= random_below(random, 2) ? BPF_JMP : BPF_JMP32;
	insn.dst_reg = any_reg(random);
	insn.src_reg = any_reg(random);
	if (insn.src_reg != insn.dst_reg && random_below(random, 3) == 0) {
		insn.code |= BPF_X;
	} else {
		insn.src_reg = 0;
		insn.imm = (int32_t)random_value(random);
		if (BPF_OP(insn.code) == BPF_JSET && random_below(random, 2))
			insn.imm = (int32_t)(1U << random_below(random, 32));
	}
	if (!skip_exit) {
		insn.off = INT16_MAX; /* to the end: set when that is known */
		add_jump(walk, insn, false);
		return;
	}
	insn.off = 2;
	add_jump(walk, insn, true);
	/* Not on the way. */
	memcpy(saved, walk->now, sizeof(saved));
	walk->insns[walk->count++] = MOV_K(0, 0);
	walk->insns[walk->count++] = EXIT;
}

static void make_walk(struct sl_random *random, struct walk *walk)
{
	memset(walk, 0, sizeof(*walk));
	for (uint8_t i = 0; i < REGS; i++) {
		walk->insns[walk->count++] = HELPER(BPF_FUNC_get_prandom_u32);
		walk->insns[walk->count++] = MOV_X(FIRST_REG + i, 0);
		sl_reg_set_unknown(&walk->now[i]);
	}
	for (int i = 0; i < STEPS; i++) {
		if (random_below(random, 3) == 0)
			add_random_jump(walk, random);
		else
			add_random_alu(walk, random);
	}
	walk->insns[walk->count++] = MOV_K(0, 0);
	walk->insns[walk->count++] = EXIT;
	for (uint32_t i = 0; i < walk->count; i++)
		if (walk->insns[i].off == INT16_MAX)
			walk->insns[i].off = (int16_t)(walk->count - 2 - i - 1);
}

/* One "R6=scalar(id=3,umax=5)" of the kernel; text without "R6=", "P" and the id. Past it. */
static const char *next_reg(const char *line, int *ret_reg, char *ret_text)
{
	const char *start = line, *end;
	int depth = 0, n = 0;

	while (*start && !(start[0] == 'R' && start[1] >= '0' && start[1] <= '9'))
		start++;
	if (!*start)
		return NULL;
	*ret_reg = atoi(start + 1);
	start = strchr(start, '=');
	if (!start)
		return NULL;
	start++;
	start += *start == 'P';
	for (end = start; *end && *end != '\n' && (depth > 0 || *end != ' '); end++) {
		depth += (*end == '(') - (*end == ')');
		if (!strncmp(end, "(id=", 4)) {
			ret_text[n++] = '(';
			end += strcspn(end, ",)");
			if (*end == ')')
				end--, depth += 0;
			continue;
		}
		if (n < REG_TEXT - 1)
			ret_text[n++] = *end;
	}
	ret_text[n] = '\0';
	return end;
}

static bool same_regs(const char *line, char ours[REGS][REG_TEXT])
{
	char text[REG_TEXT];
	int reg;

	while ((line = next_reg(line, &reg, text))) {
		if (reg < FIRST_REG || reg >= FIRST_REG + REGS)
			continue;
		if (!strcmp(text, ours[reg - FIRST_REG]))
			continue;
		sl_test_fail(__FILE__, __LINE__, "R%d\n   ours: %s\n kernel: %s", reg,
			ours[reg - FIRST_REG], text);
		return false;
	}
	return true;
}

static bool check_line(struct walk *walk, char *line, bool *seen)
{
	char *rest;
	unsigned from, index, in_main = walk->count - 2;

	if (sscanf(line, "from %u to %u:", &from, &index) == 2) {
		if (index >= in_main)
			return true;
		rest = strchr(line, ':');
		return same_regs(rest, walk->before[index]);
	}
	index = (unsigned)strtoul(line, &rest, 10);
	if (rest == line || strncmp(rest, ": (", 3) || index < 2 * REGS || index >= in_main)
		return true;
	seen[index] = true;
	rest = strchr(rest, ';');
	return !rest || !walk->reached[index] || same_regs(rest, walk->after[index]);
}

static void check_walk(struct walk *walk, char *log)
{
	static bool seen[MAX_INSNS];
	char *line, *save, *copy = strdup(log);

	memset(seen, 0, sizeof(seen));
	for (line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!check_line(walk, line, seen)) {
			sl_test_fail(__FILE__, __LINE__, "%s\n%s", line, log);
			break;
		}
	}
	for (uint32_t i = 0; i < walk->count && !sl_test_has_failed(); i++)
		if (walk->reached[i] && !seen[i])
			sl_test_fail(__FILE__, __LINE__, "the kernel never got to %u\n%s", i, log);
	free(copy);
}

TEST(precision, values_are_printed_as_by_the_kernel)
{
	const char *seed = getenv("SLUICE_TEST_SEED"), *rounds = getenv("SLUICE_TEST_ROUNDS");
	struct sl_random random = { seed ? strtoull(seed, NULL, 0) : 11 };
	int count = rounds ? atoi(rounds) : 2000;
	static char log[LOG_BYTES];
	static struct walk walk;
	int compared = 0;

	ORACLE_OR_SKIP();
	for (int i = 0; i < count && !sl_test_has_failed(); i++) {
		int err;

		make_walk(&random, &walk);
		if (walk.unfit)
			continue;
		TRACE_PUSH("program %d", i);
		err = kernel_verify(BPF_PROG_TYPE_XDP, walk.insns, walk.count, 2, log, sizeof(log));
		if (err)
			sl_test_fail(__FILE__, __LINE__, "kernel: %d\n%s", err, log);
		else
			check_walk(&walk, log);
		TRACE_POP();
		compared++;
	}
	EXPECT_GT(compared, count * 9 / 10);
}
