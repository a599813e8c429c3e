#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "field.h"
#include "helper.h"
#include "instrument.h"
#include "test.h"

/* Code that checks itself finds every lie that a verifier could tell it, and nothing in the truth. */

enum { MAX_INSNS = 12 };

static struct jit_fixture fx;
static uint8_t packet[64];

static void packet_at_6(void)
{
	fx.insn_facts[0].field = &jit_fixture_data;
	fx.insn_facts[0].base = (struct sl_reg_fact){ .kind = SL_MEM_CTX, .const_off = true };
	fx.insn_facts[1].base = (struct sl_reg_fact){ .kind = SL_MEM_PACKET, .const_off = true };
}

static void other_packet_offset(void)
{
	packet_at_6();
	fx.insn_facts[1].base.off = 4;
}

static void context_elsewhere(void)
{
	packet_at_6();
	fx.insn_facts[0].base.off = 8;
}

static void stack_at_0(void)
{
	fx.insn_facts[0].base =
		(struct sl_reg_fact){ .kind = SL_MEM_STACK, .const_off = true, .own_frame = true };
}

static void stack_at_1(void)
{
	fx.insn_facts[1].base = (struct sl_reg_fact){
		.kind = SL_MEM_STACK, .const_off = true, .own_frame = true, .off = -16
	};
}

static void stack_anywhere(void)
{
	fx.insn_facts[1].base = (struct sl_reg_fact){ .kind = SL_MEM_STACK };
}

static void map_value(void)
{
	fx.insn_facts[1].base = (struct sl_reg_fact){ .kind = SL_MEM_MAP_VALUE };
}

static void any_memory(void)
{
	fx.insn_facts[1].base = (struct sl_reg_fact){ .kind = SL_MEM_MIXED };
}

static void never_taken(void)
{
	fx.insn_facts[1].flags &= (uint8_t)~SL_INSN_TAKEN;
}

static void always_taken(void)
{
	fx.insn_facts[1].flags &= (uint8_t)~SL_INSN_NOT_TAKEN;
}

static void not_seen(void)
{
	fx.insn_facts[3].flags = 0;
}

static uint64_t no_help(
	struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	return r1;
}

static void argument_range(void)
{
	static const struct sl_helper helper = {
		.name = "none", .args = { SL_ARG_SCALAR }, .fn = no_help, .symbol = "sl_helper_none"
	};

	fx.facts.call_count = 1;
	fx.insn_facts[1].call = 0;
	fx.calls[0] = (struct sl_call_fact){ .helper = &helper,
		.args = { { .kind = SL_MEM_SCALAR, .umin = 1, .umax = 6 } } };
}

