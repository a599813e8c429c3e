#include <sluice/bpf.h>

#include <errno.h>
#include <stdio.h>
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
#define PACKET_MIN 60
#define PACKET_MAX 200

typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned size);

/* How often a program reads and writes what, by offset and width. */
#define CTX_MAX 200
#define WIDTHS 4

struct tally {
	unsigned reads[CTX_MAX][WIDTHS], writes[CTX_MAX][WIDTHS];
};

struct assembler {
	struct bpf_insn insns[2048];
	unsigned count;
	struct tally tally;
};

struct packet {
	uint32_t len;
	uint8_t bytes[PACKET_MAX];
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
	as->tally.reads[offset][__builtin_ctz(width)]++;
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

	as->tally.writes[offset][__builtin_ctz(width)]++;
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
	const struct sl_field *fields, *field;
	unsigned count, width, offset;

	fields = sl_fields_of(type, &count);
	for (int tries = 0; tries < 10000; tries++) {
		field = &fields[below(count)];
		width = 1u << below(4);
		offset = (field->offset + below(field->size)) & ~(width - 1);
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

/* The one way to the type of the time stamp. */
static void emit_set_tstamp(struct assembler *as)
{
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (int)below(2) * (int)below(1u << 30));
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, (int)below(4));
	emit(as, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_skb_set_tstamp);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 1, 0, 0, 0);
	emit_mix(as);
}

static void make_program(struct assembler *as, enum bpf_prog_type type, unsigned writes)
{
	as->count = 0;
	memset(&as->tally, 0, sizeof(as->tally));
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 9, 0, 0, 1);
	emit_pointers(as, type);
	if (writes == 0)
		emit_reads(as, type);
	for (unsigned i = 0; i < writes && type != BPF_PROG_TYPE_XDP; i++)
		emit_some_write(as, type);
	if (writes && (type == BPF_PROG_TYPE_SCHED_CLS || type == BPF_PROG_TYPE_SCHED_ACT))
		emit_set_tstamp(as);
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
	skb->wire_len = below(2) ? PACKET_MAX + below(1000) : 0;
	skb->gso_segs = below(2) ? below(70000) : 0;
	skb->gso_size = below(2) ? below(70000) : 0;
	skb->hwtstamp = random64();
	if (below(20) == 0)
		((uint32_t *)skb)[below(sizeof(*skb) / 4)] = 1;
}

