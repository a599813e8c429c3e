#pragma once

#include "btf.h"

/* The checks behind sl_btf_new that libbpf does not do, on a blob of `size` bytes. */
SL_CONTROL int sl_btf_check(const void *data, uint32_t size, char reason[SL_BTF_REASON_LEN]);
