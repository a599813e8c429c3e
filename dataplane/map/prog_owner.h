#pragma once

#include <linux/bpf.h>

#include "defs.h"

struct sl_prog;

/*
 * What programs that are in a map, or use a map that holds programs, must have in common: the first
 * one decides. Guarded by whoever has it.
 */
struct sl_prog_owner {
	bool known;
	bool xdp_has_frags;
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
};

/*
 * Notes the first program. -EINVAL for one that does not go with it; `same_attach`: the attach
 * types have to be the same too. Nor does any that is bound to a device, since the map's programs
 * run for several.
 */
SL_CONTROL int sl_prog_owner_check(
	struct sl_prog_owner *owner, const struct sl_prog *prog, bool same_attach);
