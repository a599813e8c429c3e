#include <errno.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/* BLOOM_FILTER beside the kernel's: shapes, commands, programs, and how often it errs. */

#define F_ZERO BPF_F_ZERO_SEED
#define INSN(c, d, s, o, i) ((struct bpf_insn){ (c), (d), (s), (o), (i) })

enum { VALUE = 12, ENTRIES = 4000 };

static int filter_new(
	enum side side, uint32_t value, uint32_t entries, uint32_t flags, uint64_t hashes)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_BLOOM_FILTER;
	attr.value_size = value;
	attr.max_entries = entries;
	attr.map_flags = flags;
	attr.map_extra = hashes;
	return call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static long command(enum side side, int cmd, int map, const void *key, void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(key);
	attr.value = PTR(value);
	attr.flags = flags;
	return call(side, cmd, &attr, sizeof(attr));
}

TEST(bloom_filter, is_created_as_by_the_kernel)
{
	static const struct {
		uint32_t key, value, entries, flags;
		uint64_t extra;
	} shapes[] = {
		{ 0, 4, 1, 0, 0 },
		{ 0, 4, 1, 0, 1 },
		{ 0, 4, 1, 0, 15 },
		{ 0, 4, 1, 0, 16 },
		{ 0, 4, 1, 0, 1ull << 32 },
		{ 4, 4, 1, 0, 0 },
		{ 0, 0, 1, 0, 0 },
		{ 0, 4, 0, 0, 0 },
		{ 0, 3, 1, F_ZERO, 3 },
		{ 0, 4, 1, BPF_F_NO_PREALLOC, 0 },
		{ 0, 4, 1, BPF_F_MMAPABLE, 0 },
		{ 0, 4, 1, BPF_F_NUMA_NODE, 0 },
		{ 0, 4, 1, BPF_F_RDONLY_PROG, 0 },
		{ 0, 4, 1, BPF_F_WRONLY_PROG, 0 },
		{ 0, 4, 1, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG, 0 },
		{ 0, 4, 1, BPF_F_RDONLY, 0 },
		{ 0, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY, 0 },
		{ 0, 4 << 20, 1, 0, 0 },
		{ 0, (4 << 20) + 1, 1, 0, 0 },
		{ 0, (4 << 20) + 1, 0, 0, 16 },
		{ 0, 8, 1 << 22, 0, 7 },
	};

	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(shapes); i++) {
		struct bpf_map_info infos[SIDES];
		int fds[SIDES];

		TRACE_PUSH("shape %zu", i);
		memset(infos, 0, sizeof(infos));
		for (int s = 0; s < SIDES; s++) {
			union bpf_attr attr;

			memset(&attr, 0, sizeof(attr));
			attr.map_type = BPF_MAP_TYPE_BLOOM_FILTER;
			attr.key_size = shapes[i].key;
			attr.value_size = shapes[i].value;
			attr.max_entries = shapes[i].entries;
			attr.map_flags = shapes[i].flags;
			attr.map_extra = shapes[i].extra;
			fds[s] = call(s, BPF_MAP_CREATE, &attr, sizeof(attr));
			if (fds[s] < 0)
				continue;
			memset(&attr, 0, sizeof(attr));
			attr.info.bpf_fd = fds[s];
			attr.info.info = PTR(&infos[s]);
			attr.info.info_len = sizeof(infos[s]);
			EXPECT_EQ(call(s, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
			infos[s].id = 0;
			close(fds[s]);
		}
		EXPECT_EQ(sl_min(fds[SLUICE], 0), sl_min(fds[KERNEL], 0));
		EXPECT_MEMEQ(&infos[SLUICE], &infos[KERNEL], sizeof(infos[0]));
		TRACE_POP();
	}
}

/* Random commands on values of which few are in a large filter: it does not err. */
TEST(bloom_filter, commands_are_the_kernels)
{
	static const int cmds[] = { BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_ELEM, BPF_MAP_LOOKUP_ELEM,
		BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM, BPF_MAP_GET_NEXT_KEY,
		BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_FREEZE };
	static const uint64_t flags[] = { 0, 0, 0, 0, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK, 8 };
	static const uint32_t modes[] = { 0, BPF_F_RDONLY, BPF_F_WRONLY, F_ZERO };

	ORACLE_OR_SKIP();
	for (size_t m = 0; m < sl_array_size(modes); m++) {
		int fds[SIDES];

		for (int s = 0; s < SIDES; s++)
			fds[s] = filter_new(s, VALUE, ENTRIES, modes[m], m * 3);
		for (unsigned i = 0; i < 1000; i++) {
			/* Not frozen before the end: it cannot be undone. */
			int cmd = cmds[(unsigned)rand() %
				       (i < 950 ? sl_array_size(cmds) - 1 : sl_array_size(cmds))];
			uint64_t flag = flags[rand() % sl_array_size(flags)];
			const void *key = rand() % 20 ? NULL : flags;
			bool bare = cmd >= BPF_MAP_LOOKUP_BATCH || rand() % 50 == 0;
			uint8_t values[SIDES][VALUE] = { { (uint8_t)(rand() % 40) } };
			long errs[SIDES];

			TRACE_PUSH("mode %zu, step %u, command %d, flags %#llx", m, i, cmd,
				(unsigned long long)flag);
			memcpy(values[1], values[0], VALUE);
			for (int s = 0; s < SIDES; s++)
				errs[s] = command(s, cmd, fds[s], bare ? NULL : key,
					bare || cmd == BPF_MAP_DELETE_ELEM ? NULL : values[s],
					cmd == BPF_MAP_UPDATE_ELEM || cmd == BPF_MAP_LOOKUP_ELEM
						? flag
						: 0);
			if (errs[0] != -EFAULT && errs[1] != -EFAULT) {
				EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
				EXPECT_MEMEQ(values[SLUICE], values[KERNEL], VALUE);
			}
			TRACE_POP();
		}
		for (int s = 0; s < SIDES; s++) {
			uint8_t value[VALUE] = { 1 };
			long err = m == 2 ? -EPERM : -EFAULT;

			EXPECT_EQ(command(s, BPF_MAP_LOOKUP_ELEM, fds[s], NULL, NULL, 0), err);
			EXPECT_NE(command(s, BPF_MAP_LOOKUP_ELEM, fds[s], NULL, value, 0), -EFAULT);
			close(fds[s]);
		}
	}
}

/* Calls the helper with a value on the stack; returns its result. */
static int program(
	enum side side, int map, uint32_t helper, uint32_t value, bool initialised, uint64_t flags)
{
	struct bpf_insn insns[16];
	unsigned n = 0;

	for (int off = -16; initialised && off < 0; off += 4)
		insns[n++] = INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, off, (int)value);
	insns[n++] = INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map);
	insns[n++] = INSN(0, 0, 0, 0, 0);
	insns[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
	insns[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -16);
	insns[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, (int)flags);
	insns[n++] = INSN(BPF_JMP | BPF_CALL, 0, 0, 0, (int)helper);
	insns[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return prog_new(side, BPF_PROG_TYPE_XDP, insns, n);
}

static long run_prog(enum side side, int prog)
{
	static const uint8_t packet[64];
	union bpf_attr attr;
	long err;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 1;
	err = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	return err ? err : (long)attr.test.retval;
}

TEST(bloom_filter, helpers_are_the_kernels)
{
	static const struct {
		uint32_t helper, value;
		uint64_t flags;
	} steps[] = {
		{ BPF_FUNC_map_peek_elem, 1, 0 },
		{ BPF_FUNC_map_push_elem, 1, 0 },
		{ BPF_FUNC_map_peek_elem, 1, 0 },
		{ BPF_FUNC_map_peek_elem, 2, 0 },
		{ BPF_FUNC_map_push_elem, 2, BPF_NOEXIST },
		{ BPF_FUNC_map_push_elem, 2, BPF_EXIST },
		{ BPF_FUNC_map_peek_elem, 2, 0 },
		{ BPF_FUNC_map_push_elem, 2, 0 },
		{ BPF_FUNC_map_peek_elem, 2, 0 },
	};

	ORACLE_OR_SKIP();
	for (uint32_t size = 1; size <= 16; size += 3) {
		uint8_t value[16];
		int fds[SIDES];

		for (int s = 0; s < SIDES; s++)
			fds[s] = filter_new(s, size, ENTRIES, 0, 0);
		for (unsigned i = 0; i < sl_array_size(steps); i++) {
			long results[SIDES];

			TRACE_PUSH("size %u, step %u", size, i);
			for (int s = 0; s < SIDES; s++) {
				int prog = program(s, fds[s], steps[i].helper, steps[i].value, true,
					steps[i].flags);

				EXPECT_GE(prog, 0);
				results[s] = run_prog(s, prog);
				close(prog);
			}
			EXPECT_EQ(results[SLUICE], results[KERNEL]);
			TRACE_POP();
		}
		/* What programs push, commands find. */
		for (unsigned i = 0; i < sizeof(value); i += 4)
			memcpy(value + i, &(uint32_t){ 2 }, 4);
		for (int s = 0; s < SIDES; s++) {
			EXPECT_EQ(command(s, BPF_MAP_LOOKUP_ELEM, fds[s], NULL, value, 0), 0);
			close(fds[s]);
		}
	}
}

TEST(bloom_filter, programs_are_refused_as_by_the_kernel)
{
	static const struct {
		uint32_t flags, helper;
		bool initialised;
	} rows[] = {
		{ 0, BPF_FUNC_map_push_elem, true },
		{ 0, BPF_FUNC_map_push_elem, false },
		{ 0, BPF_FUNC_map_peek_elem, true },
		{ 0, BPF_FUNC_map_peek_elem, false },
		{ 0, BPF_FUNC_map_pop_elem, true },
		{ 0, BPF_FUNC_map_lookup_elem, true },
		{ 0, BPF_FUNC_map_update_elem, true },
		{ 0, BPF_FUNC_map_delete_elem, true },
		{ 0, BPF_FUNC_for_each_map_elem, true },
		{ BPF_F_RDONLY_PROG, BPF_FUNC_map_push_elem, true },
		{ BPF_F_RDONLY_PROG, BPF_FUNC_map_peek_elem, true },
		{ BPF_F_WRONLY_PROG, BPF_FUNC_map_push_elem, true },
		{ BPF_F_WRONLY_PROG, BPF_FUNC_map_peek_elem, true },
	};

	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		int progs[SIDES], fd;

		TRACE_PUSH("row %zu", i);
		for (int s = 0; s < SIDES; s++) {
			fd = filter_new(s, VALUE, ENTRIES, rows[i].flags, 0);
			progs[s] = program(s, fd, rows[i].helper, 1, rows[i].initialised, 0);
			close(fd);
			if (progs[s] >= 0)
				close(progs[s]);
		}
		EXPECT_EQ(sl_min(progs[SLUICE], 0), sl_min(progs[KERNEL], 0));
		TRACE_POP();
	}
}

