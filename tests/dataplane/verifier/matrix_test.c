#include "matrix.h"

#include "helper.h"

static const enum bpf_prog_type types[] = { XDP, CLS };
static const int32_t numbers[] = { 0, 8, -8 };

static void operands(struct matrix *m, enum bpf_prog_type type, enum kind dst, enum kind src)
{
	matrix_begin(m, type);
	matrix_put(m, R7, dst);
	matrix_put(m, R8, src);
}

/* Every operation of a class on every pair of kinds, and with numbers. */
static void every_pair(uint8_t class, uint8_t op, int16_t off, const struct both_maps *maps)
{
	struct matrix m;

	for (unsigned dst = 0; dst < K_COUNT; dst++) {
		for (unsigned src = 0; src < K_COUNT; src++) {
			operands(&m, XDP, dst, src);
			matrix_add(&m, INSN(class | op | BPF_X, R7, R8, off, 0));
			snprintf(m.name, sizeof(m.name), "class %d op %x: %s, %s", class, op,
				matrix_kind(dst), matrix_kind(src));
			matrix_check(&m, maps);
		}
		for (unsigned i = 0; i < sl_array_size(numbers); i++) {
			matrix_begin(&m, XDP);
			matrix_put(&m, R7, dst);
			matrix_add(&m, INSN(class | op | BPF_K, R7, 0, off, numbers[i]));
			snprintf(m.name, sizeof(m.name), "class %d op %x: %s, %d", class, op,
				matrix_kind(dst), numbers[i]);
			matrix_check(&m, maps);
		}
	}
}

TEST(matrix, arithmetic)
{
	struct both_maps maps;

	ORACLE_OR_SKIP();
	both_maps_new(&maps);
	for (unsigned op = 0; op < 0x100; op += 0x10) {
		every_pair(BPF_ALU64, op, 0, &maps);
		every_pair(BPF_ALU, op, 0, &maps);
	}
	for (int16_t off = 8; off <= 32; off *= 2) {
		every_pair(BPF_ALU64, BPF_MOV, off, &maps);
		every_pair(BPF_ALU, BPF_MOV, off, &maps);
	}
	every_pair(BPF_ALU64, BPF_DIV, 1, &maps);
	every_pair(BPF_ALU, BPF_MOD, 1, &maps);
	both_maps_free(&maps);
}

TEST(matrix, jumps)
{
	struct both_maps maps;

	ORACLE_OR_SKIP();
	both_maps_new(&maps);
	for (unsigned op = 0; op < 0x100; op += 0x10) {
		if (op == BPF_CALL)
			continue;
		every_pair(BPF_JMP, op, 0, &maps);
		every_pair(BPF_JMP32, op, 0, &maps);
	}
	both_maps_free(&maps);
}

struct access {
	const char *name;
	uint8_t code; /* without size */
	int32_t imm;
};

static const struct access accesses[] = {
	{ "load", BPF_LDX | BPF_MEM, 0 },
	{ "signed load", BPF_LDX | 0x80, 0 },
	{ "store", BPF_STX | BPF_MEM, 0 },
	{ "store of a number", BPF_ST | BPF_MEM, 5 },
	{ "atomic add", BPF_STX | BPF_ATOMIC, BPF_ADD },
	{ "atomic fetch or", BPF_STX | BPF_ATOMIC, BPF_OR | BPF_FETCH },
	{ "exchange", BPF_STX | BPF_ATOMIC, BPF_XCHG },
	{ "compare and exchange", BPF_STX | BPF_ATOMIC, BPF_CMPXCHG },
	{ "load acquire", BPF_STX | BPF_ATOMIC, 0x100 },
	{ "store release", BPF_STX | BPF_ATOMIC, 0x110 },
	{ "no atomic operation", BPF_STX | BPF_ATOMIC, 0x20 },
};

static const uint8_t sizes[] = { BPF_B, BPF_H, BPF_W, BPF_DW };

static struct bpf_insn access_of(
	const struct access *access, uint8_t size, unsigned address, unsigned other, int16_t off)
{
	bool loads = BPF_CLASS(access->code) == BPF_LDX || access->imm == 0x100;

	return INSN(access->code | size, loads ? other : address,
		loads                               ? address
		: BPF_CLASS(access->code) == BPF_ST ? 0
						    : other,
		off, access->imm);
}

/* Every access through every kind of pointer, around its ends, of every kind of value. */
static void every_access(
	enum bpf_prog_type type, enum kind kind, uint32_t flags, const struct both_maps *maps)
{
	static const int16_t offsets[] = { -520, -512, -16, -8, -7, -4, -1, 0, 1, 2, 4, 7, 8, 12,
		16 };
	static const enum kind values[] = { K_NUMBER, K_UNKNOWN, K_FP, K_CTX, K_UNINIT };
	struct matrix m;

