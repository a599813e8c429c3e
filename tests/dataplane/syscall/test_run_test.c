#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/* BPF_PROG_TEST_RUN: what comes back, byte by byte as from the kernel. */

#define LDX(size, dst, src, off) { BPF_LDX | BPF_MEM | (size), dst, src, off, 0 }
#define STX(size, dst, src, off) { BPF_STX | BPF_MEM | (size), dst, src, off, 0 }
#define MOV(dst, imm) { BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm }
#define MOVX(dst, src) { BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0 }
#define ADD(dst, imm) { BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm }
#define CALL(id) { BPF_JMP | BPF_CALL, 0, 0, 0, id }
#define EXIT { BPF_JMP | BPF_EXIT, 0, 0, 0, 0 }
#define SKB(field) ((int16_t)offsetof(struct __sk_buff, field))
#define MD(field) ((int16_t)offsetof(struct xdp_md, field))

#define INSNS 24
struct case_ {
	const char *name;
	uint32_t type;
	struct bpf_insn insns[INSNS];
	uint32_t size; /* of the packet */
	bool with_ctx;
	struct __sk_buff skb;
	struct xdp_md md;
	uint32_t repeat;
};

/* Returns a field of the context. */
#define SKB_FIELD(type, field) { "skb " #field, type, { LDX(BPF_W, 0, 1, SKB(field)), EXIT }, 60 }
#define MD_FIELD(field) \
	{ "md " #field, BPF_PROG_TYPE_XDP, { LDX(BPF_W, 0, 1, MD(field)), EXIT }, 60 }

static const struct case_ cases[] = {
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, len),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, pkt_type),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, mark),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, queue_mapping),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, protocol),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, vlan_present),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, vlan_tci),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, vlan_proto),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, priority),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, ingress_ifindex),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, ifindex),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, tc_index),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, cb[3]),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, hash),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, tc_classid),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, napi_id),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, tstamp),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, wire_len),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, gso_segs),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_CLS, gso_size),
	SKB_FIELD(BPF_PROG_TYPE_SCHED_ACT, len),
	SKB_FIELD(BPF_PROG_TYPE_SOCKET_FILTER, len),
	SKB_FIELD(BPF_PROG_TYPE_SOCKET_FILTER, protocol),
	SKB_FIELD(BPF_PROG_TYPE_SOCKET_FILTER, pkt_type),
	SKB_FIELD(BPF_PROG_TYPE_SOCKET_FILTER, ifindex),
	MD_FIELD(ingress_ifindex),
	MD_FIELD(rx_queue_index),
	{ "skb, fields from the caller", BPF_PROG_TYPE_SCHED_CLS,
		{ LDX(BPF_W, 0, 1, SKB(mark)), LDX(BPF_W, 2, 1, SKB(cb[1])),
			{ BPF_ALU64 | BPF_ADD | BPF_X, 0, 2, 0, 0 },
			LDX(BPF_W, 2, 1, SKB(wire_len)),
			{ BPF_ALU64 | BPF_ADD | BPF_X, 0, 2, 0, 0 }, EXIT },
		60, true,
		{ .mark = 1000,
			.cb = { 1, 2, 3, 4, 5 },
			.priority = 7,
			.tstamp = 99,
			.wire_len = 100,
			.gso_segs = 3,
			.gso_size = 50,
			.hwtstamp = 12,
			.ingress_ifindex = 5 } },
	{ "skb, fields to the caller", BPF_PROG_TYPE_SCHED_CLS,
		{ MOV(0, 5), STX(BPF_W, 1, 0, SKB(mark)), STX(BPF_W, 1, 0, SKB(cb[4])),
			STX(BPF_W, 1, 0, SKB(priority)), STX(BPF_W, 1, 0, SKB(tc_index)),
			STX(BPF_W, 1, 0, SKB(tc_classid)), STX(BPF_DW, 1, 0, SKB(tstamp)), EXIT },
		60, true },
	{ "skb, ctx_out only of a plain run", BPF_PROG_TYPE_SCHED_ACT,
		{ MOV(0, 5), STX(BPF_W, 1, 0, SKB(mark)), EXIT }, 60, true },
	{ "filter, ctx", BPF_PROG_TYPE_SOCKET_FILTER,
		{ MOV(0, 5), STX(BPF_W, 1, 0, SKB(cb[0])), EXIT }, 60, true },
	{ "filter, first byte", BPF_PROG_TYPE_SOCKET_FILTER,
		{ MOVX(6, 1), { BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 0 }, EXIT }, 60 },
	{ "filter, link layer", BPF_PROG_TYPE_SOCKET_FILTER,
		{ MOVX(6, 1), { BPF_LD | BPF_ABS | BPF_H, 0, 0, 0, -0x200000 + 12 }, EXIT }, 60 },
	{ "filter, network layer", BPF_PROG_TYPE_SOCKET_FILTER,
		{ MOVX(6, 1), { BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, -0x100000 + 2 }, EXIT }, 60 },
	{ "classifier, first byte", BPF_PROG_TYPE_SCHED_CLS,
		{ MOVX(6, 1), { BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 0 }, EXIT }, 60 },
	{ "classifier, network layer", BPF_PROG_TYPE_SCHED_CLS,
		{ MOVX(6, 1), { BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, -0x100000 + 2 }, EXIT }, 60 },
	{ "xdp, metadata from the caller", BPF_PROG_TYPE_XDP,
		{ LDX(BPF_W, 2, 1, MD(data_meta)), LDX(BPF_W, 3, 1, MD(data)), MOV(0, 0),
			MOVX(4, 2), ADD(4, 4), { BPF_JMP | BPF_JGT | BPF_X, 4, 3, 1, 0 },
			LDX(BPF_W, 0, 2, 0), EXIT },
		60, true, { 0 }, { .data = 8, .data_end = 60 } },
	{ "xdp, queue of loopback", BPF_PROG_TYPE_XDP,
		{ LDX(BPF_W, 0, 1, MD(ingress_ifindex)), EXIT }, 60, true, { 0 },
		{ .data_end = 60, .ingress_ifindex = 1 } },
	{ "xdp, longer head", BPF_PROG_TYPE_XDP,
		{ MOV(2, -20), CALL(BPF_FUNC_xdp_adjust_head), EXIT }, 60, true, { 0 },
		{ .data_end = 60 } },
	{ "xdp, head as long as it goes", BPF_PROG_TYPE_XDP,
		{ MOV(2, -216), CALL(BPF_FUNC_xdp_adjust_head), EXIT }, 60, true, { 0 },
		{ .data_end = 60 } },
	{ "xdp, head too long", BPF_PROG_TYPE_XDP,
		{ MOV(2, -217), CALL(BPF_FUNC_xdp_adjust_head), EXIT }, 60, true, { 0 },
		{ .data_end = 60 } },
	{ "xdp, shorter head, again and again", BPF_PROG_TYPE_XDP,
		{ MOV(2, 4), CALL(BPF_FUNC_xdp_adjust_head), EXIT }, 60, true, { 0 },
		{ .data_end = 60 }, 20 },
	{ "xdp, longer tail", BPF_PROG_TYPE_XDP,
		{ MOV(2, 20), CALL(BPF_FUNC_xdp_adjust_tail), EXIT }, 60, true, { 0 },
		{ .data_end = 60 } },
	{ "xdp, tail too long", BPF_PROG_TYPE_XDP,
		{ MOV(2, 3461), CALL(BPF_FUNC_xdp_adjust_tail), EXIT }, 60, true, { 0 },
		{ .data_end = 60 } },
	{ "xdp, tail as long as it goes", BPF_PROG_TYPE_XDP,
		{ MOV(2, 3460), CALL(BPF_FUNC_xdp_adjust_tail), EXIT }, 60, true, { 0 },
		{ .data_end = 60 } },
	{ "xdp, metadata by the program", BPF_PROG_TYPE_XDP,
		{ MOV(2, -12), CALL(BPF_FUNC_xdp_adjust_meta), EXIT }, 60, true, { 0 },
		{ .data_end = 60 } },
	{ "xdp, two buffers", BPF_PROG_TYPE_XDP,
		{ LDX(BPF_W, 0, 1, MD(data_end)), LDX(BPF_W, 2, 1, MD(data)),
			{ BPF_ALU64 | BPF_SUB | BPF_X, 0, 2, 0, 0 }, EXIT },
		200, true, { 0 }, { .data_end = 100 } },
	{ "xdp, jumbo", BPF_PROG_TYPE_XDP,
		{ LDX(BPF_W, 0, 1, MD(data_end)), LDX(BPF_W, 2, 1, MD(data)),
			{ BPF_ALU64 | BPF_SUB | BPF_X, 0, 2, 0, 0 }, EXIT },
		9000 },
};

