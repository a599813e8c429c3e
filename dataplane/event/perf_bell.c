#include "perf_object.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/*
 * The consumer's descriptor is the read end of a pipe. It is readable from when there is enough to
 * read until the consumer has read what there was then: a consumer never reads from the descriptor
 * itself, so the bell both rings it and silences it. For the latter it opens the pipe's read end
 * for a moment; keeping one open would hide that the consumer has closed its own.
 */

/* What the consumer knows of from now on. */
static void note(struct sl_perf_object *object, uint64_t head, uint64_t samples)
{
	object->rung_head = head;
	object->woken_head = head;
	object->seen_samples = samples;
}

static void ring(struct sl_perf_object *object, uint64_t head, uint64_t samples)
{
	/* Eight bytes, as read(2) on a perf event returns. */
	if (write(object->bell_fd, &samples, sizeof(samples)) != sizeof(samples))
		return; /* nobody has the other end any more */
	object->rung = true;
	note(object, head, samples);
}

static void silence(struct sl_perf_object *object)
{
	char path[64], bytes[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object->bell_fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return; /* without /proc the consumer polls in vain now and then */
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
	close(fd);
	object->rung = false;
}

/* What perf_event_attr asks for: every N samples, or when so many bytes are unread. */
static bool wants_bell(const struct sl_perf_object *object, uint64_t head, uint64_t samples)
{
	const struct perf_event_attr *attr = &object->attr;

	if (!attr->watermark && attr->wakeup_events &&
		samples - object->seen_samples >= attr->wakeup_events)
		return true;
	return head - object->woken_head > object->memory->watermark_bytes;
}

bool sl_perf_bell_update(struct sl_perf_object *object)
{
	const struct sl_perf_ring *perf = &object->memory->ring;
	/* Before the head: a sample that is counted here must lie below the head read next. */
	uint64_t samples = __atomic_load_n(&perf->samples, __ATOMIC_ACQUIRE);
	/* Pairs with the writer's release store. */
	uint64_t head = __atomic_load_n(&perf->page->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = __atomic_load_n(&perf->page->data_tail, __ATOMIC_RELAXED);
	bool unread = head != tail && wants_bell(object, head, samples);
	bool moved = tail != object->seen_tail;

	object->seen_tail = tail;
	if (!object->rung) {
		if (unread)
			ring(object, head, samples);
		return unread;
	}
	/* An overwriting ring's consumer does not say how far it has read: it gets a pulse. */
	if (!perf->overwrite && (int64_t)(tail - object->rung_head) < 0)
		return moved;
	if (unread && !perf->overwrite)
		note(object, head, samples);
	else
		silence(object);
	return true;
}
