#include "generate.h"

#include "helper.h"

/* Small changes to a program, of the kinds that a verifier may have overlooked. */

struct mutation {
	struct sl_random *random;
	struct fuzz_program *program;
	struct bpf_insn *insn; /* one of the program's, not half of a wide one */
	uint32_t at;
};

static void change_imm(struct mutation *m)
{
	if (fuzz_names_map(m->insn))
		return;
	switch (random_below(m->random, 3)) {
	case 0:
		m->insn->imm = (int32_t)random_value(m->random);
		break;
	case 1:
		m->insn->imm += (int32_t)random_below(m->random, 17) - 8;
		break;
	default:
		m->insn->imm ^= (int32_t)(1u << random_below(m->random, 32));
	}
}

static void change_off(struct mutation *m)
{
	m->insn->off = (int16_t)(m->insn->off + (int)random_below(m->random, 17) - 8);
}

static void change_registers(struct mutation *m)
{
	if (fuzz_is_wide(m->insn) || random_below(m->random, 2))
		m->insn->dst_reg = random_below(m->random, 11);
	else
		m->insn->src_reg = random_below(m->random, 11);
}

/* Another operation of the same class, or another width. */
static void change_code(struct mutation *m)
{
	uint8_t class = BPF_CLASS(m->insn->code);

	if (fuzz_is_wide(m->insn))
		return;
	if (class == BPF_LDX || class == BPF_ST || class == BPF_STX)
		m->insn->code =
			(uint8_t)((m->insn->code & ~0x18) | random_below(m->random, 4) << 3);
	else if (random_below(m->random, 3) == 0)
		m->insn->code ^= BPF_X;
	else if (random_below(m->random, 3) == 0)
		m->insn->code ^= class == BPF_ALU || class == BPF_ALU64 ? BPF_ALU ^ BPF_ALU64
									: BPF_JMP ^ BPF_JMP32;
	else
		m->insn->code =
			(uint8_t)((m->insn->code & 0x0f) | random_below(m->random, 16) << 4);
}

static void remove_one(struct mutation *m)
{
	fuzz_remove(m->program, m->at, fuzz_is_wide(m->insn) ? 2 : 1);
}

static void repeat_some(struct mutation *m)
{
	uint32_t to = random_below(m->random, m->program->count), len;
	struct bpf_insn copy[4];

	len = sl_min(1 + random_below(m->random, 4), m->program->count - m->at);
	for (uint32_t i = 0; i < len; i++) {
		copy[i] = m->program->insns[m->at + i];
		if (fuzz_is_wide(&copy[i]) || !copy[i].code)
			return;
	}
	if (!fuzz_insert(m->program, to, len))
		return;
	for (uint32_t i = 0; i < len; i++)
		m->program->insns[to + i] = copy[i];
}

static void exchange(struct mutation *m)
{
	struct bpf_insn *next = m->insn + 1, copy = *m->insn;

	if (m->at + 1 >= m->program->count || fuzz_is_wide(m->insn) || fuzz_is_wide(next))
		return;
	*m->insn = *next;
	*next = copy;
}

static void change_helper(struct mutation *m)
{
	for (uint32_t i = 0; i < m->program->count; i++) {
		struct bpf_insn *insn = &m->program->insns[(m->at + i) % m->program->count];

		if (insn->code != (BPF_JMP | BPF_CALL) || insn->src_reg)
			continue;
		insn->imm = 1 + (int32_t)random_below(m->random, SL_HELPER_MAX_ID - 1);
		return;
	}
}

/* Arithmetic on any register: mostly the wrong one. */
static void insert_alu(struct mutation *m)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_SUB, BPF_AND, BPF_MOV, BPF_RSH, BPF_OR };
	struct bpf_insn insn = { .code = ops[random_below(m->random, sl_array_size(ops))] };

	insn.code |= random_below(m->random, 2) ? BPF_ALU : BPF_ALU64;
	insn.dst_reg = random_below(m->random, 10);
	if (random_below(m->random, 2)) {
		insn.code |= BPF_X;
		insn.src_reg = random_below(m->random, 11);
	} else {
		insn.imm = (int32_t)random_below(m->random, 64);
	}
	if (fuzz_insert(m->program, m->at, 1))
		m->program->insns[m->at] = insn;
}

/* Rounds that a callback or an iterator makes may multiply to more than the kernel stands. */
static bool may_run_long(const struct fuzz_program *program)
{
	for (uint32_t i = 0; i < program->count; i++) {
		const struct bpf_insn *insn = &program->insns[i];

		if (insn->code == (BPF_JMP | BPF_CALL) &&
			((insn->src_reg == 0 && insn->imm == BPF_FUNC_loop) ||
				insn->src_reg == BPF_PSEUDO_KFUNC_CALL))
			return true;
		if (insn->code == (BPF_JMP | 0xe0))
			return true;
	}
	return false;
}

void fuzz_mutate(struct sl_random *random, struct fuzz_program *program)
{
	static void (*const mutations[])(struct mutation *m) = { change_imm, change_imm, change_off,
		change_off, change_registers, change_registers, change_code, change_code,
		remove_one, repeat_some, exchange, change_helper, insert_alu };
	unsigned changes = 1 + random_below(random, 4);

	while (changes-- > 0) {
		struct mutation m = { .random = random, .program = program };

		m.at = random_below(random, program->count);
		m.insn = &program->insns[m.at];
		if (m.at > 0 && fuzz_is_wide(m.insn - 1))
			continue;
		mutations[random_below(random, sl_array_size(mutations))](&m);
	}
	program->runnable = !may_run_long(program);
}
