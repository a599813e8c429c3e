#include "format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helper.h"
#include "nofault.h"
#include "oracle.h"
#include "row.h"
#include "test.h"
#include "test_packet.h"
#include "trace.h"

#define OUT_BYTES 128
#define ARGS 3

static const struct {
	const char *fmt;
	uint64_t args[ARGS];
	unsigned count;
} cases[] = {
	{ "plain text", { 0 }, 0 },
	{ "100%% of %d", { 7 }, 1 },
	{ "%d %i %u", { -1u, 0x80000000, -1u }, 3 },
	{ "%ld %lld %lu", { -1ull, 1ull << 63, -1ull }, 3 },
	{ "%x %X %lx", { 0xdeadbeef, 0xdeadbeef, 0x123456789abcdef }, 3 },
	{ "[%5d] [%-5d] [%05d]", { 42, 42, 42 }, 3 },
	{ "[%+d] [% d] [%+5d]", { 42, 42, -42ull }, 3 },
	{ "[%-05d] [%+-6d] [%0+6d]", { 42, 42, 42 }, 3 },
	{ "[%08x] [%016llx] [%3x]", { 0xbeef, 0xbeef, 0xbeef }, 3 },
	{ "%c%c%c", { 'a', 'b', 0x163 }, 3 },
	{ "[%3c] [%-3c]", { 'a', 'b' }, 2 },
	{ "%px", { 0x1234567890 }, 1 },
	{ "%d, %d.", { 1, 2, 3 }, 2 },
	{ "unused arguments", { 1, 2, 3 }, 3 },
	{ "too few %d %d %d %d", { 1, 2, 3 }, 3 },
	{ "%", { 0 }, 1 },
	{ "%5", { 0 }, 1 },
	{ "%l", { 0 }, 1 },
	{ "%lll", { 0 }, 1 },
	{ "%hd", { 0 }, 1 },
	{ "%f", { 0 }, 1 },
	{ "%n", { 0 }, 1 },
	{ "%o", { 0 }, 1 },
	{ "%*d", { 1, 2 }, 2 },
	{ "%.3d", { 1, 2 }, 2 },
	{ "%#x", { 1 }, 1 },
	{ "%sx", { 0 }, 1 },
	{ "%pq", { 0 }, 1 },
	{ "%pI5", { 0 }, 1 },
	{ "tab\tnewline\n", { 0 }, 0 },
	{ "bell\a", { 0 }, 0 },
	{ "utf-8 \xc3\xa4", { 0 }, 0 },
	{ "%s.", { 0 }, 1 },
	{ "%pi4 %pI6", { 0, 0 }, 2 },
	{ "%pi6 %pI4", { 0, 0 }, 2 },
	{ "[%999d]", { 5 }, 1 },
};

struct outcome {
	uint32_t ret;
	char text[OUT_BYTES];
};

struct assembler {
	struct bpf_insn insns[256];
	unsigned count;
};

static void emit(struct assembler *as, uint8_t code, uint8_t dst, uint8_t src, short off, int imm)
{
	as->insns[as->count++] = (struct bpf_insn){
		.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm
	};
}

static void emit_imm64(struct assembler *as, uint8_t dst, uint8_t src, uint64_t value)
{
	uint32_t high = src ? 0 : (uint32_t)(value >> 32);

	emit(as, BPF_LD | BPF_DW | BPF_IMM, dst, src, 0, (int)(uint32_t)value);
	emit(as, 0, 0, 0, 0, (int)high);
}

/* A read-only frozen array with the format: what an ARG_PTR_TO_CONST_STR may point to. */
static int make_format_map(const char *fmt)
{
	char value[64] = { 0 };
	union bpf_attr attr;
	uint32_t key = 0;
	int fd;

	snprintf(value, sizeof(value), "%s", fmt);
	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = sizeof(key);
	attr.value_size = sizeof(value);
	attr.max_entries = 1;
	attr.map_flags = BPF_F_RDONLY_PROG;
	fd = (int)oracle_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (unsigned long)&key;
	attr.value = (unsigned long)value;
	oracle_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	oracle_bpf(BPF_MAP_FREEZE, &attr, sizeof(attr));
	return fd;
}