struct answer {
	long ret;
	uint32_t retval, size_out, ctx_size_out;
	uint8_t packet[12000];
	uint8_t ctx[256];
};

static void ask_side(enum side side, const struct case_ *c, struct answer *a)
{
	static uint8_t packet[12000];
	bool xdp = c->type == BPF_PROG_TYPE_XDP;
	unsigned count = INSNS;
	union bpf_attr attr;
	int fd;

	for (unsigned i = 0; i < sizeof(packet); i++)
		packet[i] = i * 7 + 1;
	packet[12] = 8;
	packet[13] = 0;
	while (count > 0 && !c->insns[count - 1].code)
		count--;
	memset(a, 0, sizeof(*a));
	fd = prog_new(side, c->type, c->insns, count);
	a->ret = fd;
	if (fd < 0)
		return;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = fd;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = c->size;
	attr.test.data_out = PTR(a->packet);
	attr.test.data_size_out = sizeof(a->packet);
	attr.test.repeat = c->repeat;
	if (c->with_ctx) {
		attr.test.ctx_in = xdp ? PTR(&c->md) : PTR(&c->skb);
		attr.test.ctx_size_in = xdp ? sizeof(c->md) : sizeof(c->skb);
		attr.test.ctx_out = PTR(a->ctx);
		attr.test.ctx_size_out = sizeof(a->ctx);
	}
	a->ret = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	a->retval = attr.test.retval;
	a->size_out = attr.test.data_size_out;
	a->ctx_size_out = attr.test.ctx_size_out;
	close(fd);
}

