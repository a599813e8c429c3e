#include "helper.h"

#include <string.h>
#include <unistd.h>

#include "oracle.h"
#include "probe.h"
#include "test.h"

/*
 * Every row's argument types against the kernel's: a call that the row allows must load there, and
 * after one argument has been changed the kernel must accept or refuse it as the row says.
 */

#define KEY_SIZE 4
#define VALUE_SIZE 16
#define STACK_MEM (-64) /* initialised */
#define MEM_SIZE 8
#define READABLE 64 /* bytes of the packet, and of read-only memory */

enum change {
	NO_CHANGE,
	UNSET, /* the register holds nothing */
	CTX_POINTER,
	READ_ONLY, /* memory that may not be written */
	NULL_POINTER, /* with size 0 */
	ZERO_SIZE,
	PACKET_POINTER,
	CHANGES
};

static const char *const change_names[CHANGES] = { "as it should be", "unset", "context",
	"read-only memory", "NULL", "size 0", "packet" };

struct assembler {
	struct bpf_insn insns[128];
	unsigned count;
};

static void emit(struct assembler *as, uint8_t code, uint8_t dst, uint8_t src, short off, int imm)
{
	as->insns[as->count++] = (struct bpf_insn){
		.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm
	};
}

static void emit_map(struct assembler *as, uint8_t dst, uint8_t pseudo, int fd)
{
	emit(as, BPF_LD | BPF_DW | BPF_IMM, dst, pseudo, 0, fd);
	emit(as, 0, 0, 0, 0, 0);
}

static int create_map(enum bpf_map_type type, uint32_t flags)
{
	union bpf_attr attr;
	bool fds = type == BPF_MAP_TYPE_PROG_ARRAY || type == BPF_MAP_TYPE_PERF_EVENT_ARRAY ||
		   type == BPF_MAP_TYPE_DEVMAP || type == BPF_MAP_TYPE_CGROUP_ARRAY;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = type == BPF_MAP_TYPE_QUEUE || type == BPF_MAP_TYPE_STACK ? 0 : KEY_SIZE;
	attr.value_size = fds ? sizeof(uint32_t) : VALUE_SIZE;
	if (flags & BPF_F_RDONLY_PROG)
		attr.value_size = READABLE;
	attr.max_entries = 1;
	if (type == BPF_MAP_TYPE_RINGBUF) {
		attr.key_size = attr.value_size = 0;
		attr.max_entries = (uint32_t)getpagesize();
	}
	attr.map_flags = flags;
	return (int)oracle_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static int read_only_map(void)
{
	static int fd = -1;
	union bpf_attr attr;

	if (fd >= 0)
		return fd;
	fd = create_map(BPF_MAP_TYPE_ARRAY, BPF_F_RDONLY_PROG);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	oracle_bpf(BPF_MAP_FREEZE, &attr, sizeof(attr));
	return fd;
}

/* A map that the helper takes. */
static int map_for(const struct sl_helper *helper)
{
	static int fds[64];
	unsigned type = BPF_MAP_TYPE_HASH;

	if (strncmp(helper->name, "bpf_ringbuf", 11) == 0)
		type = BPF_MAP_TYPE_RINGBUF;
	if (helper->map_types)
		type = (unsigned)__builtin_ctzll(helper->map_types);
	if (!fds[type])
		fds[type] = create_map(type, 0);
	return fds[type];
}

static bool is_memory(enum sl_arg arg)
{
	switch (arg) {
	case SL_ARG_MAP_KEY:
	case SL_ARG_MAP_VALUE:
	case SL_ARG_MAP_VALUE_UNINIT:
	case SL_ARG_MEM:
	case SL_ARG_MEM_WRITE:
	case SL_ARG_MEM_OR_NULL:
	case SL_ARG_MEM_UNINIT:
	case SL_ARG_MEM_UNINIT_OR_NULL:
	case SL_ARG_MEM_FIXED:
	case SL_ARG_LONG_PTR:
	case SL_ARG_INT_PTR:
		return true;
	default:
		return false;
	}
}

static bool is_written(enum sl_arg arg)
{
	return arg == SL_ARG_MEM_WRITE || arg == SL_ARG_MEM_UNINIT ||
	       arg == SL_ARG_MEM_UNINIT_OR_NULL || arg == SL_ARG_LONG_PTR ||
	       arg == SL_ARG_INT_PTR || arg == SL_ARG_MAP_VALUE_UNINIT;
}

static bool is_size(enum sl_arg arg)
{
	return arg == SL_ARG_SIZE || arg == SL_ARG_SIZE_OR_ZERO;
}

static void emit_valid(struct assembler *as, const struct sl_helper *helper, unsigned arg)
{
	uint8_t reg = (uint8_t)(arg + 1);
	enum sl_arg type = helper->args[arg];

	if (type == SL_ARG_CTX)
		emit(as, BPF_ALU64 | BPF_MOV | BPF_X, reg, 6, 0, 0);
	else if (type == SL_ARG_MAP)
		emit_map(as, reg, BPF_PSEUDO_MAP_FD, map_for(helper));
	else if (type == SL_ARG_CONST_STR)
		emit_map(as, reg, BPF_PSEUDO_MAP_VALUE, read_only_map());
	else if (is_size(type))
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, MEM_SIZE);
	else if (is_memory(type)) {
		emit(as, BPF_ALU64 | BPF_MOV | BPF_X, reg, 10, 0, 0);
		emit(as, BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, STACK_MEM);
	} else
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, 0);
}

