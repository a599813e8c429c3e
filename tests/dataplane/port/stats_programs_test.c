#include <sluice/stats.h>

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "test.h"

/* What is counted of real programs, run by BPF_PROG_TEST_RUN: runs, and events that were lost. */

#define INSN(code, dst, src, off, imm) ((struct bpf_insn){ code, dst, src, off, imm })
#define MOV(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define MOVX(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define MOV32(dst, imm) INSN(BPF_ALU | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define ADD(dst, imm) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define ST(dst, off, imm) INSN(BPF_ST | BPF_MEM | BPF_DW, dst, 0, off, imm)
#define MAP(dst, fd) INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, fd)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define REST INSN(0, 0, 0, 0, 0) /* of MAP */

enum { RUNS = 100, RING = 4096, RECORD = 8 };

static int create_map(enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = entries;
	return (int)sluice_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static int load(const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = count;
	attr.license = (uintptr_t)"GPL";
	return (int)sluice_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static uint32_t run(int fd, uint32_t times)
{
	char packet[64] = { 0 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = times;
	EXPECT_EQ(sluice_bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	return attr.test.retval;
}

static struct bpf_prog_info info_of(int fd)
{
	struct bpf_prog_info info = { 0 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info = (uintptr_t)&info;
	attr.info.info_len = sizeof(info);
	EXPECT_EQ(sluice_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
	return info;
}

static uint64_t lost_events(enum bpf_map_type type)
{
	struct sluice_map_stats stats = { 0 };
	uint64_t lost = 0;

	while (sluice_map_stats_next(stats.id, &stats) == 0) {
		if (stats.type != type)
			continue;
		EXPECT_TRUE(stats.has_lost_events);
		lost += stats.lost_events;
	}
	return lost;
}

TEST(stats, runs_are_in_the_programs_info)
{
	struct bpf_insn insns[] = { MOV(0, XDP_PASS), EXIT };
	int fd = load(insns, 2);
	struct sluice_prog_stats stats;
	struct bpf_prog_info info;

	ASSERT_GE(fd, 0);
	info = info_of(fd);
	EXPECT_EQ(info.run_cnt, 0u);
	EXPECT_EQ(info.run_time_ns, 0u);
	EXPECT_EQ(run(fd, RUNS), (uint32_t)XDP_PASS);
	EXPECT_EQ(run(fd, 1), (uint32_t)XDP_PASS);
	info = info_of(fd);
	EXPECT_EQ(info.run_cnt, RUNS + 1u);
	EXPECT_GT(info.run_time_ns, 0u);
	ASSERT_EQ(sluice_prog_stats_next(info.id - 1, &stats), 0);
	EXPECT_EQ(stats.id, info.id);
	EXPECT_EQ(stats.run_cnt, info.run_cnt);
	EXPECT_EQ(stats.run_time_ns, info.run_time_ns);
	EXPECT_STREQ(stats.type_name, "xdp");
	EXPECT_MEMEQ(stats.tag, info.tag, sizeof(info.tag));
	close(fd);
}

/* As in the kernel. */
TEST(stats, tail_calls_count_as_the_callers_run)
{
	int table = create_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1), callee, caller;
	struct bpf_insn end[] = { MOV(0, XDP_DROP), EXIT };
	struct bpf_insn jump[] = { MAP(2, table), REST, MOV(3, 0), CALL(BPF_FUNC_tail_call),
		MOV(0, XDP_PASS), EXIT };
	union bpf_attr attr;
	uint32_t key = 0;

	ASSERT_GE(table, 0);
	callee = load(end, 2);
	caller = load(jump, 6);
	ASSERT_GE(callee, 0);
	ASSERT_GE(caller, 0);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)table;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&callee;
	ASSERT_EQ(sluice_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
	EXPECT_EQ(run(caller, RUNS), (uint32_t)XDP_DROP);
	EXPECT_EQ(info_of(caller).run_cnt, (uint64_t)RUNS);
	EXPECT_EQ(info_of(callee).run_cnt, 0u);
	close(callee);
	close(caller);
	close(table);
}

TEST(stats, samples_without_a_reader_are_lost)
{
	int events = create_map(BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 256);
	struct bpf_insn insns[] = { ST(10, -8, 0), MAP(2, events), REST, MOV32(3, -1), MOVX(4, 10),
		ADD(4, -8), MOV(5, 8), CALL(BPF_FUNC_perf_event_output), EXIT };
	uint64_t before = lost_events(BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	int fd = load(insns, 9);

	ASSERT_GE(events, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(run(fd, RUNS), (uint32_t)-ENOENT);
	EXPECT_EQ(lost_events(BPF_MAP_TYPE_PERF_EVENT_ARRAY) - before, (uint64_t)RUNS);
	close(fd);
	close(events);
}

TEST(stats, records_that_find_the_ring_full_are_lost)
{
	int ring = create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, RING);
	struct bpf_insn insns[] = { ST(10, -8, 0), MAP(1, ring), REST, MOVX(2, 10), ADD(2, -8),
		MOV(3, RECORD), MOV(4, 0), CALL(BPF_FUNC_ringbuf_output), EXIT };
	/* One byte stays free, so that a full ring is not an empty one. */
	const uint64_t fit = (RING - 1) / (RECORD + BPF_RINGBUF_HDR_SZ);
	uint64_t before = lost_events(BPF_MAP_TYPE_RINGBUF);
	int fd = load(insns, 9);

	ASSERT_GE(ring, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(run(fd, (uint32_t)fit), 0u);
	EXPECT_EQ(lost_events(BPF_MAP_TYPE_RINGBUF) - before, 0u);
	EXPECT_EQ(run(fd, 10), (uint32_t)-EAGAIN);
	EXPECT_EQ(lost_events(BPF_MAP_TYPE_RINGBUF) - before, 10u);
	close(fd);
	close(ring);
}