TEST(test_run, gives_back_what_the_kernel_gives)
{
	static struct answer kernel, here;

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sl_array_size(cases); i++) {
		TRACE_PUSH("%s", cases[i].name);
		ask_side(KERNEL, &cases[i], &kernel);
		ask_side(SLUICE, &cases[i], &here);
		EXPECT_EQ(kernel.ret, here.ret);
		EXPECT_EQ(kernel.retval, here.retval);
		EXPECT_EQ(kernel.size_out, here.size_out);
		EXPECT_MEMEQ(kernel.packet, here.packet, sizeof(here.packet));
		EXPECT_EQ(kernel.ctx_size_out, here.ctx_size_out);
		EXPECT_MEMEQ(kernel.ctx, here.ctx, sizeof(here.ctx));
		TRACE_POP();
	}
}

static uint64_t tag_of(enum side side, int fd)
{
	struct bpf_prog_info info;
	union bpf_attr attr;
	uint64_t tag;

	memset(&info, 0, sizeof(info));
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = fd;
	attr.info.info = PTR(&info);
	attr.info.info_len = sizeof(info);
	call(side, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr));
	memcpy(&tag, info.tag, sizeof(tag));
	return tag;
}

TEST(test_run, tag_is_of_the_instructions_without_descriptors)
{
	uint64_t tags[2];

	for (unsigned i = 0; i < 2; i++) {
		int map = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0), prog;
		struct bpf_insn insns[] = {
			{ BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map },
			{ 0 },
			MOV(0, 2),
			EXIT,
		};

		prog = prog_new(SLUICE, BPF_PROG_TYPE_XDP, insns, 4);
		EXPECT_GE(prog, 0);
		tags[i] = tag_of(SLUICE, prog);
		/* The first map stays, so that the second has another descriptor. */
		close(prog);
	}
	EXPECT_EQ(tags[0], tags[1]);
}
