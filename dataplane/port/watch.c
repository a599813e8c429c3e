#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "fd.h"
#include "logging.h"
#include "port.h"
#include "prog.h"
#include "watch_object.h"

/*
 * Watches as control threads see them: objects whose descriptors are descriptions of the memfd with
 * their rings. The list of them is published as a whole, under the ports' lock; its last descriptor
 * takes a watch off the list, and a grace period later no worker writes any more.
 */
struct sl_watch_list *sl_watches;
struct sl_path *sl_paths[SL_WORKERS_MAX];

enum { RING_MIN = 1 << 16, RING_DEFAULT = 4 << 20, ALL_RINGS_MAX = 1 << 30 };

static const char *const point_names[SLUICE_POINT_COUNT] = {
#define X(id, name) [SLUICE_POINT_##id] = name,
	SLUICE_POINTS(X)
#undef X
};

const char *sluice_point_name(enum sluice_point point)
{
	return (unsigned)point < SLUICE_POINT_COUNT ? point_names[point] : NULL;
}

static struct sl_watch *watch_of(struct sl_object *obj)
{
	return sl_container_of(obj, struct sl_watch, obj);
}

static void put_prog(struct sl_prog *prog)
{
	if (prog)
		sl_object_unref(&prog->obj);
}

static void watch_free(struct sl_watch *watch)
{
	if (!watch)
		return;
	put_prog(watch->filter);
	put_prog(watch->raw_filter);
	if (watch->area)
		munmap(watch->area, watch->len_bytes);
	if (watch->memfd >= 0)
		close(watch->memfd);
	free(watch->workers);
	free(watch->without);
	free(watch);
}

static void release(struct sl_object *obj)
{
	watch_free(watch_of(obj));
}

static void free_list(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_watch_list, rcu));
}

/* Publishes `new`, made of the present list without `del` and with `add`. With the lock held. */
static int change_list(struct sl_watch_list *new, struct sl_watch *add, const struct sl_watch *del)
{
	struct sl_watch_list *old = sl_watches;

	for (uint32_t i = 0; old && i < old->count; i++)
		if (old->watches[i] != del)
			new->watches[new->count++] = old->watches[i];
	if (add && new->count == SLUICE_WATCHES) {
		free(new);
		return -ENOSPC;
	}
	if (add)
		new->watches[new->count++] = add;
	for (uint32_t i = 0; i < new->count; i++) {
		new->points |= new->watches[i]->paths ? 0 : new->watches[i]->points;
		new->paths |= new->watches[i]->paths;
	}
	if (new->count == 0) {
		free(new);
		new = NULL;
	}
	sl_rcu_store(sl_watches, new);
	if (old)
		sl_rcu_call(&old->rcu, free_list);
	return 0;
}

/* The last descriptor is gone. */
static void leave_list(struct sl_object *obj)
{
	struct sl_watch *watch = watch_of(obj);

	sl_port_lock();
	change_list(watch->without, NULL, watch);
	watch->without = NULL;
	sl_port_unlock();
}

static const struct sl_object_ops watch_ops = { .unlink = leave_list, .release = release };

static int64_t realtime_offset_ns(void)
{
	struct timespec real, mono;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	return (int64_t)(real.tv_sec - mono.tv_sec) * 1000000000 + real.tv_nsec - mono.tv_nsec;
}