static void make_md(struct xdp_md *md, uint32_t len)
{
	memset(md, 0, sizeof(*md));
	md->data = below(2) ? below(12) * 4 : 0;
	md->data_end = len;
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

/* Of some protocol, to somebody or everybody. */
static void make_packet(struct packet *p)
{
	static const uint16_t protocols[] = { 0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x0100, 0 };
	uint16_t protocol = protocols[below(sizeof(protocols) / sizeof(protocols[0]))];

	p->len = PACKET_MIN + below(PACKET_MAX - PACKET_MIN);
	for (uint32_t i = 0; i < sizeof(p->bytes); i++)
		p->bytes[i] = (uint8_t)random64();
	if (below(3) == 0)
		memset(p->bytes, below(2) ? 0xff : 0, 6);
	if (protocol) {
		p->bytes[12] = (uint8_t)(protocol >> 8);
		p->bytes[13] = (uint8_t)protocol;
	}
}

/* The errno of the test run, or 0. */
static int test_run(bpf_fn bpf, int prog_fd, const struct packet *packet, const void *ctx,
	uint32_t ctx_len, struct outcome *ret_outcome)
{
	static uint8_t packet_out[PACKET_MAX];
	union bpf_attr attr;
	long ret;

	memset(ret_outcome, 0, sizeof(*ret_outcome));
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog_fd;
	attr.test.data_in = (unsigned long)packet->bytes;
	attr.test.data_size_in = packet->len;
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

/* A random packet and context through both. Whether both have run. */
static bool compare_run(enum bpf_prog_type type, int kernel_fd, int our_fd)
{
	bool xdp = type == BPF_PROG_TYPE_XDP;
	struct outcome theirs, ours;
	int their_errno, our_errno;
	struct packet packet;
	union {
		struct __sk_buff skb;
		struct xdp_md md;
	} ctx;
	uint32_t ctx_len = xdp ? sizeof(ctx.md) : sizeof(ctx.skb);

	make_packet(&packet);
	if (xdp)
		make_md(&ctx.md, packet.len);
	else
		make_skb(&ctx.skb);
	their_errno = test_run(oracle_bpf, kernel_fd, &packet, &ctx, ctx_len, &theirs);
	our_errno = test_run(sluice_bpf, our_fd, &packet, &ctx, ctx_len, &ours);
	EXPECT_EQ(our_errno, their_errno);
	if (our_errno || their_errno)
		return false;
	EXPECT_EQ(ours.ret, theirs.ret);
	EXPECT_EQ(ours.ctx_len, theirs.ctx_len);
	EXPECT_MEMEQ(ours.ctx, theirs.ctx, ours.ctx_len);
	return true;
}

static void add_tally(struct tally *to, const struct tally *made)
{
	for (unsigned at = 0; at < CTX_MAX; at++) {
		for (unsigned w = 0; w < WIDTHS; w++) {
			to->reads[at][w] += made->reads[at][w];
			to->writes[at][w] += made->writes[at][w];
		}
	}
}

static unsigned sum_of(unsigned counts[CTX_MAX][WIDTHS], const struct sl_field *field, unsigned w)
{
	unsigned sum = 0;

	for (unsigned at = field->offset; at < field->offset + field->size; at++)
		sum += counts[at][w];
	return sum;
}

/*
 * What has been compared how often, by width. Nothing that is allowed may be missing: no width of a
 * read, no field that can be written.
 */
static void report(const struct probe_type *type, struct tally *done)
{
	const struct sl_field *fields;
	unsigned count;

	fields = sl_fields_of(type->type, &count);
	printf("%-14s %-16s %28s %28s\n", type->name, "field", "reads of 1, 2, 4, 8 bytes",
		"writes of 1, 2, 4, 8 bytes");
	for (unsigned i = 0; i < count; i++) {
		const struct sl_field *field = &fields[i];
		bool readable = field->readable_by & SL_PROG_BIT(type->type);
		unsigned writes = 0;

		if (field->kind != SL_FIELD_SCALAR || !readable || field->only_attach)
			continue;
		printf("%-14s %-16s", "", field->name);
		for (unsigned w = 0; w < WIDTHS; w++) {
			unsigned reads = sum_of(done->reads, field, w);

			printf(" %6u", reads);
			if (field->read_widths & 1u << w && field->size >= 1u << w)
				EXPECT_GT(reads, 0);
		}
		for (unsigned w = 0; w < WIDTHS; w++) {
			printf(" %6u", sum_of(done->writes, field, w));
			writes += sum_of(done->writes, field, w);
		}
		printf("\n");
		if (field->writable_by & SL_PROG_BIT(type->type))
			EXPECT_GT(writes, 0);
	}
}

static void compare_type(const struct probe_type *type, unsigned programs)
{
	static struct assembler as;
	static struct tally done;

	memset(&done, 0, sizeof(done));
	for (unsigned i = 0; i < programs; i++) {
		int kernel_fd, our_fd;

		make_program(&as, type->type, i == 0 ? 0 : 1 + below(6));
		kernel_fd = load(oracle_bpf, type->type, &as);
		our_fd = load(sluice_bpf, type->type, &as);
		EXPECT_EQ(our_fd >= 0, kernel_fd >= 0);
		for (int run = 0; run < 20 && our_fd >= 0 && kernel_fd >= 0; run++) {
			TRACE_PUSH("%s, program %u, run %d", type->name, i, run);
			if (compare_run(type->type, kernel_fd, our_fd))
				add_tally(&done, &as.tally);
			TRACE_POP();
		}
		close(kernel_fd);
		close(our_fd);
	}
	report(type, &done);
}

/* One read at a time, so that a difference has a name. */
static void compare_read(const struct probe_type *type, unsigned offset, unsigned width)
{
	static struct assembler as;
	int kernel_fd, our_fd;

	as.count = 0;
	TRACE_PUSH("%u bytes at %u of %s", width, offset, type->name);
	emit(&as, BPF_LDX | BPF_MEM | width_bits(width), 0, 1, (short)offset, 0);
	emit(&as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	kernel_fd = load(oracle_bpf, type->type, &as);
	our_fd = load(sluice_bpf, type->type, &as);
	for (int run = 0; run < 3; run++)
		compare_run(type->type, kernel_fd, our_fd);
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
		compare_type(&probe_types[i], probe_types[i].type == BPF_PROG_TYPE_XDP ? 2 : 12);
}
