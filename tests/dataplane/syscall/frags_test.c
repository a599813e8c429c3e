#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * XDP packets of several pieces: random programs that move the bounds of random packets, read and
 * write across the pieces, in the kernel and here. Every result of a helper goes into the return
 * value, and packet, context and errno have to be the same.
 */

#define INSNS_MAX 1024
#define PACKET_MAX 80000
#define BUFFER 256 /* on the program's stack */
#define MIX_FACTOR 0x01000193
#define ROUNDS 100
#define OPS_MAX 8

struct program {
	struct bpf_insn insns[INSNS_MAX];
	uint32_t count;
	int perf_map[SIDES], pull_data;
	char text[1024]; /* the calls, for whoever reads a failure */
};

struct input {
	uint32_t size, repeat;
	bool with_ctx;
	struct xdp_md md;
};

struct answer {
	long ret;
	uint32_t retval, size_out, ctx_size_out;
	struct xdp_md md;
	uint8_t packet[PACKET_MAX];
};

static uint64_t random_state = 98172645463325251ull;

static uint32_t below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % n;
}

static int32_t between(int32_t low, int32_t high)
{
	return low + (int32_t)below((uint32_t)(high - low) + 1);
}

static void emit(
	struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	p->insns[p->count++] = (struct bpf_insn){ code, dst, src, off, imm };
}

static void mov(struct program *p, uint8_t dst, int32_t imm)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}

static void mov_x(struct program *p, uint8_t dst, uint8_t src)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

/* R9 = mix(R9, R0) */
static void mix(struct program *p)
{
	emit(p, BPF_ALU64 | BPF_XOR | BPF_X, 9, 0, 0, 0);
	emit(p, BPF_ALU64 | BPF_MUL | BPF_K, 9, 0, 0, MIX_FACTOR);
}

static void describe(struct program *p, const char *name, int32_t a, int32_t b)
{
	size_t len = strlen(p->text);

	snprintf(p->text + len, sizeof(p->text) - len, " %s(%d, %d)", name, a, b);
}

static void call_helper(struct program *p, int32_t id)
{
	mov_x(p, 1, 6);
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, id);
	mix(p);
}

static void op_adjust(struct program *p, int32_t id, int32_t by)
{
	mov(p, 2, by);
	describe(p,
		id == BPF_FUNC_xdp_adjust_head   ? "head"
		: id == BPF_FUNC_xdp_adjust_meta ? "meta"
						 : "tail",
		by, 0);
	call_helper(p, id);
}

static void op_head(struct program *p)
{
	op_adjust(p, BPF_FUNC_xdp_adjust_head, below(4) ? between(-80, 80) : between(-4000, 4000));
}

static void op_meta(struct program *p)
{
	op_adjust(p, BPF_FUNC_xdp_adjust_meta, below(6) ? between(-8, 8) * 4 : between(-300, 300));
}

static void op_tail(struct program *p)
{
	static const int32_t spans[] = { 20, 200, 5000, 70000 };
	int32_t span = spans[below(4)];

	op_adjust(p, BPF_FUNC_xdp_adjust_tail, between(-span, below(2) ? span : 0));
}

static void op_len(struct program *p)
{
	call_helper(p, BPF_FUNC_xdp_get_buff_len);
}

/* The bounds of the first piece and of the metadata. */
static void op_bounds(struct program *p)
{
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 0, 6, offsetof(struct xdp_md, data_end), 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 1, 6, offsetof(struct xdp_md, data), 0);
	emit(p, BPF_ALU64 | BPF_SUB | BPF_X, 0, 1, 0, 0);
	mix(p);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 0, 6, offsetof(struct xdp_md, data), 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 1, 6, offsetof(struct xdp_md, data_meta), 0);
	emit(p, BPF_ALU64 | BPF_SUB | BPF_X, 0, 1, 0, 0);
	mix(p);
}

