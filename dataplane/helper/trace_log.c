#include "trace_log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/observe.h>

/*
 * Readers are ends of sockets that keep a message's bounds, so each gets whole lines. Nobody waits for
 * one: a line that a reader's socket has no room for is counted, and the next one that fits comes
 * after a line that says so, as in the kernel's trace_pipe. What was printed last is kept for
 * readers that come later.
 */
enum { KEPT = 256, LINE = 1152, SOCKET_BYTES = 1 << 20 };

struct reader {
	int fd;
	uint64_t lost;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct reader readers[SLUICE_LOG_READERS];
static unsigned reader_count;
static char *kept[KEPT]; /* a ring */
static uint64_t kept_count; /* so far */

static bool put(struct reader *r, const char *line)
{
	return send(r->fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

/* False: the reader has gone. */
static bool deliver(struct reader *r, unsigned cpu, const char *line)
{
	char text[64];

	if (r->lost) {
		snprintf(text, sizeof(text), "CPU:%u [LOST %llu EVENTS]\n", cpu,
			(unsigned long long)r->lost);
		if (put(r, text))
			r->lost = 0;
	}
	if (!r->lost && put(r, line))
		return true;
	if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
		return false;
	r->lost++;
	return true;
}

/* With the lock held. */
static void drop_reader(unsigned index)
{
	close(readers[index].fd);
	readers[index] = readers[--reader_count];
}

/* With the lock held. Without memory the line is only delivered. */
static void keep(const char *line)
{
	char **slot = &kept[kept_count++ % KEPT];

	free(*slot);
	*slot = strdup(line);
}

static void publish(unsigned cpu, const char *line)
{
	pthread_mutex_lock(&lock);
	keep(line);
	for (unsigned i = 0; i < reader_count;) {
		if (deliver(&readers[i], cpu, line))
			i++;
		else
			drop_reader(i);
	}
	pthread_mutex_unlock(&lock);
}

/* As the kernel's trace_pipe has them. */
void sl_trace_log_line(unsigned cpu, uint64_t time_ns, const char *line)
{
	uint64_t us = (time_ns + 500) / 1000;
	char text[LINE];

	snprintf(text, sizeof(text) - 1,
		"%16.16s-%-7d [%03u] ..... %5llu.%06llu: bpf_trace_printk: %s",
		program_invocation_short_name, getpid(), cpu, (unsigned long long)(us / 1000000),
		(unsigned long long)(us % 1000000), line);
	strcat(text, "\n");
	publish(cpu, text);
}

void sl_trace_log_lost(unsigned cpu, uint64_t count)
{
	char text[64];

	snprintf(text, sizeof(text), "CPU:%u [LOST %llu EVENTS]\n", cpu, (unsigned long long)count);
	publish(cpu, text);
}

/* With the lock held: readers that have closed their end count no more. */
static void forget_gone(void)
{
	for (unsigned i = 0; i < reader_count;) {
		struct pollfd p = { .fd = readers[i].fd };

		if (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR))
			drop_reader(i);
		else
			i++;
	}
}

/* With the lock held. */
static int add_reader(int fd, bool follow)
{
	struct reader r = { .fd = fd };

	forget_gone();
	if (follow && reader_count == SLUICE_LOG_READERS)
		return -ENOSPC;
	for (uint64_t i = kept_count > KEPT ? kept_count - KEPT : 0; i < kept_count; i++)
		if (kept[i % KEPT])
			deliver(&r, 0, kept[i % KEPT]);
	if (follow)
		readers[reader_count++] = r;
	else
		close(fd);
	return 0;
}

int sluice_log_open(bool follow, int *ret_fd)
{
	int fds[2], bytes = SOCKET_BYTES, err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return -errno;
	/* More where it is permitted. */
	if (setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0)
		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	shutdown(fds[0], SHUT_RD);
	pthread_mutex_lock(&lock);
	err = add_reader(fds[0], follow);
	pthread_mutex_unlock(&lock);
	if (err) {
		close(fds[0]);
		close(fds[1]);
		return err;
	}
	*ret_fd = fds[1];
	return 0;
}
