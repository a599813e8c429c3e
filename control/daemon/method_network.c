#include "network.h"

#include <sluice/port.h>

#include "method.h"

/* What bpf_fib_lookup finds, changed line by line in the language of ip(8). */

static uint32_t port_of(const char *name)
{
	uint32_t ifindex;

	return sluice_port_find(name, &ifindex) == 0 ? ifindex : 0;
}

int sl_method_network_line(struct sl_method_call *call)
{
	static const char *const names[] = { "line", NULL };
	const char *line = NULL;
	int err = sl_method_string(call, "line", true, &line);

	if (!err)
		err = sl_method_only(call, names);
	return err ? err : sl_network_line(line, port_of, call->reason, sizeof(call->reason));
}
