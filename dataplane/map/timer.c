#include "timer.h"

#include <errno.h>
#include <pthread.h>
#include <rte_pause.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "area.h"
#include "btf_record.h"
#include "context.h"
#include "cpu.h"
#include "fork.h"
#include "prog.h"

/*
 * A program that arms a timer writes down when and what in the element's struct sl_timer, and puts
 * that on a list of what changed: a few stores, no allocation and no system call. One thread looks
 * at the list, keeps what is armed in a heap, and when one is due has its CPU run the callback:
 * the worker between two bursts, or, where no worker owns the CPU, the thread itself.
 *
 * A struct sl_timer is written by programs and by the thread, under `seq`: odd while somebody writes.
 * Programs that find it odd for long, because a thread was preempted in the middle, are told that the
 * timer is busy. The thread takes it to run the callback and to disarm; otherwise it reads again
 * until nobody wrote meanwhile. Who removes an element waits for nobody: they cut the element off its
 * struct sl_timer, which can do nothing from then on, and the thread disarms it later.
 *
 * The reference to the program is taken by whoever sets the callback. It cannot be dropped there,
 * since that may free the program: `gone` collects what the thread is to drop.
 */

/* How long an armed timer may go unnoticed. */
#define LOOK_NS 500000
/* Callbacks in one go, between two bursts. */
#define BATCH 64
#define GONE_COUNT 0xffffull
/* How often a program looks whether nobody writes any more: a writer takes a dozen instructions. */
#define WRITE_TRIES (1 << 12)

struct sl_timer {
	/* Programs and the thread, under seq. */
	uint32_t seq;
	bool armed;
	bool takes_locks; /* the program */
	uint8_t clock; /* clockid_t */
	uint32_t cpu;
	uint64_t expires_ns; /* CLOCK_MONOTONIC */
	sl_callback_fn callback;
	struct sl_prog *prog;
	struct sl_map *map; /* NULL until the timer is used first */
	void *value;
	const void *word; /* the struct bpf_timer in `value` */
	uint64_t
		gone; /* address of a program << 16 | references to drop; exchanged by the thread */

	/* The list: whoever sets `listed` puts it there. */
	struct sl_timer *next;
	bool listed;

	/* The thread's, under engine.lock. */
	uint32_t place; /* in the heap, from 1; 0: not there */
	uint64_t due_ns;
};

struct sl_timers {
	uint32_t count;
	bool used; /* any program, set once */
	size_t len_bytes;
	struct sl_timer *timers; /* by number of the element */
};

static struct {
	pthread_mutex_t lock; /* control threads; held while callbacks run */
	pthread_cond_t wake;
	bool started, prepared;
	uint32_t map_count;
	struct sl_timer **heap; /* [1 .. count] */
	uint32_t count, capacity;
	struct sl_timer *changed; /* any thread pushes, the thread takes all */
} engine = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

/* Read meanwhile by the thread, which then reads again. */
#define set(field, to) __atomic_store_n((field), (to), __ATOMIC_RELAXED)

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- what programs do ---- */

