#include "matrix.h"

#include <stdarg.h>

const char *matrix_kind(enum kind kind)
{
	static const char *const names[K_COUNT] = { "ctx", "fp", "packet", "raw packet",
		"packet end", "packet meta", "value", "value or null", "map", "unknown", "small",
		"number", "uninitialised" };

	return names[kind];
}

void matrix_add(struct matrix *m, struct bpf_insn insn)
{
	EXPECT_LT(m->count, sl_array_size(m->insns));
	m->insns[m->count++] = insn;
}

static void add(struct matrix *m, unsigned count, const struct bpf_insn *insns)
{
	for (unsigned i = 0; i < count; i++)
		matrix_add(m, insns[i]);
}

#define ADD(m, ...)                                              \
	do {                                                     \
		const struct bpf_insn list_[] = { __VA_ARGS__ }; \
		add(m, sl_array_size(list_), list_);             \
	} while (0)

void matrix_begin(struct matrix *m, enum bpf_prog_type type)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
	matrix_add(m, MOV_X(R6, R1));
}

/* Where the context of a type has its packet pointers. */
static void packet_offsets(enum bpf_prog_type type, int16_t *data, int16_t *end, int16_t *meta)
{
	bool xdp = type == BPF_PROG_TYPE_XDP;

	*data = xdp ? 0 : 76;
	*end = xdp ? 4 : 80;
	*meta = xdp ? 8 : 140;
}

static void put_lookup(struct matrix *m)
{
	ADD(m, ST(BPF_DW, R10, -512, 0), LD_MAP(R1, M_HASH), MOV_X(R2, R10),
		ALU_K(BPF_ADD, R2, -512), HELPER(BPF_FUNC_map_lookup_elem));
}

void matrix_put(struct matrix *m, unsigned regno, enum kind kind)
{
	int16_t data, end, meta;

	packet_offsets(m->type, &data, &end, &meta);
	switch (kind) {
	case K_CTX:
		ADD(m, MOV_X(regno, R6));
		break;
	case K_FP:
		ADD(m, MOV_X(regno, R10));
		break;
	case K_PACKET:
		ADD(m, LDX(BPF_W, regno, R6, data), LDX(BPF_W, R0, R6, end), MOV_X(R9, regno),
			ALU_K(BPF_ADD, R9, 8), JMP_X(BPF_JLE, R9, R0, 2), RETURN(0), MOV_K(R9, 0));
		break;
	case K_PACKET_RAW:
		ADD(m, LDX(BPF_W, regno, R6, data));
		break;
	case K_PACKET_END:
		ADD(m, LDX(BPF_W, regno, R6, end));
		break;
	case K_PACKET_META:
		ADD(m, LDX(BPF_W, regno, R6, meta));
		break;
	case K_VALUE:
		put_lookup(m);
		ADD(m, JMP_K(BPF_JNE, R0, 0, 2), RETURN(0), MOV_X(regno, R0));
		break;
	case K_VALUE_OR_NULL:
		put_lookup(m);
		ADD(m, MOV_X(regno, R0));
		break;
	case K_MAP:
		ADD(m, LD_MAP(regno, M_ARRAY));
		break;
	case K_UNKNOWN:
		ADD(m, HELPER(BPF_FUNC_ktime_get_ns), MOV_X(regno, R0));
		break;
	case K_SMALL:
		ADD(m, HELPER(BPF_FUNC_ktime_get_ns), ALU_K(BPF_AND, R0, 7), MOV_X(regno, R0));
		break;
	case K_NUMBER:
		ADD(m, MOV_K(regno, 8));
		break;
	default:
		break;
	}
}

/* The last words of a log: its last line before the statistics. */
static void last_line(char *text, char *ret_line, size_t size)
{
	char *end = strstr(text, "processed "), *line;

	*ret_line = '\0';
	if (!end)
		end = text + strlen(text);
	while (end > text && end[-1] == '\n')
		end--;
	*end = '\0';
	line = strrchr(text, '\n');
	snprintf(ret_line, size, "%s", line ? line + 1 : text);
}

static void dump(const struct matrix *m, char *text, size_t size)
{
	size_t at = 0;

	for (uint32_t i = 0; i < m->count && at < size; i++)
		at += (size_t)snprintf(text + at, size - at, "%02x r%u r%u %d %d; ",
			m->insns[i].code, m->insns[i].dst_reg, m->insns[i].src_reg, m->insns[i].off,
			m->insns[i].imm);
}

static int load_ours(
	const struct matrix *m, const struct bpf_insn *insns, char *text, uint32_t size)
{
	struct sl_log_buf log = { .buf = text, .size = size, .level = 1 };
	struct sl_prog *prog;
	int err = sl_prog_new(insns, m->count, &prog);

	text[0] = '\0';
	if (err)
		return err;
	prog->type = prog->rules_type = m->type;
	prog->flags = m->flags;
	prog->gpl_compatible = true;
	err = sl_verify(prog, &log);
	sl_object_unref(&prog->obj);
	return err;
}

static int load_kernel(
	const struct matrix *m, const struct bpf_insn *insns, char *text, uint32_t size)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = m->type;
	attr.prog_flags = m->flags;
	attr.insns = (uint64_t)insns;
	attr.insn_cnt = m->count;
	attr.license = (uint64_t)"GPL";
	attr.log_level = 1;
	attr.log_buf = (uint64_t)text;
	attr.log_size = size;
	text[0] = '\0';
	fd = oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

void matrix_check(struct matrix *m, const struct both_maps *maps)
{
	static char texts[2][1 << 16], lines[2][1 << 10], program[1 << 12];
	struct bpf_insn insns[sl_array_size(m->insns)];
	int err, kernel_err;

	ADD(m, RETURN(0));
	memcpy(insns, m->insns, sizeof(insns));
	both_patch(insns, m->count, maps->ours);
	err = load_ours(m, insns, texts[0], sizeof(texts[0]));
	memcpy(insns, m->insns, sizeof(insns));
	both_patch(insns, m->count, maps->kernel);
	kernel_err = load_kernel(m, insns, texts[1], sizeof(texts[1]));
	last_line(texts[0], lines[0], sizeof(lines[0]));
	last_line(texts[1], lines[1], sizeof(lines[1]));
	if (err == kernel_err && strcmp(lines[0], lines[1]) == 0)
		return;
	dump(m, program, sizeof(program));
	TRACE_PUSH("%s, type %d: %s", m->name, m->type, program);
	EXPECT_EQ(err, kernel_err);
	EXPECT_STREQ(lines[0], lines[1]);
	TRACE_POP();
}
