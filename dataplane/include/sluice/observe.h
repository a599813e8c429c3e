#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Seeing what happens to packets. A watch is a descriptor: its memory holds a ring per worker, which
 * the worker fills and the reader, in this process or in another one that the descriptor was sent
 * to, maps and empties. Workers never wait: what finds its ring full is counted as lost. The watch
 * ends with the last copy of its descriptor and the last mapping, so a reader that dies ends it and
 * one that stalls loses records.
 *
 * Functions may be called from any thread but a worker, and return 0 or a negative errno.
 */

/* Where a packet can be seen. */
#define SLUICE_POINTS(X)                                                                   \
	X(RX, "rx") /* as it came in, with the verdict of the port's XDP program if any */ \
	X(XDP_EXIT, "xdp-exit") /* as the XDP program left it, with its verdict */         \
	X(INGRESS, "ingress") /* as it comes to TC ingress, with the verdict there */      \
	X(INGRESS_EXIT, "ingress-exit") /* as TC ingress left it */                        \
	X(EGRESS, "egress")                                                                \
	X(EGRESS_EXIT, "egress-exit")                                                      \
	X(TX, "tx") /* as the device took it */                                            \
	X(DROP, "drop") /* what is dropped, with the counter that it goes to */

enum sluice_point {
#define X(id, name) SLUICE_POINT_##id,
	SLUICE_POINTS(X)
#undef X
		SLUICE_POINT_COUNT
};

/* NULL past the last. */
const char *sluice_point_name(enum sluice_point point);

#define SLUICE_WATCHES 16 /* at a time */
#define SLUICE_WATCH_RING_MAX (256u << 20)
#define SLUICE_WATCH_PORTS 128 /* that watches tell apart */
#define SLUICE_WATCH_STEPS 62 /* of one path */
#define SLUICE_WATCH_HEADER_BYTES 128 /* of a packet with its path */

/* Zero means the default everywhere but in the descriptors, where -1 does. */
struct sluice_watch_options {
	bool paths; /* the paths of packets that come in, instead of packets at points */
	uint32_t ifindex; /* of the one port; 0: all */
	uint32_t points; /* 1 << enum sluice_point, or'ed; 0: rx */
	uint32_t snaplen; /* bytes of each packet; 0: all */
	uint32_t sample; /* one in so many packets that come in and match; 0: all */
	uint32_t ring_bytes; /* per worker, rounded up to a power of two; 0: 4 MiB */
	/*
	 * Socket filters (BPF_PROG_TYPE_SOCKET_FILTER) that return how many bytes of a packet to show:
	 * for frames, and for the packets of ports without a link-layer header. What no filter is given
	 * for matches where none is given at all. The watch holds references.
	 */
	int filter_fd, raw_filter_fd;
};

/*
 * A new watch and its descriptor. -EINVAL: not such programs, no such point; -ENODEV: no such port;
 * -ENOSPC: as many as there can be; -E2BIG: rings too large.
 */
int sluice_watch_open(const struct sluice_watch_options *options, int *ret_fd);

/* What the memory of a watch consists of. First struct sluice_watch_area. */
#define SLUICE_WATCH_MAGIC 0x68637477756c7301ull /* the last byte: version */

struct sluice_watch_area {
	uint64_t magic;
	uint64_t len_bytes;
	int64_t realtime_ns; /* from the records' clock (CLOCK_MONOTONIC) to CLOCK_REALTIME */
	uint32_t workers;
	uint32_t capacity; /* bytes of a ring, a power of two */
	uint32_t ring_offset, ring_stride; /* of struct sluice_watch_ring, one per worker */
};

struct sluice_watch_counts {
	uint64_t seen, matched,
		lost; /* packets at a point; of them through the filter; without room */
};

struct sluice_watch_port {
	uint64_t ifindex; /* 0: nothing so far */
	struct sluice_watch_counts points[SLUICE_POINT_COUNT]; /* for paths: rx */
};

