#pragma once

#include "kernel_sock.h"

/* A table that is being made: first all sockets, then the index, then it is published. */

enum { SL_SOCKS_MAX = 1 << 20 };

struct sl_sock_slot {
	uint32_t hash;
	uint32_t number; /* of the socket, from 1; 0: free */
};

struct sl_sock_table {
	struct sl_rcu_head rcu;
	struct sl_sock *socks;
	struct sl_sock_slot *slots; /* open addressing: equal keys in the order of the sockets */
	uint32_t count, size; /* of socks */
	uint32_t mask; /* of slots */
	uint32_t indexed; /* socks that are in the slots, or are not to be */
	bool syncookies;
};

/* NULL without memory; `expected` sockets fit without a copy. */
SL_CONTROL struct sl_sock_table *sl_sock_table_new(uint32_t expected);
SL_CONTROL void sl_sock_table_free(struct sl_sock_table *table);

/* Room for one more socket, zeroed; NULL without memory or past SL_SOCKS_MAX. */
SL_CONTROL struct sl_sock *sl_sock_table_add(struct sl_sock_table *table);

/* Indexes up to `max` sockets more. 1: that was not all yet, 0: it is; -ENOMEM. */
SL_CONTROL int sl_sock_table_index(struct sl_sock_table *table, uint32_t max);

/* What look-ups see from now on; NULL: no sockets. Takes the table; frees the old one when it may. */
SL_CONTROL void sl_sock_table_publish(struct sl_sock_table *table);
