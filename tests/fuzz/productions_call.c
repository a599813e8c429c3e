#include "writer.h"

#include "world.h"

/* Helpers, functions of the program, callbacks, tail calls. */

static int context_to_r1(struct writer *w)
{
	int ctx = find(w, CONTEXT);

	if (ctx >= 6)
		emit(w, MOV_X(1, ctx));
	return ctx >= 6;
}

static void returned(struct writer *w)
{
	clobber(w);
	w->kinds[0] = SCALAR;
}

static void write_adjust(struct writer *w)
{
	if (w->still || !context_to_r1(w))
		return;
	emit(w, MOV_K(2, (int32_t)below(w, 17) - 8));
	emit(w, HELPER(chance(w, 2) ? BPF_FUNC_xdp_adjust_head : BPF_FUNC_xdp_adjust_tail));
	forget_packet(w);
	returned(w);
}

static void write_load_bytes(struct writer *w)
{
	if (!context_to_r1(w))
		return;
	emit(w, MOV_K(2, (int32_t)below(w, 80)));
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -32));
	if (chance(w, 3)) {
		int len = bounded(w, 32);

		emit(w, MOV_X(4, len));
	} else {
		emit(w, MOV_K(4, (int32_t)below(w, 33)));
	}
	emit(w, HELPER(BPF_FUNC_skb_load_bytes));
	returned(w);
}

static void write_store_bytes(struct writer *w)
{
	if (w->still || !context_to_r1(w))
		return;
	emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), -8, 0));
	emit(w, MOV_K(2, (int32_t)below(w, 80)));
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -8));
	emit(w, MOV_K(4, 1 + (int32_t)below(w, 8)));
	emit(w, MOV_K(5, 0));
	emit(w, HELPER(BPF_FUNC_skb_store_bytes));
	forget_packet(w);
	returned(w);
}

static void write_csum(struct writer *w)
{
	for (int slot = 1; slot <= 4; slot++)
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), (int16_t)(-8 * slot), 0));
	emit(w, MOV_X(1, 10));
	emit(w, ALU_K(BPF_ADD, 1, -16));
	emit(w, MOV_K(2, 4 * (int32_t)below(w, 6)));
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -32));
	emit(w, MOV_K(4, 4 * (int32_t)below(w, 5)));
	emit(w, MOV_K(5, 0));
	emit(w, HELPER(BPF_FUNC_csum_diff));
	returned(w);
}

static void note_call(struct writer *w, enum function function, bool moves)
{
	w->calls[w->call_count].function = function;
	w->calls[w->call_count].moves = moves;
	w->calls[w->call_count++].at = emit(w, LOCAL_CALL(0));
	if (moves)
		forget_packet(w);
	returned(w);
}

static void two_numbers(struct writer *w)
{
	emit(w, MOV_X(1, scalar(w)));
	w->kinds[1] = TAKEN;
	emit(w, MOV_X(2, scalar(w)));
	w->kinds[1] = SCALAR;
}

/* A function to be written later. R1 and R2 numbers, R3 a slot of the stack, R4 the context. */
static void write_call(struct writer *w)
{
	int ctx = find(w, CONTEXT);

	if (w->call_count >= MAX_CALLS || w->nested > 2 || ctx < 6)
		return;
	two_numbers(w);
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -8));
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 5));
	emit(w, MOV_X(4, ctx));
	note_call(w, FUNCTION_STATIC, !w->still && chance(w, 3));
}

/* One that is verified alone, for any two numbers. */
static void write_global_call(struct writer *w)
{
	if (w->call_count >= MAX_CALLS || w->nested > 2 || !w->program->func_count)
		return;
	two_numbers(w);
	note_call(w, FUNCTION_GLOBAL, false);
}

/* Whether a global function is refused for what it would do with a number it does not get here. */
static bool has_global_functions(const struct fuzz_world *world)
{
	static struct fuzz_program program = { .type = BPF_PROG_TYPE_XDP,
		.count = 8,
		.func_count = 2,
		.insns = { MOV_K(1, 1), MOV_K(2, 2), LOCAL_CALL(1), EXIT, MOV_K(0, 0),
			JMP_K(BPF_JEQ, 1, 1, 1), INSN(BPF_LDX | BPF_MEM | BPF_W, 0, 1, 0, 0),
			EXIT } };
	static int possible = -1;
	int fd;

	if (possible >= 0)
		return possible;
	program.funcs[0].type_id = standard_main_type();
	program.funcs[1] = (struct bpf_func_info){ 4, standard_function_type(FUNCTION_GLOBAL) };
	fd = fuzz_load(world, SLUICE, &program, NULL);
	possible = fd == -EACCES;
	if (fd >= 0)
		close(fd);
	return possible;
}