/* Offsets near the ends of pages are the interesting ones. */
static int32_t some_offset(void)
{
	switch (below(4)) {
	case 0:
		return between(0, 200);
	case 1:
		return 3520 + 4096 * (int32_t)below(16) + between(-300, 40);
	case 2:
		return between(0, 70000);
	default:
		return between(0, 10000);
	}
}

static void op_access(struct program *p, int32_t id)
{
	int32_t len = between(1, BUFFER), offset = some_offset();

	describe(p, id == BPF_FUNC_xdp_load_bytes ? "load" : "store", offset, len);
	mov(p, 2, offset);
	mov_x(p, 3, 10);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, -BUFFER);
	mov(p, 4, len);
	call_helper(p, id);
	emit(p, BPF_LDX | BPF_MEM | BPF_DW, 0, 10, (int16_t)(-8 - 8 * (int16_t)below(BUFFER / 8)),
		0);
	mix(p);
}

static void op_load(struct program *p)
{
	op_access(p, BPF_FUNC_xdp_load_bytes);
}

static void op_store(struct program *p)
{
	op_access(p, BPF_FUNC_xdp_store_bytes);
}

static void op_output(struct program *p)
{
	mov(p, 3, (int32_t)(below(2) ? BPF_F_CURRENT_CPU : 0));
	emit(p, BPF_ALU64 | BPF_LSH | BPF_K, 3, 0, 0, 32);
	emit(p, BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 32);
	describe(p, "output", 0, 0);
	mov(p, 0, some_offset());
	emit(p, BPF_ALU64 | BPF_LSH | BPF_K, 0, 0, 0, 32);
	emit(p, BPF_ALU64 | BPF_OR | BPF_X, 3, 0, 0, 0);
	emit(p, BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, 0);
	emit(p, 0, 0, 0, 0, 0);
	mov_x(p, 4, 10);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, -BUFFER);
	mov(p, 5, 8);
	call_helper(p, BPF_FUNC_perf_event_output);
}

static void op_pull(struct program *p)
{
	int32_t len = below(3) ? between(0, 4200) : some_offset();

	describe(p, "pull", len, 0);
	mov_x(p, 1, 6);
	mov(p, 2, len);
	emit(p, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, p->pull_data);
	mix(p);
}

static void (*const ops[])(struct program *p) = {
	op_head,
	op_meta,
	op_tail,
	op_tail,
	op_len,
	op_bounds,
	op_load,
	op_load,
	op_store,
	op_output,
	op_pull,
};

