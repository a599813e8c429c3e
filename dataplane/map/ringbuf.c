#include "ringbuf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "area.h"
#include "background.h"
#include "fd.h"
#include "fork.h"
#include "list.h"
#include "type.h"

/*
 * The memory of a ring, and user space's side of it: the consumer's of a RINGBUF, the producers' of
 * a USER_RINGBUF. All but the producers' own page is a memfd, of
 * which the map's descriptors are descriptions: page 0 the consumer's, page 1 the producers', then
 * the data. A file has no page twice, so the mapping that a consumer asks for, with the data twice
 * in a row, is put together from two.
 *
 * A file cannot be waited for either. Each ring has a pipe, the bell, which epoll gets instead
 * of the map's descriptor. The background thread rings it for programs, and silences it once all is
 * read, for who does not tell us that it is about to wait. Who tells us finds it ringing when there
 * is anything to read, and silent otherwise, as the kernel's poll answers.
 * Ringing is to be readable. Of a USER_RINGBUF, of which any byte is free, it is to be writable. The pipe
 * has room for one buffer: what is in it makes it readable, and not writable. Our description of it is
 * ours alone: others cannot have it block.
 */
struct ringbuf_map {
	struct sl_map map; /* desc.data: the struct sl_ringbuf */
	struct sl_list node; /* of `rings`, under the lock */
	int memfd, bell;
	size_t data_len;

	/* Under the lock: how the bell is, and how far user space was then. */
	bool rung;
	uint64_t seen;
};

