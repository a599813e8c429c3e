#pragma once

#include "object.h"

struct btf; /* libbpf's */

/* A BTF blob loaded by BPF_BTF_LOAD. Immutable after creation. */
struct sl_btf {
	struct sl_object obj;
	struct btf *btf; /* parsed by libbpf, owned */
	void *data; /* the blob as loaded, owned: what GET_INFO_BY_FD returns */
	uint32_t size;
	struct sl_btf_struct *structs; /* those with special fields, by id; btf_record.h */
	uint32_t struct_count;
};

/* Room for why a blob was refused. */
#define SL_BTF_REASON_LEN 160

/*
 * Checks and parses `size` bytes at `data` (copied). -EINVAL, -E2BIG, -ENOMEM or ENOTSUPP (524)
 * negated as the kernel refuses; `reason` then says why in one line, empty when there is nothing to
 * say.
 */
SL_CONTROL int sl_btf_new(
	const void *data, uint32_t size, char reason[SL_BTF_REASON_LEN], struct sl_btf **ret_btf);

static inline struct sl_btf *sl_btf_of(struct sl_object *obj)
{
	return sl_container_of(obj, struct sl_btf, obj);
}
