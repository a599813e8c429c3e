#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * Reads of the kernel's struct of a map through the pointer to it: whatever place is read, verdict,
 * words and value are the kernel's, or it is said that there is no such member here.
 */

#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }
#define LD_MAP(dst, fd) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define MOV_K(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)

static const struct shape {
	uint32_t type, key, value, max, flags;
	const char *name; /* of the kernel's struct */
	const char *shown; /* members of its own, beside those of struct bpf_map */
} shapes[] = {
	{ BPF_MAP_TYPE_HASH, 5, 13, 9, 0, "bpf_htab", "elem_size n_buckets count" },
	{ BPF_MAP_TYPE_PERCPU_HASH, 4, 24, 1, 0, "bpf_htab", "elem_size n_buckets count" },
	{ BPF_MAP_TYPE_LRU_HASH, 16, 40, 64, 0, "bpf_htab", "elem_size n_buckets count" },
	{ BPF_MAP_TYPE_LRU_HASH, 16, 40, 7, BPF_F_NO_COMMON_LRU, "bpf_htab",
		"elem_size n_buckets count" },
	{ BPF_MAP_TYPE_HASH, 4, 4, 8, BPF_F_NO_PREALLOC | BPF_F_RDONLY, "bpf_htab",
		"elem_size n_buckets count" },
	{ BPF_MAP_TYPE_ARRAY, 4, 13, 5, BPF_F_RDONLY_PROG, "bpf_array", "elem_size index_mask" },
	{ BPF_MAP_TYPE_ARRAY, 4, 64, 64, BPF_F_MMAPABLE, "bpf_array", "elem_size index_mask" },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 4, 9, 1, 0, "bpf_array", "elem_size index_mask" },
	{ BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 33, 0, "bpf_array", "elem_size index_mask" },
	{ BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 3, 0, "bpf_array", "elem_size index_mask" },
	{ BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4, 3, 0, "bpf_array", "elem_size index_mask" },
	{ BPF_MAP_TYPE_LPM_TRIE, 11, 13, 5, BPF_F_NO_PREALLOC, "lpm_trie",
		"data_size max_prefixlen" },
	{ BPF_MAP_TYPE_QUEUE, 0, 13, 5, 0, "bpf_queue_stack", "size" },
	{ BPF_MAP_TYPE_STACK, 0, 4, 8, 0, "bpf_queue_stack", "size" },
	{ BPF_MAP_TYPE_RINGBUF, 0, 0, 8192, 0, "bpf_ringbuf_map", "" },
	{ BPF_MAP_TYPE_USER_RINGBUF, 0, 0, 4096, 0, "bpf_ringbuf_map", "" },
	{ BPF_MAP_TYPE_BLOOM_FILTER, 0, 13, 5, 0, "bpf_bloom_filter", "" },
	{ BPF_MAP_TYPE_DEVMAP, 4, 8, 5, 0, "bpf_dtab", "" },
	{ BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 5, 0, "bpf_dtab", "" },
	{ BPF_MAP_TYPE_CPUMAP, 4, 4, 2, 0, "bpf_cpu_map", "" },
	{ BPF_MAP_TYPE_XSKMAP, 4, 4, 5, 0, "xsk_map", "" },
	{ BPF_MAP_TYPE_SOCKMAP, 4, 4, 5, 0, "bpf_stab", "" },
	{ BPF_MAP_TYPE_SOCKHASH, 4, 4, 5, 0, "bpf_shtab", "" },
};

static const char common[] =
	" map_type key_size value_size max_entries map_flags map_extra id name "
	"numa_node btf_key_type_id btf_value_type_id "
	"btf_vmlinux_value_type_id sha excl frozen ";

static char logs[SIDES][16384];

