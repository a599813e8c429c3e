#include <sluice/bpf.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "field.h"
#include "oracle.h"
#include "probe.h"
#include "test.h"

/*
 * Programs that read and write their context at random, in the kernel and here: every field at
 * every width, what a write leaves, and the context that a test run gives back.
 */

#define MIX_FACTOR 0x01000193
#define PACKET_BYTES 100

typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned size);

struct assembler {
	struct bpf_insn insns[2048];
	unsigned count;
};

struct outcome {
	uint32_t ret;
	uint32_t ctx_len;
	uint8_t ctx[256];
};

static uint64_t random_state = 88172645463325252ull;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static unsigned below(unsigned n)
{
	return (unsigned)(random64() >> 32) % n;
}

static void emit(struct assembler *as, uint8_t code, uint8_t dst, uint8_t src, short off, int imm)
{
	as->insns[as->count++] = (struct bpf_insn){
		.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm
	};
}

static uint8_t width_bits(unsigned width)
{
	return width == 8 ? BPF_DW : width == 4 ? BPF_W : width == 2 ? BPF_H : BPF_B;
}

/* r9 = mix(r9, r1) */
static void emit_mix(struct assembler *as)
{
	emit(as, BPF_ALU64 | BPF_XOR | BPF_X, 9, 1, 0, 0);
	emit(as, BPF_ALU64 | BPF_MUL | BPF_K, 9, 0, 0, MIX_FACTOR);
}

static void emit_read(struct assembler *as, unsigned offset, unsigned width)
{
	emit(as, BPF_LDX | BPF_MEM | width_bits(width), 1, 6, (short)offset, 0);
	emit_mix(as);
}

static void emit_reads(struct assembler *as, enum bpf_prog_type type)
{
	const struct sl_field *field;

	for (unsigned offset = 0; offset < sl_ctx_size(type); offset++) {
		for (unsigned width = 1; width <= 8; width *= 2) {
			if (sl_field_access(type, 0, offset, width, false, false, &field) == 0 &&
				field->kind == SL_FIELD_SCALAR)
				emit_read(as, offset, width);
		}
	}
}

/* Of a register or a constant, whose sign matters for the wide ones. */
static void emit_write(struct assembler *as, unsigned offset, unsigned width)
{
	uint64_t value = below(2) ? random64() : below(70000);

	if (below(3) == 0) {
		emit(as, BPF_ST | BPF_MEM | width_bits(width), 6, 0, (short)offset,
			(int)(uint32_t)(value & INT32_MAX));
		return;
	}
	emit(as, BPF_LD | BPF_DW | BPF_IMM, 2, 0, 0, (int)(uint32_t)value);
	emit(as, 0, 0, 0, 0, (int)(uint32_t)(value >> 32));
	emit(as, BPF_STX | BPF_MEM | width_bits(width), 6, 2, (short)offset, 0);
}

static void emit_some_write(struct assembler *as, enum bpf_prog_type type)
{
	const struct sl_field *field;

	for (int tries = 0; tries < 1000; tries++) {
		unsigned width = 1u << below(4), offset = below(sl_ctx_size(type)) & ~(width - 1);

		if (sl_field_access(type, 0, offset, width, true, false, &field) != 0)
			continue;
		emit_write(as, offset, width);
		return;
	}
}

/* Distances between packet pointers, which are all that can be seen of them. */
static void emit_pointers(struct assembler *as, enum bpf_prog_type type)
{
	bool xdp = type == BPF_PROG_TYPE_XDP;
	short data = xdp ? offsetof(struct xdp_md, data) : offsetof(struct __sk_buff, data);
	short end = xdp ? offsetof(struct xdp_md, data_end) : offsetof(struct __sk_buff, data_end);
	short meta =
		xdp ? offsetof(struct xdp_md, data_meta) : offsetof(struct __sk_buff, data_meta);

	if (type == BPF_PROG_TYPE_SOCKET_FILTER)
		return;
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 1, 6, end, 0);
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 2, 6, data, 0);
	emit(as, BPF_ALU64 | BPF_SUB | BPF_X, 1, 2, 0, 0);
	emit_mix(as);
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 1, 6, data, 0);
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 2, 6, meta, 0);
	emit(as, BPF_ALU64 | BPF_SUB | BPF_X, 1, 2, 0, 0);
	emit_mix(as);
}

