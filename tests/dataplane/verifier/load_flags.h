#pragma once

#include "rows.h"

/* A program loaded with flags, as XDP, with the log of level 2. */

struct load {
	const struct bpf_insn *insns;
	uint32_t count, flags;
};

static inline int load_ours(const struct load *load, char *text)
{
	struct sl_log_buf log = { .buf = text, .size = BOTH_LOG_BYTES, .level = 2 };
	struct sl_prog *prog;
	int err = sl_prog_new(load->insns, load->count, &prog);

	if (err)
		return err;
	prog->type = prog->rules_type = XDP;
	prog->flags = load->flags;
	err = sl_verify(prog, &log);
	sl_object_unref(&prog->obj);
	return err;
}

static inline int load_kernel(const struct load *load, char *text)
{
	union bpf_attr attr = { .prog_type = XDP };
	long fd;

	attr.insns = (uint64_t)load->insns;
	attr.insn_cnt = load->count;
	attr.prog_flags = load->flags;
	attr.license = (uint64_t)"";
	attr.log_level = 2;
	attr.log_buf = (uint64_t)text;
	attr.log_size = BOTH_LOG_BYTES;
	fd = oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}
