#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "cpu.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * Fields of map values that are special to the kernel, by the names of their types: which maps may
 * have them, where they are (what a program may read tells), and what copies of a value do to them.
 */

enum { VALUE = 64, LOG = 1 << 16 };

enum type {
	END,
	INT,
	LONG,
	LOCK,
	RES_LOCK,
	TIMER,
	WQ,
	WORK,
	HEAD,
	ROOT,
	COUNT,
	KPTR,
	KPTR_UNTRUSTED,
	KPTR_BAD, /* an unknown tag */
	LOCK_OF_8, /* of that name, another size */
	LOCK_ALIAS, /* a typedef of it */
	TWO_LOCKS, /* an array */
	NO_LOCKS,
	THREE_KPTRS,
	IN_STRUCT, /* a struct with a lock at 4 */
	TWO_STRUCTS,
	KPTR_STRUCT, /* a struct with a pointer at 8 */
	TWO_KPTR_STRUCTS,
	IN_UNION, /* a union of a lock and an int */
	TIMER_UNION, /* a union of a timer and a lock */
	TYPES
};

static const struct row {
	const char *name;
	struct {
		enum type type;
		uint32_t off;
	} members[5];
} rows[] = {
	{ "nothing special", { { INT, 0 }, { LONG, 8 } } },
	{ "lock", { { LOCK, 0 }, { INT, 4 } } },
	{ "lock at the end", { { INT, 0 }, { LOCK, 60 } } },
	{ "lock, not aligned", { { INT, 0 }, { LOCK, 6 } } },
	{ "two locks", { { LOCK, 0 }, { LOCK, 4 } } },
	{ "two locks, one not aligned", { { LOCK, 0 }, { LOCK, 6 } } },
	{ "lock of another size", { { LOCK_OF_8, 0 } } },
	{ "lock of another size and a lock", { { LOCK_OF_8, 0 }, { LOCK, 8 } } },
	{ "lock by a typedef", { { LOCK_ALIAS, 4 } } },
	{ "array of locks", { { TWO_LOCKS, 8 } } },
	{ "empty array of locks", { { NO_LOCKS, 8 }, { LOCK, 8 } } },
	{ "lock in a struct", { { INT, 0 }, { IN_STRUCT, 8 } } },
	{ "lock in a struct in an array", { { TWO_STRUCTS, 8 } } },
	{ "lock in a union", { { IN_UNION, 12 } } },
	{ "lock and timer in one place", { { TIMER_UNION, 8 } } },
	{ "timer", { { INT, 0 }, { TIMER, 8 } } },
	{ "timer, aligned to 4", { { INT, 0 }, { TIMER, 12 } } },
	{ "two timers", { { TIMER, 0 }, { TIMER, 16 } } },
	{ "timer and lock", { { TIMER, 16 }, { LOCK, 32 } } },
	{ "lock and timer", { { LOCK, 4 }, { TIMER, 16 } } },
	{ "work queue", { { WQ, 8 } } },
	{ "task work", { { WORK, 8 } } },
	{ "resilient lock", { { RES_LOCK, 8 } } },
	{ "both kinds of locks", { { LOCK, 0 }, { RES_LOCK, 8 } } },
	{ "list without lock", { { HEAD, 0 } } },
	{ "tree without lock", { { ROOT, 0 } } },
	{ "list that says not of what", { { LOCK, 0 }, { HEAD, 8 } } },
	{ "refcount", { { COUNT, 4 } } },
	{ "two refcounts", { { COUNT, 4 }, { COUNT, 8 } } },
	{ "kernel pointer", { { KPTR_UNTRUSTED, 8 } } },
	{ "kernel pointers", { { KPTR_UNTRUSTED, 8 }, { KPTR_UNTRUSTED, 24 } } },
	{ "own pointer", { { KPTR, 8 } } },
	{ "pointer not aligned", { { KPTR, 12 } } },
	{ "array of pointers", { { THREE_KPTRS, 8 } } },
	{ "arrays of pointers, too many",
		{ { THREE_KPTRS, 8 }, { THREE_KPTRS, 32 }, { LOCK, 0 } } },
	{ "pointer in a struct", { { KPTR_STRUCT, 8 } } },
	{ "pointers in structs", { { TWO_KPTR_STRUCTS, 16 } } },
	{ "pointer with an unknown tag", { { KPTR_BAD, 8 } } },
	{ "pointer, lock, timer", { { LOCK, 0 }, { KPTR, 8 }, { TIMER, 16 } } },
};

/* What maps are made of: one blob per side and row. */
struct types {
	struct btf *btf;
	int ids[TYPES], key, value;
};

static int add_struct(struct btf *btf, const char *name, uint32_t size, int member, uint32_t off)
{
	int id = btf__add_struct(btf, name, size);

	btf__add_field(btf, "m", member, off * 8, 0);
	return id;
}

