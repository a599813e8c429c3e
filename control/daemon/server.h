#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * The control socket: accepts clients and gives each a thread (session.h). Clients are told apart by
 * the kernel's word on who they are (SO_PEERCRED); who may connect is what the socket's mode and group
 * say.
 */
struct sl_server_options {
	const char *path;
	gid_t group; /* (gid_t)-1: the process's */
};

/* 0 or a negative errno, after a line in the log. -EADDRINUSE: a daemon answers there already. */
int sl_server_start(const struct sl_server_options *options);
/*
 * Ends all connections, after the calls that are under way, and removes the socket. False: some calls
 * did not end in a time in which all do, but those whose client sees to it, say by a socket that takes
 * its time to be closed. Their threads are still there.
 */
bool sl_server_stop(void);