struct sluice_watch_ring {
	uint64_t head __attribute__((aligned(64))); /* the worker's: bytes put so far */
	uint64_t tail __attribute__((aligned(64))); /* the reader's: bytes taken so far */
	struct sluice_watch_port ports[SLUICE_WATCH_PORTS] __attribute__((aligned(64)));
	uint8_t data[] __attribute__((aligned(64)));
};

enum sluice_record_kind { SLUICE_RECORD_SKIP, SLUICE_RECORD_PACKET, SLUICE_RECORD_PATH };

enum sluice_record_flags {
	SLUICE_RECORD_VERDICT =
		1 << 0, /* `verdict` is one: XDP_* at rx and xdp-exit, else TC_ACT_* */
	SLUICE_RECORD_RAW = 1 << 1, /* begins with the network header */
};

/* Before a packet's bytes, or a path. Records lie at multiples of their size, 64. */
struct sluice_record {
	uint32_t size; /* with what follows, up to the next record */
	uint32_t captured, len; /* bytes that are here; that the packet had */
	uint16_t kind;
	uint8_t point, flags;
	uint64_t time_ns;
	uint32_t ifindex;
	uint16_t worker, queue;
	int32_t verdict;
	uint32_t reason; /* enum sluice_counter of a drop */
	uint32_t prog_id; /* of the verdict, 0: several or none */
	uint32_t lost; /* since the record before of this worker, port and point */
	char prog_name[16];
};

enum sluice_step_kind {
	SLUICE_STEP_RUN, /* a program: id, name; value: what it returned */
	SLUICE_STEP_JUMP, /* it went on in another one by bpf_tail_call */
	SLUICE_STEP_VERDICT, /* of the hook */
	SLUICE_STEP_REDIRECT, /* to port `ifindex`, or (ifindex 0) as map `id` says */
	SLUICE_STEP_COUNT, /* `id` times enum sluice_counter `value` of port `ifindex` */
};

enum sluice_hook { SLUICE_HOOK_XDP, SLUICE_HOOK_INGRESS, SLUICE_HOOK_EGRESS, SLUICE_HOOK_DEVMAP };

struct sluice_step {
	uint8_t kind, hook;
	uint16_t reserved;
	uint32_t ifindex, id;
	int32_t value;
	char name[16];
};

/* After a record of kind PATH; then `captured` bytes of the packet as it came in. */
struct sluice_path {
	uint16_t count, missing; /* steps here; that had no room */
	uint32_t reserved;
	struct sluice_step steps[];
};

/*
 * The reader's side, which needs nothing but the descriptor. A mapping belongs to one thread at a
 * time; what a worker has written is checked, so that nothing outside the record is read.
 */
struct sluice_watch;
int sluice_watch_map(int fd, struct sluice_watch **ret_watch);
/* NULL is fine. The descriptor stays the caller's. */
void sluice_watch_unmap(struct sluice_watch *watch);
/*
 * The oldest record, valid until the next call, which releases it; NULL when there is none. *ret_path
 * is NULL for a packet. *ret_data are the captured bytes.
 */
const struct sluice_record *sluice_watch_next(
	struct sluice_watch *watch, const struct sluice_path **ret_path, const uint8_t **ret_data);
const struct sluice_watch_area *sluice_watch_area_of(const struct sluice_watch *watch);
/* Sums over the workers; ifindex 0: over all ports; point SLUICE_POINT_COUNT: over all points. */
void sluice_watch_counts(const struct sluice_watch *watch, uint32_t ifindex,
	enum sluice_point point, struct sluice_watch_counts *ret_counts);

/*
 * What programs print (bpf_trace_printk), in the words of the kernel's trace_pipe: a socket from which
 * each read returns a line, first those of the last 256 that there have been, then (follow) what
 * comes. A reader that is slow loses lines and is told how many. -ENOSPC: as many readers as there
 * can be.
 */
#define SLUICE_LOG_READERS 16
int sluice_log_open(bool follow, int *ret_fd);

#ifdef __cplusplus
}
#endif
