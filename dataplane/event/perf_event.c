#include "perf_object.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "background.h"
#include "caller.h"
#include "cpu.h"
#include "fork.h"

/*
 * A perf event's descriptor is the read end of a pipe: it can be polled, duplicated, inherited and
 * sent like any other; its inode says which event it is; and when the last copy of it is closed,
 * in whatever process, the pipe's write end, which is ours, reports an error to the background
 * thread. That ends the descriptors' reference. A slot of a PERF_EVENT_ARRAY holds another one.
 *
 * Mappings hold none: a writer reaches an event through a map's slot only. But as in the kernel an
 * event has a ring only while somebody in this process has it mapped.
 *
 * Lock order: the background thread's, then this one.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sl_list events = SL_LIST_INIT(events); /* with open descriptors */
static uint64_t last_id;

static void after_fork(void)
{
	pthread_mutex_init(&lock, NULL);
}

static bool poll_bells(void *arg)
{
	struct sl_perf_object *object;
	bool busy = false;

	(void)arg;
	pthread_mutex_lock(&lock);
	sl_list_for_each (object, &events, node) {
		if (object->memory && sl_perf_bell_update(object))
			busy = true;
	}
	pthread_mutex_unlock(&lock);
	return busy;
}

static void start(void)
{
	sl_fork_register(NULL, NULL, after_fork);
	sl_background_add_poll(poll_bells, NULL);
}

void sl_perf_ring_bells(void)
{
	poll_bells(NULL);
}

/*
 * What a descriptor is, before the lock is taken: a caller's may be any file, and one that takes its
 * time to answer.
 */
struct ident {
	dev_t dev;
	ino_t ino;
	int err; /* -EBADF: not open; else what it is if it is no event of ours */
};

static struct ident identify(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return (struct ident){ .err = -EBADF };
	return (struct ident){ st.st_dev, st.st_ino, -ENODEV };
}

/* With the lock held. NULL when it is not an event of ours; *ret_err says whether it is open. */
static struct sl_perf_object *find(const struct ident *ident, int *ret_err)
{
	struct sl_perf_object *object;

	*ret_err = ident->err;
	if (ident->err == -EBADF)
		return NULL;
	sl_list_for_each (object, &events, node) {
		if (object->ino == ident->ino && object->dev == ident->dev)
			return object;
	}
	return NULL;
}

static void free_ring(struct sl_rcu_head *head)
{
	sl_perf_ring_free(sl_container_of(head, struct sl_perf_ring_memory, rcu));
}

/* Without the lock, which the background thread takes inside of its own. */
static void free_ring_later(struct sl_perf_ring_memory *memory)
{
	if (memory)
		sl_rcu_call(&memory->rcu, free_ring);
}

static void release(struct sl_rcu_head *head)
{
	struct sl_perf_object *object = sl_container_of(head, struct sl_perf_object, rcu);
	struct sl_perf_mapping *mapping, *tmp;

	sl_list_for_each_safe (mapping, tmp, &object->mappings, node)
		free(mapping);
	sl_perf_ring_free(object->memory);
	if (object->foreign_fd >= 0)
		close(object->foreign_fd);
	free(object);
}

void sl_perf_event_unref(struct sl_perf_event *event)
{
	struct sl_perf_object *object;

	if (!event)
		return;
	object = sl_container_of(event, struct sl_perf_object, event);
	if (__atomic_sub_fetch(&object->refs, 1, __ATOMIC_ACQ_REL) == 0)
		sl_rcu_call(&object->rcu, release);
}

static struct sl_perf_object *object_new(void)
{
	struct sl_perf_object *object = calloc(1, sizeof(*object));

	if (!object)
		return NULL;
	object->refs = 1;
	object->bell_fd = object->foreign_fd = -1;
	object->event.oncpu = SL_PERF_OFF;
	sl_list_init(&object->node);
	sl_list_init(&object->mappings);
	return object;
}

/* With the lock held: takes the ring away if nobody has it mapped; the caller frees it later. */
static struct sl_perf_ring_memory *unlink_ring(struct sl_perf_object *object)
{
	struct sl_perf_ring_memory *memory = object->memory;

	if (!sl_list_empty(&object->mappings))
		return NULL;
	sl_rcu_store(object->event.ring, NULL);
	object->memory = NULL;
	return memory;
}

/* With the lock held: one mapping elsewhere, or all of them. */
static struct sl_perf_ring_memory *forget_elsewhere(struct sl_perf_object *object, bool all)
{
	struct sl_perf_mapping *mapping, *tmp;
	bool any = false;

	sl_list_for_each_safe (mapping, tmp, &object->mappings, node) {
		if (mapping->addr || (any && !all))
			continue;
		sl_list_del(&mapping->node);
		free(mapping);
		any = true;
	}
	return any ? unlink_ring(object) : NULL;
}

