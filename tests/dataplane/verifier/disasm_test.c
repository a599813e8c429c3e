#include "helper.h"
#include "random.h"
#include "structure.h"

/* Everything that can be written in one instruction, among ones that make it legal. */
#define BEFORE 10
#define MAX_INSNS 16

static uint32_t around(struct bpf_insn insn, struct bpf_insn *ret_insns)
{
	uint32_t count = 0;

	for (uint8_t reg = 0; reg < BEFORE; reg++)
		ret_insns[count++] = MOV_K(reg, 1);
	ret_insns[count++] = insn;
	if (insn.code == (BPF_LD | BPF_IMM | BPF_DW))
		ret_insns[count++] = INSN(0, 0, 0, 0, 0x12);
	ret_insns[count++] = MOV_K(0, 0);
	ret_insns[count++] = EXIT;
	return count;
}

static const struct {
	uint8_t dst, src;
	int16_t off;
	int32_t imm;
} operands[] = {
	{ 1, 0, 0, 0 },
	{ 1, 2, 0, 0 },
	{ 9, 0, 0, 7 },
	{ 3, 4, 1, 0 },
	{ 0, 0, 1, -1 },
	{ 0, 0, 0, 16 },
	{ 0, 0, 0, 64 },
	{ 2, 3, 8, 0 },
	{ 2, 3, 16, 0 },
	{ 2, 3, 32, 0 },
	{ 2, 3, -1, 0 },
	{ 2, 0, -8, 0x7fffffff },
	{ 10, 0, -8, 5 },
	{ 10, 11, -8, 0 },
	{ 12, 2, -8, 0 },
	{ 10, 1, -8, BPF_ADD | BPF_FETCH },
	{ 10, 1, -8, BPF_AND },
	{ 10, 1, -8, BPF_OR | BPF_FETCH },
	{ 10, 1, -8, BPF_XOR },
	{ 10, 1, -8, BPF_XCHG },
	{ 10, 1, -8, BPF_CMPXCHG },
	{ 1, 10, -8, SL_BPF_LOAD_ACQ },
	{ 10, 1, -8, SL_BPF_STORE_REL },
	{ 10, 1, -8, 0x35 },
	{ 0, 0, 0, 1 },
	{ 0, 0, 0, 130 },
	{ 0, 2, 0, 99999 },
};

TEST(disasm, every_opcode_with_many_operands)
{
	struct bpf_insn insns[MAX_INSNS];

	ORACLE_OR_SKIP();
	for (unsigned code = 0; code < 256; code++) {
		for (size_t i = 0; i < sl_array_size(operands); i++) {
			struct bpf_insn insn = INSN((uint8_t)code, operands[i].dst, operands[i].src,
				operands[i].off, operands[i].imm);

			/* Functions and maps have tests of their own. */
			if (code == (BPF_JMP | BPF_CALL) ||
				(sl_insn_is_ld_imm64(&insn) && insn.src_reg))
				continue;
			if (!same_structure(BPF_PROG_TYPE_SCHED_CLS, insns, around(insn, insns)))
				FAIL_NOW("opcode %#x, operands %zu", code, i);
		}
	}
}

TEST(disasm, every_helper)
{
	struct bpf_insn insns[MAX_INSNS];

	ORACLE_OR_SKIP();
	for (uint32_t id = 0; id < 230; id++) {
		const struct sl_helper *helper = sl_helper_by_id(id);

		if (!helper || helper->unavailable)
			continue;
		TRACE_PUSH("helper %u", id);
		same_structure(BPF_PROG_TYPE_SCHED_CLS, insns, around(HELPER((int)id), insns));
		TRACE_POP();
	}
}

/* What exploration says of the instruction when it gets there. */
static const char *const structural[] = { "reserved fields", " is invalid", "BPF_ATOMIC",
	"atomic operand size", "may_goto imm", "addr_space_cast" };

static void last_message(char *log, char *ret_line, size_t size)
{
	char *end = strstr(log, "\nprocessed "), *start;

	ret_line[0] = '\0';
	if (!end)
		return;
	end[1] = '\0';
	start = memrchr(log, '\n', (size_t)(end - log));
	snprintf(ret_line, size, "%s", start ? start + 1 : log);
}

static void check_fields(struct bpf_insn insn)
{
	static char log[STRUCTURE_LOG_BYTES];
	char message[1024], ours[1024] = "";
	struct sl_log_buf buf = { ours, sizeof(ours), 1, 0 };
	struct bpf_insn insns[MAX_INSNS];
	struct sl_log vlog;
	int kernel_err, err;
	bool expected = false;

	kernel_err = kernel_verify(
		BPF_PROG_TYPE_SCHED_CLS, insns, around(insn, insns), 2, log, sizeof(log));
	if (!strstr(log, "\n0: R1=ctx()"))
		return;
	last_message(log, message, sizeof(message));
	sl_vlog_init(&vlog, &buf);
	err = sl_insn_check(&vlog, &insn);
	for (size_t i = 0; kernel_err && i < sl_array_size(structural); i++)
		expected |= !!strstr(message, structural[i]);
	if (expected ? err != kernel_err || strcmp(message, ours) : err != 0 && !kernel_err)
		FAIL_NOW("opcode %#x dst %d src %d off %d imm %#x: %d %s-- kernel: %d %s",
			insn.code, insn.dst_reg, insn.src_reg, insn.off, insn.imm, err, ours,
			kernel_err, message);
}

TEST(disasm, fields_are_refused_as_by_the_kernel)
{
	ORACLE_OR_SKIP();
	for (unsigned code = 0; code < 256; code++)
		for (size_t i = 0; i < sl_array_size(operands); i++)
			check_fields(INSN((uint8_t)code, operands[i].dst, operands[i].src,
				operands[i].off, operands[i].imm));
}
