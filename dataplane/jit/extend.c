#include "extend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "jit.h"
#include "logging.h"
#include "map.h"
#include "prog.h"

/*
 * Code with extensions belongs to a program object that nobody can look up (prog->linked). It is
 * counted as any object is, so that what it was compiled from (maps, extensions) stays until workers
 * are done with it, and longer where a timer is to call one of its functions.
 *
 * Held while compiling: attaching waits for attaching, packets for nobody.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint32_t count_maps(const struct sl_prog *prog, struct sl_prog *const *extensions)
{
	uint32_t count = prog->facts->map_count;

	for (uint32_t i = 0; i < prog->facts->func_count; i++)
		count += extensions[i] ? extensions[i]->facts->map_count : 0;
	return count;
}

static void add_maps(struct sl_prog *linked, const struct sl_prog *prog)
{
	sl_prog_lock_maps();
	for (uint32_t i = 0; i < prog->facts->map_count; i++)
		linked->used_maps[linked->used_map_count++] = sl_map_ref(prog->used_maps[i]);
	sl_prog_unlock_maps();
}

/* A reference to all that the code will need. */
static int hold(
	struct sl_prog *linked, const struct sl_prog *prog, struct sl_prog *const *extensions)
{
	uint32_t func_count = prog->facts->func_count;

	linked->used_maps = calloc(count_maps(prog, extensions) + 1, sizeof(struct sl_map *));
	linked->linked_extensions = calloc(func_count, sizeof(struct sl_prog *));
	if (!linked->used_maps || !linked->linked_extensions)
		return -ENOMEM;
	add_maps(linked, prog);
	for (uint32_t i = 0; i < func_count; i++) {
		if (!extensions[i])
			continue;
		sl_object_ref(&extensions[i]->obj);
		linked->linked_extensions[linked->linked_extension_count++] = extensions[i];
		linked->takes_locks |= extensions[i]->takes_locks;
		add_maps(linked, extensions[i]);
	}
	return 0;
}

static int linked_new(
	const struct sl_prog *prog, struct sl_prog *const *extensions, struct sl_prog **ret_linked)
{
	struct sl_prog *linked;
	int err = sl_prog_new(prog->insns, 0, &linked);

	if (err)
		return err;
	linked->type = prog->type;
	linked->takes_locks = prog->takes_locks;
	linked->rx_hints = prog->rx_hints;
	memcpy(linked->name, prog->name, sizeof(linked->name));
	err = hold(linked, prog, extensions);
	if (!err)
		err = sl_jit_link(prog, extensions, linked);
	if (err) {
		sl_object_unref(&linked->obj);
		return err;
	}
	*ret_linked = linked;
	return 0;
}

static bool is_extended(const struct sl_prog *prog)
{
	for (uint32_t i = 0; i < prog->facts->func_count; i++) {
		if (prog->extensions[i])
			return true;
	}
	return false;
}

/* With the lock held: code that is as prog->extensions says. */
static int publish(struct sl_prog *prog)
{
	struct sl_prog *linked = NULL, *old = prog->linked;
	int err = is_extended(prog) ? linked_new(prog, prog->extensions, &linked) : 0;

	if (err)
		return err;
	/* Once true it stays: runs of the old code are not over yet. */
	if (linked && linked->takes_locks)
		__atomic_store_n(&prog->takes_locks, true, __ATOMIC_RELAXED);
	sl_rcu_store(prog->code, linked ? linked->code : prog->own_code);
	prog->linked = linked;
	if (old)
		sl_object_unref(&old->obj);
	return 0;
}

/* With the lock held. */
static int extend(struct sl_prog *target, uint32_t func, struct sl_prog *extension)
{
	int err;

	if (!target->extensions)
		target->extensions = calloc(target->facts->func_count, sizeof(struct sl_prog *));
	if (!target->extensions)
		return -ENOMEM;
	if (target->extensions[func])
		return -EBUSY;
	err = sl_prog_use(target, SL_PROG_EXTENDED);
	if (err)
		return err;
	target->extensions[func] = extension;
	err = publish(target);
	if (err) {
		target->extensions[func] = NULL;
		sl_prog_unuse(target, SL_PROG_EXTENDED);
	}
	return err;
}

int sl_extend(struct sl_prog *target, uint32_t func, struct sl_prog *extension)
{
	int err;

	pthread_mutex_lock(&lock);
	err = extend(target, func, extension);
	pthread_mutex_unlock(&lock);
	return err;
}

void sl_extend_end(struct sl_prog *target, uint32_t func)
{
	int err;

	pthread_mutex_lock(&lock);
	target->extensions[func] = NULL;
	err = publish(target);
	sl_prog_unuse(target, SL_PROG_EXTENDED);
	pthread_mutex_unlock(&lock);
	if (err)
		sl_log(SL_LOG_ERROR, "program %s keeps what was in place of function %u: %s",
			target->name, func, strerror(-err));
}