/* The consumer has closed its last descriptor. On the background thread. */
static void on_last_close(void *arg)
{
	struct sl_perf_object *object = arg;
	struct sl_perf_ring_memory *unused;

	sl_background_del_fd(object->bell_fd);
	pthread_mutex_lock(&lock);
	sl_list_del(&object->node);
	close(object->bell_fd);
	object->bell_fd = -1;
	/* Nobody elsewhere can tell any more that it has unmapped the ring. */
	unused = forget_elsewhere(object, true);
	pthread_mutex_unlock(&lock);
	free_ring_later(unused);
	sl_perf_event_unref(&object->event);
}

static int check_target(pid_t pid, int cpu, int group_fd, unsigned long flags)
{
	const unsigned long known = PERF_FLAG_FD_NO_GROUP | PERF_FLAG_FD_OUTPUT |
				    PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC;
	struct ident ident = identify(group_fd);
	struct sl_perf_object *leader;
	int err = 0;

	if (flags & ~known)
		return -EINVAL;
	if ((flags & PERF_FLAG_PID_CGROUP) && (pid == -1 || cpu == -1))
		return -EINVAL;
	if (group_fd != -1) {
		pthread_mutex_lock(&lock);
		leader = find(&ident, &err);
		if (!leader)
			err = -EBADF;
		else if (leader->event.cpu != (uint32_t)cpu)
			err = -EINVAL;
		else
			err = flags & PERF_FLAG_FD_OUTPUT ? -EOPNOTSUPP : 0;
		pthread_mutex_unlock(&lock);
		if (err)
			return err;
	}
	/* Samples come from the data plane's CPUs, never from a task's own run. */
	if (pid != -1)
		return pid != 0 && kill(pid, 0) != 0 && errno == ESRCH ? -ESRCH : -EOPNOTSUPP;
	return (unsigned)cpu < sl_cpu_count() ? 0 : -EINVAL;
}

static void init_event(
	struct sl_perf_event *event, const struct perf_event_attr *attr, uint32_t cpu)
{
	*event = (struct sl_perf_event){
		.oncpu = attr->disabled ? SL_PERF_OFF : cpu,
		.error = -EOPNOTSUPP,
		.id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED),
		.sample_type = attr->sample_type,
		.period = attr->sample_period,
		.pid = sl_caller_pid(),
		.cpu = cpu,
		.sample_id_all = attr->sample_id_all,
		.now = sl_perf_clock(attr),
	};
}

static int open_event(
	const struct perf_event_attr *user, pid_t pid, int cpu, int group_fd, unsigned long flags)
{
	struct sl_perf_object *object;
	struct perf_event_attr attr;
	int fds[2] = { -1, -1 };
	struct stat st;
	int err;

	if (flags & ~0xful)
		return -EINVAL;
	err = sl_perf_attr_check(user, &attr);
	if (!err)
		err = check_target(pid, cpu, group_fd, flags);
	if (err)
		return err;
	object = object_new();
	if (!object)
		return -ENOMEM;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0 || fstat(fds[0], &st) != 0)
		goto fail_errno;
	if (!(flags & PERF_FLAG_FD_CLOEXEC) && fcntl(fds[0], F_SETFD, 0) != 0)
		goto fail_errno;
	object->attr = attr;
	init_event(&object->event, &attr, cpu);
	object->dev = st.st_dev;
	object->ino = st.st_ino;
	object->bell_fd = fds[1];
	pthread_once(&once, start);
	pthread_mutex_lock(&lock);
	sl_list_add_tail(&events, &object->node);
	pthread_mutex_unlock(&lock);
	err = sl_background_add_fd(fds[1], on_last_close, object);
	if (err)
		goto fail;
	return fds[0];
fail_errno:
	err = -errno;
fail:
	pthread_mutex_lock(&lock);
	sl_list_del(&object->node);
	pthread_mutex_unlock(&lock);
	if (fds[0] >= 0)
		close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	sl_perf_event_unref(&object->event);
	return err;
}

