#include <errno.h>

#include <sluice/observe.h>

#include "method.h"

/* What programs print. The client reads the socket that it gets. */
int sl_method_log_open(struct sl_method_call *call)
{
	static const char *const names[] = { "follow", NULL };
	bool follow = false;
	int fd, err = sl_method_only(call, names);

	if (!err)
		err = sl_method_bool(call, "follow", false, &follow);
	if (err)
		return err;
	err = sluice_log_open(follow, &fd);
	if (err == -ENOSPC)
		return sl_method_fail(
			call, err, "there are %d readers already", SLUICE_LOG_READERS);
	if (err)
		return err;
	call->answer->fds[call->answer->fd_count++] = fd;
	return 0;
}
