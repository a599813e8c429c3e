#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <sluice/bpf.h>

#include "cbpf.h"
#include "packet_filter.h"
#include "oracle_pcap.h"
#include "test.h"

/*
 * Filters return what libpcap's own interpreter returns: of expressions put together at random, and
 * of random classic programs that libpcap thinks valid, on packets that are likely to match.
 */
enum { PACKETS = 64, PACKET_MAX = 256, EXPRESSIONS = 60, PROGRAMS = 70, FILTER_MAX = 48 };

static uint64_t random_state = 88172645463325252ull;

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % n;
}

struct packet {
	uint32_t len;
	uint8_t bytes[PACKET_MAX];
};

static struct packet packets[PACKETS];

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* IPv4 or IPv6 with TCP, UDP or ICMP between few hosts, perhaps tagged, cut anywhere; or noise. */
static void make_packet(struct packet *p)
{
	static const uint16_t ports[] = { 53, 80, 443, 1024, 8080 };
	static const uint8_t protocols[] = { 1, 6, 17, 58, 132 };
	uint8_t *at = p->bytes + 12;

	p->len = 14 + random_below(PACKET_MAX - 14);
	for (unsigned i = 0; i < PACKET_MAX; i++)
		p->bytes[i] = (uint8_t)random_below(4);
	if (random_below(8) == 0)
		return;
	if (random_below(4) == 0) {
		put16(at, 0x8100);
		put16(at + 2, random_below(3) + 10);
		at += 4;
	}
	if (random_below(2)) {
		put16(at, 0x0800);
		at += 2;
		at[0] = (uint8_t)(0x45 + random_below(2));
		put16(at + 6, random_below(4) ? 0 : random_below(2) ? 0x2000 : 5);
		at[9] = protocols[random_below(5)];
		memcpy(at + 12, (uint8_t[]){ 10, 0, 0, (uint8_t)random_below(3) }, 4);
		memcpy(at + 16, (uint8_t[]){ 10, 0, 0, (uint8_t)random_below(3) }, 4);
		at += (at[0] & 15) * 4;
	} else {
		put16(at, 0x86dd);
		at += 2;
		at[0] = 0x60;
		at[6] = protocols[random_below(5)];
		at += 40;
	}
	put16(at, ports[random_below(5)]);
	put16(at + 2, ports[random_below(5)]);
	at[13] = (uint8_t)random_below(64);
}

static const char *const primitives[] = { "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "sctp", "arp",
	"host 10.0.0.1", "src host 10.0.0.2", "dst net 10.0.0.0/30", "net 10.0.0", "port 53",
	"src port 443", "dst port 80", "portrange 80-443", "tcp port 8080", "udp src port 53",
	"vlan", "vlan 11", "less 100", "greater 60", "len > 80", "ether[0] & 1 = 0",
	"ip[8] + ip[9] > 8", "tcp[tcpflags] & (tcp-syn|tcp-ack) != 0", "udp[4:2] > 3",
	"ip[0] & 0xf != 5", "ether host 00:01:02:03:00:01", "ether broadcast", "ether proto 0x88b5",
	"ip proto 17", "ip6 proto 6", "len / 3 = 20", "ip[2:2] % 7 = 1", "ether[len - 1] = 2",
	"(ip[1] << 2) > 4", "(ether[20:4] >> 3) & 1 = 1", "ip multicast", "proto 6",
	"host 10.0.0.1 and not host 10.0.0.2" };

static void make_expression(char *text, unsigned depth)
{
	unsigned count = sizeof(primitives) / sizeof(primitives[0]);

	if (depth == 0 || random_below(3) == 0) {
		strcat(text, random_below(4) ? "" : "not ");
		strcat(text, primitives[random_below(count)]);
		return;
	}
	strcat(text, "(");
	make_expression(text, depth - 1);
	strcat(text, random_below(2) ? " and " : " or ");
	make_expression(text, depth - 1);
	strcat(text, ")");
}

static int load(const struct bpf_insn *insns, unsigned count)
{
	static char log[1 << 20];
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER };
	int fd;

	attr.log_buf = (uintptr_t)log;
	attr.log_size = sizeof(log);
	attr.log_level = 1;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = count;
	attr.license = (uintptr_t)"BSD";
	fd = (int)sluice_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		sl_test_fail(__FILE__, __LINE__, "%s: %s", strerror(errno), log);
	return fd;
}

/* A test run of a socket filter takes a link-layer header away first. */
static uint32_t run(int fd, const struct packet *p)
{
	union bpf_attr attr = { 0 };
	uint8_t framed[ETH_HLEN + PACKET_MAX] = { [12] = 0x88, [13] = 0xb5 };

	attr.test.prog_fd = (uint32_t)fd;
	memcpy(framed + ETH_HLEN, p->bytes, p->len);
	attr.test.data_in = (uintptr_t)framed;
	attr.test.data_size_in = ETH_HLEN + p->len;
	EXPECT_EQ(0, sluice_bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)));
	return attr.test.retval;
}