int sluice_perf_event_open(
	const struct perf_event_attr *attr, pid_t pid, int cpu, int group_fd, unsigned long flags)
{
	int ret = open_event(attr, pid, cpu, group_fd, flags);

	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

/* A perf event of the kernel: held, as the kernel's map would hold it. */
static int foreign_event(int fd, struct sl_perf_event **ret_event)
{
	static const char kernel_event[] = "anon_inode:[perf_event]";
	struct sl_perf_object *object;
	char path[64], target[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, target, sizeof(target));
	if (len != sizeof(kernel_event) - 1 || memcmp(target, kernel_event, len) != 0)
		return -EBADF;
	object = object_new();
	if (!object)
		return -ENOMEM;
	object->event.error = -EINVAL;
	object->foreign_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (object->foreign_fd < 0) {
		sl_perf_event_unref(&object->event);
		return -EBADF;
	}
	*ret_event = &object->event;
	return 0;
}

int sl_perf_event_get(int fd, struct sl_perf_event **ret_event)
{
	struct sl_perf_object *object;
	struct ident ident;
	int err;

	fd = sl_caller_fd(fd);
	ident = identify(fd);
	pthread_mutex_lock(&lock);
	object = find(&ident, &err);
	if (object) {
		err = object->attr.inherit ? -EOPNOTSUPP : 0;
		if (!err)
			__atomic_add_fetch(&object->refs, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&lock);
	if (!object)
		return err == -EBADF ? err : foreign_event(fd, ret_event);
	if (err)
		return err;
	*ret_event = &object->event;
	return 0;
}

/* With the lock held. */
static int ring_for(struct sl_perf_object *object, size_t pages, bool overwrite)
{
	int err;

	if (object->memory)
		return object->memory->pages == pages ? 0 : -EINVAL;
	err = sl_perf_ring_new(&object->attr, pages, overwrite, &object->memory);
	if (err)
		return err;
	object->rung = false;
	object->seen_samples = object->woken_head = 0;
	return 0;
}

static int map_ring(struct sl_perf_object *object, void *addr, size_t len, int prot, int flags,
	off_t offset, void **ret_addr, struct sl_perf_ring_memory **ret_unused)
{
	size_t page_size = sysconf(_SC_PAGESIZE);
	size_t all_pages = (len + page_size - 1) / page_size;
	size_t pages = all_pages - 1;
	struct sl_perf_mapping *mapping;
	int err;

	if (prot & PROT_EXEC)
		return -EPERM;
	if (!(flags & MAP_SHARED) || offset != 0 || all_pages == 0 || (pages & (pages - 1)))
		return -EINVAL;
	mapping = calloc(1, sizeof(*mapping));
	if (!mapping)
		return -ENOMEM;
	err = ring_for(object, pages, !(prot & PROT_WRITE));
	if (err)
		goto fail;
	mapping->addr = sl_perf_mmap(addr, len, prot, flags, object->memory->memfd, 0);
	mapping->len_bytes = len;
	if (mapping->addr == MAP_FAILED) {
		err = -errno;
		*ret_unused = unlink_ring(object);
		goto fail;
	}
	sl_list_add_tail(&object->mappings, &mapping->node);
	/* Pairs with the writer's acquire load: the ring is complete. */
	sl_rcu_store(object->event.ring, &object->memory->ring);
	*ret_addr = mapping->addr;
	return 0;
fail:
	free(mapping);
	return err;
}

/* Of the same ring, elsewhere. With the lock held. */
static int map_elsewhere(struct sl_perf_object *object, size_t len, int prot, int flags,
	off_t offset, struct sl_perf_ring_memory **ret_unused)
{
	void *addr;
	int copy, err;

	/* Where and how it is mapped there is no matter of ours. */
	err = map_ring(object, NULL, len, prot, flags & MAP_SHARED, offset, &addr, ret_unused);
	if (err)
		return err;
	/* What was mapped here was the check; what remains says that somebody has it. */
	sl_perf_munmap(addr, len);
	sl_container_of(object->mappings.prev, struct sl_perf_mapping, node)->addr = NULL;
	copy = fcntl(object->memory->memfd, F_DUPFD_CLOEXEC, 0);
	return copy >= 0 ? copy : -errno;
}

int sluice_perf_ring(int fd, size_t len, int prot, int flags, off_t offset)
{
	struct ident ident = identify(fd);
	struct sl_perf_ring_memory *unused = NULL;
	struct sl_perf_object *object;
	int err, ret = -1;

	pthread_mutex_lock(&lock);
	object = find(&ident, &err);
	if (object) {
		ret = map_elsewhere(object, len, prot, flags, offset, &unused);
		err = sl_min(ret, 0);
	}
	pthread_mutex_unlock(&lock);
	free_ring_later(unused);
	if (!err)
		return ret;
	errno = -err;
	return -1;
}

int sluice_perf_unmapped(int fd)
{
	struct ident ident = identify(fd);
	struct sl_perf_ring_memory *unused = NULL;
	struct sl_perf_object *object;
	int err;

	pthread_mutex_lock(&lock);
	object = find(&ident, &err);
	if (object) {
		unused = forget_elsewhere(object, false);
		err = 0;
	}
	pthread_mutex_unlock(&lock);
	free_ring_later(unused);
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

void *sluice_perf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct ident ident = identify(fd);
	struct sl_perf_ring_memory *unused = NULL;
	struct sl_perf_object *object;
	void *mapped = MAP_FAILED;
	int err;

	pthread_mutex_lock(&lock);
	object = find(&ident, &err);
	if (object)
		err = map_ring(object, addr, len, prot, flags, offset, &mapped, &unused);
	pthread_mutex_unlock(&lock);
	free_ring_later(unused);
	if (err)
		errno = -err;
	return mapped;
}

/* With the lock held: forgets the mapping at addr; returns the ring if it was the last one. */
static struct sl_perf_ring_memory *forget_mapping(void *addr, size_t len)
{
	struct sl_perf_mapping *mapping;
	struct sl_perf_object *object;

	sl_list_for_each (object, &events, node) {
		sl_list_for_each (mapping, &object->mappings, node) {
			if (mapping->addr != addr || mapping->len_bytes > len)
				continue;
			sl_list_del(&mapping->node);
			free(mapping);
			return unlink_ring(object);
		}
	}
	return NULL;
}

int sluice_perf_munmap(void *addr, size_t len)
{
	struct sl_perf_ring_memory *unused = NULL;
	int ret;

	pthread_mutex_lock(&lock);
	ret = sl_perf_munmap(addr, len);
	if (ret == 0)
		unused = forget_mapping(addr, len);
	pthread_mutex_unlock(&lock);
	free_ring_later(unused);
	return ret;
}

static int set_period(struct sl_perf_object *object, const uint64_t *period)
{
	if (!period)
		return -EFAULT;
	if (*period == 0 || *period >> 63)
		return -EINVAL;
	__atomic_store_n(&object->event.period, *period, __ATOMIC_RELAXED);
	return 0;
}

static int pause_output(struct sl_perf_object *object, bool pause)
{
	struct sl_perf_ring *ring = object->memory ? &object->memory->ring : NULL;

	if (!ring || !ring->mask)
		return -EINVAL;
	__atomic_store_n(&ring->paused, pause, __ATOMIC_RELAXED);
	__atomic_store_n(&ring->plain,
		!pause && !ring->overwrite && object->attr.sample_type == PERF_SAMPLE_RAW,
		__ATOMIC_RELAXED);
	return 0;
}

/* Rings that several events share are not there: only taking an event out of one can succeed. */
static int set_output(struct sl_perf_object *object, int fd, const struct ident *ident)
{
	int err;

	if (fd == -1)
		return object->memory ? -EINVAL : 0;
	return find(ident, &err) ? -EINVAL : -EBADF;
}

static int perf_ioctl(struct sl_perf_object *object, unsigned long request, unsigned long arg,
	const struct ident *output)
{
	switch (request) {
	case PERF_EVENT_IOC_ENABLE:
	case PERF_EVENT_IOC_REFRESH:
		__atomic_store_n(&object->event.oncpu, object->event.cpu, __ATOMIC_RELAXED);
		return 0;
	case PERF_EVENT_IOC_DISABLE:
		__atomic_store_n(&object->event.oncpu, SL_PERF_OFF, __ATOMIC_RELAXED);
		return 0;
	case PERF_EVENT_IOC_RESET:
		return 0;
	case PERF_EVENT_IOC_PERIOD:
		return set_period(object, (const uint64_t *)arg);
	case PERF_EVENT_IOC_SET_OUTPUT:
		return set_output(object, (int)arg, output);
	case PERF_EVENT_IOC_ID:
		if (!arg)
			return -EFAULT;
		*(uint64_t *)arg = object->event.id;
		return 0;
	case PERF_EVENT_IOC_PAUSE_OUTPUT:
		return pause_output(object, arg);
	case PERF_EVENT_IOC_SET_FILTER:
	case PERF_EVENT_IOC_MODIFY_ATTRIBUTES:
		return arg ? -EINVAL : -EFAULT;
	case PERF_EVENT_IOC_SET_BPF:
	case PERF_EVENT_IOC_QUERY_BPF:
		return -EINVAL;
	default:
		return -ENOTTY;
	}
}

int sluice_perf_ioctl(int fd, unsigned long request, unsigned long arg)
{
	struct ident ident = identify(fd);
	struct ident output = identify(request == PERF_EVENT_IOC_SET_OUTPUT ? (int)arg : -1);
	struct sl_perf_object *object;
	int err;

	pthread_mutex_lock(&lock);
	object = find(&ident, &err);
	if (object)
		err = perf_ioctl(object, request, arg, &output);
	else if (err != -EBADF)
		err = -ENOTTY;
	pthread_mutex_unlock(&lock);
	if (!err)
		return 0;
	errno = -err;
	return -1;
}
