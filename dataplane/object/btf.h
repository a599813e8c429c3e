#pragma once

#include "object.h"

struct btf; /* libbpf's */

/* A BTF blob loaded by BPF_BTF_LOAD. Immutable after creation. */
struct sl_btf {
	struct sl_object obj;
	struct btf *btf; /* parsed by libbpf, owned */
	void *data; /* the blob as loaded, owned: what GET_INFO_BY_FD returns */
	uint32_t size;
	char name[16];
};

/*
 * Checks and parses `size` bytes at `data` (copied). -EINVAL or -E2BIG for what the kernel refuses;
 * the reason is written to log_buf as the kernel writes it, when log_level is not 0.
 */
SL_CONTROL int sl_btf_new(const void *data, uint32_t size, struct sl_btf **ret_btf);
