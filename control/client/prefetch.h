#pragma once

#include <linux/bpf.h>
#include <stdint.h>

#include "space.h"

/*
 * What the daemon is likely to ask for when it answers a bpf(2) command, sent along to save the
 * questions. It may be less than is needed, and more: never past the end of a page that the command
 * points into.
 */
enum { SL_PREFETCH_RANGES = 4, SL_PREFETCH_FDS = 2 };

struct sl_prefetch {
	struct {
		uint64_t address;
		uint32_t len_bytes;
	} ranges[SL_PREFETCH_RANGES];
	unsigned range_count;
	int fds[SL_PREFETCH_FDS]; /* numbers in the process */
	unsigned fd_count;
};

/* `attr` is a copy of the attributes, zeroed past their end. */
void sl_prefetch_plan(int cmd, const union bpf_attr *attr, struct sl_prefetch *ret);
