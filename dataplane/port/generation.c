#include "generation.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "cpu.h"
#include "fd.h"
#include "fork.h"
#include "map_element.h"
#include "port.h"
#include "prog_owner.h"
#include "prog_type.h"

/*
 * A generation is published in this order. Everything that it changes is locked: hooks, if there are
 * any, then tables in the order of their addresses. Then it is checked; up to here nothing has
 * happened. Then the hooks get their stand-ins (hook_swap.c), which change nothing yet. Then each
 * CPU adopts, as its only user: its views of the tables and its way through the stand-ins change
 * between two bursts. When all have, the hooks get the programs themselves, and the locks go.
 *
 * Locks: generations, links, ports, tables. None is taken by a worker.
 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t last_number; /* written under lock, read by anyone */

/* From wherever the last descriptor is found to be closed, perhaps in the background. */
static void let_go_of(struct sl_map *map)
{
	pthread_mutex_lock(&lock);
	sl_generation_map_gone(map);
	pthread_mutex_unlock(&lock);
}

static void start(void)
{
	sl_prog_array_set_release_hook(let_go_of);
}

void sl_generation_lock(void)
{
	sl_fork_enter(SL_INSIDE_CALLER);
	pthread_mutex_lock(&lock);
}

void sl_generation_unlock(void)
{
	pthread_mutex_unlock(&lock);
	sl_fork_leave();
}

uint64_t sluice_generation_number(void)
{
	return __atomic_load_n(&last_number, __ATOMIC_RELAXED);
}

int sl_generation_refuse(struct sluice_generation *g, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(g->reason, sizeof(g->reason), fmt, args);
	va_end(args);
	return err;
}

const char *sluice_generation_reason(const struct sluice_generation *generation)
{
	return generation->reason;
}

/* ---- staging ---- */

int sluice_generation_new(struct sluice_generation **ret_generation)
{
	struct sluice_generation *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	pthread_once(&once, start);
	*ret_generation = g;
	return 0;
}

static void put_prog(struct sl_prog *prog)
{
	if (prog)
		sl_object_unref(&prog->obj);
}

void sl_generation_clear(struct sluice_generation *g)
{
	for (uint32_t i = 0; i < g->slot_count; i++) {
		put_prog(g->slots[i].prog);
		sl_map_unref(g->slots[i].map);
	}
	for (unsigned i = 0; i < g->hook_count; i++) {
		put_prog(g->hooks[i].prog);
		put_prog(g->hooks[i].old);
	}
	g->slot_count = 0;
	g->hook_count = 0;
}

void sluice_generation_free(struct sluice_generation *generation)
{
	if (!generation)
		return;
	sl_generation_clear(generation);
	free(generation->slots);
	free(generation->expected);
	free(generation);
}

int sl_generation_reserve(struct sluice_generation *g)
{
	uint32_t room = sl_max(2 * g->slot_room, 16u);
	struct sl_slot_change *slots;

	if (g->slot_count < g->slot_room)
		return 0;
	if (g->slot_count >= SLUICE_GENERATION_SLOTS)
		return sl_generation_refuse(g, -ENOSPC, "more than %d slots in one generation",
			SLUICE_GENERATION_SLOTS);
	slots = realloc(g->slots, room * sizeof(*slots));
	if (!slots)
		return sl_generation_refuse(g, -ENOMEM, "out of memory");
	g->slots = slots;
	g->slot_room = room;
	return 0;
}

static int get_prog(struct sluice_generation *g, int fd, struct sl_prog **ret_prog)
{
	struct sl_object *obj;
	int err;

	*ret_prog = NULL;
	if (fd < 0)
		return 0;
	err = sl_fd_get(fd, SL_OBJECT_PROG, &obj);
	if (err)
		return sl_generation_refuse(g, err, "descriptor %d is no program", fd);
	*ret_prog = sl_prog_of(obj);
	return 0;
}