enum { BELL_BYTES = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sl_list rings = SL_LIST_INIT(rings);
static bool any; /* there is one, or was: until then nobody's descriptor is one of ours */

static_assert(sizeof(struct sl_ringbuf) <= SL_RINGBUF_PAGE, "a page of the producers' own");
static_assert(sizeof(struct sl_ringbuf_header) == BPF_RINGBUF_HDR_SZ, "the uapi's");

static bool is_user(const struct ringbuf_map *ring)
{
	return ring->map.desc.type == BPF_MAP_TYPE_USER_RINGBUF;
}

static void set_bell(struct ringbuf_map *ring, bool ringing)
{
	bool add = ringing != is_user(ring);
	char bytes[BELL_BYTES];
	ssize_t done = add ? write(ring->bell, "", 1) : read(ring->bell, bytes, sizeof(bytes));

	(void)done; /* it was ringing, or silent, already */
	ring->rung = ringing;
}

/* Both ends in one. */
static int new_bell(void)
{
	char path[32];
	int fds[2], bell = -1;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	if (fcntl(fds[1], F_SETPIPE_SZ, BELL_BYTES) == BELL_BYTES)
		bell = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (bell < 0)
		bell = -errno;
	close(fds[0]);
	close(fds[1]);
	return bell;
}

static bool is_ready(const struct ringbuf_map *ring)
{
	const struct sl_ringbuf *r = sl_ringbuf_of(&ring->map);

	/* The positions as the two sides show them to each other. */
	if (is_user(ring))
		return __atomic_load_n(&r->producer->position, __ATOMIC_ACQUIRE) -
			       __atomic_load_n(&r->consumer->position, __ATOMIC_ACQUIRE) <=
		       r->mask;
	return sl_ringbuf_query(r, BPF_RB_AVAIL_DATA) != 0;
}

/* What user space moves: whether it has since the last time. */
static bool has_moved(struct ringbuf_map *ring)
{
	const struct sl_ringbuf *r = sl_ringbuf_of(&ring->map);
	uint64_t now = is_user(ring) ? __atomic_load_n(&r->producer->position, __ATOMIC_ACQUIRE)
				     : __atomic_load_n(&r->consumer->position, __ATOMIC_ACQUIRE);
	bool moved = now != ring->seen;

	ring->seen = now;
	return moved;
}

/* With the lock held: whether the next look should come soon. */
static bool update_bell(struct ringbuf_map *ring)
{
	struct sl_ringbuf *r = sl_ringbuf_of(&ring->map);

	if (__atomic_load_n(&r->wake, __ATOMIC_RELAXED)) {
		__atomic_exchange_n(&r->wake, 0, __ATOMIC_ACQ_REL);
		set_bell(ring, true);
		return true;
	}
	if (!ring->rung)
		return false;
	/* What is written after this look says again that somebody is to be woken. */
	if (!is_ready(ring))
		set_bell(ring, false);
	return has_moved(ring);
}

static bool poll_bells(void *arg)
{
	struct ringbuf_map *ring;
	bool busy = false;

	pthread_mutex_lock(&lock);
	sl_list_for_each (ring, &rings, node) {
		if (update_bell(ring))
			busy = true;
	}
	pthread_mutex_unlock(&lock);
	return busy;
}

void sluice_ringbuf_before_wait(void)
{
	struct ringbuf_map *ring;

	if (!__atomic_load_n(&any, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&lock);
	sl_list_for_each (ring, &rings, node) {
		/* Silent first: what is written meanwhile rings again. */
		set_bell(ring, false);
		if (is_ready(ring))
			set_bell(ring, true);
	}
	pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void start(void)
{
	sl_fork_register(before_fork, after_fork, after_fork);
	sl_background_add_poll(poll_bells, NULL);
}

static int ringbuf_check(const union bpf_attr *attr)
{
	if (attr->map_flags & ~(uint32_t)BPF_F_NUMA_NODE)
		return -EINVAL;
	if (attr->key_size || attr->value_size || !attr->max_entries ||
		(attr->max_entries & (attr->max_entries - 1)) ||
		attr->max_entries % SL_RINGBUF_PAGE)
		return -EINVAL;
	return 0;
}

/* A block of addresses without memory, at a multiple of its size. */
static uint8_t *new_block(void)
{
	uint8_t *p = mmap(NULL, 2 * SL_RINGBUF_BLOCK, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return NULL;
	before = sl_round_up((uintptr_t)p, SL_RINGBUF_BLOCK) - (uintptr_t)p;
	if (before)
		munmap(p, before);
	munmap(p + before + SL_RINGBUF_BLOCK, SL_RINGBUF_BLOCK - before);
	return p + before;
}

static bool map_part(uint8_t *at, size_t len, int flags, int fd, off_t offset)
{
	return mmap(at, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, offset) != MAP_FAILED;
}

static int map_block(struct ringbuf_map *ring, uint8_t *block)
{
	const size_t page = SL_RINGBUF_PAGE;
	uint8_t *data = block + SL_RINGBUF_META_PAGES * page;
	struct sl_ringbuf *r = (struct sl_ringbuf *)block;

	if (!map_part(block, page, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ||
		!map_part(block + page, 2 * page + ring->data_len, MAP_SHARED, ring->memfd, 0) ||
		!map_part(
			data + ring->data_len, ring->data_len, MAP_SHARED, ring->memfd, 2 * page) ||
		!sl_area_populate(block, SL_RINGBUF_META_PAGES * page + ring->data_len))
		return -ENOMEM;
	r->mask = ring->data_len - 1;
	r->consumer = (struct sl_ringbuf_consumer *)(block + page);
	r->producer = (struct sl_ringbuf_producer *)(block + 2 * page);
	r->data = data;
	return 0;
}

static void ringbuf_free(struct sl_map *map)
{
	struct ringbuf_map *ring = (struct ringbuf_map *)map;

	if (!ring)
		return;
	pthread_mutex_lock(&lock);
	sl_list_del(&ring->node);
	pthread_mutex_unlock(&lock);
	if (map->desc.data)
		munmap(map->desc.data, SL_RINGBUF_BLOCK);
	if (ring->memfd >= 0)
		close(ring->memfd);
	if (ring->bell >= 0)
		close(ring->bell);
	free(ring);
}

static int ringbuf_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct ringbuf_map *ring = sl_map_alloc(sizeof(*ring), sl_map_ops_of(attr->map_type), attr);
	int err = -ENOMEM;

	if (!ring)
		return -ENOMEM;
	pthread_once(&once, start);
	sl_list_init(&ring->node);
	ring->data_len = attr->max_entries;
	ring->rung = is_user(ring);
	ring->bell = new_bell();
	ring->memfd = sl_area_memfd(2 * SL_RINGBUF_PAGE + ring->data_len);
	if (ring->bell < 0 || ring->memfd < 0) {
		err = sl_min(ring->memfd, ring->bell);
		goto fail;
	}
	ring->map.desc.data = new_block();
	if (!ring->map.desc.data)
		goto fail;
	err = map_block(ring, ring->map.desc.data);
	if (err)
		goto fail;
	pthread_mutex_lock(&lock);
	sl_list_add_tail(&rings, &ring->node);
	pthread_mutex_unlock(&lock);
	__atomic_store_n(&any, true, __ATOMIC_RELAXED);
	*ret_map = &ring->map;
	return 0;
fail:
	ringbuf_free(&ring->map);
	return err;
}

static uint64_t ringbuf_memory_bytes(const struct sl_map *map)
{
	return sizeof(struct ringbuf_map) + SL_RINGBUF_META_PAGES * SL_RINGBUF_PAGE +
	       map->desc.max_entries;
}

static uint64_t ringbuf_lost(const struct sl_map *map)
{
	return __atomic_load_n(&sl_ringbuf_of(map)->lost, __ATOMIC_RELAXED);
}

static int ringbuf_sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	return -SL_ENOTSUPP;
}

static int ringbuf_sys_update(
	struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	return -SL_ENOTSUPP;
}

static int ringbuf_sys_delete(struct sl_map *map, const void *key)
{
	return -SL_ENOTSUPP;
}

static int ringbuf_next_key(struct sl_map *map, const void *key, void *ret_next)
{
	return -SL_ENOTSUPP;
}

static int ringbuf_mmap_fd(const struct sl_map *map)
{
	return ((const struct ringbuf_map *)map)->memfd;
}

#define OPS                                                                           \
	.check = ringbuf_check, .new = ringbuf_new, .check_btf = sl_map_check_no_btf, \
	.free = ringbuf_free, .memory_bytes = ringbuf_memory_bytes,                   \
	.sys_lookup = ringbuf_sys_lookup, .sys_update = ringbuf_sys_update,           \
	.sys_delete = ringbuf_sys_delete, .next_key = ringbuf_next_key,               \
	.mmap_fd = ringbuf_mmap_fd, .desc_size = sizeof(struct sl_map_desc)

const struct sl_map_ops sl_ringbuf_ops = { .name = "ringbuf", OPS, .lost_events = ringbuf_lost };
const struct sl_map_ops sl_user_ringbuf_ops = { .name = "user_ringbuf", OPS };

/* The ring behind a descriptor, with a reference; -ENODEV when it is something else. */
static int get_ring(int fd, struct ringbuf_map **ret_ring, int *ret_access)
{
	struct sl_object *obj;
	int err = -ENODEV;

	if (__atomic_load_n(&any, __ATOMIC_RELAXED))
		err = sl_fd_get_any(fd, &obj, ret_access);
	if (err)
		return err == -EINVAL ? -ENODEV : err;
	if (obj->type != SL_OBJECT_MAP || sl_map_of(obj)->ops->new != ringbuf_new) {
		sl_object_unref(obj);
		return -ENODEV;
	}
	*ret_ring = (struct ringbuf_map *)sl_map_of(obj);
	return 0;
}

static struct sl_ringbuf_view view_of(const struct ringbuf_map *ring, int access)
{
	return (struct sl_ringbuf_view){ .data_len_bytes = ring->data_len,
		.writable = !ring->map.frozen && access == O_RDWR,
		.user = is_user(ring) };
}

void *sluice_ringbuf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct ringbuf_map *ring;
	void *mapped = MAP_FAILED;
	int access, err = get_ring(fd, &ring, &access);

	if (!err) {
		struct sl_ringbuf_view view = view_of(ring, access);

		err = sl_ringbuf_mmap(&view, addr, len, prot, flags, fd, offset, &mapped);
		sl_map_unref(&ring->map);
	}
	if (err)
		errno = -err;
	return mapped;
}

int sluice_ringbuf_layout(int fd, struct sluice_ringbuf_layout *ret_layout)
{
	struct sl_ringbuf_view view;
	struct ringbuf_map *ring;
	int access, err = get_ring(fd, &ring, &access);

	if (err) {
		errno = -err;
		return -1;
	}
	view = view_of(ring, access);
	sl_map_unref(&ring->map);
	*ret_layout = (struct sluice_ringbuf_layout){
		.data_len_bytes = view.data_len_bytes, .writable = view.writable, .user = view.user
	};
	return 0;
}

int sluice_ringbuf_event_fd(int fd)
{
	struct ringbuf_map *ring;
	int access, bell = -1, err = get_ring(fd, &ring, &access);

	if (err) {
		errno = -err;
		return -1;
	}
	bell = ring->bell;
	sl_map_unref(&ring->map);
	return bell;
}
