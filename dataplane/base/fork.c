#include "fork.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/*
 * Who enters says so first and then looks whether a fork is under way; a fork closes the door first
 * and then looks who is inside. Each of the two sees the other, or both do, and then who came later
 * turns back.
 *
 * Callers are waited for before the door closes to services: they may need one of them to finish.
 * A service never waits for a caller.
 */
enum {
	SHARDS = 16, /* so that threads do not share a cache line for each call */
	HOOKS = 32,
	LOOK_US = 20,
	/* Somebody may be compiling for longer; then the child is as it is without all this. */
	PATIENCE_MS = 1000,
};

static struct shard {
	uint32_t inside[SL_INSIDE_KINDS];
} sl_cache_aligned shards[SHARDS];
static uint32_t closed[SL_INSIDE_KINDS];
static unsigned last_shard;

static __thread unsigned depth; /* how often this thread has entered */
static __thread struct shard *mine;
static __thread enum sl_inside my_kind;

static struct hook {
	void (*before)(void), (*in_parent)(void), (*in_child)(void);
} hooks[HOOKS];
static unsigned hook_count; /* stored with release after the hook */
static unsigned called; /* hooks whose `before` was called */
static pthread_mutex_t register_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER; /* one fork at a time */
static pthread_once_t once = PTHREAD_ONCE_INIT;

void sl_fork_enter(enum sl_inside kind)
{
	if (depth++)
		return;
	if (!mine)
		mine = &shards[__atomic_fetch_add(&last_shard, 1, __ATOMIC_RELAXED) % SHARDS];
	my_kind = kind;
	/* Sequential: pairs with close_door. */
	while (__atomic_add_fetch(&mine->inside[kind], 1, __ATOMIC_SEQ_CST),
		sl_unlikely(__atomic_load_n(&closed[kind], __ATOMIC_SEQ_CST))) {
		__atomic_sub_fetch(&mine->inside[kind], 1, __ATOMIC_RELEASE);
		while (__atomic_load_n(&closed[kind], __ATOMIC_RELAXED))
			usleep(LOOK_US);
	}
}

void sl_fork_leave(void)
{
	if (--depth == 0)
		__atomic_sub_fetch(&mine->inside[my_kind], 1, __ATOMIC_RELEASE);
}

static bool somebody_inside(enum sl_inside kind)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < SHARDS; i++)
		count += __atomic_load_n(&shards[i].inside[kind], __ATOMIC_SEQ_CST);
	return count > (depth && my_kind == kind);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void close_door(enum sl_inside kind, uint64_t until_ms)
{
	__atomic_store_n(&closed[kind], 1, __ATOMIC_SEQ_CST);
	while (somebody_inside(kind) && now_ms() < until_ms)
		usleep(LOOK_US);
}

static void open_doors(void)
{
	for (unsigned kind = 0; kind < SL_INSIDE_KINDS; kind++)
		__atomic_store_n(&closed[kind], 0, __ATOMIC_RELEASE);
}

static void before_fork(void)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	pthread_mutex_lock(&fork_lock);
	close_door(SL_INSIDE_CALLER, until_ms);
	close_door(SL_INSIDE_SERVICE, until_ms);
	called = __atomic_load_n(&hook_count, __ATOMIC_ACQUIRE);
	for (unsigned i = called; i > 0; i--)
		if (hooks[i - 1].before)
			hooks[i - 1].before();
}

static void in_parent(void)
{
	for (unsigned i = 0; i < called; i++)
		if (hooks[i].in_parent)
			hooks[i].in_parent();
	open_doors();
	pthread_mutex_unlock(&fork_lock);
}

static void in_child(void)
{
	pthread_mutex_init(&register_lock, NULL);
	for (unsigned i = 0; i < called; i++)
		if (hooks[i].in_child)
			hooks[i].in_child();
	for (unsigned i = 0; i < SHARDS; i++)
		shards[i] = (struct shard){ 0 };
	if (depth)
		mine->inside[my_kind] = 1;
	open_doors();
	pthread_mutex_unlock(&fork_lock);
}

static void init(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

void sl_fork_register(void (*before)(void), void (*parent)(void), void (*child)(void))
{
	pthread_once(&once, init);
	pthread_mutex_lock(&register_lock);
	if (hook_count == HOOKS)
		abort();
	hooks[hook_count] = (struct hook){ before, parent, child };
	__atomic_store_n(&hook_count, hook_count + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&register_lock);
}
