#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * Every row is one call with attributes that are wrong in one way (or right, for a base). The
 * kernel and Sluice must answer alike: the errno, or success.
 */

/* What descriptors in the attributes are replaced by. */
enum {
	FD_NONE = -1, /* stays -1 */
	FD_ARRAY = -1000, /* these: the side's own */
	FD_RDONLY,
	FD_WRONLY,
	FD_FROZEN,
	FD_HASH,
	FD_PERCPU,
	FD_JUMP,
	FD_PERF,
	FD_XDP,
	FD_TC,
	FD_FILTER,
	FD_BTF,
	FD_FILE, /* an ordinary file */
	FD_CLOSED,
	FD_END,
};
#define FDS (FD_END - FD_ARRAY)

static int fds[SIDES][FDS];

static int fd_of(enum side side, int symbol)
{
	return symbol >= FD_ARRAY && symbol < FD_END ? fds[side][symbol - FD_ARRAY] : symbol;
}

static void set_up(enum side side)
{
	int *f = fds[side] - FD_ARRAY;
	union bpf_attr attr;

	f[FD_ARRAY] = map_new(side, BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0);
	f[FD_RDONLY] = map_new(side, BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_RDONLY);
	f[FD_WRONLY] = map_new(side, BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_WRONLY);
	f[FD_FROZEN] = map_new(side, BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0);
	f[FD_HASH] = map_new(side, BPF_MAP_TYPE_HASH, 4, 8, 4, 0);
	f[FD_PERCPU] = map_new(side, BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4, 0);
	f[FD_JUMP] = map_new(side, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4, 0);
	f[FD_PERF] = map_new(side, BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 2, 0);
	f[FD_XDP] = prog_returning(side, BPF_PROG_TYPE_XDP, 2);
	f[FD_TC] = prog_returning(side, BPF_PROG_TYPE_SCHED_CLS, 0);
	f[FD_FILTER] = prog_returning(side, BPF_PROG_TYPE_SOCKET_FILTER, 0);
	f[FD_BTF] = btf_new(side);
	f[FD_FILE] = dup(2);
	f[FD_CLOSED] = 999;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = f[FD_FROZEN];
	call(side, BPF_MAP_FREEZE, &attr, sizeof(attr));
}

static void tear_down(void)
{
	for (unsigned side = 0; side < SIDES; side++) {
		for (unsigned i = 0; i < FDS; i++) {
			if (fds[side][i] > 2)
				close(fds[side][i]);
		}
	}
}

/* Memory that attributes point to. */
static uint32_t zero_key, key3 = 3, key4 = 4;
static uint64_t values[64];
static uint32_t keys[4] = { 0, 1, 2, 3 };
static uint32_t batch;
static const struct bpf_insn ret2[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
	{ .code = BPF_JMP | BPF_EXIT },
};
static uint8_t packet[4096];
static struct xdp_md md_bad_end = { .data_end = 63 }, md_ok = { .data_end = 64 },
		     md_meta = { .data = 4, .data_end = 64 },
		     md_odd = { .data = 3, .data_end = 64 },
		     md_egress = { .data_end = 64, .egress_ifindex = 1 },
		     md_queue = { .data_end = 64, .rx_queue_index = 1 },
		     md_nodev = { .data_end = 64, .ingress_ifindex = 9999 };
static struct __sk_buff skb_ok, skb_len = { .len = 1 }, skb_mark = { .mark = 1 },
				skb_tc_index = { .tc_index = 1 }, skb_hash = { .hash = 1 },
				skb_wire = { .wire_len = 1 }, skb_gso = { .gso_segs = 70000 },
				skb_nodev = { .ifindex = 9999 }, skb_queue = { .queue_mapping = 1 };
static char log_buf[4096];
static char big_info[512];

#define BAD_POINTER 0x10

/* A row overrides what its macro set for all. */
#pragma GCC diagnostic ignored "-Woverride-init"
#pragma GCC diagnostic ignored "-Wmissing-braces"

struct row {
	const char *name;
	int cmd;
	union bpf_attr attr;
	unsigned size; /* 0: all of it */
	int zero_fd[2]; /* offsets + 1 of attributes that hold a symbol */
};

#define FD_AT(field) (offsetof(union bpf_attr, field) + 1)
#define MAP_ROW(name, cmd, symbol, ...)                                      \
	{                                                                    \
		name, cmd, { .map_fd = (uint32_t)(symbol), __VA_ARGS__ }, 0, \
		{                                                            \
			FD_AT(map_fd)                                        \
		}                                                            \
	}