static int get_table(struct sluice_generation *g, int fd, uint32_t index, struct sl_map **ret_map)
{
	struct sl_map *map;
	int err = sl_map_get_for(fd, false, true, &map);

	if (err == -EPERM)
		return sl_generation_refuse(
			g, err, "the map of descriptor %d must not be changed through it", fd);
	if (err)
		return sl_generation_refuse(g, err, "descriptor %d is no map", fd);
	if (map->desc.type != BPF_MAP_TYPE_PROG_ARRAY)
		err = sl_generation_refuse(
			g, -EINVAL, "map %u '%s' is no PROG_ARRAY", map->obj.id, map->name);
	else if (index >= map->desc.max_entries)
		err = sl_generation_refuse(g, -E2BIG,
			"slot %u is past the end of map %u '%s', which has %u", index, map->obj.id,
			map->name, map->desc.max_entries);
	if (err)
		sl_map_unref(map);
	else
		*ret_map = map;
	return err;
}

int sluice_generation_slot(
	struct sluice_generation *generation, int map_fd, uint32_t index, int prog_fd)
{
	struct sl_slot_change change = { .index = index };
	int err = sl_generation_reserve(generation);

	if (!err)
		err = get_table(generation, map_fd, index, &change.map);
	if (err)
		return err;
	err = get_prog(generation, prog_fd, &change.prog);
	if (err) {
		sl_map_unref(change.map);
		return err;
	}
	generation->slots[generation->slot_count++] = change;
	return 0;
}

/* Takes over nothing of `change` when it fails. */
static int add_hook(
	struct sluice_generation *g, struct sl_hook_change change, int prog_fd, int old_fd)
{
	int err;

	if (g->hook_count == SLUICE_GENERATION_HOOKS)
		return sl_generation_refuse(g, -ENOSPC, "more than %d hooks in one generation",
			SLUICE_GENERATION_HOOKS);
	if (change.hook != SLUICE_TC_INGRESS && change.hook != SLUICE_TC_EGRESS)
		return sl_generation_refuse(g, -EINVAL, "%d is no TC hook", (int)change.hook);
	if (prog_fd < 0 || (change.kind == SL_HOOK_TCX && old_fd < 0))
		return sl_generation_refuse(g, -EBADF, "a program at a hook can only be replaced");
	err = get_prog(g, prog_fd, &change.prog);
	if (!err)
		err = get_prog(g, old_fd, &change.old);
	if (err)
		put_prog(change.prog);
	else
		g->hooks[g->hook_count++] = change;
	return err;
}

int sluice_generation_xdp(
	struct sluice_generation *generation, uint32_t ifindex, int prog_fd, int old_fd)
{
	struct sl_hook_change change = { .kind = SL_HOOK_XDP, .ifindex = ifindex };

	return add_hook(generation, change, prog_fd, old_fd);
}

int sluice_generation_tcx(struct sluice_generation *generation, uint32_t ifindex,
	enum sluice_tc_hook hook, int prog_fd, int old_fd)
{
	struct sl_hook_change change = { .kind = SL_HOOK_TCX, .ifindex = ifindex, .hook = hook };

	return add_hook(generation, change, prog_fd, old_fd);
}

int sluice_generation_filter(struct sluice_generation *generation, uint32_t ifindex,
	enum sluice_tc_hook hook, uint32_t priority, uint32_t handle, int prog_fd, int old_fd)
{
	struct sl_hook_change change = {
		.kind = SL_HOOK_FILTER,
		.ifindex = ifindex,
		.hook = hook,
		.priority = priority,
		.handle = handle,
	};

	return add_hook(generation, change, prog_fd, old_fd);
}

/* ---- checks, with everything locked ---- */

static const char *type_name(const struct sl_prog *prog)
{
	const struct sl_prog_type *type = sl_prog_type_of(prog->type);

	return type ? type->name : "?";
}

