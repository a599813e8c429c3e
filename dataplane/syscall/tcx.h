#pragma once

#include "command.h"

struct sl_link;

/*
 * tcx: programs before the TC filters of a port, attached by themselves or by links. netkit devices,
 * which are attached to alike, are refused as by a kernel that has none.
 */

/* Whether an attach type is one of these; link_cmd.c and prog_attach.c then come here. */
SL_ANY bool sl_tcx_attach_type(uint32_t attach_type);

SL_CONTROL int sl_tcx_prog_attach(const struct sl_call *call);
SL_CONTROL int sl_tcx_prog_detach(const struct sl_call *call);
SL_CONTROL int sl_tcx_prog_query(const struct sl_call *call);
/* The caller publishes the link. */
SL_CONTROL int sl_tcx_link_new(
	const union bpf_attr *attr, struct sl_prog *prog, struct sl_link **ret_link);
