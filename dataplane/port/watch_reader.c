#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <sluice/dataplane.h>
#include <sluice/observe.h>

#include "defs.h"

/*
 * The reader of a watch's memory. It may be another process than the writer, of another version or
 * broken: so every length is looked at before it is used.
 */
enum { ALIGNMENT = 64 };

static_assert(sizeof(struct sluice_record) == ALIGNMENT, "a record never straddles a ring's end");
static_assert(sizeof(struct sluice_step) == 32, "one layout for readers and writers");

struct sluice_watch {
	struct sluice_watch_area *area;
	struct sluice_watch_area layout; /* as it was checked */
	size_t len_bytes;
	uint32_t pending_worker, pending_size; /* of the record that is the caller's */
};

static bool is_sound(const struct sluice_watch_area *a, size_t len_bytes)
{
	uint64_t ring = sizeof(struct sluice_watch_ring) + (uint64_t)a->capacity;

	return a->magic == SLUICE_WATCH_MAGIC && a->len_bytes == len_bytes && a->capacity &&
	       !(a->capacity & (a->capacity - 1)) && a->ring_offset >= sizeof(*a) &&
	       a->ring_offset % ALIGNMENT == 0 && a->ring_stride % ALIGNMENT == 0 &&
	       ring <= a->ring_stride && a->workers && a->workers <= 4096 &&
	       a->ring_offset + (uint64_t)a->workers * a->ring_stride <= len_bytes;
}

int sluice_watch_map(int fd, struct sluice_watch **ret_watch)
{
	struct sluice_watch *watch;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct sluice_watch_area))
		return -EINVAL;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	watch->len_bytes = (size_t)st.st_size;
	watch->area = mmap(NULL, watch->len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (watch->area == MAP_FAILED) {
		int err = -errno;

		free(watch);
		return err;
	}
	watch->layout = *watch->area;
	if (!is_sound(&watch->layout, watch->len_bytes)) {
		sluice_watch_unmap(watch);
		return -EINVAL;
	}
	*ret_watch = watch;
	return 0;
}

void sluice_watch_unmap(struct sluice_watch *watch)
{
	if (!watch)
		return;
	munmap(watch->area, watch->len_bytes);
	free(watch);
}

const struct sluice_watch_area *sluice_watch_area_of(const struct sluice_watch *watch)
{
	return &watch->layout;
}

static struct sluice_watch_ring *ring_at(const struct sluice_watch *watch, uint32_t worker)
{
	const struct sluice_watch_area *a = &watch->layout;

	return (struct sluice_watch_ring *)((uint8_t *)watch->area + a->ring_offset +
					    (size_t)worker * a->ring_stride);
}

static void release(struct sluice_watch_ring *ring, uint32_t size)
{
	__atomic_store_n(&ring->tail, ring->tail + size, __ATOMIC_RELEASE); /* pairs with reserve */
}

/* The oldest record of a ring that is one. */
static const struct sluice_record *peek(const struct sluice_watch *watch, uint32_t worker)
{
	struct sluice_watch_ring *ring = ring_at(watch, worker);
	uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE); /* pairs with publish */
	uint32_t mask = watch->layout.capacity - 1;

	while (ring->tail != head) {
		uint32_t at = ring->tail & mask, size = 0;
		const struct sluice_record *record =
			(const struct sluice_record *)(ring->data + at);

		/* The tail is in memory that others may write to. */
		if (at % ALIGNMENT == 0 && head - ring->tail <= watch->layout.capacity)
			size = record->size;
		if (size < ALIGNMENT || size % ALIGNMENT || size > mask + 1 - at) {
			/* Never by a sound writer: go on with what comes next. */
			__atomic_store_n(&ring->tail, head, __ATOMIC_RELEASE);
			return NULL;
		}
		if (record->kind != SLUICE_RECORD_SKIP)
			return record;
		release(ring, size);
	}
	return NULL;
}

/* Points to what follows a record; false when it is longer than the record. */
static bool open_record(const struct sluice_record *record, const struct sluice_path **ret_path,
	const uint8_t **ret_data)
{
	uint64_t used = sizeof(*record);

	*ret_path = NULL;
	if (record->kind == SLUICE_RECORD_PATH) {
		*ret_path = (const struct sluice_path *)(record + 1);
		used += sizeof(**ret_path);
		if (used > record->size)
			return false;
		used += (uint64_t)(*ret_path)->count * sizeof(struct sluice_step);
	}
	*ret_data = (const uint8_t *)record + used;
	return used + record->captured <= record->size;
}

const struct sluice_record *sluice_watch_next(
	struct sluice_watch *watch, const struct sluice_path **ret_path, const uint8_t **ret_data)
{
	const struct sluice_record *oldest;
	uint32_t from;

	if (watch->pending_size)
		release(ring_at(watch, watch->pending_worker), watch->pending_size);
	do {
		oldest = NULL;
		watch->pending_size = from = 0;
		for (uint32_t i = 0; i < watch->layout.workers; i++) {
			const struct sluice_record *record = peek(watch, i);

			if (record && (!oldest || record->time_ns < oldest->time_ns)) {
				oldest = record;
				from = i;
			}
		}
		if (!oldest)
			return NULL;
		if (open_record(oldest, ret_path, ret_data))
			break;
		release(ring_at(watch, from), oldest->size);
	} while (true);
	watch->pending_worker = from;
	watch->pending_size = oldest->size;
	return oldest;
}

static void add(struct sluice_watch_counts *sum, const struct sluice_watch_counts *counts)
{
	sum->seen += __atomic_load_n(&counts->seen, __ATOMIC_RELAXED);
	sum->matched += __atomic_load_n(&counts->matched, __ATOMIC_RELAXED);
	sum->lost += __atomic_load_n(&counts->lost, __ATOMIC_RELAXED);
}

void sluice_watch_counts(const struct sluice_watch *watch, uint32_t ifindex,
	enum sluice_point point, struct sluice_watch_counts *ret_counts)
{
	*ret_counts = (struct sluice_watch_counts){ 0 };
	for (uint32_t w = 0; w < watch->layout.workers; w++) {
		const struct sluice_watch_port *ports = ring_at(watch, w)->ports;

		for (unsigned p = 0; p < SLUICE_WATCH_PORTS; p++) {
			if (ifindex && ports[p].ifindex != ifindex)
				continue;
			for (unsigned i = 0; i < SLUICE_POINT_COUNT; i++)
				if (point == SLUICE_POINT_COUNT || point == i)
					add(ret_counts, &ports[p].points[i]);
		}
	}
}