static int explain_slot(struct sluice_generation *g, const struct sl_slot_change *change,
	const struct sl_prog_owner *owner, int err)
{
	const struct sl_prog *prog = change->prog;
	const struct sl_prog_type *table = sl_prog_type_of(owner->type);
	const char *why = "has another attach type than the programs of the table";

	if (err == -EBUSY)
		why = "has an extension";
	else if (prog->type == BPF_PROG_TYPE_EXT)
		why = "is an extension";
	else if (prog->bound_device)
		why = "is bound to a device";
	else if (owner->known && owner->type != prog->rules_type)
		return sl_generation_refuse(g, err,
			"slot %u of map %u '%s': program %u '%s' is of type %s, those of the table "
			"are of type %s",
			change->index, change->map->obj.id, change->map->name, prog->obj.id,
			prog->name, type_name(prog), table ? table->name : "?");
	else if (owner->xdp_has_frags != !!(prog->flags & BPF_F_XDP_HAS_FRAGS))
		why = owner->xdp_has_frags ? "does not know of frags, those of the table do"
					   : "knows of frags, those of the table do not";
	return sl_generation_refuse(g, err, "slot %u of map %u '%s': program %u '%s' %s",
		change->index, change->map->obj.id, change->map->name, prog->obj.id, prog->name,
		why);
}

static int check_map(struct sluice_generation *g, const struct sl_map *map)
{
	if (__atomic_load_n(&map->frozen, __ATOMIC_ACQUIRE))
		return sl_generation_refuse(
			g, -EPERM, "map %u '%s' is frozen", map->obj.id, map->name);
	/* Its slots have been emptied, and nobody would empty them again. */
	if (!__atomic_load_n(&map->obj.user_refs, __ATOMIC_ACQUIRE))
		return sl_generation_refuse(
			g, -ESTALE, "map '%s' has been let go of meanwhile", map->name);
	return 0;
}

static int check_slots(struct sluice_generation *g, struct sl_prog_step *step)
{
	uint32_t at;
	int err = 0;

	for (uint32_t i = 0; !err && i < g->slot_count; i++) {
		const struct sl_slot_change *change = &g->slots[i];
		bool same = i > 0 && change[-1].map == change->map;

		if (same && change[-1].index == change->index)
			err = sl_generation_refuse(g, -EEXIST,
				"slot %u of map %u '%s' is given twice", change->index,
				change->map->obj.id, change->map->name);
		else if (!same)
			err = check_map(g, change->map);
		if (!err && g->expected && sl_prog_step_peek(step, i) != g->expected[i])
			err = sl_generation_refuse(g, -ESTALE,
				"slot %u of map %u '%s' has been changed since", change->index,
				change->map->obj.id, change->map->name);
	}
	if (err)
		return err;
	err = sl_prog_step_check(step, &at);
	return err ? explain_slot(g, &g->slots[at], sl_prog_step_owner(step, at), err) : 0;
}

static int explain_hook(struct sluice_generation *g, const struct sl_hook_change *c, int err)
{
	static const char *const hooks[] = { "ingress", "egress" };
	char where[96];
	const char *why = "the program there is another one than expected";

	switch (c->kind) {
	case SL_HOOK_XDP:
		snprintf(where, sizeof(where), "XDP of port %u", c->ifindex);
		break;
	case SL_HOOK_TCX:
		snprintf(where, sizeof(where), "tcx %s of port %u", hooks[c->hook], c->ifindex);
		break;
	default:
		snprintf(where, sizeof(where), "TC filter %u handle %#x, %s of port %u",
			c->priority, c->handle, hooks[c->hook], c->ifindex);
	}
	switch (err) {
	case -ENODEV:
		return sl_generation_refuse(g, err, "there is no port %u", c->ifindex);
	case -ENOENT:
		why = "there is no program to replace";
		break;
	case -EEXIST:
		why = "the program is there already, or its place is given twice";
		break;
	case -EINVAL:
		return sl_generation_refuse(g, err,
			"%s: program %u '%s' of type %s cannot be there", where, c->prog->obj.id,
			c->prog->name, type_name(c->prog));
	}
	return sl_generation_refuse(g, err, "%s: %s", where, why);
}

static int check_hooks(struct sluice_generation *g)
{
	unsigned at;
	int err = sl_hook_swap_check(g->hooks, g->hook_count, &at);

	return err ? explain_hook(g, &g->hooks[at], err) : 0;
}

/* ---- publication ---- */

struct adoption {
	struct sl_prog_step *step;
	bool hooks;
	uint64_t at_ns[SL_MAX_CPUS]; /* when a worker adopted; 0 for a CPU without one */
};

