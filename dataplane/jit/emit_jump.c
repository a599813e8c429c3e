#include "emit.h"
#include "instrument.h"

/* Iterations that may_goto allows one call of a function: the kernel's BPF_MAX_LOOPS. */
#define MAY_GOTO_LIMIT (8 * 1024 * 1024)

int64_t sl_emit_jump_target(const struct bpf_insn *insn, uint32_t pc)
{
	bool is_long = insn->code == (BPF_JMP32 | BPF_JA);

	return (int64_t)pc + 1 + (is_long ? insn->imm : insn->off);
}

/* A way that no path took is not there. */
static void branch(struct sl_emitter *e, LLVMValueRef cond)
{
	int64_t target = sl_emit_jump_target(e->insn, e->pc);
	uint8_t flags = e->fact->flags;

	e->ended = true;
	sl_instrument_branch(e, cond);
	if (!(flags & SL_INSN_TAKEN))
		LLVMBuildBr(e->builder, sl_emit_block_at(e, (int64_t)e->pc + 1));
	else if (!(flags & SL_INSN_NOT_TAKEN))
		LLVMBuildBr(e->builder, sl_emit_block_at(e, target));
	else
		LLVMBuildCondBr(e->builder, cond, sl_emit_block_at(e, target),
			sl_emit_block_at(e, (int64_t)e->pc + 1));
}

void sl_emit_branch(struct sl_emitter *e)
{
	LLVMValueRef dst = sl_emit_get_bits(e, e->insn->dst_reg, e->row->bits);

	branch(e, LLVMBuildICmp(e->builder, e->row->op, dst, sl_emit_source(e), ""));
}

void sl_emit_branch_bits(struct sl_emitter *e)
{
	LLVMValueRef dst = sl_emit_get_bits(e, e->insn->dst_reg, e->row->bits);
	LLVMValueRef both = LLVMBuildAnd(e->builder, dst, sl_emit_source(e), "");

	branch(e, LLVMBuildICmp(e->builder, LLVMIntNE, both, sl_emit_int(e, e->row->bits, 0), ""));
}

void sl_emit_jump(struct sl_emitter *e)
{
	LLVMBuildBr(e->builder, sl_emit_block_at(e, sl_emit_jump_target(e->insn, e->pc)));
	e->ended = true;
}

/* Falls through while iterations are left, so that a loop the verifier did not unroll ends. */
void sl_emit_may_goto(struct sl_emitter *e)
{
	LLVMBuilderRef b = e->builder;
	LLVMValueRef left, done;

	if (!e->may_goto)
		e->may_goto =
			sl_emit_local(e, e->i64, sl_emit_const(e, MAY_GOTO_LIMIT), "may_goto");
	left = LLVMBuildLoad2(b, e->i64, e->may_goto, "");
	done = LLVMBuildICmp(b, LLVMIntEQ, left, sl_emit_const(e, 0), "");
	LLVMBuildStore(b, LLVMBuildSub(b, left, sl_emit_const(e, 1), ""), e->may_goto);
	LLVMBuildCondBr(b, sl_emit_unlikely(e, done),
		sl_emit_block_at(e, sl_emit_jump_target(e->insn, e->pc)),
		sl_emit_block_at(e, (int64_t)e->pc + 1));
	e->ended = true;
}

void sl_emit_exit(struct sl_emitter *e)
{
	sl_instrument_leave(e);
	sl_emit_return(e, sl_emit_get(e, 0));
	e->ended = true;
}
