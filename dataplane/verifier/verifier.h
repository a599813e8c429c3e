#pragma once

#include <linux/bpf.h>

#include "facts.h"

struct sl_prog;

/* Where a load's log goes: the user's buffer as BPF_PROG_LOAD passes it. */
struct sl_log_buf {
	char *buf; /* NULL: no log */
	uint32_t size; /* bytes at buf */
	uint32_t level; /* BPF_LOG_* bits: 1, 2, 4, and 8 for BPF_LOG_FIXED */
	uint32_t true_size; /* out: what a complete log needs, with its NUL */
};

/*
 * Proves prog safe, or refuses with the kernel's errno: -EINVAL, -EACCES, -E2BIG, -EPERM, -ENOSPC
 * when the log did not fit, ... On success fills prog->facts, used_maps and verified_insns.
 */
SL_CONTROL int sl_verify(struct sl_prog *prog, struct sl_log_buf *log);

SL_CONTROL void sl_facts_free(struct sl_facts *facts);
