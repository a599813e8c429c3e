#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "field.h"
#include "helper.h"
#include "jit.h"
#include "test.h"

/* The burst entry, packet loads, and the life of compiled code. */
#define PACKETS 5
#define HEADROOM 256
#define LEN 64

struct burst_fixture {
	struct jit_fixture jit;
	struct rte_mbuf mbufs[PACKETS];
	struct rte_mbuf *pkts[PACKETS];
	uint8_t bufs[PACKETS][HEADROOM + LEN + HEADROOM];
	uint32_t verdicts[PACKETS];
	struct sl_redirect redirects[PACKETS];
	uint8_t meta_lens[PACKETS];
	struct sl_burst burst;
};

/* Packet i holds i in each byte. */
static void init_burst(struct burst_fixture *fx, const struct bpf_insn *insns, unsigned count)
{
	memset(fx, 0, sizeof(*fx));
	jit_fixture_init(&fx->jit, insns, count);
	for (unsigned i = 0; i < PACKETS; i++) {
		struct rte_mbuf *m = fx->pkts[i] = &fx->mbufs[i];

		m->buf_addr = fx->bufs[i];
		m->buf_len = sizeof(fx->bufs[i]);
		m->data_off = HEADROOM;
		m->data_len = m->pkt_len = LEN;
		memset(fx->bufs[i] + HEADROOM, i, LEN);
	}
	fx->burst = (struct sl_burst){
		.pkts = fx->pkts,
		.verdicts = fx->verdicts,
		.count = PACKETS,
		.prefetch = 2,
		.ctx = &fx->jit.ctx,
		.redirects = fx->redirects,
		.meta_lens = fx->meta_lens,
	};
}

static void run_burst(struct burst_fixture *fx)
{
	ASSERT_EQ(sl_jit_compile(&fx->jit.prog), 0);
	fx->jit.prog.code->burst(&fx->burst);
	sl_jit_free(fx->jit.prog.code);
}

TEST(jit_entries, burst_runs_every_packet_with_its_own_data)
{
	static struct burst_fixture fx;
	const struct bpf_insn insns[] = {
		LDX(BPF_W, 2, 1, 0),
		LDX(BPF_W, 3, 1, 4),
		LDX(BPF_B, 0, 2, 7),
		INSN(BPF_ST | BPF_MEM | BPF_B, 2, 0, 3, 0xee),
		ALU_X(BPF_SUB, 3, 2),
		ALU_X(BPF_ADD, 0, 3),
		EXIT,
	};

	init_burst(&fx, insns, sl_array_size(insns));
	fx.jit.insn_facts[0].field = &jit_fixture_data;
	fx.jit.insn_facts[1].field = &jit_fixture_data_end;
	run_burst(&fx);
	for (unsigned i = 0; i < PACKETS; i++) {
		EXPECT_EQ(fx.verdicts[i], LEN + i);
		EXPECT_EQ(fx.bufs[i][HEADROOM + 3], 0xee);
		EXPECT_EQ(fx.mbufs[i].data_len, LEN);
	}
}

static uint64_t shrink(
	struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	ctx->data += 4;
	ctx->data_end -= 1;
	ctx->data_meta = ctx->data - 2;
	ctx->run->redirect_ifindex = ctx->data[0] + 10;
	ctx->run->redirect_flags = 3;
	return 0;
}

