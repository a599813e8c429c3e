#pragma once

#include "defs.h"

struct sl_link;
struct sl_prog;

/*
 * Puts an extension in the place of a function, for as long as the link lives: that of the target
 * behind `target_fd` with this BTF id, or, with 0 for both, the one that it was loaded for, which
 * works once. -EBUSY when the function has an extension. The caller publishes the link.
 */
SL_CONTROL int sl_extension_link(struct sl_prog *prog, int target_fd, uint32_t btf_id,
	uint64_t cookie, struct sl_link **ret_link);

/* The id of the BTF of what an extension was loaded for; 0 once it was attached, and for others. */
SL_CONTROL uint32_t sl_extension_target_btf(struct sl_prog *prog);