void take_address(struct writer *w, int reg, enum function function)
{
	w->calls[w->call_count].function = function;
	w->calls[w->call_count].moves = false;
	w->calls[w->call_count++].at =
		emit(w, INSN(BPF_LD | BPF_IMM | BPF_DW, reg, BPF_PSEUDO_FUNC, 0, 0));
	emit(w, INSN(0, 0, 0, 0, 0));
}

/* At most a few rounds: nested ones multiply. */
static void write_bpf_loop(struct writer *w)
{
	if (w->call_count >= MAX_CALLS || w->nested > 2 || !w->program->func_count)
		return;
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 7));
	if (chance(w, 2)) {
		int count = bounded(w, 7);

		emit(w, MOV_X(1, count));
	} else {
		/* The kernel fails, and calls it a bug of its own, when a callback is never called. */
		emit(w, MOV_K(1, 1 + (int32_t)below(w, 7)));
	}
	w->kinds[1] = TAKEN;
	take_address(w, 2, FUNCTION_LOOP);
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -8));
	emit(w, MOV_K(4, 0));
	emit(w, HELPER(BPF_FUNC_loop));
	w->kinds[1] = NONE;
	returned(w);
}

static void write_for_each(struct writer *w)
{
	if (w->call_count >= MAX_CALLS || w->nested > 2 || !w->program->func_count)
		return;
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 7));
	if (chance(w, 3)) {
		/* Each side has an order of its own. */
		w->program->comparable = false;
		emit_map(w, 1, MAP_HASH);
	} else {
		emit_map(w, 1, chance(w, 4) ? MAP_PERCPU : MAP_ARRAY);
	}
	take_address(w, 2, FUNCTION_EACH);
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -8));
	emit(w, MOV_K(4, 0));
	emit(w, HELPER(BPF_FUNC_for_each_map_elem));
	returned(w);
}

static void write_tail_call(struct writer *w)
{
	static const enum standard_map slots[] = {
		[BPF_PROG_TYPE_XDP] = MAP_SLOTS_XDP,
		[BPF_PROG_TYPE_SCHED_CLS] = MAP_SLOTS_TC,
		[BPF_PROG_TYPE_SOCKET_FILTER] = MAP_SLOTS_SOCKET,
	};

	if ((!w->nested && !chance(w, 4)) || (w->in_function && !w->program->func_count))
		return;
	if (!context_to_r1(w))
		return;
	emit_map(w, 2, slots[w->program->type]);
	w->kinds[1] = w->kinds[2] = TAKEN;
	if (chance(w, 2)) {
		int index = bounded(w, 7);

		emit(w, MOV_X(3, index));
	} else {
		emit(w, MOV_K(3, (int32_t)below(w, 6)));
	}
	emit(w, HELPER(BPF_FUNC_tail_call));
	w->kinds[1] = w->kinds[2] = NONE;
	clobber(w);
}

const struct production call_productions[] = {
	{ "adjust", write_adjust, 1, TYPE_BIT(BPF_PROG_TYPE_XDP) },
	{ "load bytes", write_load_bytes, 1, SKB_TYPES },
	{ "store bytes", write_store_bytes, 1, TC_TYPES },
	{ "csum", write_csum, 1, DIRECT_TYPES },
	{ "call", write_call, 2 },
	{ "global function", write_global_call, 1, .possible = has_global_functions },
	{ "bpf_loop", write_bpf_loop, 2, 0, 0, BPF_FUNC_loop },
	{ "for each", write_for_each, 1, 0, 0, BPF_FUNC_for_each_map_elem },
	{ "tail call", write_tail_call, 1, 0,
		1u << MAP_SLOTS_XDP | 1u << MAP_SLOTS_TC | 1u << MAP_SLOTS_SOCKET },
};
const unsigned call_production_count = sl_array_size(call_productions);