static const struct {
	const char *name;
	struct bpf_insn insns[MAX_INSNS];
	void (*facts)(void);
	const char *violation; /* part of the text; NULL for none */
	uint64_t result;
} rows[] = {
	{ "inside the packet", { LDX(BPF_W, 6, 1, 0), LDX(BPF_B, 0, 6, 63), EXIT }, packet_at_6,
		NULL, 7 },
	{ "past the packet", { LDX(BPF_W, 6, 1, 0), LDX(BPF_W, 0, 6, 61), EXIT }, packet_at_6,
		"instruction 1: 4 bytes", 0 },
	{ "before the packet", { LDX(BPF_W, 6, 1, 0), LDX(BPF_B, 0, 6, -1), EXIT }, packet_at_6,
		"instruction 1: 1 bytes", 0 },
	{ "elsewhere in the packet", { LDX(BPF_W, 6, 1, 0), LDX(BPF_B, 0, 6, 1), EXIT },
		other_packet_offset, "instruction 1: 1 bytes", 0 },
	{ "another context", { LDX(BPF_W, 6, 1, 0), LDX(BPF_B, 0, 6, 1), EXIT }, context_elsewhere,
		"instruction 0: 4 bytes", 0 },
	{ "own frame", { INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -512, 1), MOV_K(0, 3), EXIT },
		stack_at_0, NULL, 3 },
	{ "own frame by a copy", { MOV_X(2, 10), LDX(BPF_B, 3, 2, -1), MOV_K(0, 3), EXIT },
		stack_anywhere, NULL, 3 },
	{ "elsewhere in the frame", { MOV_X(2, 10), LDX(BPF_B, 3, 2, -1), MOV_K(0, 3), EXIT },
		stack_at_1, "instruction 1: ", 0 },
	{ "past the frame", { MOV_X(2, 10), LDX(BPF_DW, 3, 2, -4), MOV_K(0, 3), EXIT },
		stack_anywhere, "instruction 1: 8 bytes", 0 },
	{ "no value of a map", { MOV_X(2, 10), LDX(BPF_DW, 3, 2, -8), MOV_K(0, 3), EXIT },
		map_value, "instruction 1: 8 bytes", 0 },
	{ "frame as any memory", { MOV_X(2, 10), LDX(BPF_DW, 3, 2, -8), MOV_K(0, 3), EXIT },
		any_memory, NULL, 3 },
	{ "number as any memory", { MOV_K(2, 64), LDX(BPF_DW, 3, 2, -8), MOV_K(0, 3), EXIT },
		any_memory, "instruction 1: 8 bytes", 0 },
	{ "dead branch taken", { MOV_K(0, 9), JMP_K(BPF_JEQ, 0, 9, 1), MOV_K(0, 4), EXIT },
		never_taken, "instruction 1: 0x1 is not in", 0 },
	{ "dead branch not taken", { MOV_K(0, 9), JMP_K(BPF_JEQ, 0, 8, 1), MOV_K(0, 4), EXIT },
		always_taken, "instruction 1: 0 is not in", 0 },
	{ "branch as said", { MOV_K(0, 9), JMP_K(BPF_JEQ, 0, 9, 1), MOV_K(0, 4), EXIT },
		always_taken, NULL, 9 },
	{ "where no path leads", { MOV_K(0, 9), JMP_K(BPF_JEQ, 0, 9, 1), EXIT, MOV_K(0, 4), EXIT },
		not_seen, "goes where no path leads", 0 },
	{ "argument out of range", { MOV_K(1, 7), CALL(1), EXIT }, argument_range,
		"instruction 1: 0x7 is not in [0x1, 0x6]", 0 },
};

static unsigned length_of(const struct bpf_insn *insns)
{
	unsigned count = MAX_INSNS;

	while (!insns[count - 1].code)
		count--;
	return count;
}

TEST(jit_instrument, finds_what_was_proved_wrongly)
{
	setenv("SLUICE_JIT_CHECK", "1", 1);
	memset(packet, 7, sizeof(packet));
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		char text[256] = "";
		uint64_t before = sl_instrument_count();

		TRACE_PUSH("%s", rows[i].name);
		jit_fixture_init(&fx, rows[i].insns, length_of(rows[i].insns));
		jit_fixture_packet(&fx, packet, sizeof(packet));
		rows[i].facts();
		EXPECT_EQ(jit_fixture_run(&fx), rows[i].result);
		EXPECT_EQ(sl_instrument_count() - before, rows[i].violation != NULL);
		EXPECT_EQ(sl_instrument_take(text, sizeof(text)), rows[i].violation != NULL);
		if (rows[i].violation)
			EXPECT_CONTAINS(text, rows[i].violation);
		EXPECT_FALSE(sl_instrument_take(text, sizeof(text)));
		TRACE_POP();
	}
	unsetenv("SLUICE_JIT_CHECK");
}

TEST(jit_instrument, is_off_unless_asked_for)
{
	char text[256];

	jit_fixture_init(&fx, rows[0].insns, length_of(rows[0].insns));
	jit_fixture_packet(&fx, packet, sizeof(packet));
	context_elsewhere();
	fx.insn_facts[0].base.off = 0;
	fx.insn_facts[1].base.off = 4;
	EXPECT_EQ(jit_fixture_run(&fx), 7);
	EXPECT_FALSE(sl_instrument_take(text, sizeof(text)));
	EXPECT_FALSE(sl_instrument_wanted());
}
