#include "generate.h"

#include <string.h>

#include "helper.h"
#include "writer.h"

enum { SNIPPETS = 14, PRODUCTIONS_MAX = 64 };

static unsigned all_productions(const struct production *ret[PRODUCTIONS_MAX])
{
	const struct {
		const struct production *rows;
		unsigned count;
	} tables[] = {
		{ core_productions, core_production_count },
		{ map_productions, map_production_count },
		{ call_productions, call_production_count },
		{ object_productions, object_production_count },
	};
	unsigned count = 0;

	for (unsigned t = 0; t < sl_array_size(tables); t++)
		for (unsigned i = 0; i < tables[t].count; i++)
			ret[count++] = &tables[t].rows[i];
	return count;
}

static bool is_possible(const struct fuzz_world *world, const struct production *production)
{
	const struct sl_helper *helper;

	for (unsigned map = 0; map < STANDARD_MAPS; map++)
		if (production->maps & (1u << map) && !fuzz_world_has(world, map))
			return false;
	if (production->possible && !production->possible(world))
		return false;
	if (!production->helper)
		return true;
	helper = sl_helper_by_id(production->helper);
	return helper && !helper->unavailable;
}

bool fuzz_production_left_out(
	const struct fuzz_world *world, unsigned *index, const char **ret_name)
{
	const struct production *rows[PRODUCTIONS_MAX];
	unsigned count = all_productions(rows);

	for (; *index < count; ++*index)
		if (!is_possible(world, rows[*index])) {
			*ret_name = rows[(*index)++]->name;
			return true;
		}
	return false;
}

void snippet(struct writer *w)
{
	const struct production *rows[PRODUCTIONS_MAX];
	unsigned count = all_productions(rows), total = 0, pick;

	if (w->program->count > GENERATED_MAX)
		return;
	for (unsigned i = 0; i < count; i++) {
		const struct production *row = rows[i];

		if ((row->types && !(row->types & TYPE_BIT(w->program->type))) ||
			!is_possible(w->world, row))
			continue;
		rows[total++] = row;
	}
	count = total;
	total = 0;
	for (unsigned i = 0; i < count; i++)
		total += rows[i]->weight;
	pick = below(w, total);
	for (unsigned i = 0; i < count; i++) {
		if (pick < rows[i]->weight) {
			rows[i]->write(w);
			return;
		}
		pick -= rows[i]->weight;
	}
}

/* Jumps to the exit of the function that began at `start`. Returns how many. */
static unsigned resolve_exits(struct writer *w, uint32_t start, uint32_t out)
{
	unsigned count = 0;

	for (uint32_t i = start; i < out; i++) {
		struct bpf_insn *insn = &w->program->insns[i];
		uint8_t class = BPF_CLASS(insn->code);

		if ((class != BPF_JMP && class != BPF_JMP32) || insn->off != TO_EXIT)
			continue;
		insn->off = (int16_t)(out - i - 1);
		count++;
	}
	return count;
}

/* Every number that is left counts; the result is at most `limit`. */
static void write_end(struct writer *w, uint32_t start, uint32_t limit)
{
	int result = scalar(w);

	for (int reg = 0; reg < REGS; reg++)
		if (w->kinds[reg] == SCALAR && reg != result)
			emit(w, ALU_X(BPF_XOR, result, reg));
	emit(w, MOV_X(0, result));
	if (limit != UINT32_MAX)
		emit(w, ALU_K(BPF_AND, 0, chance(w, 20) ? 3 : (int32_t)limit));
	emit(w, EXIT);
	if (!resolve_exits(w, start, w->program->count))
		return;
	emit(w, MOV_K(0, (int32_t)sl_min(limit, 1u)));
	emit(w, EXIT);
}

/* What was on the stack before is nothing to compare. */
static void write_slots(struct writer *w)
{
	for (int slot = 1; w->program->comparable && slot <= STACK_SLOTS; slot++)
		emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, (int16_t)(-8 * slot), slot));
}

