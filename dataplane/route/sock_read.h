#pragma once

#include "sock_table.h"

/*
 * Reads the kernel's sockets step by step, so that who has other things to do can do them in
 * between. All zero: nothing is being read.
 */
struct sl_sock_reader {
	int fd; /* valid with a table */
	unsigned dump; /* which of the requests is being answered */
	struct sl_sock_table *table;
	char *buffer;
};

/* Begins to read; `expected` sockets. Negative errno: nothing was begun. */
SL_CONTROL int sl_sock_read_begin(struct sl_sock_reader *reader, uint32_t expected);

/* 1: there is more; 0: all is there, and the caller's; or negative errno, and nothing is left. */
SL_CONTROL int sl_sock_read_step(struct sl_sock_reader *reader, struct sl_sock_table **ret_table);

/* Gives up. */
SL_CONTROL void sl_sock_read_end(struct sl_sock_reader *reader);