static int add_pointer(struct btf *btf, const char *tag, int to)
{
	return btf__add_ptr(btf, btf__add_type_tag(btf, tag, to));
}

static void add_types(struct types *t)
{
	struct btf *b = t->btf;
	int *ids = t->ids, target;

	t->key = ids[INT] = btf__add_int(b, "int", 4, 0);
	ids[LONG] = btf__add_int(b, "long", 8, 0);
	ids[LOCK] = add_struct(b, "bpf_spin_lock", 4, ids[INT], 0);
	ids[RES_LOCK] = add_struct(b, "bpf_res_spin_lock", 4, ids[INT], 0);
	ids[TIMER] = add_struct(b, "bpf_timer", 16, ids[LONG], 0);
	ids[WQ] = add_struct(b, "bpf_wq", 16, ids[LONG], 0);
	ids[WORK] = add_struct(b, "bpf_task_work", 8, ids[LONG], 0);
	ids[HEAD] = add_struct(b, "bpf_list_head", 16, ids[LONG], 0);
	ids[ROOT] = add_struct(b, "bpf_rb_root", 16, ids[LONG], 0);
	ids[COUNT] = add_struct(b, "bpf_refcount", 4, ids[INT], 0);
	target = add_struct(b, "of_this_program_only", 8, ids[LONG], 0);
	ids[KPTR] = add_pointer(b, "kptr", target);
	ids[KPTR_UNTRUSTED] = add_pointer(b, "kptr_untrusted", target);
	ids[KPTR_BAD] = add_pointer(b, "no_tag_of_note", target);
	ids[LOCK_OF_8] = add_struct(b, "bpf_spin_lock", 8, ids[LONG], 0);
	ids[LOCK_ALIAS] = btf__add_typedef(b, "alias", ids[LOCK]);
	ids[TWO_LOCKS] = btf__add_array(b, ids[INT], ids[LOCK], 2);
	ids[NO_LOCKS] = btf__add_array(b, ids[INT], ids[LOCK], 0);
	ids[THREE_KPTRS] = btf__add_array(b, ids[INT], ids[KPTR], 3);
	ids[IN_STRUCT] = add_struct(b, "holder", 8, ids[LOCK], 4);
	ids[TWO_STRUCTS] = btf__add_array(b, ids[INT], ids[IN_STRUCT], 2);
	ids[KPTR_STRUCT] = add_struct(b, "pointing", 16, ids[KPTR], 8);
	ids[TWO_KPTR_STRUCTS] = btf__add_array(b, ids[INT], ids[KPTR_STRUCT], 2);
	ids[IN_UNION] = btf__add_union(b, "either", 4);
	btf__add_field(b, "lock", ids[LOCK], 0, 0);
	btf__add_field(b, "i", ids[INT], 0, 0);
	ids[TIMER_UNION] = btf__add_union(b, "or", 16);
	btf__add_field(b, "timer", ids[TIMER], 0, 0);
	btf__add_field(b, "lock", ids[LOCK], 0, 0);
}

static void add_value(struct types *t, const struct row *row)
{
	char name[] = "a";

	t->value = btf__add_struct(t->btf, "value", VALUE);
	for (unsigned i = 0; row->members[i].type != END; i++, name[0]++)
		btf__add_field(
			t->btf, name, t->ids[row->members[i].type], row->members[i].off * 8, 0);
}

static int load_types(enum side side, const struct types *t)
{
	union bpf_attr attr;
	uint32_t size;

	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(btf__raw_data(t->btf, &size));
	attr.btf_size = size;
	return (int)call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
}

static int typed_map(enum side side, const struct types *t, int btf, uint32_t type, uint32_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = VALUE;
	attr.max_entries = 2;
	attr.map_flags = flags;
	attr.btf_fd = (uint32_t)btf;
	attr.btf_key_type_id = (uint32_t)t->key;
	attr.btf_value_type_id = (uint32_t)t->value;
	strcpy(attr.map_name, "special");
	return (int)call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static const struct {
	uint32_t type, flags;
} map_kinds[] = {
	{ BPF_MAP_TYPE_ARRAY, 0 },
	{ BPF_MAP_TYPE_ARRAY, BPF_F_RDONLY_PROG },
	{ BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE },
	{ BPF_MAP_TYPE_HASH, 0 },
	{ BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 0 },
	{ BPF_MAP_TYPE_PERCPU_HASH, 0 },
	{ BPF_MAP_TYPE_PROG_ARRAY, 0 },
};

static char logs[SIDES][LOG];

/* Loads the bytes of a value that `places` names; the result and, in logs[side], why not. */
static long probe(enum side side, int map, uint64_t places)
{
	struct bpf_insn insns[10 + VALUE] = {
		{ .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 10, .off = -4 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -4 },
		{ .code = BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map },
		{ 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K },
	};
	union bpf_attr attr;
	unsigned n = 7;
	long fd;

	for (int16_t off = 0; off < VALUE; off++)
		if (places >> off & 1)
			insns[n++] = (struct bpf_insn){ BPF_LDX | BPF_MEM | BPF_B, 1, 0, off, 0 };
	insns[6].off = (int16_t)(n - 7);
	insns[n++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K };
	insns[n++] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = PTR(insns);
	attr.insn_cnt = n;
	attr.license = PTR("GPL");
	attr.log_buf = PTR(logs[side]);
	attr.log_size = LOG;
	attr.log_level = 1;
	logs[side][0] = '\0';
	fd = call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd >= 0)
		close((int)fd);
	return fd < 0 ? fd : 0;
}