	for (unsigned a = 0; a < sl_array_size(accesses); a++)
		for (unsigned i = 0; i < sizeof(sizes) * sl_array_size(offsets); i++) {
			uint8_t size = sizes[i % sizeof(sizes)];
			int16_t off = offsets[i / sizeof(sizes)];
			enum kind value = values[(a + i) % sl_array_size(values)];
			bool loads =
				BPF_CLASS(accesses[a].code) == BPF_LDX || accesses[a].imm == 0x100;

			/* The fields of a kernel's map, which are not here. */
			if (kind == K_MAP && loads && off >= 0)
				continue;

			operands(&m, type, kind, value);
			m.flags = flags;
			matrix_add(&m, access_of(&accesses[a], size, R7, R8, off));
			snprintf(m.name, sizeof(m.name), "%s %02x at %d of %s, %s, flags %x",
				accesses[a].name, size, off, matrix_kind(kind), matrix_kind(value),
				flags);
			matrix_check(&m, maps);
		}
}

TEST(matrix, accesses)
{
	struct both_maps maps;

	ORACLE_OR_SKIP();
	both_maps_new(&maps);
	for (unsigned kind = 0; kind < K_COUNT; kind++) {
		every_access(types[kind % 2], kind, 0, &maps);
		every_access(XDP, kind, BPF_F_STRICT_ALIGNMENT, &maps);
	}
	both_maps_free(&maps);
}

TEST(matrix, context_fields)
{
	static const enum bpf_prog_type all[] = { XDP, CLS, BPF_PROG_TYPE_SCHED_ACT, SOCK };
	struct both_maps maps;
	struct matrix m;

	ORACLE_OR_SKIP();
	both_maps_new(&maps);
	for (unsigned i = 0; i < sl_array_size(all) * 4 * 4; i++) {
		enum bpf_prog_type type = all[i / 16];
		uint8_t size = sizes[i % 4];
		const struct access *access = &accesses[i / 4 % 4];

		for (int16_t off = -1; off < (type == XDP ? 32 : 200); off++) {
			/* A socket's pointer, which is tested with sockets. */
			if (type != XDP && off == 168)
				continue;
			operands(&m, type, K_CTX, K_NUMBER);
			matrix_add(&m, access_of(access, size, R7, R8, off));
			snprintf(m.name, sizeof(m.name), "%s %02x at %d", access->name, size, off);
			matrix_check(&m, &maps);
		}
	}
	both_maps_free(&maps);
}

/* A number, a known or an unknown scalar or a pointer stored in part, loaded in part, and used. */
static void spill_and_fill(unsigned value, uint8_t store, int16_t to, uint8_t load, int16_t from,
	const struct both_maps *maps)
{
	static const enum kind values[] = { K_NUMBER, K_UNKNOWN, K_SMALL, K_FP };
	struct matrix m;

	matrix_begin(&m, XDP);
	if (value < sl_array_size(values)) {
		matrix_put(&m, R7, values[value]);
		matrix_add(&m, STX(store, R10, R7, to));
	} else {
		matrix_add(&m, ST(store, R10, to, value == 4 ? 0 : -1));
	}
	matrix_add(&m, LDX(load, R8, R10, from));
	/* Only a number that is known and in range may move the stack pointer here. */
	matrix_add(&m, MOV_X(R9, R10));
	matrix_add(&m, ALU_X(BPF_ADD, R9, R8));
	matrix_add(&m, ST(BPF_B, R9, -32, 1));
	snprintf(m.name, sizeof(m.name), "value %u stored %02x at %d, loaded %02x at %d", value,
		store, to, load, from);
	matrix_check(&m, maps);
}

TEST(matrix, partial_spills)
{
	struct both_maps maps;

	ORACLE_OR_SKIP();
	both_maps_new(&maps);
	for (unsigned value = 0; value < 6; value++)
		for (unsigned i = 0; i < sizeof(sizes) * sizeof(sizes); i++)
			for (int16_t to = -8; to < 0; to++)
				for (int16_t from = -8; from < 0; from++)
					spill_and_fill(
						value, sizes[i / 4], to, sizes[i % 4], from, &maps);
	both_maps_free(&maps);
}

/* Every opcode with its other fields as they may be and as they may not be. */
TEST(matrix, opcodes)
{
	static const struct {
		uint8_t dst, src;
	} registers[] = { { 0, 0 }, { 7, 0 }, { 0, 7 }, { 7, 8 }, { 10, 0 }, { 0, 10 }, { 11, 0 },
		{ 0, 11 } };
	static const int16_t offsets[] = { 0, 1, -1, 8 };
	static const int32_t imms[] = { 0, 1, -1, 16, 64 };
	struct both_maps maps;
	struct matrix m;

	ORACLE_OR_SKIP();
	both_maps_new(&maps);
	for (unsigned code = 0; code < 256; code++)
		for (unsigned i = 0; i < sl_array_size(registers) * 4 * 5; i++) {
			uint8_t dst = registers[i / 20].dst, src = registers[i / 20].src;

			/* Calls by name and may_goto belong to the tests of calls and of loops. */
			if ((code == (BPF_JMP | BPF_CALL) && src) || code == (BPF_JMP | 0xe0))
				continue;
			/* Loops that the budget ends. */
			if (BPF_CLASS(code) == BPF_JMP32 || BPF_CLASS(code) == BPF_JMP) {
				if (offsets[i / 5 % 4] < 0 || imms[i % 5] < 0)
					continue;
			}
			operands(&m, i % 2 ? XDP : SOCK, K_NUMBER, K_UNKNOWN);
			matrix_add(&m, INSN(code, dst, src, offsets[i / 5 % 4], imms[i % 5]));
			matrix_add(&m, INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0));
			snprintf(m.name, sizeof(m.name), "opcode %02x", code);
			matrix_check(&m, &maps);
		}
	both_maps_free(&maps);
}

