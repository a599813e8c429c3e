#pragma once

#include "defs.h"

/* What is behind the uapi's opaque structs; only from objects.c and graph.c. */

/* Whose node is being put somewhere, or taken away with all others. */
#define SL_NODE_BUSY ((const void *)1)

struct sl_list_node {
	struct sl_list_node *next, *prev;
	const void *
		owner; /* the head, NULL, SL_NODE_BUSY; changed by compare-and-swap or its lock's holder */
};

struct sl_list_head {
	struct sl_list_node *next, *prev; /* both NULL in zeroed memory: empty */
};

struct sl_rb_node {
	uintptr_t up; /* the parent, | 1 where the node is red */
	struct sl_rb_node *child[2];
	const void *owner; /* the root, as above */
};

struct sl_rb_root {
	struct sl_rb_node *top, *first;
};

static inline bool sl_node_claim(const void **owner)
{
	const void *none = NULL;

	return __atomic_compare_exchange_n(
		owner, &none, SL_NODE_BUSY, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline void sl_node_set_owner(const void **owner, const void *of)
{
	__atomic_store_n(owner, of, __ATOMIC_RELEASE);
}

static inline const void *sl_node_owner(const void *const *owner)
{
	return __atomic_load_n(owner, __ATOMIC_ACQUIRE);
}