/* The last line but the statistics. */
static const char *reason(enum side side)
{
	char *end = strstr(logs[side], "processed ");

	if (!end || end == logs[side])
		return "";
	end[-1] = '\0';
	end = strrchr(logs[side], '\n');
	return end ? end + 1 : logs[side];
}

/* Each byte that the kernel refuses by itself, the others together: those we have to compile. */
static void compare_places(const int maps[SIDES])
{
	uint64_t allowed = 0;

	for (int off = 0; off < VALUE; off++) {
		long err = probe(KERNEL, maps[KERNEL], 1ull << off);

		if (!err) {
			allowed |= 1ull << off;
			continue;
		}
		TRACE_PUSH("byte %d", off);
		EXPECT_EQ(probe(SLUICE, maps[SLUICE], 1ull << off), err);
		EXPECT_STREQ(reason(SLUICE), reason(KERNEL));
		TRACE_POP();
	}
	EXPECT_EQ(probe(SLUICE, maps[SLUICE], allowed), 0);
}

static long element(enum side side, int cmd, int map, uint32_t key, void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	attr.flags = flags;
	return call(side, cmd, &attr, sizeof(attr));
}

/* Ones go in wherever they may, and what comes out is the same. */
static void compare_copies(const int maps[SIDES], uint32_t type, uint64_t flags)
{
	/* All CPUs' values, for a per-CPU map. */
	static uint8_t values[SIDES][VALUE * SL_MAX_CPUS], ones[VALUE * SL_MAX_CPUS];
	bool percpu = type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH;
	size_t len = VALUE * (percpu ? sl_cpu_count() : 1);
	long errs[SIDES];

	memset(ones, 0xff, sizeof(ones));
	memset(values, 0x55, sizeof(values));
	for (int s = 0; s < SIDES; s++)
		errs[s] = element(s, BPF_MAP_UPDATE_ELEM, maps[s], 0, ones, flags);
	EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
	for (unsigned again = 0; again < 2; again++) {
		for (int s = 0; s < SIDES; s++)
			errs[s] = element(s, BPF_MAP_LOOKUP_ELEM, maps[s], 0, values[s], flags);
		EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
		EXPECT_MEMEQ(values[SLUICE], values[KERNEL], len);
		for (int s = 0; s < SIDES; s++)
			errs[s] = element(s, BPF_MAP_UPDATE_ELEM, maps[s], 0, ones, flags);
		EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
	}
}

static void compare_row(const struct row *row)
{
	struct types t = { .btf = btf__new_empty() };
	int btf[SIDES], maps[SIDES];

	add_types(&t);
	add_value(&t, row);
	for (int s = 0; s < SIDES; s++)
		btf[s] = load_types(s, &t);
	TRACE_PUSH("%s", row->name);
	EXPECT_EQ(btf[SLUICE] < 0 ? btf[SLUICE] : 0, btf[KERNEL] < 0 ? btf[KERNEL] : 0);
	TRACE_POP();
	for (size_t i = 0; btf[KERNEL] >= 0 && i < sl_array_size(map_kinds); i++) {
		TRACE_PUSH("%s, map type %u, flags %#x", row->name, map_kinds[i].type,
			map_kinds[i].flags);
		for (int s = 0; s < SIDES; s++)
			maps[s] = typed_map(s, &t, btf[s], map_kinds[i].type, map_kinds[i].flags);
		EXPECT_EQ(maps[SLUICE] < 0 ? maps[SLUICE] : 0, maps[KERNEL] < 0 ? maps[KERNEL] : 0);
		if (maps[SLUICE] >= 0 && maps[KERNEL] >= 0) {
			compare_places(maps);
			compare_copies(maps, map_kinds[i].type, 0);
		}
		for (int s = 0; s < SIDES; s++)
			if (maps[s] >= 0)
				close(maps[s]);
		TRACE_POP();
	}
	for (int s = 0; s < SIDES; s++)
		if (btf[s] >= 0)
			close(btf[s]);
	btf__free(t.btf);
}

TEST(special_fields, are_where_the_kernel_finds_them)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++)
		compare_row(&rows[i]);
}
