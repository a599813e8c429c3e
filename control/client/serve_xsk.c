#include "serve_xsk.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <sluice/xsk.h>

#include "serve.h"

/* Until the program has opened a socket, what it does with others is none of our business. */
static bool have_sockets;

/* How long a wait for room to send looks away. */
enum { SLICE_NS = 1000000 };

static bool serves(void)
{
	return !sl_serve_inside && __atomic_load_n(&have_sockets, __ATOMIC_RELAXED);
}

/* Whether a result is the caller's; errno is as before if it is not, or no failure. */
static bool settle(bool failed, int saved)
{
	sl_serve_inside--;
	if (failed && errno != ENOTSOCK && errno != EBADF)
		return true;
	if (!failed || errno == ENOTSOCK || errno == EBADF)
		errno = saved;
	return !failed;
}

bool sl_serve_socket(int domain, int type, int protocol, int *ret_result)
{
	int saved = errno;

	if (domain != AF_XDP || sl_serve_inside)
		return false;
	sl_serve_inside++;
	*ret_result = sluice_xsk_socket(type, protocol);
	sl_serve_inside--;
	if (*ret_result >= 0) {
		__atomic_store_n(&have_sockets, true, __ATOMIC_RELAXED);
		errno = saved;
	}
	return true;
}

bool sl_serve_setsockopt(
	int fd, int level, int name, const void *value, socklen_t len, int *ret_result)
{
	int saved = errno;

	if (!serves())
		return false;
	sl_serve_inside++;
	*ret_result = sluice_xsk_setsockopt(fd, level, name, value, len);
	return settle(*ret_result < 0, saved);
}

bool sl_serve_getsockopt(int fd, int level, int name, void *value, socklen_t *len, int *ret_result)
{
	int saved = errno;

	if (!serves())
		return false;
	sl_serve_inside++;
	*ret_result = sluice_xsk_getsockopt(fd, level, name, value, len);
	return settle(*ret_result < 0, saved);
}

bool sl_serve_bind(int fd, const struct sockaddr *addr, socklen_t len, int *ret_result)
{
	int saved = errno;

	/* A failure may be ENOTSOCK or EBADF: of the socket to share with. */
	if (!serves() || !sluice_xsk_is(fd))
		return false;
	sl_serve_inside++;
	*ret_result = sluice_xsk_bind(fd, addr, len);
	sl_serve_inside--;
	if (*ret_result == 0)
		errno = saved;
	return true;
}

bool sl_serve_send(int fd, int flags, ssize_t *ret_result)
{
	int saved = errno;

	if (!serves())
		return false;
	sl_serve_inside++;
	*ret_result = sluice_xsk_send(fd, flags);
	return settle(*ret_result < 0, saved);
}

bool sl_serve_receive(int fd, int flags, ssize_t *ret_result)
{
	int saved = errno;

	if (!serves())
		return false;
	sl_serve_inside++;
	*ret_result = sluice_xsk_receive(fd, flags);
	return settle(*ret_result < 0, saved);
}

bool sl_serve_closes(int fd)
{
	return serves() && sluice_xsk_is(fd);
}

void sl_serve_closed(void)
{
	int saved = errno;

	sl_serve_inside++;
	sluice_xsk_after_close();
	sl_serve_inside--;
	errno = saved;
}

void *sl_serve_xsk_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (__atomic_load_n(&have_sockets, __ATOMIC_RELAXED))
		return sluice_xsk_mmap(addr, len, prot, flags, fd, offset);
	errno = ENOTSOCK;
	return MAP_FAILED;
}

void sl_serve_xsk_watch(int fd)
{
	short events;

	if (__atomic_load_n(&have_sockets, __ATOMIC_RELAXED))
		sluice_xsk_poll(fd, &events);
}

void sl_serve_xsk_before_wait(void)
{
	if (serves())
		sluice_xsk_before_wait();
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A poll of which some descriptors are ours. */
struct wait {
	struct pollfd *fds, *real; /* the caller's, and what the kernel is asked */
	nfds_t count;
	const sigset_t *mask;
	bool for_room; /* something is waited for that the kernel does not see */
};

/* What our sockets are ready for now; the kernel is asked about their bells alone. */
static int look(struct wait *w)
{
	int ready = 0;

	w->for_room = false;
	for (nfds_t i = 0; i < w->count; i++) {
		struct pollfd *fd = &w->fds[i];
		short state;

		w->real[i] = *fd;
		w->real[i].revents = 0;
		if (fd->fd < 0 || sluice_xsk_poll(fd->fd, &state) != 0)
			continue;
		fd->revents = (short)(state & fd->events);
		ready += fd->revents != 0;
		w->real[i].events = (short)(fd->events & (POLLIN | POLLRDNORM));
		w->for_room |= (fd->events & (POLLOUT | POLLWRNORM)) != 0;
	}
	return ready;
}

/* Puts both answers together; returns how many descriptors have one. */
static int merge(struct wait *w)
{
	int ready = 0;

	for (nfds_t i = 0; i < w->count; i++) {
		struct pollfd *fd = &w->fds[i];
		short state;

		if (fd->fd >= 0 && sluice_xsk_poll(fd->fd, &state) == 0)
			fd->revents = (short)((state & fd->events) |
					      (w->real[i].revents & ~(POLLIN | POLLRDNORM)));
		else
			fd->revents = w->real[i].revents;
		ready += fd->revents != 0;
	}
	return ready;
}

static int wait_for(struct wait *w, uint64_t until_ns)
{
	for (;;) {
		bool now = look(w) > 0;
		uint64_t at_ns = now_ns();
		uint64_t left_ns = until_ns > at_ns ? until_ns - at_ns : 0;
		struct timespec left;
		int n;

		if (now)
			left_ns = 0;
		else if (w->for_room && left_ns > SLICE_NS)
			left_ns = SLICE_NS;
		left = (struct timespec){ .tv_sec = (time_t)(left_ns / 1000000000u),
			.tv_nsec = (long)(left_ns % 1000000000u) };
		if (ppoll(w->real, w->count, &left, w->mask) < 0)
			return -1;
		n = merge(w);
		if (n > 0 || now_ns() >= until_ns)
			return n;
	}
}

bool sl_serve_poll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	const sigset_t *mask, int *ret_result)
{
	struct wait w = { .fds = fds, .count = count, .mask = mask };
	/* Without a timeout: some hundred years. */
	uint64_t for_ns = UINT64_MAX / 4;
	int saved = errno;
	bool ours = false;

	if (!serves())
		return false;
	for (nfds_t i = 0; i < count && !ours; i++)
		ours = fds[i].fd >= 0 && sluice_xsk_is(fds[i].fd);
	if (!ours)
		return false;
	if (timeout && timeout->tv_sec < INT32_MAX)
		for_ns = (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
	w.real = calloc(count, sizeof(*w.real));
	if (!w.real) {
		errno = ENOMEM;
		*ret_result = -1;
		return true;
	}
	sl_serve_inside++;
	*ret_result = wait_for(&w, now_ns() + for_ns);
	sl_serve_inside--;
	free(w.real);
	if (*ret_result >= 0)
		errno = saved;
	return true;
}

bool sl_serve_poll_ms(struct pollfd *fds, nfds_t count, int timeout_ms, int *ret_result)
{
	struct timespec timeout = { .tv_sec = timeout_ms / 1000,
		.tv_nsec = timeout_ms % 1000 * 1000000L };

	return sl_serve_poll(fds, count, timeout_ms < 0 ? NULL : &timeout, NULL, ret_result);
}