static const struct row element_rows[] = {
	MAP_ROW("lookup", BPF_MAP_LOOKUP_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("lookup past the end", BPF_MAP_LOOKUP_ELEM, FD_ARRAY, .key = PTR(&key4),
		.value = PTR(values)),
	MAP_ROW("lookup, bad fd", BPF_MAP_LOOKUP_ELEM, FD_NONE, .key = PTR(&key4)),
	MAP_ROW("lookup, closed fd", BPF_MAP_LOOKUP_ELEM, FD_CLOSED, .key = PTR(&key4)),
	MAP_ROW("lookup in a file", BPF_MAP_LOOKUP_ELEM, FD_FILE, .key = PTR(&key4)),
	MAP_ROW("lookup in a program", BPF_MAP_LOOKUP_ELEM, FD_XDP, .key = PTR(&key4)),
	MAP_ROW("lookup, no key", BPF_MAP_LOOKUP_ELEM, FD_ARRAY, .value = PTR(values)),
	MAP_ROW("lookup, wild key", BPF_MAP_LOOKUP_ELEM, FD_ARRAY, .key = BAD_POINTER,
		.value = PTR(values)),
	MAP_ROW("lookup, wild value", BPF_MAP_LOOKUP_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = BAD_POINTER),
	MAP_ROW("lookup, flag 1", BPF_MAP_LOOKUP_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = PTR(values), .flags = 1),
	MAP_ROW("lookup, BPF_F_LOCK", BPF_MAP_LOOKUP_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = PTR(values), .flags = BPF_F_LOCK),
	MAP_ROW("lookup, write-only", BPF_MAP_LOOKUP_ELEM, FD_WRONLY, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("lookup, frozen", BPF_MAP_LOOKUP_ELEM, FD_FROZEN, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("lookup, hash miss", BPF_MAP_LOOKUP_ELEM, FD_HASH, .key = PTR(&key4),
		.value = PTR(values)),
	MAP_ROW("lookup, per CPU", BPF_MAP_LOOKUP_ELEM, FD_PERCPU, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("lookup, empty slot", BPF_MAP_LOOKUP_ELEM, FD_JUMP, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("lookup, perf events", BPF_MAP_LOOKUP_ELEM, FD_PERF, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("update", BPF_MAP_UPDATE_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("update past the end", BPF_MAP_UPDATE_ELEM, FD_ARRAY, .key = PTR(&key4),
		.value = PTR(values)),
	MAP_ROW("update, NOEXIST", BPF_MAP_UPDATE_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = PTR(values), .flags = BPF_NOEXIST),
	MAP_ROW("update, flags 3", BPF_MAP_UPDATE_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = PTR(values), .flags = 3),
	MAP_ROW("update, flags 8", BPF_MAP_UPDATE_ELEM, FD_HASH, .key = PTR(&zero_key),
		.value = PTR(values), .flags = 8),
	MAP_ROW("update, high flag", BPF_MAP_UPDATE_ELEM, FD_HASH, .key = PTR(&zero_key),
		.value = PTR(values), .flags = 1ull << 40),
	MAP_ROW("update, BPF_F_LOCK", BPF_MAP_UPDATE_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = PTR(values), .flags = BPF_F_LOCK),
	MAP_ROW("update, read-only", BPF_MAP_UPDATE_ELEM, FD_RDONLY, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("update, frozen", BPF_MAP_UPDATE_ELEM, FD_FROZEN, .key = PTR(&zero_key),
		.value = PTR(values)),
	MAP_ROW("update, wild value", BPF_MAP_UPDATE_ELEM, FD_ARRAY, .key = PTR(&zero_key),
		.value = BAD_POINTER),
	MAP_ROW("update, EXIST on a miss", BPF_MAP_UPDATE_ELEM, FD_HASH, .key = PTR(&key3),
		.value = PTR(values), .flags = BPF_EXIST),
	MAP_ROW("update, slot with no program", BPF_MAP_UPDATE_ELEM, FD_JUMP, .key = PTR(&zero_key),
		.value = PTR(keys)),
	MAP_ROW("update, per CPU, NOEXIST", BPF_MAP_UPDATE_ELEM, FD_PERCPU, .key = PTR(&zero_key),
		.value = PTR(values), .flags = BPF_NOEXIST),
	MAP_ROW("delete, array", BPF_MAP_DELETE_ELEM, FD_ARRAY, .key = PTR(&zero_key)),
	MAP_ROW("delete, hash miss", BPF_MAP_DELETE_ELEM, FD_HASH, .key = PTR(&key3)),
	MAP_ROW("delete, empty slot", BPF_MAP_DELETE_ELEM, FD_JUMP, .key = PTR(&zero_key)),
	MAP_ROW("delete, slot past the end", BPF_MAP_DELETE_ELEM, FD_JUMP, .key = PTR(&key4)),
	MAP_ROW("delete, empty event", BPF_MAP_DELETE_ELEM, FD_PERF, .key = PTR(&zero_key)),
	MAP_ROW("delete, read-only", BPF_MAP_DELETE_ELEM, FD_RDONLY, .key = PTR(&zero_key)),
	MAP_ROW("delete with a value", BPF_MAP_DELETE_ELEM, FD_HASH, .key = PTR(&key3),
		.value = PTR(values)),
	MAP_ROW("delete with flags", BPF_MAP_DELETE_ELEM, FD_HASH, .key = PTR(&key3), .flags = 1),
	MAP_ROW("next key", BPF_MAP_GET_NEXT_KEY, FD_ARRAY, .key = PTR(&zero_key),
		.next_key = PTR(values)),
	MAP_ROW("first key", BPF_MAP_GET_NEXT_KEY, FD_ARRAY, .next_key = PTR(values)),
	MAP_ROW("next of the last", BPF_MAP_GET_NEXT_KEY, FD_ARRAY, .key = PTR(&key3),
		.next_key = PTR(values)),
	MAP_ROW("first of an empty hash", BPF_MAP_GET_NEXT_KEY, FD_HASH, .next_key = PTR(values)),
	MAP_ROW("next key, wild", BPF_MAP_GET_NEXT_KEY, FD_ARRAY, .key = BAD_POINTER,
		.next_key = PTR(values)),
	MAP_ROW("next key to nowhere", BPF_MAP_GET_NEXT_KEY, FD_ARRAY, .key = PTR(&zero_key)),
	MAP_ROW("next key with flags", BPF_MAP_GET_NEXT_KEY, FD_ARRAY, .key = PTR(&zero_key),
		.next_key = PTR(values), .flags = 1),
	MAP_ROW("next key, write-only", BPF_MAP_GET_NEXT_KEY, FD_WRONLY, .next_key = PTR(values)),
	MAP_ROW("lookup and delete, array", BPF_MAP_LOOKUP_AND_DELETE_ELEM, FD_ARRAY,
		.key = PTR(&zero_key), .value = PTR(values)),
	MAP_ROW("lookup and delete, miss", BPF_MAP_LOOKUP_AND_DELETE_ELEM, FD_HASH,
		.key = PTR(&zero_key), .value = PTR(values)),
	MAP_ROW("lookup and delete, flag 1", BPF_MAP_LOOKUP_AND_DELETE_ELEM, FD_HASH,
		.key = PTR(&zero_key), .value = PTR(values), .flags = 1),
	MAP_ROW("lookup and delete, read-only", BPF_MAP_LOOKUP_AND_DELETE_ELEM, FD_RDONLY,
		.key = PTR(&zero_key), .value = PTR(values)),
	MAP_ROW("freeze, frozen", BPF_MAP_FREEZE, FD_FROZEN),
	MAP_ROW("freeze, read-only", BPF_MAP_FREEZE, FD_RDONLY),
	MAP_ROW("freeze, bad fd", BPF_MAP_FREEZE, FD_NONE),
	MAP_ROW("freeze with a key", BPF_MAP_FREEZE, FD_ARRAY, .key = PTR(&zero_key)),
	MAP_ROW("freeze a program", BPF_MAP_FREEZE, FD_XDP),
};

#define BATCH_ROW(name, cmd, symbol, ...)                          \
	{                                                          \
		name, cmd,                                         \
			{ .batch = { .map_fd = (uint32_t)(symbol), \
				  .keys = PTR(keys),               \
				  .values = PTR(values),           \
				  .out_batch = PTR(&batch),        \
				  __VA_ARGS__ } },                 \
			0,                                         \
		{                                                  \
			FD_AT(batch.map_fd)                        \
		}                                                  \
	}

static const struct row batch_rows[] = {
	BATCH_ROW("lookup", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 4),
	BATCH_ROW("lookup of more", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 9),
	BATCH_ROW("lookup of none", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 0),
	BATCH_ROW("lookup, bad fd", BPF_MAP_LOOKUP_BATCH, FD_NONE, .count = 1),
	BATCH_ROW("lookup, element flag", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 1,
		.elem_flags = 1),
	BATCH_ROW("lookup, flag", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 1, .flags = 1),
	BATCH_ROW("lookup, wild in", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 1, .in_batch = 16),
	BATCH_ROW("lookup, wild out", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 1, .out_batch = 16),
	BATCH_ROW("lookup, wild keys", BPF_MAP_LOOKUP_BATCH, FD_ARRAY, .count = 1, .keys = 16),
	BATCH_ROW("lookup, write-only", BPF_MAP_LOOKUP_BATCH, FD_WRONLY, .count = 1),
	BATCH_ROW("lookup, empty hash", BPF_MAP_LOOKUP_BATCH, FD_HASH, .count = 4),
	BATCH_ROW("lookup, hash flag", BPF_MAP_LOOKUP_BATCH, FD_HASH, .count = 4, .flags = 1),
	BATCH_ROW("lookup, per CPU", BPF_MAP_LOOKUP_BATCH, FD_PERCPU, .count = 4),
	BATCH_ROW("lookup, slots", BPF_MAP_LOOKUP_BATCH, FD_JUMP, .count = 4),
	BATCH_ROW("lookup, events", BPF_MAP_LOOKUP_BATCH, FD_PERF, .count = 1),
	BATCH_ROW(
		"lookup and delete, array", BPF_MAP_LOOKUP_AND_DELETE_BATCH, FD_ARRAY, .count = 1),
	BATCH_ROW("lookup and delete, hash", BPF_MAP_LOOKUP_AND_DELETE_BATCH, FD_HASH, .count = 4),
	BATCH_ROW("update", BPF_MAP_UPDATE_BATCH, FD_ARRAY, .count = 4),
	BATCH_ROW("update, read-only", BPF_MAP_UPDATE_BATCH, FD_RDONLY, .count = 4),
	BATCH_ROW("update, frozen", BPF_MAP_UPDATE_BATCH, FD_FROZEN, .count = 4),
	BATCH_ROW("update, NOEXIST", BPF_MAP_UPDATE_BATCH, FD_HASH, .count = 1, .elem_flags = 1),
	BATCH_ROW("update, wild values", BPF_MAP_UPDATE_BATCH, FD_ARRAY, .count = 1, .values = 16),
	BATCH_ROW("update, events", BPF_MAP_UPDATE_BATCH, FD_PERF, .count = 1),
	BATCH_ROW("delete, array", BPF_MAP_DELETE_BATCH, FD_ARRAY, .count = 1),
	BATCH_ROW("delete, hash miss", BPF_MAP_DELETE_BATCH, FD_HASH, .count = 1),
	BATCH_ROW(
		"delete, element flag", BPF_MAP_DELETE_BATCH, FD_HASH, .count = 1, .elem_flags = 2),
};

#define CREATE(name, ...)                                                               \
	{                                                                               \
		name, BPF_MAP_CREATE,                                                   \
		{                                                                       \
			.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, \
			.max_entries = 1, __VA_ARGS__                                   \
		}                                                                       \
	}

static const struct row create_rows[] = {
	CREATE("plain"),
	CREATE("type 0", .map_type = 0),
	CREATE("type 500", .map_type = 500),
	CREATE("no entries", .max_entries = 0),
	CREATE("key of 8", .key_size = 8),
	CREATE("no value", .value_size = 0),
	CREATE("bad flags", .map_flags = 1 << 30),
	CREATE("both accesses", .map_flags = BPF_F_RDONLY | BPF_F_WRONLY),
	CREATE("both program accesses", .map_flags = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG),
	CREATE("name", .map_name = "a_b.C9"),
	CREATE("name with a blank", .map_name = "a b"),
	CREATE("name without end", .map_name = { 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a',
					   'a', 'a', 'a', 'a', 'a', 'a' }),
	CREATE("inner map", .inner_map_fd = 5),
	CREATE("node 77", .numa_node = 77, .map_flags = BPF_F_NUMA_NODE),
	CREATE("node without flag", .numa_node = 1),
	CREATE("ifindex", .map_ifindex = 1),
	CREATE("key type without value type", .btf_key_type_id = 1),
	CREATE("BTF of descriptor 0", .btf_key_type_id = 1, .btf_value_type_id = 1),
	CREATE("map_extra", .map_extra = 1),
	CREATE("vmlinux value type", .btf_vmlinux_value_type_id = 1),
	CREATE("too large", .max_entries = 0xffffffff, .value_size = 0x7fffffff),
	{ "BTF key and value", BPF_MAP_CREATE,
		{ .map_type = BPF_MAP_TYPE_ARRAY,
			.key_size = 4,
			.value_size = 4,
			.max_entries = 1,
			.btf_fd = (uint32_t)FD_BTF,
			.btf_key_type_id = 1,
			.btf_value_type_id = 1 },
		0, { FD_AT(btf_fd) } },
	{ "BTF value of another size", BPF_MAP_CREATE,
		{ .map_type = BPF_MAP_TYPE_ARRAY,
			.key_size = 4,
			.value_size = 8,
			.max_entries = 1,
			.btf_fd = (uint32_t)FD_BTF,
			.btf_key_type_id = 1,
			.btf_value_type_id = 1 },
		0, { FD_AT(btf_fd) } },
	{ "BTF type that is not there", BPF_MAP_CREATE,
		{ .map_type = BPF_MAP_TYPE_ARRAY,
			.key_size = 4,
			.value_size = 4,
			.max_entries = 1,
			.btf_fd = (uint32_t)FD_BTF,
			.btf_key_type_id = 1,
			.btf_value_type_id = 7 },
		0, { FD_AT(btf_fd) } },
};

#define LOAD(name, ...)                                                                    \
	{                                                                                  \
		name, BPF_PROG_LOAD,                                                       \
		{                                                                          \
			.prog_type = BPF_PROG_TYPE_XDP, .insns = PTR(ret2), .insn_cnt = 2, \
			.license = PTR("GPL"), __VA_ARGS__                                 \
		}                                                                          \
	}

static const struct row load_rows[] = {
	LOAD("plain"),
	LOAD("type 0", .prog_type = 0),
	LOAD("type 999", .prog_type = 999),
	LOAD("no insns", .insn_cnt = 0),
	LOAD("too many insns", .insn_cnt = 1000001),
	LOAD("wild insns", .insns = BAD_POINTER),
	LOAD("no license", .license = 0),
	LOAD("wild license", .license = BAD_POINTER),
	LOAD("bad flags", .prog_flags = 1 << 30),
	LOAD("strict alignment", .prog_flags = BPF_F_STRICT_ALIGNMENT),
	LOAD("sleepable", .prog_flags = BPF_F_SLEEPABLE),
	LOAD("name", .prog_name = "a.b_c1"),
	LOAD("bad name", .prog_name = "a-b"),
	LOAD("ifindex", .prog_ifindex = 9999),
	LOAD("attach type 99", .expected_attach_type = 99),
	LOAD("attach prog", .attach_prog_fd = 5),
	LOAD("attach BTF id", .attach_btf_id = 5),
	LOAD("log size without buffer", .log_level = 1, .log_size = 1024),
	LOAD("log buffer without size", .log_level = 1, .log_buf = PTR(log_buf)),
	LOAD("log buffer without level", .log_buf = PTR(log_buf), .log_size = 4096),
	LOAD("log level 16", .log_level = 16, .log_buf = PTR(log_buf), .log_size = 4096),
	LOAD("log level 1", .log_level = 1, .log_buf = PTR(log_buf), .log_size = 4096),
	LOAD("log level without buffer", .log_level = 1),
	LOAD("log level 2, size 1", .log_level = 2, .log_buf = PTR(log_buf), .log_size = 1),
	LOAD("log level 2, size 16", .log_level = 2, .log_buf = PTR(log_buf), .log_size = 16),
	LOAD("log too large", .log_level = 1, .log_buf = PTR(log_buf), .log_size = 0x40000000),
	LOAD("wild log", .log_level = 2, .log_buf = BAD_POINTER, .log_size = 4096),
	LOAD("BTF of descriptor 0 unused", .prog_btf_fd = 0),
	LOAD("func_info without BTF", .func_info_cnt = 1, .func_info_rec_size = 8,
		.func_info = PTR(keys), .prog_btf_fd = 999),
	LOAD("one insn", .insn_cnt = 1),
	LOAD("socket filter", .prog_type = BPF_PROG_TYPE_SOCKET_FILTER),
	LOAD("kern_version", .kern_version = 5),
	{ "func_info with an empty record size", BPF_PROG_LOAD,
		{ .prog_type = BPF_PROG_TYPE_XDP,
			.insns = PTR(ret2),
			.insn_cnt = 2,
			.license = PTR("GPL"),
			.prog_btf_fd = (uint32_t)FD_BTF,
			.func_info_cnt = 1,
			.func_info = PTR(keys) },
		0, { FD_AT(prog_btf_fd) } },
	{ "func_info of an int", BPF_PROG_LOAD,
		{ .prog_type = BPF_PROG_TYPE_XDP,
			.insns = PTR(ret2),
			.insn_cnt = 2,
			.license = PTR("GPL"),
			.prog_btf_fd = (uint32_t)FD_BTF,
			.func_info_cnt = 1,
			.func_info_rec_size = 8,
			.func_info = PTR(keys) },
		0, { FD_AT(prog_btf_fd) } },
	{ "line_info with a record of 8", BPF_PROG_LOAD,
		{ .prog_type = BPF_PROG_TYPE_XDP,
			.insns = PTR(ret2),
			.insn_cnt = 2,
			.license = PTR("GPL"),
			.prog_btf_fd = (uint32_t)FD_BTF,
			.line_info_cnt = 1,
			.line_info_rec_size = 8,
			.line_info = PTR(values) },
		0, { FD_AT(prog_btf_fd) } },
	{ "line_info", BPF_PROG_LOAD,
		{ .prog_type = BPF_PROG_TYPE_XDP,
			.insns = PTR(ret2),
			.insn_cnt = 2,
			.license = PTR("GPL"),
			.prog_btf_fd = (uint32_t)FD_BTF,
			.line_info_cnt = 1,
			.line_info_rec_size = 16,
			.line_info = PTR(values) },
		0, { FD_AT(prog_btf_fd) } },
};

#define RUN(name, symbol, ...)                                     \
	{                                                          \
		name, BPF_PROG_TEST_RUN,                           \
			{ .test = { .prog_fd = (uint32_t)(symbol), \
				  .data_in = PTR(packet),          \
				  .data_size_in = 64,              \
				  __VA_ARGS__ } },                 \
			0,                                         \
		{                                                  \
			FD_AT(test.prog_fd)                        \
		}                                                  \
	}
#define CTX(ctx) .ctx_in = PTR(&(ctx)), .ctx_size_in = sizeof(ctx)

static const struct row run_rows[] = {
	RUN("xdp", FD_XDP),
	RUN("xdp of 13 bytes", FD_XDP, .data_size_in = 13),
	RUN("xdp of 14 bytes", FD_XDP, .data_size_in = 14),
	RUN("xdp without data", FD_XDP, .data_size_in = 0, .data_in = 0),
	RUN("xdp, wild data", FD_XDP, .data_in = BAD_POINTER),
	RUN("xdp, flags", FD_XDP, .flags = 1),
	RUN("xdp, batch", FD_XDP, .batch_size = 1),
	RUN("xdp, cpu", FD_XDP, .cpu = 1),
	RUN("xdp, small out", FD_XDP, .data_out = PTR(values), .data_size_out = 10),
	RUN("xdp, out", FD_XDP, .data_out = PTR(values), .data_size_out = 64),
	RUN("xdp, out without size", FD_XDP, .data_out = PTR(values)),
	RUN("xdp, size without out", FD_XDP, .data_size_out = 10),
	RUN("xdp, wild out", FD_XDP, .data_out = BAD_POINTER),
	RUN("xdp, ctx", FD_XDP, CTX(md_ok)),
	RUN("xdp, ctx size only", FD_XDP, .ctx_size_in = 24),
	RUN("xdp, ctx without size", FD_XDP, .ctx_in = PTR(&md_ok)),
	RUN("xdp, ctx of 8 bytes", FD_XDP, .ctx_in = PTR(&md_ok), .ctx_size_in = 8),
	RUN("xdp, ctx too large", FD_XDP, .ctx_in = PTR(packet), .ctx_size_in = 64),
	RUN("xdp, wild ctx", FD_XDP, .ctx_in = BAD_POINTER, .ctx_size_in = 24),
	RUN("xdp, ctx with a wrong end", FD_XDP, CTX(md_bad_end)),
	RUN("xdp, metadata", FD_XDP, CTX(md_meta)),
	RUN("xdp, odd metadata", FD_XDP, CTX(md_odd)),
	RUN("xdp, egress", FD_XDP, CTX(md_egress)),
	RUN("xdp, queue without device", FD_XDP, CTX(md_queue)),
	RUN("xdp, no such device", FD_XDP, CTX(md_nodev)),
	RUN("xdp, ctx out", FD_XDP, CTX(md_ok), .ctx_out = PTR(values), .ctx_size_out = 24),
	RUN("xdp, ctx out without in", FD_XDP, .ctx_out = PTR(values), .ctx_size_out = 24),
	RUN("xdp, small ctx out", FD_XDP, CTX(md_ok), .ctx_out = PTR(values), .ctx_size_out = 8),
	RUN("tc", FD_TC),
	RUN("tc of 13 bytes", FD_TC, .data_size_in = 13),
	RUN("tc of 3712 bytes", FD_TC, .data_size_in = 3712),
	RUN("tc of 3713 bytes", FD_TC, .data_size_in = 3713),
	RUN("tc, cpu", FD_TC, .cpu = 1),
	RUN("tc, flags", FD_TC, .flags = 1),
	RUN("tc, batch", FD_TC, .batch_size = 1),
	RUN("tc, ctx", FD_TC, CTX(skb_ok)),
	RUN("tc, len", FD_TC, CTX(skb_len)),
	RUN("tc, mark", FD_TC, CTX(skb_mark)),
	RUN("tc, queue", FD_TC, CTX(skb_queue)),
	RUN("tc, tc_index", FD_TC, CTX(skb_tc_index)),
	RUN("tc, hash", FD_TC, CTX(skb_hash)),
	RUN("tc, wire_len", FD_TC, CTX(skb_wire)),
	RUN("tc, gso_segs", FD_TC, CTX(skb_gso)),
	RUN("tc, no such device", FD_TC, CTX(skb_nodev)),
	RUN("tc, ctx too large", FD_TC, .ctx_in = PTR(packet), .ctx_size_in = 400),
	RUN("tc, small out", FD_TC, .data_out = PTR(values), .data_size_out = 10),
	RUN("socket filter", FD_FILTER),
	RUN("socket filter of 14 bytes", FD_FILTER, .data_size_in = 14),
	RUN("a map", FD_ARRAY),
	RUN("no program", FD_NONE),
};

#define INFO(name, symbol, ...)                                   \
	{                                                         \
		name, BPF_OBJ_GET_INFO_BY_FD,                     \
			{ .info = { .bpf_fd = (uint32_t)(symbol), \
				  .info = PTR(big_info),          \
				  __VA_ARGS__ } },                \
			0,                                        \
		{                                                 \
			FD_AT(info.bpf_fd)                        \
		}                                                 \
	}
#define PIN(name, cmd, symbol, path, ...)                                                        \
	{                                                                                        \
		name, cmd, { .bpf_fd = (uint32_t)(symbol), .pathname = PTR(path), __VA_ARGS__ }, \
			0,                                                                       \
		{                                                                                \
			FD_AT(bpf_fd)                                                            \
		}                                                                                \
	}
#define LINK(name, symbol, ...)                                           \
	{                                                                 \
		name, BPF_LINK_CREATE,                                    \
			{ .link_create = { .prog_fd = (uint32_t)(symbol), \
				  .attach_type = BPF_XDP,                 \
				  .target_ifindex = 9999,                 \
				  __VA_ARGS__ } },                        \
			0,                                                \
		{                                                         \
			FD_AT(link_create.prog_fd)                        \
		}                                                         \
	}

static const struct row other_rows[] = {
	{ "command -1", -1, { 0 } },
	{ "command 200", 200, { 0 } },
	{ "size 0", BPF_MAP_CREATE, { 0 }, 1 },
	INFO("map info", FD_ARRAY, .info_len = 88),
	INFO("map info, short", FD_ARRAY, .info_len = 8),
	INFO("map info, empty", FD_ARRAY, .info_len = 0),
	INFO("map info, long", FD_ARRAY, .info_len = 512),
	INFO("map info, wild", FD_ARRAY, .info_len = 88, .info = BAD_POINTER),
	INFO("map info, too long", FD_ARRAY, .info_len = 5000),
	INFO("prog info", FD_XDP, .info_len = 232),
	INFO("prog info, short", FD_XDP, .info_len = 20),
	INFO("btf info", FD_BTF, .info_len = 32),
	INFO("file info", FD_FILE, .info_len = 32),
	INFO("bad fd info", FD_NONE, .info_len = 32),
	{ "prog ids", BPF_PROG_GET_NEXT_ID, { .start_id = 0x7fffffff } },
	{ "prog ids, end", BPF_PROG_GET_NEXT_ID, { .start_id = 0x7ffffffe } },
	{ "map ids with open_flags", BPF_MAP_GET_NEXT_ID, { .open_flags = 1 } },
	{ "prog by no id", BPF_PROG_GET_FD_BY_ID, { .prog_id = 0x7ffffffe } },
	{ "prog by id 0", BPF_PROG_GET_FD_BY_ID, { .prog_id = 0 } },
	{ "prog by id, next_id", BPF_PROG_GET_FD_BY_ID, { .prog_id = 1, .next_id = 1 } },
	{ "map by no id", BPF_MAP_GET_FD_BY_ID, { .map_id = 0x7ffffffe } },
	{ "map by id, bad flags", BPF_MAP_GET_FD_BY_ID, { .map_id = 1, .open_flags = 1 } },
	{ "map by id, both flags", BPF_MAP_GET_FD_BY_ID,
		{ .map_id = 0x7ffffffe, .open_flags = BPF_F_RDONLY | BPF_F_WRONLY } },
	{ "btf by no id", BPF_BTF_GET_FD_BY_ID, { .btf_id = 0x7ffffffe } },
	{ "link by no id", BPF_LINK_GET_FD_BY_ID, { .link_id = 0x7ffffffe } },
	PIN("pin in /tmp", BPF_OBJ_PIN, FD_ARRAY, "/tmp/sluice-pin-test"),
	PIN("pin in no directory", BPF_OBJ_PIN, FD_ARRAY, "/tmp/no-such/sluice-pin-test"),
	PIN("pin on what is there", BPF_OBJ_PIN, FD_ARRAY, "/tmp"),
	PIN("pin a file", BPF_OBJ_PIN, FD_FILE, "/tmp/sluice-pin-test"),
	PIN("pin nothing", BPF_OBJ_PIN, FD_NONE, "/tmp/sluice-pin-test"),
	PIN("pin BTF", BPF_OBJ_PIN, FD_BTF, "/tmp/sluice-pin-test"),
	PIN("pin with flags", BPF_OBJ_PIN, FD_ARRAY, "/tmp/sluice-pin-test", .file_flags = 1),
	PIN("pin to an empty path", BPF_OBJ_PIN, FD_ARRAY, ""),
	PIN("pin, wild path", BPF_OBJ_PIN, FD_ARRAY, BAD_POINTER),
	PIN("get with a descriptor", BPF_OBJ_GET, FD_ARRAY, "/tmp/sluice-pin-test"),
	PIN("get what is not there", BPF_OBJ_GET, 0, "/tmp/sluice-pin-test"),
	PIN("get a directory", BPF_OBJ_GET, 0, "/tmp"),
	PIN("get with bad flags", BPF_OBJ_GET, 0, "/tmp", .file_flags = 1),
	PIN("get, both flags", BPF_OBJ_GET, 0, "/tmp", .file_flags = BPF_F_RDONLY | BPF_F_WRONLY),
	LINK("link to no device", FD_XDP),
	LINK("link of a classifier", FD_TC),
	LINK("link of a map", FD_ARRAY),
	LINK("link of nothing", FD_NONE),
	LINK("link, cgroup", FD_XDP, .attach_type = BPF_CGROUP_INET_INGRESS),
	LINK("link, attach type 999", FD_XDP, .attach_type = 999),
	LINK("link, flags", FD_XDP, .flags = 1 << 20),
	{ "link update, bad fd", BPF_LINK_UPDATE, { .link_update = { .link_fd = 999 } } },
	{ "link update, bad flags", BPF_LINK_UPDATE,
		{ .link_update = { .link_fd = 999, .flags = 1 } } },
	{ "link detach, bad fd", BPF_LINK_DETACH, { .link_detach = { .link_fd = 999 } } },
	{ "enable stats 5", BPF_ENABLE_STATS, { .enable_stats = { .type = 5 } } },
	{ "enable stats", BPF_ENABLE_STATS, { .enable_stats = { .type = 0 } } },
	{ "bind, flags", BPF_PROG_BIND_MAP, { .prog_bind_map = { 999, 999, 1 } } },
	{ "bind, bad program", BPF_PROG_BIND_MAP, { .prog_bind_map = { 999, 999, 0 } } },
	{ "bind", BPF_PROG_BIND_MAP,
		{ .prog_bind_map = { (uint32_t)FD_XDP, (uint32_t)FD_ARRAY, 0 } }, 0,
		{ FD_AT(prog_bind_map.prog_fd), FD_AT(prog_bind_map.map_fd) } },
	{ "bind, bad map", BPF_PROG_BIND_MAP,
		{ .prog_bind_map = { (uint32_t)FD_XDP, (uint32_t)FD_FILE, 0 } }, 0,
		{ FD_AT(prog_bind_map.prog_fd), FD_AT(prog_bind_map.map_fd) } },
	{ "btf, flags", BPF_BTF_LOAD, { .btf = PTR(packet), .btf_size = 64 } },
	{ "btf, wild", BPF_BTF_LOAD, { .btf = BAD_POINTER, .btf_size = 64 } },
	{ "btf, too large", BPF_BTF_LOAD, { .btf = PTR(packet), .btf_size = 1 << 30 } },
	{ "btf, log without size", BPF_BTF_LOAD,
		{ .btf = PTR(packet), .btf_size = 64, .btf_log_buf = PTR(log_buf) } },
	{ "btf, log", BPF_BTF_LOAD,
		{ .btf = PTR(packet),
			.btf_size = 64,
			.btf_log_buf = PTR(log_buf),
			.btf_log_size = 4096,
			.btf_log_level = 1 } },
	{ "attach, type 999", BPF_PROG_ATTACH, { .attach_type = 999 } },
	{ "attach, XDP, bad program", BPF_PROG_ATTACH,
		{ .attach_bpf_fd = 999, .attach_type = BPF_XDP } },
	{ "query, type 999", BPF_PROG_QUERY, { .query = { .attach_type = 999 } } },
	{ "query, XDP", BPF_PROG_QUERY, { .query = { .attach_type = BPF_XDP } } },
};

static long run_row(const struct row *row, enum side side)
{
	union bpf_attr attr = row->attr;
	long ret;

	for (unsigned i = 0; i < 2; i++) {
		char *at = (char *)&attr + row->zero_fd[i] - 1;
		int fd;

		if (!row->zero_fd[i])
			continue;
		memcpy(&fd, at, sizeof(fd));
		fd = fd_of(side, fd);
		memcpy(at, &fd, sizeof(fd));
	}
	ret = call(side, row->cmd, &attr, row->size ? row->size - 1 : sizeof(attr));
	if (ret > 0) {
		close(ret);
		ret = 0;
	}
	return ret;
}

static void compare(const struct row *rows, unsigned count)
{
	set_up(KERNEL);
	set_up(SLUICE);
	for (unsigned i = 0; i < FDS; i++) {
		TRACE_PUSH("descriptor %u", i);
		EXPECT_GE(fds[KERNEL][i], 0);
		EXPECT_GE(fds[SLUICE][i], 0);
		TRACE_POP();
	}
	for (unsigned i = 0; i < count; i++) {
		TRACE_PUSH("%s", rows[i].name);
		EXPECT_EQ(run_row(&rows[i], KERNEL), run_row(&rows[i], SLUICE));
		TRACE_POP();
	}
	tear_down();
}

#define COMPARE(name)                                             \
	TEST(errors, name)                                        \
	{                                                         \
		ORACLE_OR_SKIP();                                 \
		compare(name##_rows, sl_array_size(name##_rows)); \
	}

COMPARE(element)
COMPARE(batch)
COMPARE(create)
COMPARE(load)
COMPARE(run)
COMPARE(other)

/* Every attribute byte that a command does not know is refused where it is not zero. */
TEST(errors, unknown_attributes)
{
	uint8_t bytes[256] sl_aligned(8);

	ORACLE_OR_SKIP();
	for (unsigned cmd = 0; cmd < 40; cmd++) {
		/* Kernels differ in the commands at the end, and these need a device or a cgroup. */
		if (cmd == BPF_RAW_TRACEPOINT_OPEN || cmd == BPF_TASK_FD_QUERY ||
			cmd == BPF_ITER_CREATE || cmd > BPF_PROG_BIND_MAP)
			continue;
		for (unsigned at = 0; at < sizeof(bytes); at++) {
			long ret[SIDES];

			for (unsigned side = 0; side < SIDES; side++) {
				memset(bytes, 0, sizeof(bytes));
				memset(bytes, 0xff, 4); /* the descriptor or id, as a rule */
				bytes[at] = 0x55;
				ret[side] = call(side, cmd, (union bpf_attr *)bytes, sizeof(bytes));
			}
			TRACE_PUSH("command %u, byte %u", cmd, at);
			EXPECT_EQ(ret[KERNEL], ret[SLUICE]);
			TRACE_POP();
		}
	}
}
