#include "listener.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"
#include "notified.h"

/*
 * Leader and followers: the one thread that holds the lock waits for the next call, lets go, and
 * answers that call itself, so an answer needs no hand-over. When it leaves nobody behind to wait, it
 * starts another thread: a program that takes long to load keeps no look-up waiting.
 */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

enum { THREADS_MAX = 64, IDLE_MAX = 8, STACK_BYTES = 256 << 10 };

static pthread_mutex_t lead = PTHREAD_MUTEX_INITIALIZER;
static unsigned threads, idle; /* atomic */
static int listener_fd, all_done_fd;
static size_t request_bytes;

static void *serve(void *arg);

static int start_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	__atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&idle, 1, __ATOMIC_RELAXED);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	err = pthread_create(&thread, &attr, serve, NULL);
	pthread_attr_destroy(&attr);
	if (err) {
		__atomic_sub_fetch(&threads, 1, __ATOMIC_RELAXED);
		__atomic_sub_fetch(&idle, 1, __ATOMIC_RELAXED);
	}
	return -err;
}

/* Whether there is one: false when there will be no more. */
static bool receive(struct seccomp_notif *request)
{
	struct pollfd pfd = { .fd = listener_fd, .events = POLLIN };

	for (;;) {
		if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
			return false;
		if (pfd.revents & POLLIN) {
			/* The kernel wants it clean. ENOENT: the caller was killed meanwhile. */
			memset(request, 0, request_bytes);
			if (ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_RECV, request) == 0)
				return true;
			if (errno != ENOENT && errno != EINTR)
				return false;
		} else if (pfd.revents & (POLLHUP | POLLERR | POLLNVAL)) {
			return false;
		}
	}
}

static void answer(const struct seccomp_notif *request)
{
	const struct sl_supervised *row =
		sl_supervised_find(request->data.nr, (const uint64_t *)request->data.args);
	struct sl_notified notified;

	sl_notified_init(&notified, listener_fd, request);
	if (row && sl_notified_identify(&notified) == 0)
		row->handle(&notified);
	sl_notified_done(&notified);
}

static void *serve(void *arg)
{
	struct seccomp_notif *request = malloc(request_bytes);
	bool more = request;

	(void)arg;
	while (more) {
		pthread_mutex_lock(&lead);
		more = receive(request);
		pthread_mutex_unlock(&lead);
		if (!more)
			break;
		if (__atomic_sub_fetch(&idle, 1, __ATOMIC_RELAXED) == 0 &&
			__atomic_load_n(&threads, __ATOMIC_RELAXED) < THREADS_MAX)
			start_thread();
		answer(request);
		if (__atomic_fetch_add(&idle, 1, __ATOMIC_RELAXED) >= IDLE_MAX) {
			__atomic_sub_fetch(&idle, 1, __ATOMIC_RELAXED);
			__atomic_sub_fetch(&threads, 1, __ATOMIC_RELAXED);
			free(request);
			return NULL;
		}
	}
	free(request);
	if (!more) {
		uint64_t one = 1;

		if (write(all_done_fd, &one, sizeof(one)) < 0)
			abort();
	}
	return NULL;
}

int sl_listener_start(int listener, int done_fd)
{
	struct seccomp_notif_sizes sizes;

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0)
		return -errno;
	request_bytes = sizes.seccomp_notif > sizeof(struct seccomp_notif)
				? sizes.seccomp_notif
				: sizeof(struct seccomp_notif);
	listener_fd = listener;
	all_done_fd = done_fd;
	/* Caller and supervisor take turns: on one CPU that is faster (since 6.6). */
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	return start_thread();
}
