#pragma once

#include "fib.h"

/* The tables behind fib.h: who looks up what is in fib.c, who changes it in route.c. */

/* The routes of one prefix, in the order in which a look-up tries them. */
struct sl_fib_list {
	struct sl_rcu_head rcu;
	uint32_t prefix_len;
	uint32_t count;
	const struct sl_route *routes[];
};

struct sl_lpm_desc;
struct sl_map;

struct sl_fib_table {
	uint32_t id; /* RT_TABLE_MAIN stands for IPv4's local as well */
	uint16_t family;
	struct sl_map *trie; /* the value: the address of a struct sl_fib_list */
	struct sl_fib_table *next; /* read through sl_rcu_load; tables stay */
};

/* A key of the trie. */
struct sl_fib_key {
	uint32_t prefix_len;
	uint8_t bytes[16];
};

/* Once, before there is a table: the seed of the hash that chooses among paths. */
SL_CONTROL void sl_fib_draw_seed(void);

/* NULL when nothing was ever put into it. */
SL_ANY struct sl_fib_table *sl_fib_table_peek(uint16_t family, uint32_t id);
/* The same, made where it is not there; NULL without memory. With the lock held. */
SL_CONTROL struct sl_fib_table *sl_fib_table_get(uint16_t family, uint32_t id);
/* All of them, in no order; NULL: the first. */
SL_ANY struct sl_fib_table *sl_fib_table_next(const struct sl_fib_table *table);

/* The list of the longest prefix of the key that is not longer than its length; NULL for none. */
SL_ANY const struct sl_fib_list *sl_fib_table_find(
	const struct sl_fib_table *table, const struct sl_fib_key *key);
/* Of exactly this prefix. */
SL_ANY const struct sl_fib_list *sl_fib_table_exact(
	const struct sl_fib_table *table, const struct sl_fib_key *key);
/*
 * Puts a list in the place of what the prefix has; NULL: takes that away. -ENOSPC; -ENOMEM, where
 * the caller is in a read section also when a grace period would give memory back.
 */
SL_CONTROL int sl_fib_table_set(
	struct sl_fib_table *table, const struct sl_fib_key *key, struct sl_fib_list *list);
/* The calling thread is in a read section from here on (or no more), and cannot wait for its end. */
SL_CONTROL void sl_fib_table_in_section(bool in);
/* The key that follows; false after the last. first: from the start. */
SL_ANY bool sl_fib_table_next_key(
	const struct sl_fib_table *table, bool first, struct sl_fib_key *key);
