#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <sluice/dataplane.h>

#include "client.h"
#include "oracle.h"
#include "ring_port.h"
#include "test.h"

/* BPF_F_TEST_XDP_LIVE_FRAMES: what is refused, as in the kernel, and where packets go. */

enum { FRAME_BYTES = 100, LIVE_MAX = 3408, PLENTY = 3000 };

/* The first byte behind the Ethernet header is the verdict; with 4 out of the port of the second. */
static int load(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 6, .src_reg = 1 },
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 7, .src_reg = 1, .off = 4 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 6 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = 20 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_DROP },
		{ .code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = 2, .src_reg = 7, .off = 5 },
		{ .code = BPF_LDX | BPF_MEM | BPF_B, .dst_reg = 0, .src_reg = 6, .off = 14 },
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 0, .off = 3, .imm = XDP_REDIRECT },
		{ .code = BPF_LDX | BPF_MEM | BPF_B, .dst_reg = 1, .src_reg = 6, .off = 15 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(
		BPF_PROG_TYPE_XDP, "live", "GPL", insns, sizeof(insns) / sizeof(insns[0]), NULL);
}

struct row {
	uint32_t size, batch, repeat, flags;
	uint32_t data, data_end; /* of the context; data_end 0: without one */
	bool out;
};

static const struct row rows[] = {
	{ FRAME_BYTES, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES },
	{ FRAME_BYTES, 1, 3, BPF_F_TEST_XDP_LIVE_FRAMES },
	{ FRAME_BYTES, 256, 0, BPF_F_TEST_XDP_LIVE_FRAMES },
	{ FRAME_BYTES, 257, 1, BPF_F_TEST_XDP_LIVE_FRAMES },
	{ FRAME_BYTES, 1, 1, 0 },
	{ FRAME_BYTES, 0, 1, 4 },
	{ FRAME_BYTES, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES, 0, 0, true },
	{ FRAME_BYTES, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES, 0, FRAME_BYTES, true },
	{ FRAME_BYTES, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES, 8, FRAME_BYTES },
	{ FRAME_BYTES, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES, 7, FRAME_BYTES },
	{ FRAME_BYTES, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES, 0, FRAME_BYTES + 1 },
	{ 13, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES },
	{ 1500, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES },
	{ LIVE_MAX + 1, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES },
	{ 4096, 0, 1, BPF_F_TEST_XDP_LIVE_FRAMES },
};

static int run_row(int prog, const struct row *row, uint32_t *ret_out, uint32_t *ret_val)
{
	static uint8_t packet[8192], out[8192];
	struct xdp_md md = { .data = row->data, .data_end = row->data_end };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = row->size,
		.batch_size = row->batch, .repeat = (int)row->repeat, .flags = row->flags);
	int err;

	memset(packet, 0, sizeof(packet));
	packet[14] = packet[22] = XDP_DROP;
	if (row->data_end) {
		opts.ctx_in = &md;
		opts.ctx_size_in = sizeof(md);
	}
	if (row->out) {
		opts.data_out = out;
		opts.data_size_out = sizeof(out);
	}
	err = bpf_prog_test_run_opts(prog, &opts);
	*ret_out = opts.data_size_out;
	*ret_val = opts.retval;
	return err;
}

struct bed {
	struct ring_port a, b;
	int prog;
};

static void bed_open(struct bed *bed)
{
	ASSERT_EQ(ring_eal(), 0);
	ASSERT_EQ(ring_port_open(&bed->a, 1), 0);
	ASSERT_EQ(ring_port_open(&bed->b, 1), 0);
	bed->prog = load();
	ASSERT_GE(bed->prog, 0);
	ASSERT_EQ(sluice_workers_start(), 0);
}

static void bed_close(struct bed *bed)
{
	struct sluice_counters c;

	close(bed->prog);
	sluice_workers_stop();
	ASSERT_EQ(sluice_counters_read(0, -1, &c), 0);
	EXPECT_EQ(
		sluice_counters_sum(&c, SLUICE_KIND_IN), sluice_counters_sum(&c, SLUICE_KIND_OUT));
	ring_port_close(&bed->a);
	ring_port_close(&bed->b);
}

TEST(live, what_is_refused_is_as_in_the_kernel)
{
	struct bed bed;
	int theirs;

	ORACLE_OR_SKIP();
	bed_open(&bed);
	sl_client_use(SL_CLIENT_KERNEL);
	theirs = load();
	sl_client_use(SL_CLIENT_IN_PROCESS);
	ASSERT_GE(theirs, 0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t our_out, our_val, their_out, their_val;
		int ours, kernels;

		TRACE_PUSH("row %u", i);
		ours = run_row(bed.prog, &rows[i], &our_out, &our_val);
		sl_client_use(SL_CLIENT_KERNEL);
		kernels = run_row(theirs, &rows[i], &their_out, &their_val);
		sl_client_use(SL_CLIENT_IN_PROCESS);
		EXPECT_EQ(ours, kernels);
		EXPECT_EQ(our_out, their_out);
		EXPECT_EQ(our_val, their_val);
		TRACE_POP();
	}
	close(theirs);
	bed_close(&bed);
}

static int run_live(const struct bed *bed, uint8_t verdict, uint32_t ifindex, unsigned repeat)
{
	uint8_t packet[FRAME_BYTES] = { 2, [14] = verdict, [15] = (uint8_t)bed->b.ifindex };
	struct xdp_md md = { .data_end = sizeof(packet), .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		.ctx_in = &md, .ctx_size_in = sizeof(md), .repeat = (int)repeat,
		.flags = BPF_F_TEST_XDP_LIVE_FRAMES);

	return bpf_prog_test_run_opts(bed->prog, &opts);
}

static uint64_t count_of(const struct ring_port *port, enum sluice_counter counter)
{
	struct sluice_counters c;

	return sluice_counters_read(port->ifindex, -1, &c) == 0 ? c.value[counter] : UINT64_MAX;
}

TEST(live, packets_go_where_the_program_says)
{
	struct bed bed;

	bed_open(&bed);
	EXPECT_EQ(run_live(&bed, XDP_PASS, bed.a.ifindex, PLENTY), 0);
	EXPECT_EQ(count_of(&bed.a, SLUICE_KERNEL), (uint64_t)PLENTY);
	EXPECT_EQ(count_of(&bed.a, SLUICE_LIVE), (uint64_t)PLENTY);
	EXPECT_EQ(run_live(&bed, XDP_TX, bed.a.ifindex, 70), 0);
	EXPECT_EQ(ring_receive_all(&bed.a), 70u);
	EXPECT_EQ(run_live(&bed, XDP_REDIRECT, bed.a.ifindex, 70), 0);
	EXPECT_EQ(ring_receive_all(&bed.b), 70u);
	EXPECT_EQ(run_live(&bed, XDP_DROP, bed.b.ifindex, 1), 0);
	EXPECT_EQ(count_of(&bed.b, SLUICE_XDP_DROP), 1u);
	EXPECT_EQ(run_live(&bed, XDP_DROP, 9999, 1), -ENODEV);
	sluice_workers_stop();
	EXPECT_EQ(run_live(&bed, XDP_DROP, bed.b.ifindex, 1), -ENETDOWN);
	bed_close(&bed);
}
