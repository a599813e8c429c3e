#pragma once

#include <assert.h>
#include <pthread.h>

#include "prog_array.h"
#include "prog_owner.h"
#include "rcu.h"

/* A jump table on the inside, for the two files that change one: prog_array.c, prog_array_step.c. */

/* One generation of the slots. */
struct sl_jump_table {
	struct sl_rcu_head rcu;
	size_t len_bytes;
	struct sl_prog_table slots; /* last; read by workers */
};

struct sl_prog_array {
	struct sl_map map;
	struct sl_prog_table *const
		*desc_views; /* struct sl_prog_array_desc goes on from map.desc */

	/* Under lock. */
	pthread_mutex_t lock;
	struct sl_prog_owner owner;
	struct sl_jump_table *table;
	struct sl_prog **progs; /* [max_entries], a reference each */

	/* Each written in the name of its CPU (prog_array.c); read by that CPU only. */
	struct sl_prog_table *views[SL_MAX_CPUS] sl_cache_aligned;
};

static_assert(
	offsetof(struct sl_prog_array, desc_views) - offsetof(struct sl_prog_array, map.desc) ==
		offsetof(struct sl_prog_array_desc, views),
	"the descriptor is contiguous");

static inline struct sl_prog_array *sl_prog_array_of(const struct sl_map *map)
{
	return (struct sl_prog_array *)map;
}

/* Without slots set; NULL when out of memory. */
SL_CONTROL struct sl_jump_table *sl_jump_table_new(uint32_t max_entries);
SL_CONTROL void sl_jump_table_free(struct sl_jump_table *table); /* NULL is fine */

/* With the lock held: whether a slot may have `prog`, which then counts as being in a table. */
SL_CONTROL int sl_prog_array_check_entry(struct sl_prog_array *array, struct sl_prog *prog);
