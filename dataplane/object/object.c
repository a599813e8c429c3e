#include "object.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "fork.h"

/*
 * Per type, the published objects sorted by id. Ids are handed out in a cycle as the kernel does,
 * so an insertion is nearly always at the end; look-ups are binary searches.
 *
 * An object is in its table as long as it has references: the thread that drops the last one takes
 * it out under the lock, and a look-up that comes between finds the count at zero and misses.
 */
struct table {
	struct sl_object **objs;
	uint32_t count, room;
	uint32_t last_id;
};

static struct table tables[SL_OBJECT_TYPES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void init(void)
{
	sl_fork_register(before_fork, after_fork, after_fork);
}

/* Index of the first object whose id is at least `id`. */
static uint32_t find(const struct table *t, uint32_t id)
{
	uint32_t lo = 0, hi = t->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t->objs[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int reserve(struct table *t)
{
	uint32_t room = t->room ? t->room * 2 : 64;
	struct sl_object **objs;

	if (t->count < t->room)
		return 0;
	objs = realloc(t->objs, room * sizeof(*objs));
	if (!objs)
		return -ENOMEM;
	t->objs = objs;
	t->room = room;
	return 0;
}

/* The first free id from `from` on; *ret_at is its place in the table. 0 when all are taken. */
static uint32_t free_id(const struct table *t, uint32_t from, uint32_t *ret_at)
{
	uint32_t at = find(t, from);

	while (at < t->count && t->objs[at]->id == from) {
		from++;
		at++;
	}
	if (from > SL_OBJECT_ID_MAX)
		return 0;
	*ret_at = at;
	return from;
}

void sl_object_init(
	struct sl_object *obj, enum sl_object_type type, const struct sl_object_ops *ops)
{
	*obj = (struct sl_object){ .ops = ops, .type = type, .refs = 1, .uid = sl_caller_uid() };
}

/* Whether the caller may have one more. */
static bool has_share(const struct table *t)
{
	uid_t uid = sl_caller_uid();
	uint32_t count = 0;

	if (sl_caller_is_privileged())
		return true;
	for (uint32_t i = 0; i < t->count; i++)
		count += t->objs[i]->uid == uid;
	return count < SL_OBJECTS_OF_USER;
}

int sl_object_publish(struct sl_object *obj)
{
	struct table *t = &tables[obj->type];
	uint32_t at = 0, id;
	int err;

	pthread_once(&once, init);
	pthread_mutex_lock(&lock);
	err = has_share(t) ? reserve(t) : -ENOSPC;
	if (err)
		goto out;
	id = free_id(t, t->last_id + 1, &at);
	if (!id)
		id = free_id(t, 1, &at);
	if (!id) {
		err = -ENOSPC;
		goto out;
	}
	memmove(&t->objs[at + 1], &t->objs[at], (t->count - at) * sizeof(t->objs[0]));
	t->objs[at] = obj;
	t->count++;
	t->last_id = id;
	obj->id = id;
out:
	pthread_mutex_unlock(&lock);
	return err;
}

void sl_object_start_ids(enum sl_object_type type, uint32_t id)
{
	pthread_mutex_lock(&lock);
	tables[type].last_id = id - 1;
	pthread_mutex_unlock(&lock);
}

static void unpublish(struct sl_object *obj)
{
	struct table *t = &tables[obj->type];
	uint32_t at;

	pthread_mutex_lock(&lock);
	if (obj->id) {
		at = find(t, obj->id);
		t->count--;
		memmove(&t->objs[at], &t->objs[at + 1], (t->count - at) * sizeof(t->objs[0]));
		obj->id = 0;
	}
	pthread_mutex_unlock(&lock);
}

struct sl_object *sl_object_ref(struct sl_object *obj)
{
	__atomic_add_fetch(&obj->refs, 1, __ATOMIC_RELAXED);
	return obj;
}

static void release(struct sl_rcu_head *head)
{
	struct sl_object *obj = sl_container_of(head, struct sl_object, rcu);

	obj->ops->release(obj);
}

bool sl_object_try_ref(struct sl_object *obj)
{
	uint64_t refs = __atomic_load_n(&obj->refs, __ATOMIC_RELAXED);

	while (refs)
		if (__atomic_compare_exchange_n(
			    &obj->refs, &refs, refs + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	return false;
}

void sl_object_unref(struct sl_object *obj)
{
	/* Every earlier use of the object happens before its end. */
	if (!obj || __atomic_sub_fetch(&obj->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	unpublish(obj);
	if (obj->ops->unlink)
		obj->ops->unlink(obj);
	sl_rcu_call(&obj->rcu, release);
}

struct sl_object *sl_object_user_ref(struct sl_object *obj)
{
	__atomic_add_fetch(&obj->user_refs, 1, __ATOMIC_RELAXED);
	return sl_object_ref(obj);
}

void sl_object_user_unref(struct sl_object *obj)
{
	if (!obj)
		return;
	if (__atomic_sub_fetch(&obj->user_refs, 1, __ATOMIC_ACQ_REL) == 0 && obj->ops->user_release)
		obj->ops->user_release(obj);
	sl_object_unref(obj);
}

/* With the lock held, under which an object found in the table cannot be freed. */
static bool ref_unless_dead(struct sl_object *obj)
{
	uint64_t refs = __atomic_load_n(&obj->refs, __ATOMIC_RELAXED);

	while (refs > 0) {
		if (__atomic_compare_exchange_n(
			    &obj->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

struct sl_object *sl_object_get_by_id(enum sl_object_type type, uint32_t id)
{
	const struct table *t = &tables[type];
	struct sl_object *obj = NULL;
	uint32_t at;

	pthread_mutex_lock(&lock);
	at = find(t, id);
	if (at < t->count && t->objs[at]->id == id && ref_unless_dead(t->objs[at]))
		obj = t->objs[at];
	pthread_mutex_unlock(&lock);
	return obj;
}

uint32_t sl_object_next_id(enum sl_object_type type, uint32_t id)
{
	const struct table *t = &tables[type];
	uint32_t next = 0, at;

	if (id >= SL_OBJECT_ID_MAX)
		return 0;
	pthread_mutex_lock(&lock);
	at = find(t, id + 1);
	if (at < t->count)
		next = t->objs[at]->id;
	pthread_mutex_unlock(&lock);
	return next;
}