/* As the only user of the CPU. */
static int adopt(unsigned cpu, void *arg)
{
	struct adoption *adoption = arg;

	sl_prog_step_switch(adoption->step, cpu);
	if (adoption->hooks)
		sl_hook_swap_adopt(cpu);
	adoption->at_ns[cpu] = sl_cpu_is_owned(cpu) ? sl_clock_ns() : 0;
	return 0;
}

static uint64_t real_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void describe(const struct sluice_generation *g, const uint64_t *back_to,
	struct sluice_generation_info *ret_info)
{
	*ret_info = (struct sluice_generation_info){
		.number = last_number + 1,
		.rollback = back_to,
		.back_to = back_to ? *back_to : 0,
		.slots = g->slot_count,
		.hooks = g->hook_count,
	};
	for (uint32_t i = 0; i < g->slot_count; i++)
		ret_info->maps += i == 0 || g->slots[i - 1].map != g->slots[i].map;
}

/* With everything locked and checked. */
static void go(struct sluice_generation *g, struct sl_prog_step *step, uint64_t start_ns,
	struct sluice_generation_info *info)
{
	struct adoption adoption = { .step = step, .hooks = g->hook_count > 0 };
	uint64_t published_ns = sl_clock_ns(), last_ns = published_ns;

	info->published_ns = real_ns();
	info->prepare_ns = published_ns - start_ns;
	sl_hook_swap_apply(g->hooks, g->hook_count);
	sl_prog_step_apply(step);
	sl_cpu_run_all(adopt, &adoption);
	sl_hook_swap_finish(g->hooks, g->hook_count);
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		last_ns = sl_max(last_ns, adoption.at_ns[cpu]);
	info->adopt_ns = last_ns - published_ns;
	__atomic_store_n(&last_number, info->number, __ATOMIC_RELAXED);
}

/* With everything locked. */
static int check_and_go(struct sluice_generation *g, struct sl_prog_step *step, unsigned flags,
	uint64_t start_ns, struct sluice_generation_info *info)
{
	int err = check_hooks(g);

	if (!err)
		err = check_slots(g, step);
	if (!err && !(flags & SLUICE_GENERATION_DRY_RUN))
		go(g, step, start_ns, info);
	return err;
}

int sl_generation_publish(struct sluice_generation *g, unsigned flags, const uint64_t *back_to,
	uint64_t start_ns, struct sluice_generation_info *ret_info)
{
	struct sl_generation_record *record = sl_generation_record_new(g);
	struct sluice_generation_info info;
	struct sl_prog_step *step = NULL;
	bool hooks = g->hook_count > 0;
	int err = record ? sl_prog_step_new(g->slots, g->slot_count, &step) : -ENOMEM;

	if (!err && hooks)
		err = sl_hook_swap_settle();
	if (err) {
		sl_prog_step_done(step);
		sl_generation_record_free(record);
		return sl_generation_refuse(g, err, "out of memory");
	}
	describe(g, back_to, &info);
	if (hooks)
		sl_hook_swap_lock();
	sl_prog_step_lock(step);
	err = check_and_go(g, step, flags, start_ns, &info);
	sl_prog_step_done(step);
	if (hooks)
		sl_hook_swap_unlock();
	if (err || flags)
		sl_generation_record_free(record);
	else
		sl_generation_keep(record, g, &info);
	if (!err)
		*ret_info = info;
	return err;
}

static int compare_slots(const void *a, const void *b)
{
	const struct sl_slot_change *x = a, *y = b;

	if (x->map != y->map)
		return (uintptr_t)x->map < (uintptr_t)y->map ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

int sluice_generation_commit(struct sluice_generation *generation, unsigned flags,
	struct sluice_generation_info *ret_info)
{
	uint64_t start_ns = sl_clock_ns();
	int err;

	if (generation->slot_count + generation->hook_count == 0)
		return sl_generation_refuse(generation, -ENODATA, "there is nothing to change");
	if (generation->slot_count > 0)
		qsort(generation->slots, generation->slot_count, sizeof(generation->slots[0]),
			compare_slots);
	sl_generation_lock();
	err = sl_generation_publish(generation, flags, NULL, start_ns, ret_info);
	sl_generation_unlock();
	if (!err && !(flags & SLUICE_GENERATION_DRY_RUN))
		sl_generation_clear(generation);
	return err;
}
