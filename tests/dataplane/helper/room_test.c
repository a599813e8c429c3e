#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <sluice/bpf.h>

#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * Programs that add and take away headers: bpf_skb_adjust_room with all its flags, bpf_skb_change_proto
 * and bpf_csum_level, on packets of one segment or that look as if hardware were to cut them. What
 * each call answers and what the context says after it are mixed into the program's result; it, the
 * packet and the context that the run gives back must be the kernel's.
 */
#define INSN(c, d, s, o, i)                                                         \
	(struct bpf_insn)                                                           \
	{                                                                           \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) \
	}

enum { PACKET_MAX = 300, OUT_MAX = 4096, STEPS = 4, TRIALS = 40, PACKETS = 20 };

enum { DECAP_IPV4 = 1 << 7, DECAP_IPV6 = 1 << 8 };

struct program {
	struct bpf_insn insns[256];
	unsigned count;
};

static unsigned below(unsigned n)
{
	return (unsigned)rand() % n;
}

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, short off, int imm)
{
	p->insns[p->count++] = INSN(code, dst, src, off, imm);
}

/* r9 = r9 * 31 + r0 */
static void mix(struct program *p)
{
	emit(p, BPF_ALU64 | BPF_MUL | BPF_K, 9, 0, 0, 31);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_X, 9, 0, 0, 0);
}

static void call(struct program *p, int helper, int r2, int r3, uint64_t r4)
{
	static const short fields[] = { offsetof(struct __sk_buff, len),
		offsetof(struct __sk_buff, protocol), offsetof(struct __sk_buff, gso_size),
		offsetof(struct __sk_buff, gso_segs) };

	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, r2);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, r3);
	emit(p, BPF_LD | BPF_IMM | BPF_DW, 4, 0, 0, (int)r4);
	emit(p, 0, 0, 0, 0, (int)(r4 >> 32));
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
	mix(p);
	for (unsigned i = 0; i < sl_array_size(fields); i++) {
		emit(p, BPF_LDX | BPF_MEM | BPF_W, 0, 6, fields[i], 0);
		mix(p);
	}
}

/* What a program that encapsulates would ask for, with a mistake now and then. */
static void grow(struct program *p)
{
	static const uint64_t l4s[] = { 0, BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
		BPF_F_ADJ_ROOM_ENCAP_L4_UDP };
	bool ipv6 = below(2);
	unsigned l4 = below(3), l2 = below(3) ? 0 : below(20);
	uint64_t flags = (ipv6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) |
			 l4s[l4] | (uint64_t)l2 << BPF_ADJ_ROOM_ENCAP_L2_SHIFT;
	unsigned len = (ipv6 ? 40 : 20) + l4 * 4 + l2;

	if (l2 && below(2))
		flags |= BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	if (below(3) == 0)
		flags |= BPF_F_ADJ_ROOM_NO_CSUM_RESET;
	if (below(3) == 0)
		flags |= BPF_F_ADJ_ROOM_FIXED_GSO;
	if (below(8) == 0)
		flags ^= 1u << below(12);
	if (below(8) == 0)
		len = below(60);
	call(p, BPF_FUNC_skb_adjust_room, (int)len, (int)below(below(8) ? 2 : 3), flags);
}

static void shrink(struct program *p)
{
	static const int lens[] = { 20, 40, 24, 28, 48, 8, 4, 100 };
	static const uint64_t decaps[] = { 0, 0, DECAP_IPV4, DECAP_IPV6, DECAP_IPV4 | DECAP_IPV6 };
	uint64_t flags = decaps[below(sl_array_size(decaps))];
	int len = lens[below(sl_array_size(lens))];

	if (below(3) == 0)
		flags |= BPF_F_ADJ_ROOM_NO_CSUM_RESET;
	if (below(3) == 0)
		flags |= BPF_F_ADJ_ROOM_FIXED_GSO;
	if (below(8) == 0)
		flags ^= 1u << below(12);
	call(p, BPF_FUNC_skb_adjust_room, below(12) ? -len : len, (int)below(below(8) ? 2 : 3),
		flags);
}

