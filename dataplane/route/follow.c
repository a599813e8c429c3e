#include "follow.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "follow_state.h"
#include "import.h"

/*
 * The kernel's network, live. A socket is told of every change from before the first dump on, and its
 * messages are applied one by one; what the kernel does not tell (IPv4 routes that go with a link or
 * an address, and what there was no room for) is found by a dump that is compared with what is here.
 * Links without a kernel interface, and routes over them, are somebody else's and stay.
 *
 * Who holds `mutex` reads the socket: the thread of this file, or one that wants to know the present.
 */

enum { SOCKET_BYTES = 1 << 24 };

struct sl_follow sl_follow = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.events_fd = -1,
	.dump_fd = -1,
	.stop_fd = -1,
};

/* All that the kernel has told until now. With the mutex. */
static void pump(void)
{
	for (;;) {
		ssize_t n =
			recv(sl_follow.events_fd, sl_follow.buffer, SL_FOLLOW_BUFFER, MSG_DONTWAIT);
		struct nlmsghdr *m = (struct nlmsghdr *)sl_follow.buffer;
		int len = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		/* Some was lost. */
		if (n < 0 && errno == ENOBUFS) {
			sl_follow.stale = ~0u;
			continue;
		}
		if (n <= 0)
			break;
		for (; NLMSG_OK(m, len); m = NLMSG_NEXT(m, len))
			sl_follow_hear(m);
	}
	sl_follow_refresh();
}

void sl_follow_catch_up(void)
{
	if (!__atomic_load_n(&sl_follow.running, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&sl_follow.mutex);
	if (sl_follow.running)
		pump();
	pthread_mutex_unlock(&sl_follow.mutex);
}

static void *thread_main(void *arg)
{
	struct pollfd fds[] = { { sl_follow.stop_fd, POLLIN, 0 },
		{ sl_follow.events_fd, POLLIN, 0 } };

	(void)arg;
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		sl_follow_catch_up();
	}
	return NULL;
}

static int open_events(void)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF };
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int size = SOCKET_BYTES;

	sl_follow.events_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (sl_follow.events_fd < 0)
		return -errno;
	if (setsockopt(sl_follow.events_fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
		setsockopt(sl_follow.events_fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	/* Without a name of its own it would be taken for the kernel, who does not tell itself. */
	if (bind(sl_follow.events_fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -errno;
	for (unsigned i = 0; i < sl_array_size(groups); i++)
		if (setsockopt(sl_follow.events_fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			    sizeof(groups[i])) != 0)
			return -errno;
	return 0;
}

static int open_all(void)
{
	int err = open_events();

	sl_follow.dump_fd = err ? -1 : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	sl_follow.stop_fd = err ? -1 : eventfd(0, EFD_CLOEXEC);
	sl_follow.buffer = malloc(SL_FOLLOW_BUFFER);
	if (!err && (sl_follow.dump_fd < 0 || sl_follow.stop_fd < 0))
		err = -errno;
	return !err && !sl_follow.buffer ? -ENOMEM : err;
}

static void close_all(void)
{
	int *const fds[] = { &sl_follow.events_fd, &sl_follow.dump_fd, &sl_follow.stop_fd };

	for (unsigned i = 0; i < sl_array_size(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	free(sl_follow.buffer);
	free(sl_follow.links);
	sl_follow.buffer = NULL;
	sl_follow.links = NULL;
	sl_follow.link_count = sl_follow.link_size = 0;
}

static int start_thread(void)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&sl_follow.thread, NULL, thread_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		pthread_setname_np(sl_follow.thread, "sluice-route");
	return err;
}

int sluice_route_follow(void)
{
	int err;

	sl_route_claim();
	pthread_mutex_lock(&sl_follow.mutex);
	if (sl_follow.running) {
		pthread_mutex_unlock(&sl_follow.mutex);
		return -EBUSY;
	}
	err = open_all();
	sl_follow.stale = ~0u;
	if (!err)
		err = sl_follow_refresh();
	if (!err)
		err = start_thread();
	if (err) {
		sl_follow_forget();
		close_all();
	}
	__atomic_store_n(&sl_follow.running, !err, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&sl_follow.mutex);
	return err;
}

void sluice_route_unfollow(void)
{
	if (!__atomic_load_n(&sl_follow.running, __ATOMIC_ACQUIRE))
		return;
	eventfd_write(sl_follow.stop_fd, 1);
	pthread_join(sl_follow.thread, NULL);
	pthread_mutex_lock(&sl_follow.mutex);
	__atomic_store_n(&sl_follow.running, false, __ATOMIC_RELEASE);
	sl_follow_forget();
	close_all();
	pthread_mutex_unlock(&sl_follow.mutex);
}
