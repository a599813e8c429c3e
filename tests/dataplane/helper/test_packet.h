#pragma once

#include <rte_mbuf_core.h>
#include <stdint.h>

#include "packet.h"

/* A context over a standalone mbuf, for helpers that are called directly. */
struct test_packet {
	struct sl_ctx ctx;
	struct sl_run run;
	struct rte_mbuf mbuf;
	uint8_t spare[SL_HEADROOM_SPARE];
	uint8_t buf[32768];
};

/* Before the data; half of it in buf. */
#define TEST_HEADROOM 256

/* `bytes` NULL: a counting pattern. */
void test_packet_init(struct test_packet *packet, bool is_skb, const void *bytes, unsigned len);
