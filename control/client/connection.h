#pragma once

#include "wire.h"

/*
 * Connections to the daemon of this process, one for each call that is under way: made when there is
 * no idle one, kept for the next. The socket is that of SLUICE_SOCKET, or the usual one. A forked child
 * closes them and makes its own, and so does a process that becomes another user: to the daemon, a
 * connection is who made it. A program that closes descriptors it does not know loses some and gets new
 * ones.
 */
struct sl_connection {
	struct sl_wire wire;
	struct sl_connection *next, *next_open; /* idle ones; all */
	uint64_t dev, ino; /* of the socket: whether it is still there */
	int pid;
	unsigned uid;
	bool used; /* by a call before: the daemon may have gone since */
};

/* NULL with errno set: ECONNREFUSED or ENOENT when there is no daemon, EACCES. */
struct sl_connection *sl_connection_get(void);
/* `broken`: it cannot be used again. */
void sl_connection_put(struct sl_connection *connection, bool broken);

/* Where the daemon's socket is. */
const char *sl_connection_path(void);
