#include "perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>

#include <rte_mbuf_core.h>

#include "context.h"

/*
 * The writer of a perf ring: the worker that owns the event's CPU, or whoever has borrowed that
 * CPU, so there is one at a time and it takes no lock. The consumer moves data_tail, the writer
 * data_head; both only grow, and the difference is what is unread. The writer keeps its own head
 * and a copy of the tail, which it refreshes only when the ring looks full: the page's cache line
 * is then written once per record and rarely read. Whatever the consumer writes into the page, the
 * writer's offsets stay inside the ring.
 *
 * A sample that does not fit is counted, and the count goes out as a PERF_RECORD_LOST in front of
 * the next sample that fits together with it.
 */

static const uint64_t leading_fields = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID |
				       PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR | PERF_SAMPLE_ID |
				       PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD;

/* What sample_id_all appends to records that are not samples. */
static const uint64_t trailing_fields = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ID |
					PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU |
					PERF_SAMPLE_IDENTIFIER;

/* Every field but the raw data is 8 bytes. */
static uint64_t fields_size(uint64_t fields)
{
	return 8 * (uint64_t)__builtin_popcountll(fields);
}

static uint8_t *put(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
	return at + sizeof(value);
}

static inline uint8_t *put_header(uint8_t *at, uint32_t type, uint16_t misc, uint64_t size)
{
	struct perf_event_header header = { .type = type, .misc = misc, .size = size };

	memcpy(at, &header, sizeof(header));
	return at + sizeof(header);
}

static uint8_t *put_field(uint8_t *at, const struct sl_perf_event *event, uint64_t field)
{
	switch (field) {
	case PERF_SAMPLE_IDENTIFIER:
	case PERF_SAMPLE_ID:
	case PERF_SAMPLE_STREAM_ID:
		return put(at, event->id);
	case PERF_SAMPLE_TID:
		return put(at, event->pid | (uint64_t)event->pid << 32);
	case PERF_SAMPLE_TIME:
		return put(at, event->now());
	case PERF_SAMPLE_CPU:
		return put(at, event->cpu);
	case PERF_SAMPLE_PERIOD:
		return put(at, event->period);
	default: /* addresses: there is no code of a kernel to point to */
		return put(at, 0);
	}
}

/* By ascending bit, as the uapi orders them. */
static uint8_t *put_fields(uint8_t *at, const struct sl_perf_event *event, uint64_t fields)
{
	for (; fields; fields &= fields - 1)
		at = put_field(at, event, fields & -fields);
	return at;
}

static uint64_t packet_len(const struct sl_ctx *ctx)
{
	uint64_t len = ctx->data_end - ctx->data;

	if (ctx->mbuf->nb_segs > 1)
		len += ctx->mbuf->pkt_len - ctx->mbuf->data_len;
	return len;
}

static void copy_packet(uint8_t *to, const struct sl_ctx *ctx, uint64_t len)
{
	const struct rte_mbuf *segment = ctx->mbuf;
	uint64_t part = sl_min(len, (uint64_t)(ctx->data_end - ctx->data));

	memcpy(to, ctx->data, part);
	while ((len -= part) > 0) {
		to += part;
		segment = segment->next;
		part = sl_min(len, (uint64_t)segment->data_len);
		memcpy(to, (const uint8_t *)segment->buf_addr + segment->data_off, part);
	}
}

/* The size of a sample's raw part: its own length field, the data, padding to 8 bytes. */
static inline uint64_t raw_part(uint64_t size)
{
	return sl_round_up(size + sizeof(uint32_t), 8);
}

/* As the kernel counts: one byte stays free, so that a full ring differs from an empty one. */
static inline uint64_t space(const struct sl_perf_ring *ring)
{
	return (ring->tail_seen - ring->head - 1) & ring->mask;
}

static inline void publish(struct sl_perf_ring *ring, uint64_t len)
{
	ring->head += len;
	__atomic_store_n(&ring->samples, ring->samples + 1, __ATOMIC_RELAXED);
	/* Pairs with the consumer's acquire load: who sees the head sees the records. */
	__atomic_store_n(&ring->page->data_head, ring->head, __ATOMIC_RELEASE);
}

static bool make_room(struct sl_perf_ring *ring, uint64_t need)
{
	if (__atomic_load_n(&ring->paused, __ATOMIC_RELAXED))
		return false;
	if (ring->overwrite)
		return need <= ring->mask;
	/* Pairs with the consumer's release store: it has read what will be overwritten. */
	ring->tail_seen = __atomic_load_n(&ring->page->data_tail, __ATOMIC_ACQUIRE);
	return space(ring) >= need;
}