/* Backed at once, so that workers meet no page fault; sealed, so that readers cannot take it away. */
static int map_area(struct sl_watch *watch)
{
	watch->memfd = memfd_create("sluice-watch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (watch->memfd < 0 || ftruncate(watch->memfd, (off_t)watch->len_bytes) != 0 ||
		fcntl(watch->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return -errno;
	watch->area = mmap(NULL, watch->len_bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_POPULATE, watch->memfd, 0);
	if (watch->area == MAP_FAILED) {
		watch->area = NULL;
		return -errno;
	}
	return 0;
}

static int new_rings(struct sl_watch *watch, uint32_t ring_bytes)
{
	enum { PAGE = 4096 };
	unsigned workers = sl_worker_count();
	uint32_t stride;
	int err;

	if (ring_bytes > SLUICE_WATCH_RING_MAX)
		return -E2BIG;
	watch->capacity = RING_MIN;
	while (watch->capacity < ring_bytes)
		watch->capacity *= 2;
	stride = sl_round_up((uint32_t)sizeof(struct sluice_watch_ring) + watch->capacity, PAGE);
	watch->len_bytes = PAGE + (size_t)workers * stride;
	if (watch->len_bytes > ALL_RINGS_MAX)
		return -E2BIG;
	err = map_area(watch);
	if (err)
		return err;
	*watch->area = (struct sluice_watch_area){
		.magic = SLUICE_WATCH_MAGIC,
		.len_bytes = watch->len_bytes,
		.realtime_ns = realtime_offset_ns(),
		.workers = workers,
		.capacity = watch->capacity,
		.ring_offset = PAGE,
		.ring_stride = stride,
	};
	watch->workers = aligned_alloc(SL_CACHE_LINE, workers * sizeof(*watch->workers));
	if (!watch->workers)
		return -ENOMEM;
	memset(watch->workers, 0, workers * sizeof(*watch->workers));
	for (unsigned i = 0; i < workers; i++)
		watch->workers[i].ring = (struct sluice_watch_ring *)((uint8_t *)watch->area +
								      PAGE + (size_t)i * stride);
	return 0;
}

static int get_filter(int fd, struct sl_prog **ret_prog)
{
	struct sl_object *obj;
	int err;

	if (fd < 0)
		return 0;
	err = sl_fd_get(fd, SL_OBJECT_PROG, &obj);
	if (err)
		return err;
	*ret_prog = sl_prog_of(obj);
	return (*ret_prog)->type == BPF_PROG_TYPE_SOCKET_FILTER ? 0 : -EINVAL;
}

static int watch_new(const struct sluice_watch_options *options, struct sl_watch **ret_watch)
{
	struct sl_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return -ENOMEM;
	sl_object_init(&watch->obj, SL_OBJECT_WATCH, &watch_ops);
	watch->memfd = -1;
	watch->paths = options->paths;
	watch->points = options->points ?: 1u << SLUICE_POINT_RX;
	watch->snaplen = options->snaplen ?: UINT32_MAX;
	watch->sample = options->sample ?: 1;
	watch->filtered = options->filter_fd >= 0 || options->raw_filter_fd >= 0;
	watch->without = calloc(1, sizeof(*watch->without));
	err = !watch->without ? -ENOMEM : watch->points >> SLUICE_POINT_COUNT ? -EINVAL : 0;
	if (!err)
		err = get_filter(options->filter_fd, &watch->filter);
	if (!err)
		err = get_filter(options->raw_filter_fd, &watch->raw_filter);
	if (!err)
		err = new_rings(watch, options->ring_bytes ?: RING_DEFAULT);
	if (err) {
		watch_free(watch);
		return err;
	}
	*ret_watch = watch;
	return 0;
}

/* Kept from then on: two watches in a row need no second round of them. */
static int new_paths(void)
{
	for (unsigned i = 0; i < sl_worker_count(); i++) {
		if (!sl_paths[i])
			sl_paths[i] = calloc(1, sizeof(*sl_paths[i]));
		if (!sl_paths[i])
			return -ENOMEM;
	}
	return 0;
}

/* With the ports' lock held. */
static int publish(struct sl_watch *watch, uint32_t ifindex)
{
	const struct sl_port *port = ifindex ? sl_port_peek(ifindex) : NULL;
	int err = ifindex && !port ? -ENODEV : 0;
	struct sl_watch_list *new;

	if (port) {
		watch->only = port->id + 1;
		watch->serial = port->serial;
	}
	if (!err && watch->paths)
		err = new_paths();
	if (!err && !(new = calloc(1, sizeof(*new))))
		err = -ENOMEM;
	return err ?: change_list(new, watch, NULL);
}

int sluice_watch_open(const struct sluice_watch_options *options, int *ret_fd)
{
	struct sl_watch *watch;
	int fd, err = sl_clock_start();

	if (!err)
		err = sl_worker_count() ? 0 : -ENODEV;
	if (!err)
		err = watch_new(options, &watch);
	if (err)
		return err;
	sl_port_lock();
	err = publish(watch, options->ifindex);
	sl_port_unlock();
	if (err) {
		watch_free(watch);
		return err;
	}
	fd = sl_fd_new(&watch->obj, watch->memfd, O_RDWR);
	sl_object_unref(&watch->obj);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}