enum { ASKED = 20000 };

/* As many values as the filter is for; how many of those that are not in it are found. */
static unsigned errors_of(enum side side, uint32_t size, uint32_t entries, uint64_t hashes)
{
	int fd = filter_new(side, size, entries, 0, hashes);
	uint8_t value[32] = { 0 };
	unsigned found = 0;

	for (uint32_t i = 0; i < entries; i++) {
		memcpy(value + (i & 1 ? size - 4 : 0), &i, 4);
		EXPECT_EQ(command(side, BPF_MAP_UPDATE_ELEM, fd, NULL, value, 0), 0);
		EXPECT_EQ(command(side, BPF_MAP_LOOKUP_ELEM, fd, NULL, value, 0), 0);
	}
	memset(value, 0, sizeof(value));
	for (uint32_t i = entries; i < entries + ASKED; i++) {
		memcpy(value, &i, 4);
		found += command(side, BPF_MAP_LOOKUP_ELEM, fd, NULL, value, 0) == 0;
	}
	close(fd);
	return found;
}

TEST(bloom_filter, errs_as_often_as_the_kernels)
{
	/* Bits per value from 1.4 times the number of hashes on, and then little room above. */
	static const struct {
		uint32_t size, entries;
		uint64_t hashes;
	} rows[] = { { 4, 2900, 4 }, { 8, 2300, 5 }, { 8, 1400, 1 }, { 16, 1900, 3 },
		{ 20, 770, 15 }, { 5, 1400, 2 } };

	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		unsigned errors[SIDES];

		TRACE_PUSH("row %zu", i);
		for (int s = 0; s < SIDES; s++)
			errors[s] = errors_of(s, rows[i].size, rows[i].entries, rows[i].hashes);
		/* Several standard deviations, of the seeds' luck as well. */
		EXPECT_LE(errors[SLUICE], errors[KERNEL] * 5 / 4 + 60);
		EXPECT_GE(errors[SLUICE] * 5 / 4 + 60, errors[KERNEL]);
		TRACE_POP();
	}
}
