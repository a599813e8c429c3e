#pragma once

#include <linux/perf_event.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_mbuf_core.h>
#include <sluice/bpf.h>

#include "context.h"
#include "perf.h"

/* The reading side of a ring, and a context for the writing side. */
struct consumer {
	int fd;
	size_t len_bytes;
	struct perf_event_mmap_page *page;
	struct sl_perf_event *event;
};

static inline struct perf_event_attr usual_attr(void)
{
	return (struct perf_event_attr){
		.size = sizeof(struct perf_event_attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
		.wakeup_events = 1,
	};
}

/* False when something of it failed. */
static inline bool consumer_open(
	struct consumer *c, struct perf_event_attr *attr, unsigned pages, int prot)
{
	c->len_bytes = (1 + pages) * sysconf(_SC_PAGESIZE);
	c->fd = sluice_perf_event_open(attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (c->fd < 0)
		return false;
	c->page = sluice_perf_mmap(NULL, c->len_bytes, prot, MAP_SHARED, c->fd, 0);
	return c->page != MAP_FAILED && sl_perf_event_get(c->fd, &c->event) == 0;
}

static inline void consumer_close(struct consumer *c)
{
	sl_perf_event_unref(c->event);
	sluice_perf_munmap(c->page, c->len_bytes);
	close(c->fd);
}

/* Copies the next record to `record` (64 KiB) and consumes it; NULL when there is none. */
static inline struct perf_event_header *consumer_next(
	struct perf_event_mmap_page *page, uint8_t *record)
{
	uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = page->data_tail;
	const uint8_t *data = (const uint8_t *)page + page->data_offset;
	struct perf_event_header header;

	if (head == tail)
		return NULL;
	memcpy(&header, data + tail % page->data_size, sizeof(header));
	for (unsigned i = 0; i < header.size; i++)
		record[i] = data[(tail + i) % page->data_size];
	__atomic_store_n(&page->data_tail, tail + header.size, __ATOMIC_RELEASE);
	return (struct perf_event_header *)record;
}

/* A context of CPU 0 over one segment. */
static inline struct sl_ctx packet_context(struct rte_mbuf *mbuf, uint8_t *data, uint16_t len)
{
	*mbuf = (struct rte_mbuf){
		.buf_addr = data, .data_len = len, .pkt_len = len, .nb_segs = 1
	};
	return (struct sl_ctx){ .data = data, .data_end = data + len, .mbuf = mbuf };
}
