#include <unistd.h>

#include <sluice/dataplane.h>

#include "method.h"

int sl_method_daemon_info(struct sl_method_call *call)
{
	static const char *const none[] = { NULL };
	int err = sl_method_only(call, none);

	if (err)
		return err;
	json_object_object_add(call->result, "version", json_object_new_string(SLUICE_VERSION));
	json_object_object_add(call->result, "protocol", json_object_new_int(SL_WIRE_VERSION));
	json_object_object_add(call->result, "pid", json_object_new_int(getpid()));
	json_object_object_add(
		call->result, "workers", json_object_new_int((int)sluice_workers_count()));
	return 0;
}
