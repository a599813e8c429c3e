#pragma once

#include <linux/bpf.h>
#include <rte_mbuf_core.h>

#include "defs.h"

struct sl_call;
struct sl_ctx;
struct sl_prog;

/* What the kinds of BPF_PROG_TEST_RUN share. */

/* The interface that the kernel's test packets seem to come from. */
#define SL_TEST_IFINDEX 1

/* Bytes that the kernel keeps behind a packet for struct skb_shared_info. */
#define SL_TEST_TAILROOM 320
#define SL_TEST_PAGE 4096

struct sl_test_result {
	uint8_t *data; /* owned */
	uint32_t len_bytes;
	uint32_t retval;
	uint32_t duration_ns; /* of one run, on average */
};

/* Pages that may follow the first buffer: the kernel's MAX_SKB_FRAGS. */
#define SL_TEST_FRAGS 17

struct sl_test_packet {
	struct rte_mbuf mbufs[1 + SL_TEST_FRAGS]; /* a chain, without a pool */
	uint8_t *buffer; /* owned: the first one's, and then the pages */
};

/*
 * data_in in a buffer with room before and behind, of which the first holds `linear_bytes` and
 * pages hold the rest. -ENOMEM when that are too many. The buffer is to be freed, also on failure.
 */
SL_CONTROL int sl_test_packet_init(struct sl_test_packet *packet, const struct sl_call *call,
	uint32_t headroom_bytes, uint32_t linear_bytes, uint32_t tailroom_bytes);

/* The packet as one piece, for data_out: [start, end) and then the pages. To be freed. */
SL_CONTROL int sl_test_packet_gather(struct sl_test_packet *packet, const uint8_t *start,
	const uint8_t *end, struct sl_test_result *ret_result);

/* ctx_in, zeroes where there is none. */
SL_CONTROL int sl_test_read_ctx(const struct sl_call *call, void *ctx, size_t size);
SL_ANY bool sl_test_all_zero(const void *start, size_t from, size_t to);

/* Runs the program on a context whose packet is set up; fills in retval and duration_ns. */
SL_CONTROL int sl_test_run(const struct sl_call *call, struct sl_prog *prog, struct sl_ctx *ctx,
	struct sl_test_result *ret_result);

/* Gives the caller packet, context and figures. */
SL_CONTROL int sl_test_finish(const struct sl_call *call, const struct sl_test_result *result,
	const void *ctx, uint32_t ctx_size);

/* BPF_F_TEST_XDP_LIVE_FRAMES: what to run, and on what. */
struct sl_test_live {
	struct sl_prog *prog;
	const uint8_t *packet; /* with its metadata in front */
	uint32_t len_bytes, meta_len;
	uint32_t ifindex; /* of the port where it comes to be */
};

/*
 * Runs the program on up to `count` packets of a port, which go where it says; set by the port layer.
 * Fewer when the port has no mbufs at the moment. -ENODEV, -ENETDOWN without workers, -EINVAL for a
 * packet that is too long.
 */
extern int (*sl_test_live)(const struct sl_test_live *live, uint32_t count, uint32_t *ret_done);

SL_CONTROL int sl_test_run_xdp(const struct sl_call *call, struct sl_prog *prog);
SL_CONTROL int sl_test_run_skb(const struct sl_call *call, struct sl_prog *prog);
