#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "both.h"
#include "network.h"
#include "oracle.h"
#include "test.h"

/*
 * bpf_fib_lookup with random parameters, by one program in the kernel and here, over the same
 * network: the result and every byte of the parameters have to be equal. Compiled twice: Sluice is told
 * the network, or (IMPORTED) finds the kernel's.
 */

#define INSN(c, d, s, o, i) { (c), (d), (s), (o), (i) }
#define MOV_X(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_K(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD_K(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(d, s, o, size) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(d, s, o, size) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

enum {
	PACKET = 128,
	AT_PARAMS = 16,
	AT_FLAGS = 80,
	AT_RESULT = 88,
	LOOK_UPS = IMPORTED ? 1000 : 4000,
	FLAGS = 6
};

#define IN(o) LOAD(1, 7, AT_PARAMS + (o), BPF_DW), STORE(10, 1, -64 + (o), BPF_DW)
#define OUT(o) LOAD(1, 10, -64 + (o), BPF_DW), STORE(7, 1, AT_PARAMS + (o), BPF_DW)

/* Parameters and flags come from the packet, and what they became goes back there. */
#define PROGRAM(data, data_end, size)                                                          \
	{ MOV_X(6, 1), LOAD(7, 1, data, BPF_W), LOAD(2, 1, data_end, BPF_W), MOV_X(3, 7),      \
		ADD_K(3, 100), INSN(BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0), MOV_K(0, 9), EXIT, \
		IN(0), IN(8), IN(16), IN(24), IN(32), IN(40), IN(48), IN(56), MOV_X(1, 6),     \
		MOV_X(2, 10), ADD_K(2, -64), MOV_K(3, size), LOAD(4, 7, AT_FLAGS, BPF_W),      \
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_fib_lookup),                        \
		STORE(7, 0, AT_RESULT, BPF_DW), OUT(0), OUT(8), OUT(16), OUT(24), OUT(32),     \
		OUT(40), OUT(48), OUT(56), MOV_K(0, 0), EXIT }

static const struct bpf_insn xdp_program[] = PROGRAM(0, 4, 64);
static const struct bpf_insn skb_program[] = PROGRAM(76, 80, 64);
static const struct bpf_insn short_program[] = PROGRAM(0, 4, 63);

/* The packet that comes back holds what the program wrote. */
static long run(enum side side, int fd, uint8_t *packet, uint32_t len)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = attr.test.data_out = PTR(packet);
	attr.test.data_size_in = attr.test.data_size_out = len;
	return call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
}

struct params {
	uint8_t family, protocol;
	uint16_t sport, dport, tot_len;
	uint32_t ifindex, tos;
	uint8_t src[16], dst[16];
	uint32_t table, mark, rest[2];
};

static uint32_t links[NETWORK_LINKS];

static void print(char *text, size_t size, const uint8_t *packet)
{
	const struct params *p = (const void *)(packet + AT_PARAMS);
	size_t len = 0;

	len += snprintf(text + len, size - len,
		"flags %#x family %u len %u if %u tos %#x table %u "
		"mark %u src ",
		*(const uint32_t *)(packet + AT_FLAGS), p->family, p->tot_len, p->ifindex, p->tos,
		p->table, p->mark);
	for (int i = 0; i < 16; i++)
		len += snprintf(text + len, size - len, "%02x", p->src[i]);
	len += snprintf(text + len, size - len, " dst ");
	for (int i = 0; i < 16; i++)
		len += snprintf(text + len, size - len, "%02x", p->dst[i]);
	snprintf(text + len, size - len, " result %lld",
		(long long)*(int64_t *)(packet + AT_RESULT));
}

static uint32_t pick(const uint32_t *from, unsigned count)
{
	return from[(unsigned)rand() % count];
}

