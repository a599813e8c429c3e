#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "oracle.h"
#include "test.h"

/*
 * bpf_tcp_raw_gen_syncookie_* and _check_*: one program plays client and server with headers from
 * the packet. The secrets differ, so each side's cookie goes to its own check; what they answer, the
 * MSS and the errors have to be the same.
 */

#define INSN(c, d, s, o, i) { (c), (d), (s), (o), (i) }
#define MOV_X(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV32_X(d, s) INSN(BPF_ALU | BPF_MOV | BPF_X, d, s, 0, 0)
#define ALU_K(op, d, i) INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define ALU_X(op, d, s) INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define LOAD(d, s, o, size) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(d, s, o, size) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define TO_BE32(d) INSN(BPF_ALU | BPF_END | BPF_TO_BE, d, 0, 0, 32)
#define HELPER(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

enum {
	PACKET = 192,
	IP = 15, /* not aligned */
	TCP = 55,
	LEN = 124, /* of the TCP header */
	FLIP = 128, /* bits of the cookie that are changed */
	MADE = 136, /* the results: the cookie, */
	RIGHT = 144, /* of its check, */
	WRONG = 152, /* and of that of the changed one */
	TRIALS = 3000,
};

#define HEADERS MOV_X(1, 7), ALU_K(BPF_ADD, 1, IP), MOV_X(2, 7), ALU_K(BPF_ADD, 2, TCP)

/* The client's ACK: its next sequence number, and the one behind the cookie (r8). */
#define PROGRAM(generate, check)                                                                  \
	{ LOAD(7, 1, 0, BPF_W), LOAD(2, 1, 4, BPF_W), MOV_X(3, 7), ALU_K(BPF_ADD, 3, 176),        \
		INSN(BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0), ALU_K(BPF_MOV, 0, 9), EXIT, HEADERS, \
		LOAD(3, 7, LEN, BPF_W), ALU_K(BPF_AND, 3, 63), HELPER(generate),                  \
		STORE(7, 0, MADE, BPF_DW), MOV32_X(8, 0), ALU_K(BPF_ADD, 8, 1),                   \
		LOAD(1, 7, TCP + 4, BPF_W), TO_BE32(1), ALU_K(BPF_ADD, 1, 1), TO_BE32(1),         \
		STORE(7, 1, TCP + 4, BPF_W), MOV32_X(1, 8), TO_BE32(1),                           \
		STORE(7, 1, TCP + 8, BPF_W), HEADERS, HELPER(check), STORE(7, 0, RIGHT, BPF_DW),  \
		LOAD(1, 7, FLIP, BPF_W), ALU_X(BPF_XOR, 8, 1), MOV32_X(8, 8), TO_BE32(8),         \
		STORE(7, 8, TCP + 8, BPF_W), HEADERS, HELPER(check), STORE(7, 0, WRONG, BPF_DW),  \
		ALU_K(BPF_MOV, 0, 0), EXIT }

static const struct bpf_insn programs[][45] = {
	PROGRAM(BPF_FUNC_tcp_raw_gen_syncookie_ipv4, BPF_FUNC_tcp_raw_check_syncookie_ipv4),
	PROGRAM(BPF_FUNC_tcp_raw_gen_syncookie_ipv6, BPF_FUNC_tcp_raw_check_syncookie_ipv6),
};

static unsigned length(const struct bpf_insn *insns)
{
	unsigned count = 45;

	while (!insns[count - 1].code)
		count--;
	return count;
}

static long run(enum side side, int fd, uint8_t *packet)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = attr.test.data_out = PTR(packet);
	attr.test.data_size_in = attr.test.data_size_out = PACKET;
	return call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
}

/* Options: an MSS among paddings, others, and nonsense. */
static void make_options(uint8_t *at, unsigned len)
{
	static const uint16_t sizes[] = { 0, 1, 535, 536, 1219, 1220, 1299, 1300, 1420, 1439, 1440,
		1459, 1460, 8939, 8940, 65535 };

	for (unsigned i = 0; i < len; i++)
		at[i] = rand() % 4 ? 1 : (uint8_t)(rand() % 6);
	for (unsigned n = (unsigned)rand() % 3; n > 0 && len >= 4; n--) {
		uint16_t mss = sizes[(unsigned)rand() % (sizeof(sizes) / sizeof(sizes[0]))];
		unsigned where = (unsigned)rand() % (len - 2);

		at[where] = 2;
		at[where + 1] = rand() % 8 ? 4 : (uint8_t)(rand() % 8);
		at[where + 2] = (uint8_t)(mss >> 8);
		if (where + 3 < len)
			at[where + 3] = (uint8_t)mss;
	}
}

static void make(uint8_t packet[PACKET])
{
	uint32_t len = 20 + 4 * ((uint32_t)rand() % 11), flip;

	for (unsigned i = 0; i < PACKET; i++)
		packet[i] = (uint8_t)rand();
	make_options(packet + TCP + 20, 40);
	packet[TCP + 12] = (uint8_t)(len / 4 << 4);
	if (rand() % 8 == 0)
		len = (uint32_t)rand() % 64;
	memcpy(packet + LEN, &len, sizeof(len));
	/* The cookie is found again with another index of an MSS: its lowest bits may change. */
	flip = 8u << rand() % 29;
	memcpy(packet + FLIP, &flip, sizeof(flip));
}

static int64_t result(const uint8_t *packet, unsigned at)
{
	int64_t r;

	memcpy(&r, packet + at, sizeof(r));
	return r;
}

/* Of the cookie only the MSS, in the upper half, can be compared. */
static void compare(uint8_t packet[SIDES][PACKET])
{
	int64_t theirs = result(packet[KERNEL], MADE), ours = result(packet[SLUICE], MADE);

	EXPECT_EQ(ours < 0 ? ours : ours >> 32, theirs < 0 ? theirs : theirs >> 32);
	EXPECT_EQ(result(packet[SLUICE], RIGHT), result(packet[KERNEL], RIGHT));
	EXPECT_EQ(result(packet[SLUICE], WRONG), result(packet[KERNEL], WRONG));
	if (theirs >= 0) {
		EXPECT_EQ(result(packet[SLUICE], RIGHT), 0);
		EXPECT_EQ(result(packet[SLUICE], WRONG), -EACCES);
	}
}

TEST(syncookie, what_is_made_is_accepted_as_in_the_kernel)
{
	unsigned made = 0;

	ORACLE_OR_SKIP();
	srand(1);
	for (unsigned v = 0; v < 2; v++) {
		int fd[SIDES];

		for (enum side s = 0; s < SIDES; s++) {
			fd[s] = prog_new(s, BPF_PROG_TYPE_XDP, programs[v], length(programs[v]));
			ASSERT_GE(fd[s], 0);
		}
		for (unsigned i = 0; i < TRIALS && !sl_test_has_failed(); i++) {
			uint8_t packet[SIDES][PACKET];

			TRACE_PUSH("version %u, trial %u", v, i);
			make(packet[KERNEL]);
			memcpy(packet[SLUICE], packet[KERNEL], PACKET);
			for (enum side s = 0; s < SIDES; s++)
				ASSERT_EQ(run(s, fd[s], packet[s]), 0);
			compare(packet);
			made += result(packet[KERNEL], MADE) >= 0;
			TRACE_POP();
		}
		for (enum side s = 0; s < SIDES; s++)
			close(fd[s]);
	}
	EXPECT_GT(made, (unsigned)TRIALS);
}