static void make_program(struct assembler *as, enum bpf_prog_type type, unsigned writes)
{
	as->count = 0;
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 9, 0, 0, 1);
	emit_pointers(as, type);
	if (writes == 0)
		emit_reads(as, type);
	for (unsigned i = 0; i < writes && type != BPF_PROG_TYPE_XDP; i++)
		emit_some_write(as, type);
	emit_reads(as, type);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 0, 9, 0, 0);
	emit(as, BPF_ALU64 | BPF_RSH | BPF_K, 9, 0, 0, 32);
	emit(as, BPF_ALU64 | BPF_XOR | BPF_X, 0, 9, 0, 0);
	emit(as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* What a test run lets its caller say; now and then also what it does not. */
static void make_skb(struct __sk_buff *skb)
{
	memset(skb, 0, sizeof(*skb));
	skb->mark = (uint32_t)random64();
	skb->priority = (uint32_t)random64();
	skb->ingress_ifindex = below(4) == 0;
	skb->ifindex = below(2);
	for (int i = 0; i < 5; i++)
		skb->cb[i] = (uint32_t)random64();
	skb->tstamp = random64();
	skb->wire_len = below(2) ? PACKET_BYTES + below(1000) : 0;
	skb->gso_segs = below(2) ? below(70000) : 0;
	skb->gso_size = below(2) ? below(70000) : 0;
	skb->hwtstamp = random64();
	if (below(20) == 0)
		((uint32_t *)skb)[below(sizeof(*skb) / 4)] = 1;
}

static void make_md(struct xdp_md *md)
{
	memset(md, 0, sizeof(*md));
	md->data = below(2) ? below(12) * 4 : 0;
	md->data_end = PACKET_BYTES;
	md->ingress_ifindex = below(2);
	if (below(10) == 0)
		((uint32_t *)md)[below(sizeof(*md) / 4)] = below(300);
}

static int load(bpf_fn bpf, enum bpf_prog_type type, const struct assembler *as)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = type;
	attr.insns = (unsigned long)as->insns;
	attr.insn_cnt = as->count;
	attr.license = (unsigned long)"GPL";
	return (int)bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* The errno of the test run, or 0. */
static int test_run(
	bpf_fn bpf, int prog_fd, const void *ctx, uint32_t ctx_len, struct outcome *ret_outcome)
{
	static uint8_t packet[PACKET_BYTES], packet_out[PACKET_BYTES];
	union bpf_attr attr;
	long ret;

	/* IPv4, to everybody. */
	memset(packet, 0xff, 6);
	packet[12] = 8;
	memset(ret_outcome, 0, sizeof(*ret_outcome));
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog_fd;
	attr.test.data_in = (unsigned long)packet;
	attr.test.data_size_in = sizeof(packet);
	attr.test.data_out = (unsigned long)packet_out;
	attr.test.data_size_out = sizeof(packet_out);
	attr.test.ctx_in = (unsigned long)ctx;
	attr.test.ctx_size_in = ctx_len;
	attr.test.ctx_out = (unsigned long)ret_outcome->ctx;
	attr.test.ctx_size_out = sizeof(ret_outcome->ctx);
	attr.test.repeat = 1;
	ret = bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	ret_outcome->ret = attr.test.retval;
	ret_outcome->ctx_len = attr.test.ctx_size_out;
	return ret == 0 ? 0 : errno;
}

static void compare_run(int kernel_fd, int our_fd, const void *ctx, uint32_t ctx_len)
{
	struct outcome theirs, ours;
	int their_errno = test_run(oracle_bpf, kernel_fd, ctx, ctx_len, &theirs);
	int our_errno = test_run(sluice_bpf, our_fd, ctx, ctx_len, &ours);

	EXPECT_EQ(our_errno, their_errno);
	if (our_errno || their_errno)
		return;
	EXPECT_EQ(ours.ret, theirs.ret);
	EXPECT_EQ(ours.ctx_len, theirs.ctx_len);
	EXPECT_MEMEQ(ours.ctx, theirs.ctx, ours.ctx_len);
}

static void compare_type(const struct probe_type *type, unsigned programs)
{
	static struct assembler as;
	struct __sk_buff skb;
	struct xdp_md md;

	for (unsigned i = 0; i < programs; i++) {
		int kernel_fd, our_fd;

		make_program(&as, type->type, i == 0 ? 0 : 1 + below(6));
		kernel_fd = load(oracle_bpf, type->type, &as);
		our_fd = load(sluice_bpf, type->type, &as);
		EXPECT_EQ(our_fd >= 0, kernel_fd >= 0);
		for (int run = 0; run < 20 && our_fd >= 0 && kernel_fd >= 0; run++) {
			TRACE_PUSH("%s, program %u, run %d", type->name, i, run);
			make_skb(&skb);
			make_md(&md);
			if (type->type == BPF_PROG_TYPE_XDP)
				compare_run(kernel_fd, our_fd, &md, sizeof(md));
			else
				compare_run(kernel_fd, our_fd, &skb, sizeof(skb));
			TRACE_POP();
		}
		close(kernel_fd);
		close(our_fd);
	}
}

/* One read at a time, so that a difference has a name. */
static void compare_read(const struct probe_type *type, unsigned offset, unsigned width)
{
	struct assembler as = { .count = 0 };
	int kernel_fd, our_fd;
	struct __sk_buff skb;
	struct xdp_md md;

	TRACE_PUSH("%u bytes at %u of %s", width, offset, type->name);
	emit(&as, BPF_LDX | BPF_MEM | width_bits(width), 0, 1, (short)offset, 0);
	emit(&as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	kernel_fd = load(oracle_bpf, type->type, &as);
	our_fd = load(sluice_bpf, type->type, &as);
	for (int run = 0; run < 3; run++) {
		make_skb(&skb);
		make_md(&md);
		if (type->type == BPF_PROG_TYPE_XDP)
			compare_run(kernel_fd, our_fd, &md, sizeof(md));
		else
			compare_run(kernel_fd, our_fd, &skb, sizeof(skb));
	}
	close(kernel_fd);
	close(our_fd);
	TRACE_POP();
}

TEST(context, fields_read_as_the_kernels)
{
	static const struct probe_type cls = { BPF_PROG_TYPE_SCHED_CLS, "sched_cls" };
	const struct sl_field *fields;
	unsigned count;

	ORACLE_OR_SKIP();
	fields = sl_fields_of(cls.type, &count);
	for (unsigned i = 0; i < count; i++) {
		unsigned width = fields[i].read_widths & 4 ? 4 : fields[i].read_widths & 8 ? 8 : 1;

		if (fields[i].kind == SL_FIELD_SCALAR)
			compare_read(&cls, fields[i].offset, width);
	}
}

TEST(context, reads_and_writes_are_the_kernels)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < probe_type_count; i++)
		compare_type(&probe_types[i], probe_types[i].type == BPF_PROG_TYPE_XDP ? 2 : 4);
}