/* Returns how many of the packets match. */
static unsigned compare(const struct sock_filter *filter, unsigned count)
{
	struct bpf_insn *insns = NULL;
	unsigned insn_count = 0, matches = 0;
	int fd, err = sl_cbpf_convert(filter, count, &insns, &insn_count);

	EXPECT_EQ(0, err);
	if (err)
		return 0;
	fd = load(insns, insn_count);
	free(insns);
	for (unsigned i = 0; fd >= 0 && i < PACKETS; i++) {
		uint32_t expected =
			oracle_pcap_run(filter, count, packets[i].bytes, packets[i].len);

		matches += expected != 0;
		sl_test_trace_push(__FILE__, __LINE__, "packet %u", i);
		EXPECT_EQ(expected, run(fd, &packets[i]));
		sl_test_trace_pop();
	}
	close(fd);
	return matches;
}

static void make_packets(void)
{
	for (unsigned i = 0; i < PACKETS; i++)
		make_packet(&packets[i]);
}

TEST(filter, expressions_match_what_libpcap_matches)
{
	unsigned matches = 0, compiled = 0;

	for (unsigned i = 0; i < EXPRESSIONS && !sl_test_has_failed(); i++) {
		struct sock_filter *filter;
		char text[2048] = "", why[256];
		unsigned count;

		make_packets();
		make_expression(text, 3);
		/* Some make no sense: "arp and not ether[...]" does, "vlan 11 and less ..." not always. */
		if (sl_filter_compile(text, 0, 0, &filter, &count, why, sizeof(why)) != 0)
			continue;
		sl_test_trace_push(__FILE__, __LINE__, "%s", text);
		matches += compare(filter, count);
		sl_test_trace_pop();
		compiled++;
		free(filter);
	}
	EXPECT_TRUE(compiled > EXPRESSIONS / 2);
	EXPECT_TRUE(matches > compiled);
	EXPECT_TRUE(matches < compiled * PACKETS);
}

/* One instruction, of all kinds and with operands that are worth something. */
static struct sock_filter random_insn(unsigned left)
{
	static const uint16_t codes[] = { BPF_LD | BPF_IMM, BPF_LD | BPF_ABS | BPF_B,
		BPF_LD | BPF_ABS | BPF_H, BPF_LD | BPF_ABS | BPF_W, BPF_LD | BPF_IND | BPF_B,
		BPF_LD | BPF_IND | BPF_H, BPF_LD | BPF_IND | BPF_W, BPF_LD | BPF_MEM,
		BPF_LD | BPF_LEN | BPF_W, BPF_LDX | BPF_IMM, BPF_LDX | BPF_MEM,
		BPF_LDX | BPF_MSH | BPF_B, BPF_LDX | BPF_LEN | BPF_W, BPF_ST, BPF_STX,
		BPF_MISC | BPF_TAX, BPF_MISC | BPF_TXA, BPF_ALU | BPF_ADD, BPF_ALU | BPF_SUB,
		BPF_ALU | BPF_MUL, BPF_ALU | BPF_DIV, BPF_ALU | BPF_MOD, BPF_ALU | BPF_AND,
		BPF_ALU | BPF_OR, BPF_ALU | BPF_XOR, BPF_ALU | BPF_LSH, BPF_ALU | BPF_RSH,
		BPF_ALU | BPF_NEG, BPF_JMP | BPF_JA, BPF_JMP | BPF_JEQ, BPF_JMP | BPF_JGT,
		BPF_JMP | BPF_JGE, BPF_JMP | BPF_JSET };
	static const uint32_t values[] = { 0, 1, 2, 4, 6, 14, 23, 31, 32, 60, 255, 0x7fffffff,
		0x80000000, 0xfffffff0, 0xffffffff };
	struct sock_filter f = { .code = codes[random_below(sizeof(codes) / sizeof(codes[0]))],
		.k = values[random_below(sizeof(values) / sizeof(values[0]))] };
	unsigned class = BPF_CLASS(f.code), op = BPF_OP(f.code);

	if ((class == BPF_LD || class == BPF_LDX) && BPF_MODE(f.code) == BPF_ABS && random_below(8))
		f.k %= 64;
	if (class == BPF_ST || class == BPF_STX ||
		((class == BPF_LD || class == BPF_LDX) && BPF_MODE(f.code) == BPF_MEM))
		f.k %= BPF_MEMWORDS;
	if (class == BPF_ALU && op != BPF_NEG && random_below(2))
		f.code |= BPF_X;
	if (class == BPF_ALU && (op == BPF_DIV || op == BPF_MOD) && f.k == 0)
		f.k = 3;
	if (class == BPF_ALU && (op == BPF_LSH || op == BPF_RSH))
		f.k %= 32;
	if (class == BPF_JMP && op == BPF_JA)
		f.k = random_below(left < 5 ? left : 5);
	else if (class == BPF_JMP) {
		f.code |= random_below(2) ? BPF_X : BPF_K;
		f.jt = (uint8_t)random_below(left < 9 ? left : 9);
		f.jf = (uint8_t)random_below(left < 9 ? left : 9);
	}
	return f;
}