static void change_proto(struct program *p)
{
	call(p, BPF_FUNC_skb_change_proto, below(2) ? 0x0008 : 0xdd86, below(12) == 0, 0);
}

static void csum_level(struct program *p)
{
	call(p, BPF_FUNC_csum_level, (int)below(below(8) ? 4 : 6), 0, 0);
}

static void make_program(struct program *p)
{
	static void (*const makers[])(
		struct program *p) = { grow, grow, shrink, change_proto, csum_level };

	p->count = 0;
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 9, 0, 0, 7);
	for (unsigned step = 0; step < STEPS; step++)
		makers[below(sl_array_size(makers))](p);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 0, 9, 0, 0);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

struct packet {
	uint8_t bytes[PACKET_MAX];
	uint32_t len;
	struct __sk_buff ctx;
};

static void make_packet(struct packet *p)
{
	memset(p, 0, sizeof(*p));
	p->len = 60 + below(PACKET_MAX - 60);
	for (uint32_t i = 0; i < p->len; i++)
		p->bytes[i] = (uint8_t)rand();
	memcpy(p->bytes + 12, below(2) ? "\x08\x00\x45" : "\x86\xdd\x60", 3);
	if (below(16) == 0)
		p->bytes[12] = 0x07;
	if (below(3) == 0) {
		p->ctx.gso_size = 1 + below(1500);
		p->ctx.gso_segs = below(10);
	}
}

struct outcome {
	long err; /* 0, or of load or run */
	uint32_t ret, len;
	struct __sk_buff ctx;
	uint8_t bytes[OUT_MAX];
};

typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned int size);

static void run(
	bpf_fn fn, const struct program *p, const struct packet *packet, struct outcome *ret)
{
	union bpf_attr attr;
	long fd;

	memset(ret, 0, sizeof(*ret));
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
	attr.insns = (uintptr_t)p->insns;
	attr.insn_cnt = p->count;
	attr.license = (uintptr_t)"GPL";
	fd = fn(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0) {
		ret->err = -errno;
		return;
	}
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uintptr_t)packet->bytes;
	attr.test.data_size_in = packet->len;
	attr.test.data_out = (uintptr_t)ret->bytes;
	attr.test.data_size_out = OUT_MAX;
	attr.test.ctx_in = (uintptr_t)&packet->ctx;
	attr.test.ctx_out = (uintptr_t)&ret->ctx;
	attr.test.ctx_size_in = attr.test.ctx_size_out = sizeof(packet->ctx);
	ret->err = fn(BPF_PROG_TEST_RUN, &attr, sizeof(attr)) < 0 ? -errno : 0;
	ret->ret = attr.test.retval;
	ret->len = attr.test.data_size_out;
	close((int)fd);
}

TEST(room, headers_come_and_go_as_in_the_kernel)
{
	static struct outcome theirs, ours;

	ORACLE_OR_SKIP();
	for (int trial = 0; trial < TRIALS && !sl_test_has_failed(); trial++) {
		struct packet packet;
		struct program p;

		srand((unsigned)trial);
		TRACE_PUSH("trial %d", trial);
		make_program(&p);
		/* One program costs more to load than to run. */
		for (int i = 0; i < PACKETS && !sl_test_has_failed(); i++) {
			make_packet(&packet);
			run(oracle_bpf, &p, &packet, &theirs);
			run(sluice_bpf, &p, &packet, &ours);
			EXPECT_EQ(theirs.err, 0);
			EXPECT_EQ(ours.err, theirs.err);
			EXPECT_EQ(ours.ret, theirs.ret);
			ASSERT_EQ(ours.len, theirs.len);
			EXPECT_MEMEQ(ours.bytes, theirs.bytes, theirs.len);
			EXPECT_MEMEQ(&ours.ctx, &theirs.ctx, sizeof(theirs.ctx));
		}
		TRACE_POP();
	}
}
