#pragma once

#include <sys/types.h>

#include "defs.h"
#include "rcu.h"

/*
 * Everything that bpf(2) creates: reference-counted, found by descriptor, by id, or by pin. The
 * last reference runs ops->release after a grace period.
 */
enum sl_object_type {
#define SL_OBJECT(name, memfd_name) SL_OBJECT_##name,
#include "types.def"
#undef SL_OBJECT
	SL_OBJECT_TYPES
};

/* Ids run from 1 to this and then start again. */
#define SL_OBJECT_ID_MAX INT32_MAX

struct sl_object;

struct sl_object_ops {
	/* The last descriptor and pin went, other references may remain; NULL when nothing to do. */
	void (*user_release)(struct sl_object *obj);
	/* The last reference is gone, the id already free: leave hooks. NULL when nothing to do. */
	void (*unlink)(struct sl_object *obj);
	/* A grace period later, on the background thread: drop other objects, free memory. */
	void (*release)(struct sl_object *obj);
};

struct sl_object {
	const struct sl_object_ops *ops;
	enum sl_object_type type;
	uid_t uid; /* of who created it */
	uint32_t id; /* 0 until sl_object_publish, and again after the last reference */
	uint64_t refs; /* any control thread, atomically */
	uint64_t user_refs; /* descriptors and pins among them, atomically */
	struct sl_rcu_head rcu;
};

/* Starts with one reference, the caller's, and no id. */
SL_CONTROL void sl_object_init(
	struct sl_object *obj, enum sl_object_type type, const struct sl_object_ops *ops);

/*
 * Objects of a type that a user of a daemon who is not privileged may have: each takes a watch, and may take
 * descriptors and mappings of the daemon's, of which others want some too.
 */
#define SL_OBJECTS_OF_USER 2048

/*
 * Gives the object an id, after which the id walks find it. -ENOSPC when ids have run out, or the
 * user's share.
 */
SL_CONTROL int sl_object_publish(struct sl_object *obj);

/*
 * The next object of this type gets this id, if it is free, and those after it go on from there: for
 * what has had an id in another process.
 */
SL_CONTROL void sl_object_start_ids(enum sl_object_type type, uint32_t id);

/* Returns obj. */
SL_CONTROL struct sl_object *sl_object_ref(struct sl_object *obj);
/* False when the last reference is gone. The object is reached in a read section. */
SL_ANY bool sl_object_try_ref(struct sl_object *obj);
/* NULL is fine. */
SL_CONTROL void sl_object_unref(struct sl_object *obj);

/* The same for a reference that a descriptor or a pin holds. */
SL_CONTROL struct sl_object *sl_object_user_ref(struct sl_object *obj);
SL_CONTROL void sl_object_user_unref(struct sl_object *obj);

/* A reference to the object with this id, NULL when there is none. */
SL_CONTROL struct sl_object *sl_object_get_by_id(enum sl_object_type type, uint32_t id);

/* The smallest id above `id`, 0 when there is none: BPF_*_GET_NEXT_ID. */
SL_CONTROL uint32_t sl_object_next_id(enum sl_object_type type, uint32_t id);