static void make_program(struct program *p)
{
	uint32_t count = 1 + below(OPS_MAX);

	p->count = 0;
	p->text[0] = '\0';
	mov_x(p, 6, 1);
	mov(p, 9, 1);
	for (int32_t i = 1; i <= BUFFER / 8; i++)
		emit(p, BPF_ST | BPF_MEM | BPF_DW, 10, 0, (int16_t)(-8 * i), i * 0x01020305);
	for (uint32_t i = 0; i < count; i++)
		ops[below(sl_array_size(ops) - (p->pull_data ? 0 : 1))](p);
	op_bounds(p);
	op_len(p);
	mov_x(p, 0, 9);
	emit(p, BPF_ALU64 | BPF_RSH | BPF_K, 0, 0, 0, 32);
	emit(p, BPF_ALU64 | BPF_XOR | BPF_X, 0, 9, 0, 0);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void make_input(struct input *in)
{
	static const uint32_t sizes[] = { 100, 3600, 9000, 20000, 76000 };
	uint32_t size = sizes[below(sl_array_size(sizes))];

	*in = (struct input){ .size = below(4) ? 14 + below(size) : size, .repeat = below(3) };
	if (below(2))
		return;
	in->with_ctx = true;
	in->md.data = below(2) ? 4 * below(10) : 0;
	in->md.data_end = below(2) ? in->size : below(sl_min(in->size, 5000u) + 1);
	if (below(20) == 0)
		in->md.data = below(300);
	in->md.ingress_ifindex = below(2);
}

static void ask_side(enum side side, struct program *p, const struct input *in, struct answer *a)
{
	static uint8_t packet[PACKET_MAX];
	union bpf_attr attr;
	int fd;

	for (uint32_t i = 0; i < in->size; i++)
		packet[i] = (uint8_t)(i * 7 + i / 251);
	for (uint32_t i = 0; i < p->count; i++)
		if (p->insns[i].src_reg == BPF_PSEUDO_MAP_FD &&
			p->insns[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			p->insns[i].imm = p->perf_map[side];
	memset(a, 0, sizeof(*a));
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = PTR(p->insns);
	attr.insn_cnt = p->count;
	attr.license = PTR("GPL");
	attr.prog_flags = BPF_F_XDP_HAS_FRAGS;
	fd = (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
	a->ret = fd;
	EXPECT_GE(fd, 0);
	if (fd < 0)
		return;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = in->size;
	attr.test.data_out = PTR(a->packet);
	attr.test.data_size_out = sizeof(a->packet);
	attr.test.repeat = in->repeat;
	if (in->with_ctx) {
		attr.test.ctx_in = PTR(&in->md);
		attr.test.ctx_size_in = sizeof(in->md);
		attr.test.ctx_out = PTR(&a->md);
		attr.test.ctx_size_out = sizeof(a->md);
	}
	a->ret = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	a->retval = attr.test.retval;
	a->size_out = attr.test.data_size_out;
	a->ctx_size_out = attr.test.ctx_size_out;
	close(fd);
}

static int find_kfunc(const char *name)
{
	struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);
	int id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) : 0;

	btf__free(btf);
	return sl_max(id, 0);
}

TEST(frags, random_programs_do_what_they_do_in_the_kernel)
{
	static struct answer kernel, here;
	static struct program p;
	unsigned ran = 0, refused = 0, pieces = 0;

	ORACLE_OR_SKIP();
	p.pull_data = find_kfunc("bpf_xdp_pull_data");
	for (enum side side = 0; side < SIDES; side++)
		p.perf_map[side] = map_new(side, BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4, 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct input in;

		make_program(&p);
		make_input(&in);
		TRACE_PUSH("round %u, %u bytes, ctx %d: data %u, end %u, repeat %u:%s", round,
			in.size, in.with_ctx, in.md.data, in.md.data_end, in.repeat, p.text);
		ask_side(KERNEL, &p, &in, &kernel);
		ask_side(SLUICE, &p, &in, &here);
		EXPECT_EQ(kernel.ret, here.ret);
		EXPECT_EQ(kernel.retval, here.retval);
		EXPECT_EQ(kernel.size_out, here.size_out);
		EXPECT_EQ(kernel.ctx_size_out, here.ctx_size_out);
		EXPECT_MEMEQ(&kernel.md, &here.md, sizeof(here.md));
		EXPECT_MEMEQ(kernel.packet, here.packet, sizeof(here.packet));
		TRACE_POP();
		ran += kernel.ret == 0;
		refused += kernel.ret < 0;
		pieces += in.size > 4096;
	}
	EXPECT_GT(ran, ROUNDS / 2);
	EXPECT_GT(refused, 0);
	EXPECT_GT(pieces, ROUNDS / 4);
	for (enum side side = 0; side < SIDES; side++)
		close(p.perf_map[side]);
}

/* ---- maps that hold programs ---- */

#define DEVICE_MAPS 40
#define STEPS 6

static const uint32_t map_types[] = { BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH,
	BPF_MAP_TYPE_CPUMAP };

static int load_simple(enum side side, uint32_t attach, uint32_t flags, int used_map)
{
	struct bpf_insn insns[] = {
		{ BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, used_map },
		{ 0 },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 0 },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0 },
		{ BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map },
		{ BPF_JMP | BPF_EXIT },
	};
	bool uses = used_map >= 0;
	union bpf_attr attr;

	if (!uses)
		insns[4] = (struct bpf_insn){ BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1 };
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.expected_attach_type = attach;
	attr.insns = PTR(insns + (uses ? 0 : 4));
	attr.insn_cnt = uses ? 6 : 2;
	attr.license = PTR("GPL");
	attr.prog_flags = flags;
	return (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* A program that uses the map, or one in an entry of it. */
struct step {
	bool uses;
	uint32_t attach, flags;
};

static long take_step(enum side side, const struct step *step, int map)
{
	struct bpf_devmap_val value = { .ifindex = 1 };
	union bpf_attr attr;
	uint32_t key = 0;
	long ret;
	int fd;

	fd = load_simple(side, step->attach, step->flags, step->uses ? map : -1);
	if (step->uses) {
		ret = fd < 0 ? fd : 0;
	} else {
		EXPECT_GE(fd, 0);
		value.bpf_prog.fd = fd;
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)map;
		attr.key = PTR(&key);
		attr.value = PTR(&value);
		ret = call(side, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

TEST(frags, programs_of_one_map_all_know_of_them_or_none)
{
	static const uint32_t attaches[] = { BPF_XDP_DEVMAP, BPF_XDP_CPUMAP, 0 };
	unsigned results[2] = { 0 };

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < DEVICE_MAPS; i++) {
		uint32_t type = map_types[below(sl_array_size(map_types))];
		int maps[SIDES];

		for (enum side side = 0; side < SIDES; side++)
			maps[side] = map_new(side, type, 4, 8, 1, 0);
		for (unsigned s = 0; s < STEPS; s++) {
			struct step step = { .uses = below(3) == 0 };
			long ret[SIDES];

			step.attach = attaches[below(8) ? type == BPF_MAP_TYPE_CPUMAP : below(3)];
			step.flags = below(2) ? BPF_F_XDP_HAS_FRAGS : 0;
			for (enum side side = 0; side < SIDES; side++)
				ret[side] = take_step(side, &step, maps[side]);
			TRACE_PUSH("map %u of type %u, step %u: %s attach %u flags %u", i, type, s,
				step.uses ? "user" : "entry", step.attach, step.flags);
			EXPECT_EQ(ret[KERNEL], ret[SLUICE]);
			TRACE_POP();
			results[ret[KERNEL] < 0]++;
		}
		for (enum side side = 0; side < SIDES; side++)
			close(maps[side]);
	}
	EXPECT_GT(results[0], DEVICE_MAPS);
	EXPECT_GT(results[1], DEVICE_MAPS);
}

/* ---- programs that are bound to a device ---- */

TEST(frags, device_bound_programs_are_refused_as_in_the_kernel)
{
	static const uint32_t types[] = { BPF_PROG_TYPE_XDP, BPF_PROG_TYPE_SCHED_CLS,
		BPF_PROG_TYPE_SCHED_ACT };
	static const uint32_t flags[] = { 0, 1 << 6, BPF_F_XDP_HAS_FRAGS,
		1 << 6 | BPF_F_XDP_HAS_FRAGS, 1 << 6 | BPF_F_TEST_STATE_FREQ };
	static const uint32_t devices[] = { 0, 1, 98765 };
	struct bpf_insn insns[] = {
		{ BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1 },
		{ BPF_JMP | BPF_EXIT },
	};

	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < 3 * 5 * 3; i++) {
		long ret[SIDES];

		for (enum side side = 0; side < SIDES; side++) {
			union bpf_attr attr = { .prog_type = types[i % 3] };

			attr.insns = PTR(insns);
			attr.insn_cnt = 2;
			attr.license = PTR("GPL");
			attr.prog_flags = flags[i / 3 % 5];
			attr.prog_ifindex = devices[i / 15];
			ret[side] = call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
			if (ret[side] >= 0) {
				close((int)ret[side]);
				ret[side] = 0;
			}
		}
		TRACE_PUSH("type %u, flags %#x, device %u", types[i % 3], flags[i / 3 % 5],
			devices[i / 15]);
		EXPECT_EQ(ret[KERNEL], ret[SLUICE]);
		TRACE_POP();
	}
}
