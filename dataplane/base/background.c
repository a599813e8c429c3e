#include "background.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "fork.h"
#include "list.h"

/*
 * The pause between two rounds of the polls: short after work, doubling to the long one. A small
 * event ring fills within the short one at a million events per second.
 */
enum { PAUSE_MIN_US = 100, PAUSE_MAX_US = 3200 };

struct watch {
	struct sl_list node;
	int fd; /* -1 for a poll */
	void (*on_fd)(void *arg);
	bool (*on_poll)(void *arg);
	void *arg;
};

/*
 * Two locks. The thread holds `run_lock` while it runs callbacks, so that a removal can wait for
 * them; it is recursive because a callback may remove others. `list_lock` protects the rest, inside
 * of the other one, and nothing is called with it. Additions and kicks take no other: callbacks take
 * locks of the layers above, whose holders may add and kick, for every sl_rcu_call kicks. They must
 * not remove.
 */
static pthread_mutex_t run_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_list watches = SL_LIST_INIT(watches);
static int epoll_fd = -1, kick_fd = -1;
static bool running; /* stored with release after the descriptors, kicks load it with acquire */
static unsigned polls;

/* With run_lock held, under which a watch that is not the callback's own stays. NULL at the end. */
static struct watch *next_watch(struct watch *w)
{
	struct sl_list *next;

	pthread_mutex_lock(&list_lock);
	next = w ? w->node.next : watches.next;
	pthread_mutex_unlock(&list_lock);
	return next == &watches ? NULL : sl_list_entry(next, struct watch, node);
}

static bool run_polls(void)
{
	bool busy = false;

	pthread_mutex_lock(&run_lock);
	sl_fork_enter(SL_INSIDE_SERVICE);
	for (struct watch *w = next_watch(NULL); w; w = next_watch(w)) {
		if (w->on_poll && w->on_poll(w->arg))
			busy = true;
	}
	sl_fork_leave();
	pthread_mutex_unlock(&run_lock);
	return busy;
}

static void run_fd(int fd)
{
	struct watch *w;

	pthread_mutex_lock(&run_lock);
	sl_fork_enter(SL_INSIDE_SERVICE);
	for (w = next_watch(NULL); w && w->fd != fd; w = next_watch(w))
		;
	if (w)
		w->on_fd(w->arg);
	sl_fork_leave();
	pthread_mutex_unlock(&run_lock);
}

static void *loop(void *arg)
{
	struct epoll_event events[16];
	long pause_us = PAUSE_MIN_US;

	(void)arg;
	for (;;) {
		struct timespec pause = { .tv_nsec = pause_us * 1000 };
		/* Without polls there is nothing to look after: sleep until a descriptor speaks. */
		int n = epoll_pwait2(epoll_fd, events, sl_array_size(events),
			__atomic_load_n(&polls, __ATOMIC_RELAXED) ? &pause : NULL, NULL);

		for (int i = 0; i < n; i++) {
			uint64_t kicks;

			if (events[i].data.fd != kick_fd)
				run_fd(events[i].data.fd);
			else if (read(kick_fd, &kicks, sizeof(kicks)) < 0)
				continue;
		}
		if (run_polls())
			pause_us = PAUSE_MIN_US;
		else if (pause_us < PAUSE_MAX_US)
			pause_us *= 2;
	}
	return NULL;
}

static void before_fork(void)
{
	pthread_mutex_lock(&list_lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&list_lock);
}

/* The thread, its epoll and its eventfd are the parent's: start afresh at the next use. */
static void in_child(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&run_lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_mutex_init(&list_lock, NULL);
	if (!running)
		return;
	running = false;
	close(epoll_fd);
	close(kick_fd);
	epoll_fd = kick_fd = -1;
}

/*
 * At exit() what the callbacks use is torn down, LLVM for one, while the thread lives on: no more
 * callbacks then. The lock is never given back.
 */
static void at_exit(void)
{
	pthread_mutex_lock(&run_lock);
}

static int watch_fd(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

/* With list_lock held. */
static int start(void)
{
	static bool registered;
	sigset_t all, old;
	pthread_t thread;
	struct watch *w;
	int err;

	if (running)
		return 0;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (epoll_fd < 0 || kick_fd < 0) {
		err = -errno;
		goto fail;
	}
	err = watch_fd(kick_fd);
	if (err)
		goto fail;
	sl_list_for_each (w, &watches, node) {
		if (w->fd >= 0)
			watch_fd(w->fd);
	}
	/* Signals are the application's business, and the mask is inherited. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&thread, NULL, loop, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		goto fail;
	pthread_setname_np(thread, "sluice-bg");
	pthread_detach(thread);
	if (!registered) {
		sl_fork_register(before_fork, in_parent, in_child);
		atexit(at_exit);
	}
	registered = true;
	__atomic_store_n(&running, true, __ATOMIC_RELEASE);
	return 0;
fail:
	if (epoll_fd >= 0)
		close(epoll_fd);
	if (kick_fd >= 0)
		close(kick_fd);
	epoll_fd = kick_fd = -1;
	return err;
}

static int add(struct watch *w)
{
	int err;

	pthread_mutex_lock(&list_lock);
	err = start();
	if (!err && w->fd >= 0)
		err = watch_fd(w->fd);
	if (!err) {
		sl_list_add_tail(&watches, &w->node);
		if (w->on_poll)
			__atomic_add_fetch(&polls, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&list_lock);
	if (err)
		free(w);
	else
		sl_background_kick();
	return err;
}

int sl_background_add_fd(int fd, void (*fn)(void *arg), void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = (struct watch){ .fd = fd, .on_fd = fn, .arg = arg };
	return add(w);
}

int sl_background_add_poll(bool (*fn)(void *arg), void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = (struct watch){ .fd = -1, .on_poll = fn, .arg = arg };
	return add(w);
}

void sl_background_del_fd(int fd)
{
	struct watch *w, *tmp;

	pthread_mutex_lock(&run_lock);
	pthread_mutex_lock(&list_lock);
	sl_list_for_each_safe (w, tmp, &watches, node) {
		if (w->fd != fd)
			continue;
		if (running)
			epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		sl_list_del(&w->node);
		free(w);
	}
	pthread_mutex_unlock(&list_lock);
	pthread_mutex_unlock(&run_lock);
}

void sl_background_del_poll(bool (*fn)(void *arg), void *arg)
{
	struct watch *w, *tmp;

	pthread_mutex_lock(&run_lock);
	pthread_mutex_lock(&list_lock);
	sl_list_for_each_safe (w, tmp, &watches, node) {
		if (w->on_poll != fn || w->arg != arg)
			continue;
		__atomic_sub_fetch(&polls, 1, __ATOMIC_RELAXED);
		sl_list_del(&w->node);
		free(w);
	}
	pthread_mutex_unlock(&list_lock);
	pthread_mutex_unlock(&run_lock);
}

void sl_background_kick(void)
{
	uint64_t one = 1;
	int err = 0;

	if (!__atomic_load_n(&running, __ATOMIC_ACQUIRE)) {
		pthread_mutex_lock(&list_lock);
		err = start();
		pthread_mutex_unlock(&list_lock);
	}
	if (!err && write(kick_fd, &one, sizeof(one)) < 0)
		sched_yield(); /* the counter is full: the thread has kicks enough */
}