/* All words of memory are written first: what they hold before is not the same everywhere. */
static unsigned random_filter(struct sock_filter *filter)
{
	unsigned count = BPF_MEMWORDS + 1 + random_below(FILTER_MAX - BPF_MEMWORDS - 3);

	for (unsigned i = 0; i < BPF_MEMWORDS; i++)
		filter[i] = (struct sock_filter){ .code = BPF_ST, .k = i };
	for (unsigned i = BPF_MEMWORDS; i < count; i++)
		filter[i] = random_insn(count - i);
	filter[count] = (struct sock_filter){ .code = BPF_RET | BPF_A };
	return count + 1;
}

TEST(filter, programs_return_what_libpcap_returns)
{
	unsigned valid = 0, matches = 0;

	for (unsigned i = 0; i < PROGRAMS && !sl_test_has_failed(); i++) {
		struct sock_filter filter[FILTER_MAX];
		unsigned count = random_filter(filter);

		if (!oracle_pcap_valid(filter, count))
			continue;
		make_packets();
		sl_test_trace_push(__FILE__, __LINE__, "program %u of %u instructions", i, count);
		matches += compare(filter, count);
		sl_test_trace_pop();
		valid++;
	}
	EXPECT_TRUE(valid > PROGRAMS / 2);
	EXPECT_TRUE(matches > valid);
}

TEST(filter, long_ones_load)
{
	struct sock_filter *filter;
	static char text[32768];
	char why[256];
	unsigned count;

	for (unsigned i = 0; i < 100; i++)
		sprintf(text + strlen(text), "%shost 10.%u.%u.7", i ? " or " : "", i % 7, i % 256);
	ASSERT_EQ(0, sl_filter_compile(text, 0, 0, &filter, &count, why, sizeof(why)));
	make_packets();
	compare(filter, count);
	free(filter);
}

TEST(filter, refuses_what_is_none)
{
	static const struct {
		struct sock_filter insns[2];
		unsigned count;
	} rows[] = {
		{ { { BPF_RET | BPF_K, 0, 0, 0 } }, 0 },
		{ { { BPF_LD | BPF_IMM, 0, 0, 0 } }, 1 }, /* runs past the end */
		{ { { BPF_JMP | BPF_JA, 0, 0, 1 }, { BPF_RET | BPF_K, 0, 0, 0 } }, 2 },
		{ { { BPF_JMP | BPF_JA, 0, 0, UINT32_MAX }, { BPF_RET | BPF_K, 0, 0, 0 } }, 2 },
		{ { { BPF_JMP | BPF_JEQ, 0, 9, 0 }, { BPF_RET | BPF_K, 0, 0, 0 } }, 2 },
		{ { { BPF_ST, 0, 0, BPF_MEMWORDS }, { BPF_RET | BPF_K, 0, 0, 0 } }, 2 },
		{ { { BPF_ALU | BPF_DIV, 0, 0, 0 }, { BPF_RET | BPF_K, 0, 0, 0 } }, 2 },
		{ { { BPF_ALU | BPF_LSH, 0, 0, 32 }, { BPF_RET | BPF_K, 0, 0, 0 } }, 2 },
		{ { { BPF_RET | 0x18, 0, 0, 0 } }, 1 },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bpf_insn *insns;
		unsigned count;

		sl_test_trace_push(__FILE__, __LINE__, "row %u", i);
		EXPECT_EQ(-EINVAL, sl_cbpf_convert(rows[i].insns, rows[i].count, &insns, &count));
		sl_test_trace_pop();
	}
}

TEST(filter, says_what_libpcap_says_is_wrong)
{
	char why[256] = "";
	int fds[2];

	EXPECT_EQ(-EINVAL, sl_filter_load_both(sluice_bpf, "port and", 0, fds, why, sizeof(why)));
	EXPECT_CONTAINS(why, "syntax error");
	EXPECT_EQ(0, sl_filter_load_both(sluice_bpf, "", 0, fds, why, sizeof(why)));
	EXPECT_EQ(-1, fds[0]);
	EXPECT_EQ(0, sl_filter_load_both(sluice_bpf, "udp port 53", 0, fds, why, sizeof(why)));
	EXPECT_TRUE(fds[0] >= 0 && fds[1] >= 0);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(0, sl_filter_load_both(sluice_bpf, "vlan 3", 0, fds, why, sizeof(why)));
	EXPECT_TRUE(fds[0] >= 0);
	EXPECT_EQ(-1, fds[1]);
	close(fds[0]);
}
