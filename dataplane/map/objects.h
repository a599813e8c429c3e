#pragma once

#include "btf_record.h"
#include "map_layout.h"

/*
 * Objects that programs allocate: bpf_obj_new and what it is put into. objects.c says where they
 * come from and go to. `cpu` is the caller's, which it has to itself: a worker's own, or the one that
 * sl_cpu_run gave it.
 */

/* Larger ones are never there: the kernel's largest. */
#define SL_OBJECT_BYTES_MAX 4088

/* Makes room for objects of this size, before a program that wants them runs. -ENOMEM. */
SL_CONTROL int sl_objects_prepare(uint32_t size_bytes);

/*
 * An object with one reference, zeroed. NULL when there are none left. The record, NULL for an object
 * without special fields, has to outlive it.
 */
SL_WORKER void *sl_object_new(
	uint32_t size_bytes, const struct sl_btf_record *record, unsigned cpu);
/* Gives back one reference; the last one takes with it what the object holds. */
SL_WORKER void sl_object_drop(void *object, unsigned cpu);
/* One more reference to an object of a type that counts them; NULL when the last one is gone. */
SL_WORKER void *sl_object_acquire(void *object);
/* The object that has this address in it; NULL where no objects are. */
SL_ANY void *sl_object_of(void *within);
/* How many objects there are. Exact when no worker is changing it. */
SL_ANY uint64_t sl_objects_count(void);

/*
 * A map's value, or a part of an object, that is removed: what its lists, trees and pointers hold is
 * given back. Takes the value's lock when it has one.
 */
SL_WORKER void sl_objects_drop_fields(
	const struct sl_btf_record *record, void *value, unsigned cpu);

/* The same for a map's value, if its map has such fields; for SL_NO_CPU on some CPU. */
#define SL_NO_CPU UINT32_MAX
SL_ANY void sl_map_value_drop(const struct sl_map_desc *desc, void *value, unsigned cpu);

/*
 * struct bpf_list_head and bpf_rb_root, with the lock held that protects them. `node` is the struct
 * bpf_list_node or bpf_rb_node in an object. An insertion takes over a reference, which
 * ends when it fails because the node is in a list or tree already: -EINVAL. What comes out is a
 * node.
 */
SL_WORKER int sl_list_push(void *head, void *node, bool back, unsigned cpu);
SL_WORKER void *sl_list_pop(void *head, bool back);
SL_WORKER void *sl_list_peek(void *head, bool back);

struct sl_ctx;
typedef uint64_t (*sl_less_fn)(
	struct sl_ctx *ctx, uint64_t a, uint64_t b, uint64_t r3, uint64_t r4, uint64_t r5);
SL_WORKER int sl_rbtree_add(
	struct sl_ctx *ctx, void *root, void *node, sl_less_fn less, unsigned cpu);
/* NULL when the node is not in this tree. */
SL_WORKER void *sl_rbtree_remove(void *root, void *node);
SL_WORKER void *sl_rbtree_first(void *root);
SL_WORKER void *sl_rbtree_root(void *root);
/* NULL also for a node that is not in this tree. */
SL_WORKER void *sl_rbtree_child(void *root, void *node, bool right);
/* All nodes, which are in no tree afterwards; each one's first word leads to the next. */
SL_WORKER void *sl_rbtree_take_all(void *root);
SL_WORKER void *sl_list_take_all(void *head);