/* What a helper's argument may be, made without a call. */
static bool put_argument(struct matrix *m, enum sl_arg arg, unsigned regno, enum both_map map)
{
	struct bpf_insn load[] = { LD_MAP(regno, map) };
	struct bpf_insn text[] = { LD_VALUE(regno, M_CONST, 0) };

	switch (arg) {
	case SL_ARG_ANYTHING:
	case SL_ARG_SCALAR:
		matrix_add(m, MOV_K(regno, 0));
		return true;
	case SL_ARG_SIZE:
	case SL_ARG_SIZE_OR_ZERO:
	case SL_ARG_CONST:
		matrix_add(m, MOV_K(regno, 8));
		return true;
	case SL_ARG_CTX:
		matrix_add(m, MOV_X(regno, R6));
		return true;
	case SL_ARG_MAP:
		matrix_add(m, load[0]);
		matrix_add(m, load[1]);
		return true;
	case SL_ARG_CONST_STR:
		matrix_add(m, text[0]);
		matrix_add(m, text[1]);
		return true;
	case SL_ARG_MAP_KEY:
	case SL_ARG_MAP_VALUE:
	case SL_ARG_MAP_VALUE_UNINIT:
	case SL_ARG_MEM:
	case SL_ARG_MEM_WRITE:
	case SL_ARG_MEM_OR_NULL:
	case SL_ARG_MEM_UNINIT:
	case SL_ARG_MEM_UNINIT_OR_NULL:
	case SL_ARG_MEM_FIXED:
	case SL_ARG_MEM_FIXED_UNINIT:
	case SL_ARG_LONG_PTR:
	case SL_ARG_INT_PTR:
		matrix_add(m, MOV_X(regno, R10));
		matrix_add(m, ALU_K(BPF_ADD, regno, -64));
		return true;
	default:
		/* Kinds with tests of their own. */
		return false;
	}
}

/* A call with one argument of a kind and the others right; `kind` past the last: all right. */
static void call_with(const struct sl_helper *helper, enum bpf_prog_type type, unsigned arg,
	enum kind kind, enum both_map map, const struct both_maps *maps)
{
	struct matrix m;

	matrix_begin(&m, type);
	if (kind < K_COUNT)
		matrix_put(&m, R7, kind);
	for (int16_t off = -64; off < 0; off += 8)
		matrix_add(&m, ST(BPF_DW, R10, off, 0));
	for (unsigned i = 0; i < 5 && helper->args[i] != SL_ARG_NONE; i++) {
		if (i == arg && kind < K_COUNT)
			matrix_add(&m, MOV_X(R1 + i, R7));
		else if (!put_argument(&m, helper->args[i], R1 + i, map))
			return;
	}
	matrix_add(&m, HELPER((int)helper->id));
	snprintf(m.name, sizeof(m.name), "%s, argument %u %s, map %d", helper->name, arg + 1,
		kind < K_COUNT ? matrix_kind(kind) : "right", map);
	matrix_check(&m, maps);
}

TEST(matrix, helper_arguments)
{
	static const enum bpf_prog_type all[] = { XDP, CLS, SOCK };
	struct both_maps maps;

	ORACLE_OR_SKIP();
	both_maps_new(&maps);
	for (uint32_t id = 1; id < SL_HELPER_MAX_ID; id++) {
		const struct sl_helper *helper = sl_helper_by_id(id);

		if (!helper || helper->unavailable)
			continue;
		/* Without a context in the kernel, but for TC. */
		if (id == BPF_FUNC_get_cgroup_classid)
			continue;
		for (unsigned i = 0; i < sl_array_size(all); i++) {
			for (unsigned map = 0; map < BOTH_MAPS; map++)
				call_with(helper, all[i], 0, K_COUNT, map, &maps);
			if (!sl_helper_allowed(helper, all[i]))
				continue;
			for (unsigned k = 0; k < 5 * K_COUNT && helper->args[k / K_COUNT]; k++)
				call_with(helper, all[i], k / K_COUNT, k % K_COUNT, M_ARRAY, &maps);
		}
	}
	both_maps_free(&maps);
}
