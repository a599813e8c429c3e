#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Idle ones that are kept; and a number above which programs do not expect their own descriptors. */
enum { IDLE_MAX = 8, FD_ABOVE = 800 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sl_connection *idle, *all;
static unsigned idle_count;

/* Whether the number is not another file's by now. */
static bool is_open(const struct sl_connection *c)
{
	struct stat st;

	return fstat(c->wire.fd, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino;
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* What speaks for the parent, which may be another user, is not the child's to have. */
static void in_child(void)
{
	for (struct sl_connection *c = all; c; c = c->next_open) {
		if (is_open(c))
			close(c->wire.fd);
		c->wire.fd = -1;
	}
	/* Their memory may be in use by what was interrupted by a signal, whose handler forks. */
	all = idle = NULL;
	idle_count = 0;
	pthread_mutex_unlock(&lock);
}

static void init(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

const char *sl_connection_path(void)
{
	const char *path = getenv(SL_WIRE_SOCKET_ENV);

	return path && *path ? path : SL_WIRE_SOCKET;
}

/* Still our socket, and ours: not the parent's, nor of who we were. */
static bool is_good(const struct sl_connection *c)
{
	return c->pid == getpid() && c->uid == geteuid() && is_open(c);
}

/* With the lock held. */
static void forget(const struct sl_connection *c)
{
	struct sl_connection **at = &all;

	while (*at && *at != c)
		at = &(*at)->next_open;
	if (*at)
		*at = c->next_open;
}

/* Of one that is forgotten. */
static void free_connection(struct sl_connection *c)
{
	if (!is_open(c))
		c->wire.fd = -1;
	sl_wire_done(&c->wire);
	free(c);
}

static struct sl_connection *take_idle(void)
{
	struct sl_connection *c;

	pthread_mutex_lock(&lock);
	while ((c = idle)) {
		idle = c->next;
		idle_count--;
		if (is_good(c))
			break;
		forget(c);
		free_connection(c);
	}
	pthread_mutex_unlock(&lock);
	return c;
}

static int open_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = sl_connection_path();
	int fd, high;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	high = fcntl(fd, F_DUPFD_CLOEXEC, FD_ABOVE);
	if (high >= 0) {
		close(fd);
		fd = high;
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static struct sl_connection *connect_new(void)
{
	struct sl_connection *c = malloc(sizeof(*c));
	struct stat st;
	int fd, err;

	if (!c)
		return NULL;
	fd = open_socket();
	if (fd < 0) {
		free(c);
		return NULL;
	}
	sl_wire_init(&c->wire, fd);
	err = sl_wire_greet(&c->wire);
	if (!err && fstat(fd, &st) != 0)
		err = -errno;
	if (err) {
		sl_wire_done(&c->wire);
		free(c);
		errno = -err;
		return NULL;
	}
	/* An answer may take as long as the daemon works on it. */
	c->wire.wait_ms = -1;
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	c->pid = getpid();
	c->uid = geteuid();
	c->used = false;
	pthread_mutex_lock(&lock);
	c->next_open = all;
	all = c;
	pthread_mutex_unlock(&lock);
	return c;
}

struct sl_connection *sl_connection_get(void)
{
	struct sl_connection *c;

	pthread_once(&once, init);
	c = take_idle();
	return c ? c : connect_new();
}

void sl_connection_put(struct sl_connection *c, bool broken)
{
	bool keep;

	pthread_mutex_lock(&lock);
	keep = !broken && idle_count < IDLE_MAX && is_good(c);
	if (keep) {
		c->used = true;
		c->next = idle;
		idle = c;
		idle_count++;
	} else {
		forget(c);
	}
	pthread_mutex_unlock(&lock);
	if (!keep)
		free_connection(c);
}