static void emit_changed(struct assembler *as, unsigned arg, enum change change, bool sized)
{
	uint8_t reg = (uint8_t)(arg + 1);

	switch (change) {
	case CTX_POINTER:
		emit(as, BPF_ALU64 | BPF_MOV | BPF_X, reg, 6, 0, 0);
		break;
	case READ_ONLY:
		emit_map(as, reg, BPF_PSEUDO_MAP_VALUE, read_only_map());
		break;
	case NULL_POINTER:
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, 0);
		if (sized)
			emit(as, BPF_ALU64 | BPF_MOV | BPF_K, reg + 1, 0, 0, 0);
		break;
	case ZERO_SIZE:
		emit(as, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, 0);
		break;
	case PACKET_POINTER:
		emit(as, BPF_ALU64 | BPF_MOV | BPF_X, reg, 7, 0, 0);
		break;
	default:
		break;
	}
}

/* r6: context; r7: READABLE bytes of the packet, where programs of the type have pointers. */
static void emit_prologue(struct assembler *as, enum bpf_prog_type type)
{
	bool xdp = type == BPF_PROG_TYPE_XDP;

	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	for (short at = STACK_MEM; at < 0; at += 8)
		emit(as, BPF_ST | BPF_MEM | BPF_DW, 10, 0, at, 0);
	if (type == BPF_PROG_TYPE_SOCKET_FILTER)
		return;
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 7, 6,
		xdp ? offsetof(struct xdp_md, data) : offsetof(struct __sk_buff, data), 0);
	emit(as, BPF_LDX | BPF_MEM | BPF_W, 8, 6,
		xdp ? offsetof(struct xdp_md, data_end) : offsetof(struct __sk_buff, data_end), 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_X, 9, 7, 0, 0);
	emit(as, BPF_ALU64 | BPF_ADD | BPF_K, 9, 0, 0, READABLE);
	emit(as, BPF_JMP | BPF_JLE | BPF_X, 9, 8, 2, 0);
	emit(as, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	emit(as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* After the call, what the program does with what it left. */
enum epilogue { JUST_EXIT, READ_PACKET, READ_RESULT };

static bool kernel_accepts(const struct sl_helper *helper, enum bpf_prog_type type,
	unsigned changed_arg, enum change change, enum epilogue epilogue, const char **ret_log)
{
	struct assembler as = { .count = 0 };

	emit_prologue(&as, type);
	for (unsigned arg = 0; arg < 5 && helper->args[arg] != SL_ARG_NONE; arg++)
		if (arg != changed_arg || change != UNSET)
			emit_valid(&as, helper, arg);
	if (change != NO_CHANGE)
		emit_changed(&as, changed_arg, change,
			changed_arg < 4 && is_size(helper->args[changed_arg + 1]));
	emit(&as, BPF_JMP | BPF_CALL, 0, 0, 0, (int)helper->id);
	if (epilogue == READ_RESULT)
		emit(&as, BPF_ALU64 | BPF_MOV | BPF_X, 1, 0, 0, 0);
	if (epilogue == READ_PACKET)
		emit(&as, BPF_LDX | BPF_MEM | BPF_W, 1, 7, 0, 0);
	emit(&as, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	emit(&as, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return probe_load(type, 0, as.insns, as.count, "GPL", ret_log) == 0;
}

/* What the row says of one change; -1: nothing. */
static int row_accepts(const struct sl_helper *helper, unsigned arg, enum change change)
{
	enum sl_arg type = helper->args[arg];

	switch (change) {
	case UNSET:
		return arg > 0 ? 0 : -1;
	case CTX_POINTER:
		return type == SL_ARG_CTX || type == SL_ARG_ANYTHING;
	case READ_ONLY:
		return is_memory(type) ? !is_written(type) : -1;
	case NULL_POINTER:
		return is_memory(type)
			       ? type == SL_ARG_MEM_OR_NULL || type == SL_ARG_MEM_UNINIT_OR_NULL
			       : -1;
	case ZERO_SIZE:
		return is_size(type) ? type == SL_ARG_SIZE_OR_ZERO : -1;
	case PACKET_POINTER:
		return is_memory(type) ? (helper->flags & SL_HELPER_PACKET_ARGS) != 0 : -1;
	default:
		return -1;
	}
}

static enum bpf_prog_type type_of(const struct sl_helper *helper)
{
	return sl_helper_allowed(helper, BPF_PROG_TYPE_SCHED_CLS) ? BPF_PROG_TYPE_SCHED_CLS
								  : BPF_PROG_TYPE_XDP;
}

static void compare_args(const struct sl_helper *helper)
{
	enum bpf_prog_type type = type_of(helper);
	const char *log;

	for (unsigned arg = 0; arg < 5 && helper->args[arg] != SL_ARG_NONE; arg++) {
		for (enum change change = UNSET; change < CHANGES; change++) {
			int ours = row_accepts(helper, arg, change);

			if (ours < 0)
				continue;
			if (kernel_accepts(helper, type, arg, change, JUST_EXIT, &log) == ours)
				continue;
			sl_test_fail(__FILE__, __LINE__, "%s, argument %u %s: ours %d; kernel:\n%s",
				helper->name, arg + 1, change_names[change], ours, log);
		}
	}
}

static void compare_rest(const struct sl_helper *helper)
{
	enum bpf_prog_type type = type_of(helper);
	const char *log;

	if (kernel_accepts(helper, type, 0, NO_CHANGE, READ_PACKET, &log) ==
		!!(helper->flags & SL_HELPER_CHANGES_PACKET))
		sl_test_fail(__FILE__, __LINE__, "%s changes the packet: ours %d; kernel:\n%s",
			helper->name, !!(helper->flags & SL_HELPER_CHANGES_PACKET), log);
	if (kernel_accepts(helper, type, 0, NO_CHANGE, READ_RESULT, &log) ==
		(helper->ret == SL_RET_VOID))
		sl_test_fail(__FILE__, __LINE__, "%s returns something: ours %d; kernel:\n%s",
			helper->name, helper->ret != SL_RET_VOID, log);
}

/* Callbacks, and what only another call or a map's value gives, are more than is made here. */
static bool has_test_of_its_own(const struct sl_helper *helper)
{
	static const bool special[] = {
		[SL_ARG_SPIN_LOCK] = true,
		[SL_ARG_FUNC] = true,
		[SL_ARG_TIMER] = true,
		[SL_ARG_ALLOC_MEM] = true,
		[SL_ARG_SOCK_COMMON] = true,
		[SL_ARG_SOCK_OR_BTF] = true,
		[SL_ARG_DYNPTR] = true,
		[SL_ARG_DYNPTR_UNINIT] = true,
		[SL_ARG_DYNPTR_RELEASE] = true,
	};

	for (unsigned arg = 0; arg < 5; arg++)
		if (helper->args[arg] < sl_array_size(special) && special[helper->args[arg]])
			return true;
	return helper->flags & SL_HELPER_ACQUIRES;
}

TEST(helper_prototypes, are_the_kernels)
{
	ORACLE_OR_SKIP();
	for (unsigned id = 1; id < SL_HELPER_MAX_ID; id++) {
		const struct sl_helper *helper = sl_helper_by_id(id);
		const char *log;

		if (helper->unavailable || !helper->prog_types)
			continue;
		if (has_test_of_its_own(helper))
			continue;
		if (!kernel_accepts(helper, type_of(helper), 0, NO_CHANGE, JUST_EXIT, &log)) {
			sl_test_fail(__FILE__, __LINE__, "%s: the kernel refuses our call:\n%s",
				helper->name, log);
			continue;
		}
		compare_args(helper);
		compare_rest(helper);
	}
}
