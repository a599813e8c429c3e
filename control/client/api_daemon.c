#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/perf_event.h>

#include "api.h"
#include "remote_pin.h"
#include "remote.h"
#include "ringbuf_mmap.h"

/*
 * What sluice/bpf.h has, by the daemon. A descriptor shows what it is: maps are memfds of that name,
 * events are pipes; only of those is the daemon asked. What is kept here is what the daemon cannot
 * see: where this process has a ring mapped, and which bell it waits for in the place of which map.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct mapping {
	struct mapping *next;
	void *addr;
	size_t len;
	int fd; /* of the event, if it is still that */
	ino_t ino;
};
static struct mapping *mappings;

struct bell {
	struct bell *next;
	ino_t ino; /* of the map */
	dev_t dev;
	int fd;
};
static struct bell *bells;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void init(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

static int as_int(int64_t ret)
{
	if (ret >= 0)
		return (int)ret;
	errno = (int)-ret;
	return -1;
}

static void *as_pointer(int err, void *p)
{
	if (!err)
		return p;
	errno = -err;
	return MAP_FAILED;
}

static long daemon_bpf(int cmd, union bpf_attr *attr, unsigned int size)
{
	int64_t ret;
	int fd = -1;

	if (!sl_remote_pin(&sl_space_self, AT_FDCWD, cmd, (uintptr_t)attr, size, &ret, &fd))
		ret = sl_remote_bpf_fd(&sl_space_self, cmd, (uintptr_t)attr, size, &fd);
	if (fd >= 0)
		return fd;
	if (ret >= 0)
		return (long)ret;
	errno = (int)-ret;
	return -1;
}

static int daemon_perf_event_open(
	const struct perf_event_attr *attr, pid_t pid, int cpu, int group_fd, unsigned long flags)
{
	int fd = as_int(
		sl_remote_perf_open(&sl_space_self, (uintptr_t)attr, pid, cpu, group_fd, flags));

	if (fd >= 0 && !(flags & PERF_FLAG_FD_CLOEXEC))
		fcntl(fd, F_SETFD, 0);
	return fd;
}

/* Whether it can be an event; its inode. */
static bool is_pipe(int fd, ino_t *ret_ino)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode))
		return false;
	*ret_ino = st.st_ino;
	return true;
}

static void *daemon_perf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct mapping *mapping;
	int64_t ring;
	ino_t ino;
	void *mapped;
	int saved;

	if (!is_pipe(fd, &ino))
		return as_pointer(-ENODEV, NULL);
	mapping = malloc(sizeof(*mapping));
	if (!mapping)
		return as_pointer(-ENOMEM, NULL);
	ring = sl_remote_perf_ring(&sl_space_self, fd, len, prot, flags, (uint64_t)offset);
	if (ring < 0) {
		free(mapping);
		return as_pointer((int)ring, NULL);
	}
	mapped = mmap(addr, len, prot, flags, (int)ring, 0);
	saved = errno;
	close((int)ring);
	if (mapped == MAP_FAILED) {
		free(mapping);
		errno = saved;
		return MAP_FAILED;
	}
	*mapping = (struct mapping){ .addr = mapped, .len = len, .fd = fd, .ino = ino };
	pthread_mutex_lock(&lock);
	mapping->next = mappings;
	mappings = mapping;
	pthread_mutex_unlock(&lock);
	return mapped;
}

static struct mapping *take_mapping(const void *addr, size_t len)
{
	struct mapping **at, *found = NULL;