static void random_ipv4(uint8_t *ip)
{
	static const uint8_t seconds[] = { 0, 0, 1, 2, 3, 20, 21, 22, 23, 30, 31, 40, 41, 60 };
	static const uint8_t lasts[] = { 0, 1, 2, 3, 4, 5, 9, 77, 255 };

	ip[0] = rand() % 12 ? 10 : (uint8_t)rand();
	ip[1] = rand() % 3 ? 0 : seconds[(unsigned)rand() % sizeof(seconds)];
	ip[2] = ip[1] ? (uint8_t)(rand() % 4) : seconds[(unsigned)rand() % 6];
	ip[3] = lasts[(unsigned)rand() % sizeof(lasts)];
	if (rand() % 20 == 0)
		memset(ip, 0, 4);
}

static void random_ipv6(uint8_t *ip)
{
	static const uint8_t seconds[] = { 0, 1, 2, 3, 0x20, 0x21, 0x22, 0x30, 0x31, 0x40 };

	memset(ip, 0, 16);
	ip[0] = 0xfd;
	ip[3] = seconds[(unsigned)rand() % sizeof(seconds)];
	ip[15] = (uint8_t)(rand() % 6);
	switch (rand() % 16) {
	case 0:
		ip[0] = 0xfe;
		ip[1] = 0x80;
		break;
	case 1:
		ip[0] = 0xff;
		break;
	case 2:
		ip[0] = 0x20;
		ip[1] = (uint8_t)(rand() % 3);
		break;
	case 3:
		memset(ip, 0, 15);
		break;
	}
}

static void make(uint8_t packet[PACKET])
{
	static const uint32_t lens[] = { 0, 0, 0, 100, 1280, 1281, 1300, 1301, 1400, 1401, 1500,
		1501, 9000, 9001, 65535 };
	static const uint32_t tables[] = { 254, 255, 253, 100, 100, 200, 77, 0 };
	const uint32_t interfaces[] = { links[0], links[0], links[0], links[1], links[2], links[3],
		1, 12345, 0 };
	struct params p;
	uint32_t flags = 0;

	for (size_t i = 0; i < sizeof(p); i++)
		((uint8_t *)&p)[i] = (uint8_t)rand();
	memset(packet, 0, PACKET);
	p.family = rand() % 50 == 0 ? (uint8_t)rand() : rand() % 2 ? AF_INET : AF_INET6;
	p.tot_len = (uint16_t)pick(lens, sl_array_size(lens));
	p.ifindex = pick(interfaces, sl_array_size(interfaces));
	p.tos = rand() % 3 ? 0 : (uint32_t)rand() % 256;
	if (p.family == AF_INET6) {
		random_ipv6(p.src);
		random_ipv6(p.dst);
	} else {
		random_ipv4(p.src);
		random_ipv4(p.dst);
	}
	p.table = pick(tables, sl_array_size(tables));
	p.mark = (uint32_t)rand() % 8;
	for (unsigned bit = 0; bit < FLAGS; bit++)
		flags |= (uint32_t)(rand() % 4 == 0) << bit;
	if (rand() % 100 == 0)
		flags |= 1u << rand() % 32;
	memcpy(packet + AT_PARAMS, &p, sizeof(p));
	memcpy(packet + AT_FLAGS, &flags, sizeof(flags));
}

static unsigned results[16];

static void compare(enum bpf_prog_type type, unsigned count)
{
	bool skb = type != BPF_PROG_TYPE_XDP;
	const struct bpf_insn *insns = skb ? skb_program : xdp_program;
	uint8_t packet[SIDES][PACKET], before[PACKET];
	char text[3][512];
	int fd[SIDES];

	for (enum side s = 0; s < SIDES; s++) {
		fd[s] = prog_new(s, type, insns, sl_array_size(xdp_program));
		ASSERT_GE(fd[s], 0);
	}
	for (unsigned i = 0; i < count; i++) {
		make(before);
		for (enum side s = 0; s < SIDES; s++) {
			memcpy(packet[s], before, PACKET);
			ASSERT_EQ(run(s, fd[s], packet[s], PACKET), 0);
		}
		results[packet[KERNEL][AT_RESULT] % 16]++;
		if (memcmp(packet[KERNEL], packet[SLUICE], PACKET) == 0)
			continue;
		print(text[0], sizeof(text[0]), before);
		print(text[1], sizeof(text[1]), packet[KERNEL]);
		print(text[2], sizeof(text[2]), packet[SLUICE]);
		sl_test_fail(__FILE__, __LINE__, "%u, type %u:\n%s\nkernel: %s\nours:   %s", i,
			type, text[0], text[1], text[2]);
		if (getenv("ALL") == NULL)
			break;
	}
	for (enum side s = 0; s < SIDES; s++)
		close(fd[s]);
}

