#pragma once

#include "call.h"

/* What a request about filters names. */
struct sl_nl_place {
	uint32_t ifindex, parent;
	enum sluice_tc_qdisc qdisc;
	enum sluice_tc_hook hook;
	uint32_t priority, handle; /* 0: none */
	uint16_t protocol; /* big endian; 0: none */
	int err; /* why there is no such place, which other mistakes of a request come before */
};

/*
 * Reads the request's head. The verdict becomes SL_NETLINK_PASS where it is the kernel's, and with
 * this and with an error there is nothing more to do.
 */
int sl_nl_find_place(struct sl_nl_call *call, struct sl_nl_place *ret_place);

/* A filter into the answer, or the head of its priority. */
void sl_nl_put_filter(struct sl_nl_call *call, const struct sl_nl_place *place,
	const struct sluice_tc_info *info, bool whole, uint16_t type, uint16_t flags);

int sl_nl_dump_filters(struct sl_nl_call *call);