TEST(jit_entries, burst_writes_bounds_and_redirects_back)
{
	static struct burst_fixture fx;
	static const struct sl_helper row = { .symbol = "sl_no_such_symbol", .fn = shrink };
	const struct bpf_insn insns[] = { CALL(44), MOV_K(0, 4), EXIT };

	init_burst(&fx, insns, sl_array_size(insns));
	fx.jit.facts.changes_packet = fx.jit.facts.may_redirect = true;
	fx.jit.facts.call_count = 1;
	fx.jit.calls[0].helper = &row;
	fx.jit.insn_facts[0].call = 0;
	run_burst(&fx);
	for (unsigned i = 0; i < PACKETS; i++) {
		EXPECT_EQ(fx.verdicts[i], 4u);
		EXPECT_EQ(fx.mbufs[i].data_off, HEADROOM + 4);
		EXPECT_EQ(fx.mbufs[i].data_len, LEN - 5);
		EXPECT_EQ(fx.mbufs[i].pkt_len, LEN - 5u);
		EXPECT_EQ(fx.meta_lens[i], 2);
		EXPECT_EQ(fx.redirects[i].ifindex, i + 10);
		EXPECT_EQ(fx.redirects[i].flags, 3u);
	}
}

TEST(jit_entries, the_verdict_alone_redirects_nowhere)
{
	static struct burst_fixture fx;
	const struct bpf_insn insns[] = { MOV_K(0, 4), EXIT };

	init_burst(&fx, insns, sl_array_size(insns));
	memset(fx.redirects, 0xff, sizeof(fx.redirects));
	run_burst(&fx);
	for (unsigned i = 0; i < PACKETS; i++) {
		EXPECT_EQ(fx.redirects[i].ifindex, 0u);
		EXPECT_TRUE(!fx.redirects[i].map);
	}
}

TEST(jit_entries, repeat_runs_as_often_as_told)
{
	static struct jit_fixture fx;
	const struct bpf_insn insns[] = {
		LDX(BPF_W, 0, 1, offsetof(struct sl_ctx, mark)),
		ALU_K(BPF_ADD, 0, 1),
		STX(BPF_W, 1, 0, offsetof(struct sl_ctx, mark)),
		EXIT,
	};

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	ASSERT_EQ(sl_jit_compile(&fx.prog), 0);
	EXPECT_EQ(sl_code_repeat(fx.prog.code, &fx.ctx, 1000), 1000u);
	EXPECT_EQ(fx.ctx.mark, 1000u);
	EXPECT_TRUE((const char *)fx.prog.code->run >= (const char *)fx.prog.code->text);
	EXPECT_GT(fx.prog.code->text_len_bytes, 0u);
	sl_jit_free(fx.prog.code);
}

/* What the verifier did not reach is not compiled, whatever it is. */
TEST(jit_entries, unreached_instructions_are_left_out)
{
	static struct jit_fixture fx;
	const struct bpf_insn insns[] = {
		JMP_K(BPF_JEQ, 1, 0, 1),
		JMP_K(BPF_JNE, 1, 0, 2),
		INSN(0xff, 0, 0, 0, 0),
		INSN(0xff, 0, 0, 0, 0),
		MOV_K(0, 9),
		EXIT,
	};

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	EXPECT_EQ(sl_jit_compile(&fx.prog), -EIO);
	fx.insn_facts[0].flags = SL_INSN_SEEN | SL_INSN_NOT_TAKEN;
	fx.insn_facts[1].flags = SL_INSN_SEEN | SL_INSN_TAKEN;
	fx.insn_facts[2].flags = fx.insn_facts[3].flags = 0;
	EXPECT_EQ(jit_fixture_run(&fx), 9u);
}

/* A loop that only may_goto ends. */
TEST(jit_entries, may_goto_ends_a_loop)
{
	static struct jit_fixture fx;
	const struct bpf_insn insns[] = {
		MOV_K(0, 0),
		INSN(BPF_JMP | 0xe0, 0, 0, 2, 0),
		ALU_K(BPF_ADD, 0, 1),
		INSN(BPF_JMP | BPF_JA, 0, 0, -3, 0),
		EXIT,
	};

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	EXPECT_EQ(jit_fixture_run(&fx), 8u * 1024 * 1024);
}

/* A slot that was never written reads as zero where the facts say that it may be read. */
TEST(jit_entries, uninitialised_stack_is_zero)
{
	static struct jit_fixture fx;
	const struct bpf_insn insns[] = { LDX(BPF_DW, 0, 10, -64), EXIT };

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	fx.funcs[0].stack_uninit_read = true;
	EXPECT_EQ(jit_fixture_run(&fx), 0u);
}

