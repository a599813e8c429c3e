#pragma once

#include <json-c/json.h>
#include <stddef.h>

/*
 * The daemon's methods (control/daemon/methods.def), for the sluice command. Descriptors that go along
 * stay the caller's; those that come back are the caller's to close.
 */
enum { SL_DAEMON_FDS = 16, SL_DAEMON_REASON = 256 };

struct sl_daemon_fds {
	int fds[SL_DAEMON_FDS];
	unsigned count;
};

/*
 * Calls `method` with `params`, which it takes over (NULL: none). `fds` and `ret_fds` may be NULL, and
 * so may ret_result, which is the caller's to put. 0, or a negative errno with the reason in words.
 */
int sl_daemon_call(const char *method, struct json_object *params, const struct sl_daemon_fds *fds,
	struct json_object **ret_result, struct sl_daemon_fds *ret_fds,
	char ret_reason[SL_DAEMON_REASON]);