static bool try_write(struct sl_timer *t)
{
	uint32_t seq;

	for (unsigned i = 0; i < WRITE_TRIES; i++) {
		seq = __atomic_load_n(&t->seq, __ATOMIC_RELAXED);
		if (!(seq & 1) && __atomic_compare_exchange_n(&t->seq, &seq, seq + 1, false,
					  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			/* What follows is not seen before the odd number is. */
			__atomic_thread_fence(__ATOMIC_RELEASE);
			return true;
		}
		rte_pause();
	}
	return false;
}

/* The thread. */
static void begin_write(struct sl_timer *t)
{
	while (!try_write(t))
		sched_yield();
}

static void end_write(struct sl_timer *t)
{
	__atomic_store_n(&t->seq, t->seq + 1, __ATOMIC_RELEASE);
}

static void list_change(struct sl_timer *t)
{
	if (__atomic_exchange_n(&t->listed, true, __ATOMIC_ACQ_REL))
		return;
	t->next = __atomic_load_n(&engine.changed, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(
		&engine.changed, &t->next, t, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

static struct sl_timer *timer_of(const void *timer)
{
	return (struct sl_timer *)__atomic_load_n((const uint64_t *)timer, __ATOMIC_ACQUIRE);
}

static bool has_users(const struct sl_map *map)
{
	return __atomic_load_n(&map->obj.user_refs, __ATOMIC_SEQ_CST);
}

/* Writing. False when the thread has not dropped another program's reference yet. */
static bool let_go(struct sl_timer *t)
{
	uint64_t gone = __atomic_load_n(&t->gone, __ATOMIC_RELAXED), prog = (uintptr_t)t->prog;

	if (!prog)
		return true;
	do {
		if (gone && (gone >> 16 != prog || (gone & GONE_COUNT) == GONE_COUNT))
			return false;
	} while (!__atomic_compare_exchange_n(&t->gone, &gone, gone ? gone + 1 : (prog << 16 | 1),
		true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	t->prog = NULL;
	return true;
}

/* Writing. A program that cannot be let go of yet stays until it can: without effect. */
static void disarm(struct sl_timer *t)
{
	set(&t->armed, false);
	t->callback = NULL;
	let_go(t);
}

long sl_timer_init(struct sl_map *map, void *timer, uint64_t flags)
{
	uint8_t *value =
		(uint8_t *)timer - sl_btf_record_find(map->desc.record, SL_SPECIAL_TIMER)->offset;
	struct sl_timers *timers = map->timers;
	uint64_t nothing = 0;
	struct sl_timer *t;
	const void *key;

	if (flags != CLOCK_MONOTONIC && flags != CLOCK_REALTIME && flags != CLOCK_BOOTTIME)
		return -EINVAL;
	t = &timers->timers[map->ops->element(map, value, &key)];
	if (!try_write(t))
		return -EBUSY;
	if (!__atomic_compare_exchange_n((uint64_t *)timer, &nothing, (uint64_t)t, false,
		    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
		end_write(t);
		return -EBUSY;
	}
	/* Either this sees that nobody holds the map, or who let it go last sees the timer. */
	if (!has_users(map)) {
		__atomic_store_n((uint64_t *)timer, 0, __ATOMIC_RELEASE);
		end_write(t);
		return -EPERM;
	}
	__atomic_store_n(&timers->used, true, __ATOMIC_RELAXED);
	disarm(t);
	t->value = value;
	set(&t->word, timer);
	/* Whoever sees the map sees the value: sl_timers_stop. */
	__atomic_store_n(&t->map, map, __ATOMIC_RELEASE);
	t->clock = (uint8_t)flags;
	end_write(t);
	return 0;
}

long sl_timer_set_callback(void *timer, sl_callback_fn callback, struct sl_prog *prog)
{
	struct sl_timer *t = timer_of(timer);
	long err = 0;

	if (!t)
		return -EINVAL;
	if (!try_write(t))
		return -EBUSY;
	if (timer_of(timer) != t)
		err = -EINVAL;
	else if (!has_users(t->map))
		err = -EPERM;
	else if (t->prog != prog) {
		if (!let_go(t))
			err = -EBUSY;
		else if (!sl_object_try_ref(&prog->obj))
			err = -ENOENT;
		else
			t->prog = prog;
	}
	if (!err) {
		set(&t->takes_locks, prog->takes_locks);
		t->callback = callback;
	} else if (!t->prog) {
		disarm(t);
	}
	end_write(t);
	list_change(t);
	return err;
}

long sl_timer_start(void *timer, unsigned cpu, uint64_t ns, uint64_t flags)
{
	struct sl_timer *t;
	uint64_t now, offset = 0;
	bool ok;

	if (flags & ~(1ull | 2ull)) /* BPF_F_TIMER_ABS, BPF_F_TIMER_CPU_PIN */
		return -EINVAL;
	t = timer_of(timer);
	if (!t)
		return -EINVAL;
	now = now_ns(CLOCK_MONOTONIC);
	if (flags & 1)
		offset = now_ns(t->clock) - now;
	else
		ns = ns > INT64_MAX - now ? INT64_MAX : ns + now;
	if (!try_write(t))
		return -EBUSY;
	ok = timer_of(timer) == t && t->callback;
	if (ok) {
		set(&t->expires_ns, ns > offset ? ns - offset : 0);
		set(&t->cpu, cpu);
		set(&t->armed, true);
	}
	end_write(t);
	if (!ok)
		return -EINVAL;
	list_change(t);
	return 0;
}

long sl_timer_cancel(void *timer, const struct sl_timer *running)
{
	struct sl_timer *t = timer_of(timer);
	long was_armed;

	if (!t)
		return -EINVAL;
	if (t == running)
		return -EDEADLK;
	if (!try_write(t))
		return -EBUSY;
	was_armed = t->armed;
	disarm(t);
	end_write(t);
	list_change(t);
	return was_armed;
}

void sl_timer_drop(const struct sl_map_desc *desc, void *value)
{
	const struct sl_btf_record *record = desc->record;
	struct sl_timer *t;
	uint64_t *word;

	if (sl_likely(!sl_btf_record_has(record, SL_SPECIAL_TIMER)))
		return;
	word = (uint64_t *)((uint8_t *)value +
			    sl_btf_record_find(record, SL_SPECIAL_TIMER)->offset);
	t = (struct sl_timer *)__atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
	if (t)
		list_change(t);
}

/* ---- the thread's heap ---- */

static void place(struct sl_timer *t, uint32_t at)
{
	engine.heap[at] = t;
	t->place = at;
}

static void sift(struct sl_timer *t, uint32_t at)
{
	while (at > 1 && engine.heap[at / 2]->due_ns > t->due_ns) {
		place(engine.heap[at / 2], at);
		at /= 2;
	}
	for (;;) {
		uint32_t child = 2 * at;

		if (child > engine.count)
			break;
		if (child < engine.count &&
			engine.heap[child + 1]->due_ns < engine.heap[child]->due_ns)
			child++;
		if (engine.heap[child]->due_ns >= t->due_ns)
			break;
		place(engine.heap[child], at);
		at = child;
	}
	place(t, at);
}

static void take_out(struct sl_timer *t)
{
	uint32_t at = t->place;
	struct sl_timer *last;

	if (!at)
		return;
	t->place = 0;
	last = engine.heap[engine.count--];
	if (last != t)
		sift(last, at);
}

static void put_in(struct sl_timer *t, uint64_t due_ns)
{
	t->due_ns = due_ns;
	if (!t->place)
		t->place = ++engine.count;
	sift(t, t->place);
}

struct view {
	bool armed, takes_locks;
	uint32_t cpu;
	uint64_t expires_ns;
};

static struct view look_at(const struct sl_timer *t)
{
	struct view view;
	uint32_t seq;

	for (;;) {
		seq = __atomic_load_n(&t->seq, __ATOMIC_ACQUIRE);
		view.armed = __atomic_load_n(&t->armed, __ATOMIC_RELAXED);
		view.takes_locks = __atomic_load_n(&t->takes_locks, __ATOMIC_RELAXED);
		view.cpu = __atomic_load_n(&t->cpu, __ATOMIC_RELAXED);
		view.expires_ns = __atomic_load_n(&t->expires_ns, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(seq & 1) && __atomic_load_n(&t->seq, __ATOMIC_RELAXED) == seq)
			return view;
		sched_yield();
	}
}

static void drop_gone(struct sl_timer *t)
{
	uint64_t gone = __atomic_exchange_n(&t->gone, 0, __ATOMIC_ACQUIRE);
	struct sl_prog *prog = (struct sl_prog *)(gone >> 16);

	for (uint64_t i = gone & GONE_COUNT; i > 0; i--)
		sl_object_unref(&prog->obj);
}

/* Whether the element has been cut off since. */
static bool is_dropped(const struct sl_timer *t)
{
	const void *word = __atomic_load_n(&t->word, __ATOMIC_RELAXED);

	return word && timer_of(word) != t;
}

static void settle_drop(struct sl_timer *t)
{
	if (!is_dropped(t))
		return;
	begin_write(t);
	/* Who uses the element again has disarmed what was left. */
	if (is_dropped(t))
		disarm(t);
	end_write(t);
}

static void take_changes(void)
{
	struct sl_timer *t = __atomic_exchange_n(&engine.changed, NULL, __ATOMIC_ACQUIRE);

	while (t) {
		struct sl_timer *next = t->next;
		struct view view;

		/* From here on it may be listed again: what is read below is newer. */
		(void)__atomic_exchange_n(&t->listed, false, __ATOMIC_SEQ_CST);
		settle_drop(t);
		view = look_at(t);
		drop_gone(t);
		if (view.armed)
			put_in(t, view.expires_ns);
		else
			take_out(t);
		t = next;
	}
}

/* ---- callbacks ---- */

struct batch {
	uint32_t count;
	struct sl_timer *timers[BATCH];
};

static void call_back(struct sl_timer *t, struct sl_ctx *ctx)
{
	sl_callback_fn callback = NULL;
	const void *key = NULL;
	struct sl_map *map;
	uint32_t number;
	void *value;

	begin_write(t);
	if (t->armed && t->expires_ns <= t->due_ns && !is_dropped(t)) {
		set(&t->armed, false);
		callback = t->callback;
		map = t->map;
		value = t->value;
	}
	end_write(t);
	if (!callback)
		return;
	number = map->ops->element(map, value, &key);
	ctx->run->timer = t;
	callback(ctx, (uint64_t)map, (uint64_t)(key ? key : &number), (uint64_t)value, 0, 0);
}

/* As the only user of `cpu`, in a read section: what is cancelled or removed meanwhile stays. */
static int run_batch(unsigned cpu, void *arg)
{
	const struct batch *batch = arg;
	struct sl_run run = { .cpu = cpu };
	struct sl_ctx ctx = { .run = &run, .cpu = cpu };

	for (uint32_t i = 0; i < batch->count; i++)
		call_back(batch->timers[i], &ctx);
	return 0;
}

/* The CPU that armed the timer; this thread could be preempted with a lock that a worker waits for. */
static unsigned cpu_for(const struct sl_timer *t)
{
	struct view view = look_at(t);

	return view.takes_locks ? sl_cpu_undisturbed(view.cpu) : view.cpu;
}

static void fire_due(uint64_t now)
{
	while (engine.count && engine.heap[1]->due_ns <= now) {
		unsigned cpu = cpu_for(engine.heap[1]);
		struct batch batch = { .count = 0 };

		while (engine.count && engine.heap[1]->due_ns <= now && batch.count < BATCH &&
			cpu_for(engine.heap[1]) == cpu) {
			batch.timers[batch.count++] = engine.heap[1];
			take_out(engine.heap[1]);
		}
		sl_cpu_run(cpu, run_batch, &batch);
		/* A callback may have armed a timer that is due as well: those wait their turn. */
	}
}

static void wait_for_maps(void)
{
	pthread_mutex_lock(&engine.lock);
	while (!engine.map_count)
		pthread_cond_wait(&engine.wake, &engine.lock);
	pthread_mutex_unlock(&engine.lock);
}

static void *thread_main(void *arg)
{
	struct timespec pause = { 0 };
	uint64_t now, wait;

	for (;;) {
		wait_for_maps();
		sl_fork_enter(SL_INSIDE_SERVICE);
		pthread_mutex_lock(&engine.lock);
		take_changes();
		now = now_ns(CLOCK_MONOTONIC);
		fire_due(now);
		wait = LOOK_NS;
		if (engine.count && engine.heap[1]->due_ns < now + LOOK_NS)
			wait = engine.heap[1]->due_ns > now ? engine.heap[1]->due_ns - now : 1;
		pause.tv_nsec = (long)wait;
		pthread_mutex_unlock(&engine.lock);
		sl_fork_leave();
		nanosleep(&pause, NULL);
	}
	return arg;
}

/* ---- maps ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&engine.lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&engine.lock);
}

static void after_fork_child(void)
{
	pthread_mutex_unlock(&engine.lock);
	pthread_cond_init(&engine.wake, NULL);
	engine.started = false;
}

/* With the lock held. */
static int start_thread(void)
{
	pthread_t thread;

	if (engine.started)
		return 0;
	if (!engine.prepared)
		sl_fork_register(before_fork, after_fork_parent, after_fork_child);
	engine.prepared = true;
	if (pthread_create(&thread, NULL, thread_main, NULL))
		return -EAGAIN;
	pthread_detach(thread);
	engine.started = true;
	return 0;
}

/* With the lock held: room for all timers of all maps, so that arming one needs no memory. */
static int reserve(uint32_t count)
{
	struct sl_timer **heap =
		realloc(engine.heap, ((size_t)engine.capacity + count + 1) * sizeof(*heap));

	if (!heap)
		return -ENOMEM;
	engine.heap = heap;
	engine.capacity += count;
	return 0;
}

int sl_timers_new(struct sl_map *map)
{
	struct sl_timers *timers = calloc(1, sizeof(*timers));
	int err;

	if (!timers)
		return -ENOMEM;
	timers->count = map->ops->element_count(map);
	timers->len_bytes = (size_t)timers->count * sizeof(struct sl_timer);
	timers->timers = sl_area_new(timers->len_bytes, 0);
	if (!timers->timers) {
		free(timers);
		return -ENOMEM;
	}
	pthread_mutex_lock(&engine.lock);
	err = reserve(timers->count);
	if (!err) {
		engine.map_count++;
		map->timers = timers;
		err = start_thread();
		pthread_cond_signal(&engine.wake);
	}
	pthread_mutex_unlock(&engine.lock);
	if (!map->timers) {
		sl_area_free(timers->timers, timers->len_bytes);
		free(timers);
	}
	return err;
}

void sl_timers_stop(struct sl_map *map)
{
	struct sl_timers *timers = map->timers;

	if (!timers || !__atomic_load_n(&timers->used, __ATOMIC_RELAXED))
		return;
	for (uint32_t i = 0; i < timers->count; i++) {
		struct sl_timer *t = &timers->timers[i];

		if (__atomic_load_n(&t->map, __ATOMIC_ACQUIRE))
			sl_timer_drop(&map->desc, t->value);
	}
}

void sl_timers_free(struct sl_map *map)
{
	struct sl_timers *timers = map->timers;

	if (!timers)
		return;
	sl_timers_stop(map);
	pthread_mutex_lock(&engine.lock);
	take_changes();
	for (uint32_t i = 0; timers->used && i < timers->count; i++) {
		take_out(&timers->timers[i]);
		drop_gone(&timers->timers[i]);
		/* What could not be let go of before. */
		let_go(&timers->timers[i]);
		drop_gone(&timers->timers[i]);
	}
	engine.map_count--;
	engine.capacity -= timers->count;
	pthread_mutex_unlock(&engine.lock);
	sl_area_free(timers->timers, timers->len_bytes);
	free(timers);
	map->timers = NULL;
}
