#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "caller.h"
#include "command.h"
#include "fd.h"
#include "helper.h"
#include "jit.h"
#include "map.h"
#include "prog.h"
#include "prog_btf.h"
#include "prog_device.h"
#include "prog_type.h"
#include "tag.h"
#include "user.h"
#include "user_log.h"

/* Flags that Debian 12's header does not know yet. */
#define F_XDP_DEV_BOUND_ONLY (1U << 6)
#define F_TEST_REG_INVARIANTS (1U << 7)
#define F_TOKEN_FD (1U << 16)

#define LOAD_FLAGS                                                                                \
	(BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT | BPF_F_TEST_STATE_FREQ | BPF_F_SLEEPABLE | \
		BPF_F_TEST_RND_HI32 | BPF_F_XDP_HAS_FRAGS | F_XDP_DEV_BOUND_ONLY |                \
		F_TEST_REG_INVARIANTS | F_TOKEN_FD)

enum { INSNS_MAX = 1000000 };

static bool is_gpl_compatible(const char *license)
{
	static const char *const names[] = { "GPL", "GPL v2", "GPL and additional rights",
		"Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL" };

	for (unsigned i = 0; i < sl_array_size(names); i++) {
		if (strcmp(license, names[i]) == 0)
			return true;
	}
	return false;
}

/* Refuses by the attributes alone, in the kernel's order. */
static int check(const union bpf_attr *attr)
{
	if (attr->prog_flags & ~LOAD_FLAGS)
		return -EINVAL;
	/* Tokens are the kernel's. */
	if (attr->prog_flags & F_TOKEN_FD)
		return -EINVAL;
	if (attr->insn_cnt == 0 || attr->insn_cnt > INSNS_MAX)
		return -E2BIG;
	/* None of our types may sleep. */
	if (attr->prog_flags & BPF_F_SLEEPABLE)
		return -EINVAL;
	return 0;
}

/*
 * What an extension is to be attached to; NULL for a function of the kernel, which the verifier
 * refuses. Other types of ours attach to no function.
 */
static int get_target(const union bpf_attr *attr, struct sl_prog **ret_target)
{
	bool is_extension = attr->prog_type == BPF_PROG_TYPE_EXT;
	struct sl_prog *target = NULL;
	struct sl_object *obj;
	int err = 0;

	if (attr->attach_prog_fd && sl_prog_get_by_fd(attr->attach_prog_fd, &target)) {
		if (sl_fd_get(attr->attach_prog_fd, SL_OBJECT_BTF, &obj))
			return -EINVAL;
		sl_object_unref(obj);
		return -SL_ENOTSUPP;
	}
	if ((attr->attach_btf_id || target) && !is_extension)
		err = -EINVAL;
	if (attr->attach_btf_id > BTF_MAX_TYPE || (is_extension && attr->expected_attach_type))
		err = -EINVAL;
	if (err) {
		if (target)
			sl_object_unref(&target->obj);
		return err;
	}
	*ret_target = target;
	return 0;
}

static uint64_t boot_time_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/*
 * libbpf asks with a tracepoint program whether the kernel has bpf_probe_read_kernel(), and calls
 * its predecessor where that is refused. Network programs never had the predecessor, so a call of it
 * means the former.
 */
static void undo_fallback(struct sl_prog *prog)
{
	for (uint32_t i = 0; i < prog->insn_count; i++) {
		struct bpf_insn *insn = &prog->insns[i];

		if (insn->code != (BPF_JMP | BPF_CALL) || insn->src_reg)
			continue;
		if (insn->imm == BPF_FUNC_probe_read)
			insn->imm = BPF_FUNC_probe_read_kernel;
		else if (insn->imm == BPF_FUNC_probe_read_str)
			insn->imm = BPF_FUNC_probe_read_kernel_str;
	}
}

/* A program as loaded, not verified yet. */
static int read_prog(const union bpf_attr *attr, struct sl_prog **ret_prog)
{
	size_t len = (size_t)attr->insn_cnt * sizeof(struct bpf_insn);
	struct bpf_insn *insns = malloc(len);
	struct sl_prog *prog = NULL;
	int err;

	if (!insns)
		return -ENOMEM;
	err = sl_user_read(insns, attr->insns, len);
	if (!err)
		err = sl_prog_new(insns, attr->insn_cnt, &prog);
	free(insns);
	if (err)
		return err;
	err = sl_user_read_string(prog->license, attr->license, sizeof(prog->license));
	if (!err)
		err = sl_prog_bind_device(attr, prog);
	if (!err && attr->prog_type != BPF_PROG_TYPE_EXT && !sl_prog_type_of(attr->prog_type))
		err = -EINVAL;
	if (!err)
		err = sl_name_check(attr->prog_name);
	/* Signatures and relocations by the kernel need what only a kernel has. */
	if (!err && (sl_attr_u32(attr, SL_ATTR_PROG_SIGNATURE_SIZE) || attr->core_relo_cnt))
		err = -EINVAL;
	if (err) {
		sl_object_unref(&prog->obj);
		return err;
	}
	prog->type = prog->rules_type = attr->prog_type;
	prog->expected_attach_type = prog->rules_attach_type = attr->expected_attach_type;
	prog->flags = attr->prog_flags;
	prog->gpl_compatible = is_gpl_compatible(prog->license);
	prog->uid = sl_caller_uid();
	prog->load_time_ns = boot_time_ns();
	memcpy(prog->name, attr->prog_name, sizeof(prog->name));
	undo_fallback(prog);
	*ret_prog = prog;
	return 0;
}