static void add_addresses(void)
{
	network_both("addr add 10.0.0.1/24 dev d0");
	network_both("addr add 10.0.1.1/24 dev d1");
	network_both("addr add 10.0.1.9/24 dev d1");
	network_both("addr add 10.0.2.1/30 dev d2");
	network_both("addr add 10.0.2.77/32 dev d2");
	network_both("addr add 10.0.3.1/24 dev d3");
	network_both("addr add fd00:0::1/64 dev d0 nodad");
	network_both("addr add fd00:1::1/64 dev d1 nodad");
	network_both("addr add fd00:1::5/64 dev d1 nodad");
	network_both("addr add fd00:2::1/126 dev d2 nodad");
	network_both("addr add 2001::1/64 dev d2 nodad");
	network_both("addr add fe80::1/64 dev d1 nodad");
	network_both("addr add fd00:3::1/64 dev d3 nodad");
}

static void add_routes(void)
{
	network_both("route add 10.20.0.0/16 via 10.0.0.2 dev d0");
	network_both("route add 10.20.1.0/24 via 10.0.1.3 dev d1 metric 7 mtu lock 1300");
	network_both("route add 10.20.2.0/24 via 10.0.1.3 dev d1 metric 7 mtu 1300");
	network_both("route add 10.20.2.0/24 via 10.0.0.2 dev d0 metric 9");
	network_both("route append 10.20.2.0/24 via 10.0.0.3 dev d0 metric 9");
	network_both("route add 10.20.3.0/24 dev d2 src 10.0.1.9");
	network_both("route add 10.21.0.0/16 via inet6 fd00:1::2 dev d1");
	network_both("route add 10.21.1.0/24 via inet6 fe80::9 dev d0 metric 3");
	network_both("route add 10.22.0.0/16 tos 0x10 via 10.0.0.3 dev d0");
	network_both("route add 10.22.0.0/16 via 10.0.0.4 metric 2");
	network_both("route add blackhole 10.30.0.0/24");
	network_both("route add unreachable 10.30.1.0/24");
	network_both("route add prohibit 10.30.2.0/24");
	network_both("route add throw 10.30.3.0/24");
	network_both("route add 10.31.0.0/16 dev d3");
	network_both("route add 10.40.0.0/16 via 10.0.0.2 table 100");
	network_both("route add 10.41.0.0/16 dev d1 table 100 metric 20");
	network_both("route add unreachable default table 200 metric 5");
	network_both("route add 10.60.0.0/16 dev d1 table 253");
	network_both("route add default via 10.0.2.2 dev d2");
	network_both("-6 route add fd00:20::/32 via fd00:0::2 dev d0");
	network_both("-6 route add fd00:21::/32 via fd00:1::2 metric 7 mtu lock 1300");
	network_both("-6 route add fd00:22::/32 via fd00:1::3 dev d1 mtu 1300");
	network_both("-6 route add fd00:22::/64 dev d2 metric 5 src fd00:1::5");
	network_both("-6 route add fd00:22::/64 dev d1 metric 6");
	network_both("-6 route add blackhole fd00:30::/64");
	network_both("-6 route add unreachable fd00:30::2/128");
	network_both("-6 route add prohibit fd00:31::/64");
	network_both("-6 route add throw fd00:31::3/128");
	network_both("-6 route add fd00:40::/32 via fe80::9 dev d2 table 100");
	network_both("-6 route add 2000::/16 dev d0");
	network_both("-6 route add 2001::/16 dev d2");
}