/* Offset, size, what LD_ABS loads from a packet of bytes 0, 1, 2, ...; -1 for "ends with 0". */
static const struct {
	int32_t offset;
	uint8_t size;
	int64_t expected;
} packet_loads[] = {
	{ 0, BPF_B, 0 },
	{ 5, BPF_B, 5 },
	{ 5, BPF_H, 0x0506 },
	{ 60, BPF_W, 0x3c3d3e3f },
	{ 61, BPF_W, -1 },
	{ 63, BPF_B, 63 },
	{ 64, BPF_B, -1 },
	{ 0x7fffffff, BPF_W, -1 },
	{ -1, BPF_B, -1 },
	{ -0x100000, BPF_H, 0x0e0f }, /* SKF_NET_OFF */
	{ -0x100000 + 40, BPF_W, 0x36373839 },
	{ -0x100000 + 50, BPF_B, -1 },
	{ -0x200000 + 2, BPF_B, 2 }, /* SKF_LL_OFF */
	{ -0x200000 - 2, BPF_B, -1 },
};

static void check_packet_load(unsigned row, bool indirect)
{
	static struct jit_fixture fx;
	struct rte_mbuf mbuf = { .next = NULL };
	uint8_t packet[LEN], size = packet_loads[row].size;
	int32_t offset = packet_loads[row].offset;
	const struct bpf_insn insns[] = {
		MOV_X(6, 1),
		MOV_K(7, indirect ? 3 : 0),
		indirect ? INSN(BPF_LD | BPF_IND | size, 0, 7, 0, offset - 3)
			 : INSN(BPF_LD | BPF_ABS | size, 0, 0, 0, offset),
		ALU_K(BPF_ADD, 0, 1),
		EXIT,
	};

	for (unsigned i = 0; i < LEN; i++)
		packet[i] = i;
	jit_fixture_init(&fx, insns, sl_array_size(insns));
	jit_fixture_packet(&fx, packet, LEN);
	fx.ctx.mbuf = &mbuf;
	fx.ctx.network_offset = 14;
	EXPECT_EQ(jit_fixture_run(&fx), (uint64_t)(packet_loads[row].expected + 1));
}

TEST(jit_entries, packet_loads)
{
	for (unsigned i = 0; i < sl_array_size(packet_loads); i++) {
		TRACE_PUSH("offset %d size %#x", packet_loads[i].offset, packet_loads[i].size);
		check_packet_load(i, false);
		check_packet_load(i, true);
		TRACE_POP();
	}
}

static void *compile_many(void *arg)
{
	struct jit_fixture *fx = calloc(1, sizeof(*fx));
	unsigned seed = (unsigned)(uintptr_t)arg;
	unsigned long wrong = 0;

	for (unsigned i = 0; i < 10; i++) {
		const struct bpf_insn insns[] = { MOV_K(0, (int)(seed + i)), EXIT };

		jit_fixture_init(fx, insns, sl_array_size(insns));
		wrong += sl_jit_compile(&fx->prog) != 0 ||
			 fx->prog.code->run(&fx->ctx, SL_TAIL_CALLS) != seed + i;
		sl_jit_free(fx->prog.code);
	}
	free(fx);
	return (void *)wrong;
}

TEST(jit_entries, threads_compile_and_free_at_once)
{
	pthread_t threads[4];
	void *wrong;

	for (unsigned i = 0; i < sl_array_size(threads); i++)
		ASSERT_EQ(pthread_create(
				  &threads[i], NULL, compile_many, (void *)(uintptr_t)(1000 * i)),
			0);
	for (unsigned i = 0; i < sl_array_size(threads); i++) {
		pthread_join(threads[i], &wrong);
		EXPECT_TRUE(wrong == NULL);
	}
	sl_jit_free(NULL);
}
