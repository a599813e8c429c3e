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
 * bpf_skb_{set,get}_tunnel_{key,opt} and bpf_check_mtu: random calls as programs that write what
 * they get into the packet, run by the kernel and here; the packets have to be equal.
 */
#define INSN(c, d, s, o, i)                                                         \
	(struct bpf_insn)                                                           \
	{                                                                           \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) \
	}

enum {
	PACKET = 512,
	STEPS = 5,
	STEP_BYTES = 72, /* of the packet: r0, then the buffer */
	BUFFER = 64,
	BUFFER_AT = -BUFFER,
	TRIALS = 100,
};

struct assembler {
	struct bpf_insn insns[1024];
	unsigned count;
};

static void emit(struct assembler *as, uint8_t code, uint8_t dst, uint8_t src, short off, int imm)
{
	as->insns[as->count++] = INSN(code, dst, src, off, imm);
}

/* r6: context, r7: packet. Ends the program where there are not PACKET bytes. */
static void begin(struct assembler *as, bool skb)
{
	as->count = 0;
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 7, 1, skb ? offsetof(struct __sk_buff, data) : 0, 0);
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 2, 1, skb ? offsetof(struct __sk_buff, data_end) : 4,
		0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 3, 7, 0, 0);
	emit(as, BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, PACKET);
	emit(as, BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 99);
	emit(as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int some_word(void)
{
	return rand() % 3 ? rand() : 0;
}

static void fill_buffer(struct assembler *as, const int *words)
{
	for (int i = 0; i < BUFFER / 4; i++)
		emit(as, BPF_ST | BPF_MEM | BPF_W, 10, 0, BUFFER_AT + i * 4, words[i]);
}

/* r1 = context, r2 = buffer or a number, r3 and r4 numbers; r0 and the buffer go into the packet. */
static void call(struct assembler *as, unsigned step, int helper, int64_t r3, int64_t r4)
{
	int at = 14 + (int)step * STEP_BYTES;

	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0);
	if (helper == BPF_FUNC_check_mtu) {
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (int)r3);
		emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 3, 10, 0, 0);
		emit(as, BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, BUFFER_AT);
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, (int)r4);
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 5, 0, 0, (int)(r4 >> 32));
	} else {
		emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
		emit(as, BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, BUFFER_AT);
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, (int)r3);
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, (int)r4);
	}
	emit(as, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
	emit(as, BPF_STX | BPF_MEM | BPF_W, 7, 0, at, 0);
	for (int i = 0; i < BUFFER; i += 4) {
		emit(as, BPF_LDX | BPF_MEM | BPF_W, 1, 10, BUFFER_AT + i, 0);
		emit(as, BPF_STX | BPF_MEM | BPF_W, 7, 1, at + 8 + i, 0);
	}
}

static void end(struct assembler *as)
{
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	emit(as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned int size);

/* The result of the run, or negative errno of load or run. */
static long run(bpf_fn fn, const struct assembler *as, enum bpf_prog_type type, uint8_t *packet,
	uint32_t len)
{
	union bpf_attr attr;
	long fd, ret;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = type;
	attr.insns = (uintptr_t)as->insns;
	attr.insn_cnt = as->count;
	attr.license = (uintptr_t)"GPL";
	fd = fn(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = fd;
	attr.test.data_in = attr.test.data_out = (uintptr_t)packet;
	attr.test.data_size_in = attr.test.data_size_out = len;
	ret = fn(BPF_PROG_TEST_RUN, &attr, sizeof(attr)) < 0 ? -errno : (long)attr.test.retval;
	close(fd);
	return ret;
}

static void compare(const struct assembler *as, enum bpf_prog_type type, uint32_t len)
{
	uint8_t *theirs = calloc(2, len), *ours = theirs + len;

	EXPECT_EQ(run(oracle_bpf, as, type, theirs, len), 0);
	EXPECT_EQ(run(sluice_bpf, as, type, ours, len), 0);
	for (uint32_t at = 14; at < 14 + STEPS * STEP_BYTES; at += STEP_BYTES) {
		TRACE_PUSH("step %u", at / STEP_BYTES);
		EXPECT_MEMEQ(ours + at, theirs + at, STEP_BYTES);
		TRACE_POP();
	}
	free(theirs);
}

static const int sizes[] = { 44, 44, 44, 44, 22, 24, 26, 28, 43, 8, 64, 1, 60 };

/* Of every five, one of the flags the kernel does not know. */
static int64_t some_flags(void)
{
	return rand() % 5 ? rand() & 0x3f : 1 << rand() % 10;
}

TEST(tunnel, keys_and_options_read_as_in_the_kernel)
{
	ORACLE_OR_SKIP();
	for (int trial = 0; trial < TRIALS && !sl_test_has_failed(); trial++) {
		struct assembler as;

		srand(trial);
		TRACE_PUSH("trial %d", trial);
		begin(&as, true);
		for (unsigned step = 0; step < STEPS; step++) {
			static const int helpers[] = { BPF_FUNC_skb_set_tunnel_key,
				BPF_FUNC_skb_get_tunnel_key, BPF_FUNC_skb_get_tunnel_key,
				BPF_FUNC_skb_set_tunnel_opt, BPF_FUNC_skb_get_tunnel_opt };
			int helper =
				helpers[step == 0 ? rand() % 5 * (rand() % 4 == 0) : rand() % 5];
			int words[BUFFER / 4];
			int64_t flags = some_flags();

			for (int i = 0; i < BUFFER / 4; i++)
				words[i] = some_word();
			/* Behind tos and ttl; then the label: mostly as they have to be. */
			if (rand() % 4)
				words[5] &= 0xffff;
			if (rand() % 2)
				words[6] = 0;
			if (rand() % 2)
				flags &= 1;
			fill_buffer(&as, words);
			call(&as, step, helper, sizes[rand() % sl_array_size(sizes)], flags);
		}
		end(&as);
		compare(&as, BPF_PROG_TYPE_SCHED_CLS, PACKET);
		TRACE_POP();
	}
}

TEST(check_mtu, answers_for_the_loopback_interface_as_the_kernel)
{
	static const int lens[] = { 0, 0, 0, 1, 100, 1500, 65535, 65536, 65537, 65550, 70000, -1,
		-20 };
	static const int diffs[] = { 0, 0, 0, 1, -1, 100, -600, 65000, 65022, 65023, 65024, 65025,
		65037, 65038, 65039, 70000, -70000, 0x7fffffff };
	static const int ifindexes[] = { 0, 1, 1, 1, 1, 123456, -1 };

	ORACLE_OR_SKIP();
	for (int trial = 0; trial < TRIALS && !sl_test_has_failed(); trial++) {
		bool skb = trial % 2;
		struct assembler as;

		srand(trial);
		TRACE_PUSH("trial %d", trial);
		begin(&as, skb);
		for (unsigned step = 0; step < STEPS; step++) {
			int words[BUFFER / 4] = { lens[rand() % sl_array_size(lens)] };
			int64_t diff = diffs[rand() % sl_array_size(diffs)];
			int64_t flags = rand() % 3 ? 0 : 1 << rand() % 3;

			fill_buffer(&as, words);
			call(&as, step, BPF_FUNC_check_mtu,
				ifindexes[rand() % sl_array_size(ifindexes)],
				(int64_t)((uint64_t)flags << 32 | (uint32_t)diff));
		}
		end(&as);
		compare(&as, skb ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_XDP, PACKET);
		TRACE_POP();
	}
}
