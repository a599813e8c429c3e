#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/bpf.h>

#include "defs.h"
#include "oracle.h"
#include "sluice/bpf.h"
#include "test.h"

/*
 * bpf_redirect_map in test runs: what it returns for the maps that it takes, for any key and any
 * flags, here and in the kernel; and which programs may use such a map together with others.
 */
typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned int size);

enum { LOOPBACK = 1, CALLS = 400, STEPS = 60, PACKET = 64 };

static long bpf(bpf_fn fn, int cmd, union bpf_attr *attr)
{
	long ret = fn(cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

static int new_map(bpf_fn fn, enum bpf_map_type type, uint32_t value_size)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = value_size;
	attr.max_entries = type == BPF_MAP_TYPE_CPUMAP ? 2 : 8;
	return (int)bpf(fn, BPF_MAP_CREATE, &attr);
}

static int update(bpf_fn fn, int map, uint32_t key, uint32_t value, int prog)
{
	struct bpf_devmap_val val = { .ifindex = value, .bpf_prog.fd = prog };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&val;
	return (int)bpf(fn, BPF_MAP_UPDATE_ELEM, &attr);
}

static int load(
	bpf_fn fn, const struct bpf_insn *insns, size_t count, uint32_t attach_type, uint32_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = (uint32_t)count;
	attr.license = (uintptr_t)"GPL";
	attr.expected_attach_type = attach_type;
	attr.prog_flags = flags;
	return (int)bpf(fn, BPF_PROG_LOAD, &attr);
}

/* The packet begins with the key and the flags. */
static int load_redirect(bpf_fn fn, int map, uint32_t flags)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 6, .src_reg = 1 },
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 7, .src_reg = 1, .off = 4 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 6 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = 16 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 99 },
		{ .code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = 2, .src_reg = 7, .off = 5 },
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 2, .src_reg = 6 },
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 3, .src_reg = 6, .off = 8 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM,
			.dst_reg = 1,
			.src_reg = BPF_PSEUDO_MAP_FD,
			.imm = map },
		{ 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return load(fn, insns, sl_array_size(insns), BPF_XDP, flags);
}

static int load_entry(bpf_fn fn, uint32_t attach_type, uint32_t flags)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return load(fn, insns, sl_array_size(insns), attach_type, flags);
}

static long run(bpf_fn fn, int prog, uint64_t key, uint64_t flags)
{
	uint64_t packet[PACKET / 8] = { key, flags };
	union bpf_attr attr;
	long err;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 1;
	err = bpf(fn, BPF_PROG_TEST_RUN, &attr);
	return err ? err : (long)attr.test.retval;
}

struct side {
	bpf_fn fn;
	int map, prog;
};

static void set_up(struct side *s, enum bpf_map_type type)
{
	s->map = new_map(s->fn, type, 4);
	ASSERT_GE(s->map, 0);
	if (type != BPF_MAP_TYPE_XSKMAP) {
		ASSERT_EQ(update(s->fn, s->map, 0, LOOPBACK, 0), 0);
		if (type != BPF_MAP_TYPE_CPUMAP)
			ASSERT_EQ(update(s->fn, s->map, 5, LOOPBACK, 0), 0);
	}
	s->prog = load_redirect(s->fn, s->map, 0);
	ASSERT_GE(s->prog, 0);
}

static uint64_t random_key(void)
{
	static const uint64_t keys[] = { 0, 1, 5, 7, 8, 13, UINT32_MAX, 1ull << 32, UINT64_MAX };

	return keys[(unsigned)rand() % sl_array_size(keys)];
}

static uint64_t random_flags(void)
{
	static const uint64_t flags[] = { 0, 0, BPF_F_BROADCAST, BPF_F_EXCLUDE_INGRESS,
		BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS, 1 << 5, 1ull << 32, 1ull << 63 };

	return flags[(unsigned)rand() % sl_array_size(flags)] | ((unsigned)rand() % 5);
}

static const enum bpf_map_type types[] = { BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH,
	BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_XSKMAP };

TEST(redirect_helper, it_returns_what_the_kernels_does)
{
	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sl_array_size(types); i++) {
		struct side ours = { .fn = sluice_bpf }, kernels = { .fn = oracle_bpf };

		srand(i + 1);
		set_up(&ours, types[i]);
		set_up(&kernels, types[i]);
		for (unsigned n = 0; n < CALLS && !sl_test_has_failed(); n++) {
			uint64_t key = random_key(), flags = random_flags();

			TRACE_PUSH("type %u key %#llx flags %#llx", types[i],
				(unsigned long long)key, (unsigned long long)flags);
			EXPECT_EQ(run(ours.fn, ours.prog, key, flags),
				run(kernels.fn, kernels.prog, key, flags));
			TRACE_POP();
		}
		close(ours.prog);
		close(ours.map);
		close(kernels.prog);
		close(kernels.map);
	}
}

/* Programs with and without frags, in entries and as users of a map: the first one decides. */
static int random_step(bpf_fn fn, int map, uint32_t attach_type, unsigned what)
{
	uint32_t flags = what & 1 ? BPF_F_XDP_HAS_FRAGS : 0;
	int prog, err;

	if (what & 2) {
		prog = load_redirect(fn, map, flags);
		if (prog >= 0)
			close(prog);
		return sl_min(prog, 0);
	}
	prog = load_entry(fn, what & 4 ? BPF_XDP : attach_type, flags);
	if (prog < 0)
		return prog;
	err = update(fn, map, 0, LOOPBACK, prog);
	close(prog);
	return err;
}

TEST(redirect_helper, programs_of_one_map_agree_about_frags)
{
	ORACLE_OR_SKIP();
	for (unsigned round = 0; round < STEPS && !sl_test_has_failed(); round++) {
		enum bpf_map_type type = types[round % 3];
		uint32_t attach = type == BPF_MAP_TYPE_CPUMAP ? BPF_XDP_CPUMAP : BPF_XDP_DEVMAP;
		int ours = new_map(sluice_bpf, type, 8), kernels = new_map(oracle_bpf, type, 8);

		srand(round + 1);
		for (unsigned n = 0; n < 5; n++) {
			unsigned what = (unsigned)rand() % 8;

			TRACE_PUSH("round %u, step %u: type %u, %u", round, n, type, what);
			EXPECT_EQ(random_step(sluice_bpf, ours, attach, what),
				random_step(oracle_bpf, kernels, attach, what));
			TRACE_POP();
		}
		close(ours);
		close(kernels);
	}
}