static int load(enum side side, const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
	attr.insns = PTR(insns);
	attr.insn_cnt = count;
	attr.license = PTR("GPL");
	attr.log_buf = PTR(logs[side]);
	attr.log_size = sizeof(logs[side]);
	attr.log_level = 1;
	logs[side][0] = '\0';
	return (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static uint32_t run(enum side side, int prog, uint32_t len)
{
	static uint8_t packet[64];
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = len;
	EXPECT_EQ(call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	return attr.test.retval;
}

/* R0 = what is read, both halves of it. */
static int load_read(enum side side, int map, uint8_t size, int16_t off)
{
	const struct bpf_insn insns[] = {
		LD_MAP(1, map),
		LDX(size, 0, 1, off),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_RSH | BPF_K, 2, 0, 0, 32),
		INSN(BPF_ALU64 | BPF_ADD | BPF_X, 0, 2, 0, 0),
		EXIT,
	};

	return load(side, insns, sl_array_size(insns));
}

static struct btf *kernel_btf(void)
{
	static struct btf *btf;

	if (!btf)
		btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);
	return btf;
}

static uint32_t offset_of(const char *of, const char *member)
{
	struct btf *btf = kernel_btf();
	int id = btf__find_by_name_kind(btf, of, BTF_KIND_STRUCT);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	for (unsigned i = 0; type && i < btf_vlen(type); i++)
		if (strcmp(btf__name_by_offset(btf, btf_members(type)[i].name_off), member) == 0)
			return btf_member_bit_offset(type, i) / 8;
	return 0;
}

/* The member of a map's struct at `off`, "" for none. */
static const char *member_at(const char *of, uint32_t off, bool *ret_whole, uint32_t size)
{
	struct btf *btf = kernel_btf();
	int id = btf__find_by_name_kind(btf, of, BTF_KIND_STRUCT);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	for (unsigned i = 0; type && i < btf_vlen(type); i++) {
		uint32_t at = btf_member_bit_offset(type, i) / 8;
		int64_t bytes = btf__resolve_size(btf, btf_members(type)[i].type);
		const char *name = btf__name_by_offset(btf, btf_members(type)[i].name_off);

		if (off < at || off >= at + bytes)
			continue;
		if (strcmp(name, "map") == 0 && strcmp(of, "bpf_map") != 0)
			return member_at("bpf_map", off, ret_whole, size);
		*ret_whole = off + size <= at + bytes;
		return *name ? name : "(anon)";
	}
	return "";
}

static bool is_shown(const struct shape *shape, const char *member)
{
	char text[512], word[64];

	snprintf(text, sizeof(text), "%s%s ", common, shape->shown);
	snprintf(word, sizeof(word), " %s ", member);
	return *member && strstr(text, word);
}

/* The reason, which is the line before the summary. */
static const char *reason_of(char *log)
{
	char *end = strstr(log, "\nprocessed "), *line;

	if (!end)
		return log;
	*end = '\0';
	line = strrchr(log, '\n');
	return line ? line + 1 : log;
}

static void check_read(const struct shape *shape, const int *maps, uint8_t width, uint32_t size,
	int16_t off, unsigned *ret_values)
{
	int fds[SIDES];
	bool whole = false;
	const char *member = off < 0 ? "" : member_at(shape->name, (uint32_t)off, &whole, size);

	for (int s = 0; s < SIDES; s++)
		fds[s] = load_read(s, maps[s], width, off);
	TRACE_PUSH("%s type %u, member %s, off %d size %u, kernel %d:\n%sours %d:\n%s", shape->name,
		shape->type, member, off, size, fds[KERNEL], logs[KERNEL], fds[SLUICE],
		logs[SLUICE]);
	/* The kernel has read it, and may stumble later over what kind of pointer it got. */
	if ((fds[KERNEL] >= 0 || strstr(logs[KERNEL], "\n3: (bf)")) &&
		!(whole && is_shown(shape, member))) {
		EXPECT_EQ(fds[SLUICE], -EACCES);
		/* Past the end are the values of maps that have them there. */
		EXPECT_CONTAINS(
			logs[SLUICE], *member ? "is not available: the data plane has no such"
					      : "access beyond struct");
	} else if (fds[KERNEL] < 0) {
		EXPECT_EQ(fds[SLUICE], fds[KERNEL]);
		EXPECT_STREQ(reason_of(logs[SLUICE]), reason_of(logs[KERNEL]));
	} else {
		EXPECT_GE(fds[SLUICE], 0);
		if (fds[SLUICE] >= 0 && strcmp(member, "id") != 0) {
			EXPECT_EQ(run(SLUICE, fds[SLUICE], 64), run(KERNEL, fds[KERNEL], 64));
			++*ret_values;
		}
	}
	TRACE_POP();
	for (int s = 0; s < SIDES; s++)
		if (fds[s] >= 0)
			close(fds[s]);
}

static int new_map(enum side side, const struct shape *shape)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = shape->type;
	attr.key_size = shape->key;
	attr.value_size = shape->value;
	attr.max_entries = shape->max;
	attr.map_flags = shape->flags;
	strcpy(attr.map_name, "some_name");
	return (int)call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static const struct {
	uint8_t width;
	uint32_t size;
} widths[] = { { BPF_B, 1 }, { BPF_H, 2 }, { BPF_W, 4 }, { BPF_DW, 8 } };

/* Once all of struct bpf_map; for other types what maps differ in, and what comes after it. */
static int step_after(int off, bool everywhere)
{
	int map_end = (int)offset_of("bpf_array", "elem_size");

	if (everywhere)
		return off < map_end + 16 ? 4 : 28;
	if (off < 100)
		return 12;
	return off < map_end - 8 ? map_end - 8 - off : off < map_end + 16 ? 4 : 28;
}

static void check_shape(const struct shape *shape, bool everywhere)
{
	struct btf *btf = kernel_btf();
	int id = btf__find_by_name_kind(btf, shape->name, BTF_KIND_STRUCT);
	int end = id > 0 ? (int)btf__type_by_id(btf, (uint32_t)id)->size + 16 : 0;
	unsigned values = 0;
	int maps[SIDES];

	for (int s = 0; s < SIDES; s++) {
		maps[s] = new_map(s, shape);
		ASSERT_GE(maps[s], 0);
	}
	for (int off = everywhere ? -8 : 64; off < end; off += step_after(off, everywhere))
		for (size_t w = 0; w < sl_array_size(widths); w++)
			check_read(shape, maps, widths[w].width, widths[w].size,
				(int16_t)(off + (everywhere ? w * w % 3 : 0)), &values);
	EXPECT_GE(values, 8u);
	for (int s = 0; s < SIDES; s++)
		close(maps[s]);
}

TEST(map_field, any_place_is_read_as_the_kernel_reads_it)
{
	ORACLE_OR_SKIP();
	if (!kernel_btf())
		SKIP("the kernel does not show its BTF");
	for (size_t i = 0; i < sl_array_size(shapes); i++)
		check_shape(&shapes[i], i == 0);
}

TEST(map_field, id_and_frozen_are_the_maps_own)
{
	static const struct shape shape = { BPF_MAP_TYPE_ARRAY, 4, 8, 3, 0, "bpf_array", "" };

	ORACLE_OR_SKIP();
	if (!kernel_btf())
		SKIP("the kernel does not show its BTF");
	for (int s = 0; s < SIDES; s++) {
		int map = new_map(s, &shape), prog;
		struct bpf_map_info info = { 0 };
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.info.bpf_fd = (uint32_t)map;
		attr.info.info_len = sizeof(info);
		attr.info.info = PTR(&info);
		EXPECT_EQ(call(s, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
		prog = load_read(s, map, BPF_W, (int16_t)offset_of("bpf_map", "id"));
		EXPECT_EQ(run(s, prog, 64), info.id);
		close(prog);
		prog = load_read(s, map, BPF_B, (int16_t)offset_of("bpf_map", "frozen"));
		EXPECT_EQ(run(s, prog, 64), 0u);
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)map;
		EXPECT_EQ(call(s, BPF_MAP_FREEZE, &attr, sizeof(attr)), 0);
		EXPECT_EQ(run(s, prog, 64), 1u);
		close(prog);
		close(map);
	}
}

/* R0 = max_entries of one of two maps, by the length of the packet. */
static void check_two(const struct shape *one, const struct shape *other, const char *of,
	const char *member, const char *refused)
{
	uint32_t results[SIDES][2];

	for (int s = 0; s < SIDES; s++) {
		int a = new_map(s, one), b = new_map(s, other), prog;
		struct bpf_insn insns[] = {
			LDX(BPF_W, 2, 1, 0),
			LD_MAP(1, a),
			INSN(BPF_JMP | BPF_JGT | BPF_K, 2, 0, 2, 30),
			LD_MAP(1, b),
			LDX(BPF_W, 0, 1, (int16_t)offset_of(of, member)),
			EXIT,
		};

		prog = load(s, insns, sl_array_size(insns));
		if (s == SLUICE && refused) {
			EXPECT_LT(prog, 0);
			EXPECT_CONTAINS(logs[s], refused);
			results[s][0] = results[KERNEL][0];
			results[s][1] = results[KERNEL][1];
		} else {
			EXPECT_GE(prog, 0);
			results[s][0] = run(s, prog, 20);
			results[s][1] = run(s, prog, 60);
			EXPECT_NE(results[s][0], results[s][1]);
			close(prog);
		}
		close(a);
		close(b);
	}
	EXPECT_EQ(results[SLUICE][0], results[KERNEL][0]);
	EXPECT_EQ(results[SLUICE][1], results[KERNEL][1]);
}

TEST(map_field, one_instruction_reads_of_several_maps)
{
	static const struct shape array = { BPF_MAP_TYPE_ARRAY, 4, 8, 3, 0, "bpf_array", "" },
				  longer = { BPF_MAP_TYPE_ARRAY, 4, 16, 77, 0, "bpf_array", "" },
				  hash = { BPF_MAP_TYPE_HASH, 8, 16, 99, 0, "bpf_htab", "" },
				  queue = { BPF_MAP_TYPE_QUEUE, 0, 8, 8, 0, "bpf_queue_stack", "" };

	ORACLE_OR_SKIP();
	if (!kernel_btf())
		SKIP("the kernel does not show its BTF");
	check_two(&array, &longer, "bpf_map", "max_entries", NULL);
	check_two(&array, &longer, "bpf_array", "elem_size", NULL);
	check_two(&longer, &hash, "bpf_map", "max_entries", NULL);
	check_two(&longer, &hash, "bpf_map", "map_type", NULL);
	check_two(&array, &queue, "bpf_map", "key_size", NULL);
}

TEST(map_field, map_found_in_a_map_says_what_it_is)
{
	static const struct shape inner = { BPF_MAP_TYPE_HASH, 4, 8, 3, 0, "bpf_htab", "" };

	ORACLE_OR_SKIP();
	if (!kernel_btf())
		SKIP("the kernel does not show its BTF");
	for (int s = 0; s < SIDES; s++) {
		int template = new_map(s, &inner), other = new_map(s, &inner), outer, prog;
		struct bpf_map_info info = { 0 };
		uint32_t key = 0;
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS;
		attr.key_size = attr.value_size = 4;
		attr.max_entries = 1;
		attr.inner_map_fd = (uint32_t)template;
		outer = (int)call(s, BPF_MAP_CREATE, &attr, sizeof(attr));
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)outer;
		attr.key = PTR(&key);
		attr.value = PTR(&other);
		EXPECT_EQ(call(s, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
		memset(&attr, 0, sizeof(attr));
		attr.info.bpf_fd = (uint32_t)other;
		attr.info.info_len = sizeof(info);
		attr.info.info = PTR(&info);
		EXPECT_EQ(call(s, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
		{
			struct bpf_insn insns[] = {
				INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
				LD_MAP(1, outer),
				INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
				INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
				INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
				INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0),
				LDX(BPF_W, 0, 0, (int16_t)offset_of("bpf_map", "id")),
				EXIT,
			};

			prog = load(s, insns, sl_array_size(insns));
		}
		TRACE_PUSH("%s", logs[s]);
		EXPECT_GE(prog, 0);
		EXPECT_EQ(run(s, prog, 64), info.id);
		TRACE_POP();
		close(prog);
		close(outer);
		close(other);
		close(template);
	}
}

static void check_refusal(
	const struct bpf_insn *insns, uint32_t count, int at, const char *words, bool both_refuse)
{
	static const struct shape shape = { BPF_MAP_TYPE_ARRAY, 4, 48, 3, 0, "bpf_array", "" };
	struct bpf_insn copy[16];
	int fds[SIDES];

	for (int s = 0; s < SIDES; s++) {
		int map = new_map(s, &shape);

		memcpy(copy, insns, count * sizeof(*insns));
		copy[at].imm = map;
		fds[s] = load(s, copy, count);
		close(map);
	}
	TRACE_PUSH("%d %d\n%s\n%s", fds[KERNEL], fds[SLUICE], logs[KERNEL], logs[SLUICE]);
	EXPECT_LT(fds[SLUICE], 0);
	EXPECT_CONTAINS(logs[SLUICE], words);
	if (both_refuse) {
		EXPECT_EQ(fds[SLUICE], fds[KERNEL]);
		EXPECT_CONTAINS(logs[KERNEL], words);
	}
	TRACE_POP();
	if (fds[KERNEL] >= 0)
		close(fds[KERNEL]);
}

TEST(map_field, is_only_read)
{
	const struct bpf_insn store[] = { LD_MAP(1, 0), MOV_K(0, 0),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 1, 0, 0, 0), EXIT },
			      atomic[] = { LD_MAP(1, 0), MOV_K(0, 0),
				      INSN(BPF_STX | BPF_ATOMIC | BPF_W, 1, 0, 64, BPF_ADD), EXIT },
			      fetch[] = { LD_MAP(1, 0), MOV_K(0, 0),
				      INSN(BPF_STX | BPF_ATOMIC | BPF_W, 1, 0, 64,
					      BPF_ADD | BPF_FETCH),
				      EXIT },
			      moved[] = { LD_MAP(1, 0),
				      INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 8),
				      LDX(BPF_W, 0, 1, 56), EXIT },
			      /* R1 the context or the map. */
		mixed[] = { LD_MAP(2, 0), LDX(BPF_W, 0, 1, 0),
			INSN(BPF_JMP | BPF_JGT | BPF_K, 0, 0, 1, 30),
			INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 2, 0, 0), LDX(BPF_W, 0, 1, 64), EXIT };

	ORACLE_OR_SKIP();
	if (!kernel_btf())
		SKIP("the kernel does not show its BTF");
	check_refusal(
		store, sl_array_size(store), 0, "only read from bpf_array is supported", true);
	check_refusal(
		atomic, sl_array_size(atomic), 0, "only read from bpf_array is supported", true);
	check_refusal(
		fetch, sl_array_size(fetch), 0, "only read from bpf_array is supported", true);
	check_refusal(moved, sl_array_size(moved), 0, "R1 pointer arithmetic on map_ptr prohibited",
		true);
	check_refusal(mixed, sl_array_size(mixed), 0,
		"same insn cannot be used with different pointers", true);
}
