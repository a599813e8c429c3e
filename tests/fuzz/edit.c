#include <string.h>

#include "program.h"

/* Where a jump, a call or a function's address leads: -1 for what leads nowhere. */
static int64_t target_of(const struct fuzz_program *program, uint32_t at)
{
	const struct bpf_insn *insn = &program->insns[at];
	uint8_t class = BPF_CLASS(insn->code), op = BPF_OP(insn->code);

	if (fuzz_is_wide(insn) && insn->src_reg == BPF_PSEUDO_FUNC)
		return (int64_t)at + insn->imm + 1;
	if ((class != BPF_JMP && class != BPF_JMP32) || op == BPF_EXIT)
		return -1;
	if (op == BPF_CALL)
		return insn->src_reg == BPF_PSEUDO_CALL ? (int64_t)at + insn->imm + 1 : -1;
	return (int64_t)at + 1 + (insn->code == (BPF_JMP32 | BPF_JA) ? insn->imm : insn->off);
}

static void retarget(struct fuzz_program *program, uint32_t at, int64_t target)
{
	struct bpf_insn *insn = &program->insns[at];
	int64_t distance = target - at - 1;

	if (fuzz_is_wide(insn) || BPF_OP(insn->code) == BPF_CALL ||
		insn->code == (BPF_JMP32 | BPF_JA))
		insn->imm = (int32_t)distance;
	else
		insn->off = (int16_t)distance;
}

static bool second_half(const struct fuzz_program *program, uint32_t at)
{
	return at > 0 && at < program->count && !program->insns[at].code &&
	       fuzz_is_wide(&program->insns[at - 1]);
}

/* Where instruction `at` is after the change; one that is gone is the next that is not. */
static int64_t moved(int64_t at, uint32_t where, int32_t by)
{
	if (by < 0 && at >= where && at < (int64_t)where - by)
		return where;
	return at < where || (by > 0 && at == where) ? at : at + by;
}

static void shift(struct fuzz_program *program, uint32_t where, int32_t by)
{
	static int64_t targets[FUZZ_MAX_INSNS];
	uint32_t tail = by < 0 ? where - by : where, old = program->count, kept = 0;

	for (uint32_t i = 0; i < old; i++)
		targets[i] = target_of(program, i);
	for (uint32_t i = 0; i < old; i++) {
		int64_t target = targets[i];

		/* Relative to the instruction's new place. */
		if (target >= 0 && target <= old)
			retarget(program, i,
				moved(target, where, by) + i - (i < where ? i : (int64_t)i + by));
	}
	memmove(&program->insns[tail + by], &program->insns[tail],
		(old - tail) * sizeof(program->insns[0]));
	program->count = old + by;
	for (uint32_t i = 0; i < program->func_count; i++) {
		struct bpf_func_info info = program->funcs[i];

		info.insn_off = (uint32_t)moved(info.insn_off, where, by);
		if (!kept || info.insn_off > program->funcs[kept - 1].insn_off)
			program->funcs[kept++] = info;
	}
	program->func_count = kept;
}

bool fuzz_remove(struct fuzz_program *program, uint32_t at, uint32_t len)
{
	if (len == 0 || at + len > program->count || len == program->count ||
		second_half(program, at) || second_half(program, at + len))
		return false;
	shift(program, at, -(int32_t)len);
	return true;
}

bool fuzz_insert(struct fuzz_program *program, uint32_t at, uint32_t len)
{
	if (at > program->count || program->count + len > FUZZ_MAX_INSNS ||
		second_half(program, at))
		return false;
	shift(program, at, (int32_t)len);
	for (uint32_t i = 0; i < len; i++)
		program->insns[at + i] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_X };
	return true;
}
