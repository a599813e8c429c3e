#pragma once

#include <linux/perf_event.h>
#include <sys/types.h>

#include "list.h"
#include "perf.h"
#include "rcu.h"

/*
 * The control side of a perf event: who refers to it, where its ring is, when its consumer wants
 * to be woken. Internal to event/.
 */

/* One mmap() of a ring in this process. */
struct sl_perf_mapping {
	struct sl_list node;
	void *addr;
	size_t len_bytes;
};

/* The ring with what only control threads need. */
struct sl_perf_ring_memory {
	struct sl_perf_ring ring;
	struct sl_rcu_head rcu;
	int memfd;
	uint8_t *base; /* our own mapping: page, data, data again */
	size_t base_len_bytes;
	size_t pages; /* of data */
	uint64_t watermark_bytes;
};

/* Fields below `event` are protected by the lock of perf_event.c, but for refs. */
struct sl_perf_object {
	struct sl_perf_event event;
	struct sl_rcu_head rcu;
	uint64_t refs; /* atomically */
	struct perf_event_attr attr;
	bool foreign; /* the kernel's own; it has a descriptor and nothing else */
	int foreign_fd;

	struct sl_list node; /* in the list of events with open descriptors */
	dev_t dev; /* with ino: the pipe that the consumer's descriptors are read ends of */
	ino_t ino;
	int bell_fd; /* its write end */

	struct sl_perf_ring_memory *memory; /* NULL while nobody has the ring mapped */
	struct sl_list mappings;

	/* The bell's state. */
	bool rung;
	uint64_t rung_head; /* data_head when the bell rang */
	uint64_t seen_tail; /* data_tail at the last look: whether the consumer is reading */
	uint64_t seen_samples; /* samples that the consumer has been told of */
	uint64_t woken_head; /* where the watermark counts from */
};

/*
 * A copy of the user's attributes if they make an event that Sluice has; else the errno that the
 * kernel gives, -ENOENT for other kinds of event, -EOPNOTSUPP for what only the kernel can do.
 */
SL_CONTROL int sl_perf_attr_check(
	const struct perf_event_attr *user, struct perf_event_attr *ret_attr);
/* The clock of PERF_SAMPLE_TIME; NULL for one that cannot be used. */
SL_CONTROL uint64_t (*sl_perf_clock(const struct perf_event_attr *attr))(void);

/* A ring of `pages` data pages, a power of two or 0. The memfd is for the consumer's mappings. */
SL_CONTROL int sl_perf_ring_new(const struct perf_event_attr *attr, size_t pages, bool overwrite,
	struct sl_perf_ring_memory **ret_memory);
/* After a grace period without a writer. NULL is fine. */
SL_CONTROL void sl_perf_ring_free(struct sl_perf_ring_memory *memory);

/*
 * mmap(2) and munmap(2), past whatever wraps them in this process to serve perf events: that calls
 * us, and we hold the lock.
 */
SL_CONTROL void *sl_perf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
SL_CONTROL int sl_perf_munmap(void *addr, size_t len);

/*
 * Tells the consumer of an event what it has to know now; with the lock held. Returns whether
 * something is going on, so that the next look should come soon.
 */
SL_CONTROL bool sl_perf_bell_update(struct sl_perf_object *object);