static void write_arguments(struct writer *w, enum function function)
{
	memset(w->kinds, 0, sizeof(w->kinds));
	switch (function) {
	case FUNCTION_STATIC:
		w->kinds[1] = w->kinds[2] = SCALAR;
		w->kinds[3] = TAKEN;
		emit(w, MOV_X(6, 4));
		w->kinds[6] = CONTEXT;
		break;
	case FUNCTION_GLOBAL:
		w->kinds[1] = w->kinds[2] = SCALAR;
		break;
	case FUNCTION_LOOP:
		w->kinds[1] = SCALAR;
		emit(w, INSN(BPF_LDX | BPF_MEM | BPF_DW, 3, 2, 0, 0));
		w->kinds[3] = SCALAR;
		if (chance(w, 2)) {
			emit(w, ALU_X(BPF_ADD, 3, 1));
			emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 2, 3, 0, 0));
		}
		break;
	case FUNCTION_TIMER:
		emit(w, INSN(BPF_LDX | BPF_MEM | BPF_DW, 4, 3, 16, 0));
		w->kinds[4] = SCALAR;
		break;
	default:
		w->kinds[3] = VALUE;
		emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 2, 0, 0));
		w->kinds[2] = SCALAR;
		emit(w, INSN(BPF_LDX | BPF_MEM | BPF_DW, 4, 4, 0, 0));
		w->kinds[4] = SCALAR;
	}
}

static void write_function(struct writer *w, unsigned index)
{
	static const uint32_t limits[FUNCTIONS] = { [FUNCTION_STATIC] = UINT32_MAX,
		[FUNCTION_GLOBAL] = UINT32_MAX,
		[FUNCTION_LOOP] = 1,
		[FUNCTION_EACH] = 1 };
	struct fuzz_program *program = w->program;
	struct bpf_insn *call = &program->insns[w->calls[index].at];
	enum function function = w->calls[index].function;
	uint32_t start = program->count;
	int body = 2 + (int)below(w, 4);

	call->imm = (int32_t)(start - w->calls[index].at - 1);
	if (program->func_count)
		program->funcs[program->func_count++] =
			(struct bpf_func_info){ start, standard_function_type(function) };
	write_slots(w);
	write_arguments(w, function);
	w->nested = 2;
	w->in_function = true;
	w->still = !w->calls[index].moves;
	if (function == FUNCTION_STATIC) {
		if (chance(w, 2))
			emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 3, scalar(w), 0, 0));
		else
			emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, 5, 3, 0, 0));
		w->kinds[3] = NONE;
	}
	while (body-- > 0)
		if (chance(w, 2))
			write_alu(w);
		else
			snippet(w);
	write_end(w, start, limits[function]);
}

void fuzz_generate(struct sl_random *random, const struct fuzz_world *world, uint32_t type,
	struct fuzz_program *program)
{
	static const uint32_t types[] = { BPF_PROG_TYPE_XDP, BPF_PROG_TYPE_XDP,
		BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SOCKET_FILTER };
	struct writer w = { .random = random, .program = program, .world = world };

	memset(program, 0, sizeof(*program));
	program->type = type ? type : types[below(&w, sl_array_size(types))];
	program->packet_seed = random_u64(random);
	program->runnable = true;
	program->comparable = !chance(&w, 4);
	if (world->btf[SLUICE] >= 0 && chance(&w, 2))
		program->funcs[program->func_count++] =
			(struct bpf_func_info){ 0, standard_main_type() };
	emit(&w, MOV_X(6, 1));
	w.kinds[6] = CONTEXT;
	write_slots(&w);
	for (int i = 0; i < SNIPPETS; i++)
		snippet(&w);
	write_end(&w, 0, UINT32_MAX);
	for (unsigned i = 0; i < w.call_count; i++)
		write_function(&w, i);
}
