#pragma once

#include "session.h"

/* The call SL_WIRE_NETLINK, a row of calls.c. */
int64_t sl_netlink_run(struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer);