	pthread_mutex_lock(&lock);
	for (at = &mappings; *at && !found; at = found ? at : &(*at)->next) {
		if ((*at)->addr != addr || (*at)->len > len)
			continue;
		found = *at;
		*at = found->next;
		break;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static int daemon_perf_munmap(void *addr, size_t len)
{
	struct mapping *mapping;
	int ret = munmap(addr, len);
	ino_t ino;

	if (ret != 0)
		return ret;
	mapping = take_mapping(addr, len);
	/* An event whose descriptor is gone is gone, and its ring with it. */
	if (mapping && is_pipe(mapping->fd, &ino) && ino == mapping->ino) {
		struct sl_remote_call call = { .type = SL_WIRE_PERF_UNMAPPED,
			.args = { (uint64_t)mapping->fd },
			.fd_args = 1 };

		sl_remote_call(&sl_space_self, &call);
	}
	free(mapping);
	return 0;
}

static int daemon_perf_ioctl(int fd, unsigned long request, unsigned long arg)
{
	struct sl_remote_call call = {
		.type = SL_WIRE_PERF_IOCTL, .args = { (uint64_t)fd, request, arg }, .fd_args = 1
	};
	ino_t ino;

	if (!is_pipe(fd, &ino))
		return as_int(-ENOTTY);
	return as_int(sl_remote_call(&sl_space_self, &call));
}

/* Whether it can be a map: a memfd has the name that it was made with. */
static bool is_named(int fd, const char *name)
{
	static const char prefix[] = "/memfd:";
	char path[32], target[64], *digit = path + sizeof(path) - 1;
	unsigned n = (unsigned)fd;
	ssize_t len;

	/* By hand: this is asked before many a call. */
	*digit = '\0';
	do
		*--digit = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	digit -= sizeof("/proc/self/fd/") - 1;
	memcpy(digit, "/proc/self/fd/", sizeof("/proc/self/fd/") - 1);
	len = readlink(digit, target, sizeof(target) - 1);
	if (len < (ssize_t)sizeof(prefix))
		return false;
	target[len] = '\0';
	return memcmp(target, prefix, sizeof(prefix) - 1) == 0 &&
	       strncmp(target + sizeof(prefix) - 1, name, strlen(name)) == 0;
}

static bool is_map(int fd)
{
	return is_named(fd, "bpf-map");
}

static int ring_layout(int fd, struct sl_ringbuf_view *ret_view)
{
	struct sl_remote_call call = {
		.type = SL_WIRE_RING_LAYOUT, .args = { (uint64_t)fd }, .fd_args = 1
	};
	int64_t ret = is_map(fd) ? sl_remote_call(&sl_space_self, &call) : -ENODEV;

	if (ret < 0)
		return (int)ret;
	*ret_view = (struct sl_ringbuf_view){
		.data_len_bytes = (uint64_t)ret & ~(uint64_t)SL_WIRE_RING_FLAGS,
		.writable = ret & SL_WIRE_RING_WRITABLE,
		.user = ret & SL_WIRE_RING_USER,
	};
	return 0;
}

static void *daemon_ringbuf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct sl_ringbuf_view view;
	void *mapped = MAP_FAILED;
	int err = flags & MAP_SHARED ? ring_layout(fd, &view) : -ENODEV;

	if (!err)
		err = sl_ringbuf_mmap(&view, addr, len, prot, flags, fd, offset, &mapped);
	return as_pointer(err, mapped);
}

static int find_bell(const struct stat *st)
{
	int fd = -1;

	pthread_mutex_lock(&lock);
	for (const struct bell *bell = bells; bell && fd < 0; bell = bell->next) {
		if (bell->ino == st->st_ino && bell->dev == st->st_dev)
			fd = bell->fd;
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

/*
 * The same one for all descriptors of a map, and for as long as the process lives: an epoll set knows
 * what it has by descriptor.
 */
static int daemon_ringbuf_event_fd(int fd)
{
	struct sl_remote_call call = {
		.type = SL_WIRE_RING_BELL, .args = { (uint64_t)fd }, .fd_args = 1
	};
	struct bell *bell;
	struct stat st;
	int64_t ret;
	int there;

	if (fd < 0 || !is_map(fd) || fstat(fd, &st) != 0)
		return as_int(-ENODEV);
	there = find_bell(&st);
	if (there >= 0)
		return there;
	bell = malloc(sizeof(*bell));
	ret = bell ? sl_remote_call(&sl_space_self, &call) : -ENOMEM;
	if (ret >= 0 && call.ret_fd_count != 1)
		ret = -EPROTO;
	if (ret < 0) {
		free(bell);
		return as_int(ret);
	}
	*bell = (struct bell){ .ino = st.st_ino, .dev = st.st_dev, .fd = call.ret_fds[0] };
	pthread_mutex_lock(&lock);
	bell->next = bells;
	bells = bell;
	pthread_mutex_unlock(&lock);
	return bell->fd;
}

static void daemon_ringbuf_before_wait(void)
{
	struct sl_remote_call call = { .type = SL_WIRE_RING_WAIT };

	if (__atomic_load_n(&bells, __ATOMIC_RELAXED))
		sl_remote_call(&sl_space_self, &call);
}

static char *daemon_fdinfo(int fd)
{
	struct sl_remote_call call = {
		.type = SL_WIRE_FDINFO, .args = { (uint64_t)fd }, .fd_args = 1
	};

	if (!is_named(fd, "b"))
		return NULL;
	return sl_remote_call(&sl_space_self, &call) == 0 ? call.ret_text : NULL;
}

const struct sl_api sl_api_daemon = {
	.bpf = daemon_bpf,
	.perf_event_open = daemon_perf_event_open,
	.perf_mmap = daemon_perf_mmap,
	.perf_munmap = daemon_perf_munmap,
	.perf_ioctl = daemon_perf_ioctl,
	.ringbuf_mmap = daemon_ringbuf_mmap,
	.ringbuf_event_fd = daemon_ringbuf_event_fd,
	.ringbuf_before_wait = daemon_ringbuf_before_wait,
	.fdinfo = daemon_fdinfo,
	.use_bpffs = sl_remote_use_bpffs,
};