static uint8_t *put_lost(uint8_t *at, const struct sl_perf_event *event, uint64_t lost,
	uint64_t fields, uint64_t size)
{
	at = put_header(at, PERF_RECORD_LOST, 0, size);
	at = put(at, event->id);
	at = put(at, lost);
	return put_fields(at, event, fields);
}

static void put_sample(uint8_t *at, const struct sl_perf_event *event, const struct sl_ctx *ctx,
	const void *data, uint64_t size, uint64_t ctx_len, uint64_t record_size)
{
	uint64_t fields = event->sample_type & leading_fields;
	uint32_t padded = raw_part(size + ctx_len) - sizeof(padded);

	at = put_header(at, PERF_RECORD_SAMPLE, PERF_RECORD_MISC_KERNEL, record_size);
	if (fields & PERF_SAMPLE_IDENTIFIER) /* the highest bit, but first in a sample */
		at = put_field(at, event, PERF_SAMPLE_IDENTIFIER);
	at = put_fields(at, event, fields & ~(uint64_t)PERF_SAMPLE_IDENTIFIER);
	if (!(event->sample_type & PERF_SAMPLE_RAW))
		return;
	memcpy(at, &padded, sizeof(padded));
	at += sizeof(padded);
	memcpy(at, data, size);
	copy_packet(at + size, ctx, ctx_len);
	memset(at + size + ctx_len, 0, padded - size - ctx_len);
}

/* Whatever is not the plain case: other fields, packet bytes, losses, a ring that looks full. */
static __attribute__((noinline)) long output_general(const struct sl_perf_event *event,
	struct sl_perf_ring *ring, const struct sl_ctx *ctx, const void *data, uint64_t size,
	uint64_t ctx_len)
{
	uint64_t trailer = event->sample_id_all ? event->sample_type & trailing_fields : 0;
	uint64_t lost_size = sizeof(struct perf_event_header) + 16 + fields_size(trailer);
	uint64_t sample_size =
		sizeof(struct perf_event_header) + fields_size(event->sample_type & leading_fields);
	uint8_t *at;

	if (!sl_perf_packet_has(ctx, ctx_len))
		return -EFAULT;
	if (event->sample_type & PERF_SAMPLE_RAW)
		sample_size += raw_part(size + ctx_len);
	if (sample_size > UINT16_MAX)
		return -E2BIG;
	if (!ring->mask)
		return -ENOSPC;
	if (!ring->lost)
		lost_size = 0;
	if (!make_room(ring, sample_size + lost_size)) {
		ring->lost++;
		__atomic_store_n(&ring->lost_total, ring->lost_total + 1, __ATOMIC_RELAXED);
		return -ENOSPC;
	}
	at = ring->data + (ring->head & ring->mask);
	if (lost_size)
		at = put_lost(at, event, ring->lost, trailer, lost_size);
	put_sample(at, event, ctx, data, size, ctx_len, sample_size);
	ring->lost = 0;
	publish(ring, lost_size + sample_size);
	return 0;
}

SL_FAST
bool sl_perf_packet_has(const struct sl_ctx *ctx, uint64_t ctx_len)
{
	return !ctx_len || ctx_len <= packet_len(ctx);
}

SL_FAST
long sl_perf_output(struct sl_perf_event *event, const struct sl_ctx *ctx, const void *data,
	uint64_t size, uint64_t ctx_len)
{
	struct sl_perf_ring *ring = __atomic_load_n(&event->ring, __ATOMIC_ACQUIRE);
	uint64_t record_size = sizeof(struct perf_event_header) + raw_part(size);
	uint32_t padded = record_size - sizeof(struct perf_event_header) - sizeof(padded);
	uint8_t *at;

	if (sl_unlikely(__atomic_load_n(&event->oncpu, __ATOMIC_RELAXED) != ctx->cpu))
		return event->error;
	if (sl_unlikely(!ring))
		return -ENOSPC;
	if (sl_unlikely(ctx_len || size > UINT16_MAX - 32 || ring->lost || !ring->plain ||
			space(ring) < record_size))
		return output_general(event, ring, ctx, data, size, ctx_len);
	at = ring->data + (ring->head & ring->mask);
	at = put_header(at, PERF_RECORD_SAMPLE, PERF_RECORD_MISC_KERNEL, record_size);
	/* The padding is the last word's rest: clear that word before the data covers it. */
	memset(at + record_size - 16, 0, 8);
	memcpy(at, &padded, sizeof(padded));
	memcpy(at + sizeof(padded), data, size);
	publish(ring, record_size);
	return 0;
}