/* snprintf onto the stack, and from there into the packet. */
static void assemble(struct assembler *as, int map_fd, const uint64_t *args, unsigned count)
{
	as->count = 0;
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	for (unsigned i = 0; i < OUT_BYTES; i += 8)
		emit(as, BPF_ST | BPF_MEM | BPF_DW, 10, 0, (short)(-OUT_BYTES + (int)i), 0);
	for (unsigned i = 0; i < ARGS; i++) {
		emit_imm64(as, 1, 0, args[i]);
		emit(as, BPF_STX | BPF_MEM | BPF_DW, 10, 1, (short)(-OUT_BYTES - 24 + (int)i * 8),
			0);
	}
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0);
	emit(as, BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -OUT_BYTES);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, OUT_BYTES);
	emit_imm64(as, 3, BPF_PSEUDO_MAP_VALUE, (uint32_t)map_fd);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 4, 10, 0, 0);
	emit(as, BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, -OUT_BYTES - 24);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 5, 0, 0, (int)count * 8);
	emit(as, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_snprintf);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 7, 0, 0, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 3, 10, 0, 0);
	emit(as, BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, -OUT_BYTES);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, OUT_BYTES);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 5, 0, 0, 0);
	emit(as, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_skb_store_bytes);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 0, 7, 0, 0);
	emit(as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* False when the kernel refuses the format: its verifier checks it. */
static bool run_in_kernel(
	const char *fmt, const uint64_t *args, unsigned count, struct outcome *ret_outcome)
{
	static uint8_t packet[256];
	int map_fd = make_format_map(fmt), fd;
	struct assembler as;
	union bpf_attr attr;

	assemble(&as, map_fd, args, count);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
	attr.insns = (unsigned long)as.insns;
	attr.insn_cnt = as.count;
	attr.license = (unsigned long)"GPL";
	fd = (int)oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	close(map_fd);
	if (fd < 0)
		return false;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = attr.test.data_out = (unsigned long)packet;
	attr.test.data_size_in = attr.test.data_size_out = sizeof(packet);
	EXPECT_EQ(oracle_bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	close(fd);
	ret_outcome->ret = attr.test.retval;
	memcpy(ret_outcome->text, packet, OUT_BYTES);
	return true;
}

TEST(format, prints_what_the_kernel_prints)
{
	ORACLE_OR_SKIP();
	sl_helper_start();
	for (size_t i = 0; i < sl_array_size(cases); i++) {
		struct outcome theirs = { 0 };
		char text[OUT_BYTES] = { 0 };
		uint64_t ret;
		bool accepted = run_in_kernel(cases[i].fmt, cases[i].args, cases[i].count, &theirs);

		TRACE_PUSH("\"%s\"", cases[i].fmt);
		EXPECT_EQ(sl_format_check(cases[i].fmt, UINT32_MAX, cases[i].count),
			accepted ? 0 : -EINVAL);
		ret = sl_bpf_snprintf(NULL, (uint64_t)text, sizeof(text), (uint64_t)cases[i].fmt,
			(uint64_t)cases[i].args, cases[i].count * 8);
		EXPECT_EQ((int32_t)ret, accepted ? (int32_t)theirs.ret : -EINVAL);
		if (accepted)
			EXPECT_STREQ(text, theirs.text);
		TRACE_POP();
	}
}

TEST(format, reads_what_programs_point_to)
{
	static const uint8_t ip4[] = { 192, 168, 1, 5 };
	static const uint8_t ip6[] = { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
	const uint64_t args[] = { (uint64_t)ip4, (uint64_t)ip4, (uint64_t)ip6, (uint64_t)"text", 1,
		0xffff800000000000 };
	char text[128];

	sl_helper_start();
	EXPECT_EQ(sl_format(text, sizeof(text), "%pI4 %pi4 %pI6 [%6s] %s%s.", UINT32_MAX, args, 6),
		78);
	EXPECT_STREQ(text, "192.168.1.5 192.168.001.005 "
			   "2001:0db8:0000:0000:0000:0000:0000:0001 [  text] .");
	EXPECT_EQ(sl_format(text, 4, "%pi6", UINT32_MAX, &args[2], 1), 32);
	EXPECT_STREQ(text, "200");
}

TEST(nofault, survives_any_address)
{
	static const struct {
		uint64_t address;
		int err; /* the kernel's for what is none of its addresses, or for one of nothing */
	} bad[] = {
		{ 0, -ERANGE },
		{ 1, -ERANGE },
		{ 4096, -ERANGE },
		{ 0x8000000000000000, -ERANGE },
		{ 0xffff800000000000, -EFAULT },
		{ -1ull, -EFAULT },
	};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *two =
		mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char copy[64];

	sl_helper_start();
	for (size_t i = 0; i < sl_array_size(bad); i++) {
		const void *address = (const void *)bad[i].address;

		EXPECT_EQ(sl_nofault_copy(copy, address, 8), -EFAULT);
		EXPECT_EQ(sl_nofault_read(copy, address, 8), bad[i].err);
		EXPECT_EQ(sl_nofault_string(copy, address, 8), bad[i].err);
	}
	mprotect(two + page, page, PROT_NONE);
	memcpy(two + page - 6, "string", 6);
	EXPECT_EQ(sl_nofault_copy(copy, two + page - 6, 6), 0);
	EXPECT_EQ(sl_nofault_copy(copy, two + page - 6, 7), -EFAULT);
	EXPECT_EQ(sl_nofault_read(copy, two + page - 6, 7), -EFAULT);
	/* A string whose end cannot be read. */
	EXPECT_EQ(sl_nofault_string(copy, two + page - 6, sizeof(copy)), -EFAULT);
	EXPECT_STREQ(copy, "");
	EXPECT_EQ(sl_nofault_string(copy, two + page - 6, 4), 4);
	EXPECT_STREQ(copy, "str");
	munmap(two, 2 * page);
}

static struct test_packet packet;
static unsigned lines;
static char last_line[1024];

static void note_line(unsigned cpu, const char *line)
{
	snprintf(last_line, sizeof(last_line), "%u: %s", cpu, line);
	__atomic_store_n(&lines, lines + 1, __ATOMIC_RELEASE);
}

static bool wait_for_lines(unsigned count)
{
	for (int i = 0; i < 1000; i++) {
		if (__atomic_load_n(&lines, __ATOMIC_ACQUIRE) >= count)
			return true;
		usleep(1000);
	}
	return false;
}

TEST(trace, lines_arrive_or_are_counted)
{
	static const char fmt[] = "packet %d of %s\n";
	uint64_t lost;

	sl_trace_set_sink(note_line);
	ASSERT_EQ(sl_helper_start(), 0);
	test_packet_init(&packet, false, NULL, 64);
	EXPECT_EQ(sl_bpf_trace_printk(
			  &packet.ctx, (uint64_t)fmt, sizeof(fmt), 7, (uint64_t)"many", 0),
		17);
	ASSERT_TRUE(wait_for_lines(1));
	EXPECT_STREQ(last_line, "0: packet 7 of many");
	EXPECT_EQ(
		sl_bpf_trace_printk(&packet.ctx, (uint64_t)fmt, sizeof(fmt) - 1, 0, 0, 0), -EINVAL);
	lost = sl_trace_lost();
	for (int i = 0; i < 10000; i++)
		sl_bpf_trace_printk(
			&packet.ctx, (uint64_t)fmt, sizeof(fmt), (uint64_t)i, (uint64_t)"many", 0);
	lost = sl_trace_lost() - lost;
	EXPECT_TRUE(wait_for_lines(1 + 10000 - (unsigned)lost));
	EXPECT_EQ(lines, 1 + 10000 - lost);
}