/* An fd_array with a count: the program holds every map in it, whether it uses it or not. */
static int bind_fd_array(struct sl_prog *prog, const int *fds, uint32_t count)
{
	struct sl_object *obj;
	int access, err = 0;

	for (uint32_t i = 0; !err && i < count; i++) {
		err = sl_fd_get_any(fds[i], &obj, &access);
		if (err)
			return err;
		if (obj->type == SL_OBJECT_MAP)
			err = sl_prog_bind_map(prog, sl_map_of(obj));
		else if (obj->type != SL_OBJECT_BTF)
			err = -EINVAL;
		sl_object_unref(obj);
	}
	return err;
}

/* As many entries as an instruction could name, or as the caller says there are. */
static int read_fd_array(const struct sl_prog *prog, const union bpf_attr *attr, int **ret_fds)
{
	uint32_t count = sl_attr_u32(attr, SL_ATTR_PROG_FD_ARRAY_CNT), needed = count;
	int *fds;
	int err;

	if (count > INT32_MAX / sizeof(int))
		return -EINVAL;
	for (uint32_t i = 0; i < prog->insn_count; i++) {
		const struct bpf_insn *insn = &prog->insns[i];

		if (insn->code == (BPF_LD | BPF_IMM | BPF_DW) && insn->imm >= 0 &&
			(insn->src_reg == BPF_PSEUDO_MAP_IDX ||
				insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE))
			needed = sl_max(needed, (uint32_t)insn->imm + 1);
	}
	if (!needed || !attr->fd_array)
		return 0;
	if (needed > INSNS_MAX)
		return -EFAULT;
	fds = malloc(needed * sizeof(int));
	if (!fds)
		return -ENOMEM;
	err = sl_user_read(fds, attr->fd_array, needed * sizeof(int));
	if (err) {
		free(fds);
		return err;
	}
	*ret_fds = fds;
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int verify(struct sl_prog *prog, const union bpf_attr *attr, struct sl_user_log *log)
{
	int *fds = NULL;
	uint64_t start;
	int err;

	err = read_fd_array(prog, attr, &fds);
	if (!err && fds)
		err = bind_fd_array(prog, fds, sl_attr_u32(attr, SL_ATTR_PROG_FD_ARRAY_CNT));
	if (!err)
		err = sl_prog_load_btf(prog, attr, log);
	if (!err) {
		prog->fd_array = fds;
		start = now_ns();
		err = sl_verify(prog, &log->log);
		prog->verify_ns = now_ns() - start;
		prog->fd_array = NULL;
	}
	free(fds);
	return err;
}

/* An extension follows the rules of its target's type; without one it comes to no rules. */
static void set_target(struct sl_prog *prog, struct sl_prog *target, uint32_t btf_id)
{
	prog->target = target;
	prog->target_btf_id = btf_id;
	if (prog->type != BPF_PROG_TYPE_EXT)
		return;
	prog->rules_type = target ? target->type : BPF_PROG_TYPE_XDP;
	if (prog->rules_type == BPF_PROG_TYPE_EXT) /* refused as well */
		prog->rules_type = target->rules_type;
	prog->rules_attach_type = target ? target->expected_attach_type : 0;
	if (target) {
		prog->bound_device = target->bound_device;
		prog->rx_hints = target->rx_hints;
	}
}

int sl_cmd_prog_load(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_prog *prog, *target = NULL;
	struct sl_user_log log;
	int err;

	err = check(attr);
	if (!err)
		err = get_target(attr, &target);
	if (!err)
		err = read_prog(attr, &prog);
	if (err) {
		if (target)
			sl_object_unref(&target->obj);
		return err;
	}
	set_target(prog, target, attr->attach_btf_id);
	err = sl_user_log_init(&log, attr->log_level, attr->log_buf, attr->log_size);
	if (!err) {
		err = sl_prog_set_tag(prog);
		if (!err)
			err = verify(prog, attr, &log);
		err = sl_user_log_done(&log, call, SL_ATTR_PROG_LOG_TRUE_SIZE, err);
	}
	if (!err)
		err = sl_helper_start();
	if (!err)
		err = sl_jit_compile(prog);
	if (!err)
		err = sl_object_publish(&prog->obj);
	if (err) {
		sl_object_unref(&prog->obj);
		return err;
	}
	return sl_fd_give(&prog->obj, O_RDWR);
}