static void add_neighbours(void)
{
	network_both("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev d0");
	network_both("neigh add 10.0.0.3 lladdr 02:00:00:00:00:03 dev d0 nud stale");
	network_both("neigh add 10.0.1.3 lladdr 02:00:00:00:01:03 dev d1 nud reachable");
	network_both("neigh add 10.0.2.2 lladdr 02:00:00:00:02:02 dev d2");
	network_both("neigh add 10.20.3.4 lladdr 02:00:00:00:03:04 dev d2");
	network_both("neigh add fd00:0::2 lladdr 02:00:00:00:06:02 dev d0");
	network_both("neigh add fd00:1::2 lladdr 02:00:00:00:06:03 dev d1");
	network_both("neigh add fd00:1::3 lladdr 02:00:00:00:06:04 dev d1 nud noarp");
	network_both("neigh add fe80::9 lladdr 02:00:00:00:06:09 dev d0");
	network_both("neigh add 2000::1 lladdr 02:00:00:00:06:0a dev d0");
}

static bool ready(void)
{
	static int state; /* 1: there is a network, 2: there is none */
	const char *reason = "the kernel's bpf(2) is not permitted to this user";

	if (!state) {
		state = 2;
		network_is_mirrored = !IMPORTED;
		if (oracle_permitted() && network_enter(&reason)) {
			state = 1;
			network_make_links(links);
			add_addresses();
			add_routes();
			add_neighbours();
		}
	}
	if (state == 2)
		sl_test_skip(__FILE__, __LINE__, "%s", reason);
	return state == 1;
}

TEST(fib_lookup, answers_as_the_kernel)
{
	if (!ready())
		return;
	srand(1);
	compare(BPF_PROG_TYPE_XDP, LOOK_UPS);
	compare(BPF_PROG_TYPE_SCHED_CLS, LOOK_UPS);
	compare(BPF_PROG_TYPE_SCHED_ACT, LOOK_UPS / 10);
	/* Everything that it can say has been said, but that a tunnel is on the way. */
	for (int ret = BPF_FIB_LKUP_RET_SUCCESS; ret <= BPF_FIB_LKUP_RET_FRAG_NEEDED; ret++)
		if (ret != BPF_FIB_LKUP_RET_UNSUPP_LWT)
			EXPECT_GT(results[ret], 0u);
}

TEST(fib_lookup, refuses_short_parameters)
{
	uint8_t packet[PACKET] = { 0 };

	if (!ready())
		return;
	for (enum side s = 0; s < SIDES; s++) {
		int fd =
			prog_new(s, BPF_PROG_TYPE_XDP, short_program, sl_array_size(short_program));

		ASSERT_GE(fd, 0);
		EXPECT_EQ(run(s, fd, packet, PACKET), 0);
		EXPECT_EQ(*(int64_t *)(packet + AT_RESULT), -EINVAL);
		close(fd);
	}
}

/* Policy rules come last: they pull IPv4's tables main and local apart. */
TEST(fib_lookup, follows_rules_as_the_kernel)
{
	if (!ready())
		return;
	network_both("rule add fwmark 5 table 100 prio 1000");
	network_both("rule add fwmark 2/6 table 200 prio 1001");
	network_both("rule add from 10.0.0.0/24 iif d0 lookup 100 prio 900");
	network_both("rule add to 10.20.0.0/24 prohibit prio 901");
	network_both("rule add not to 10.0.0.0/8 oif d1 blackhole prio 902");
	network_both("rule add tos 0x10 to 10.20.0.0/16 unreachable prio 903");
	network_both("-6 rule add fwmark 5 table 100 prio 1000");
	network_both("-6 rule add from fd00:20::/32 iif d0 prohibit prio 1000");
	network_both("-6 rule add to fd00:22::/32 lookup 100");
	srand(2);
	compare(BPF_PROG_TYPE_XDP, LOOK_UPS);
	compare(BPF_PROG_TYPE_SCHED_CLS, LOOK_UPS / 2);
}
