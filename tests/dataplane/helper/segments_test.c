#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "packet.h"
#include "row.h"
#include "segments.h"
#include "test.h"
#include "test_packet.h"

/*
 * The same calls of TC's helpers on a packet in one piece and on the same packet in several: what
 * they return and what they leave has to be the same, however it is cut. Where the pieces' buffers
 * are small they may also say that there is no room, and have done nothing then.
 */

#define LEN_MAX 900
#define PIECES_MAX 6
#define PIECE_ROOM 64
#define CALLS 12
#define ROUNDS 20000

static struct test_packet whole, cut;
static struct rte_mbuf pieces[PIECES_MAX];
static uint8_t piece_bytes[PIECES_MAX][LEN_MAX + PIECE_ROOM];
static uint64_t random_state = 88172645463325252ull;
static char last_call[96];

static uint32_t below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % n;
}

/* Byte by byte over the end of one piece after the other. */
static void cut_up(unsigned len, unsigned count, bool small)
{
	unsigned at = 20 + below(len / 2);
	struct rte_mbuf *before = &cut.mbuf;

	memset(pieces, 0, sizeof(pieces));
	cut.mbuf.data_len = at;
	if (small)
		cut.mbuf.buf_len = cut.mbuf.data_off + at + below(PIECE_ROOM);
	for (unsigned i = 0; i < count; i++) {
		unsigned part = i + 1 == count ? len - at : below(len - at - (count - i)) + 1;
		struct rte_mbuf *m = &pieces[i];

		m->buf_addr = piece_bytes[i];
		m->data_off = below(8);
		m->data_len = part;
		m->buf_len = m->data_off + part + below(PIECE_ROOM);
		m->refcnt = 1;
		memcpy(piece_bytes[i] + m->data_off,
			(uint8_t *)cut.mbuf.buf_addr + cut.mbuf.data_off + at, part);
		before->next = m;
		before = m;
		at += part;
	}
	/* Who looks here has looked past the piece. */
	memset((uint8_t *)cut.mbuf.buf_addr + cut.mbuf.data_off + cut.mbuf.data_len, 0xee,
		len - cut.mbuf.data_len);
	cut.mbuf.nb_segs = 1 + count;
	sl_packet_begin_skb(&cut.ctx, &cut.mbuf);
}

static void make_packets(bool small)
{
	static const uint16_t protocols[] = { 0x0800, 0x86dd, 0x8100, 0x88b5 };
	uint16_t protocol = protocols[below(4)];
	unsigned len = 100 + below(LEN_MAX - 100);
	uint8_t bytes[LEN_MAX];

	for (unsigned i = 0; i < len; i++)
		bytes[i] = (uint8_t)below(256);
	bytes[12] = (uint8_t)(protocol >> 8);
	bytes[13] = (uint8_t)protocol;
	test_packet_init(&whole, true, bytes, len);
	test_packet_init(&cut, true, bytes, len);
	cut_up(len, 1 + below(PIECES_MAX - 1), small);
}

struct call {
	uint64_t (*fn)(struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4,
		uint64_t r5);
	uint64_t args[4]; /* R2 to R5 */
	bool reads; /* R3 and R4: memory that is written */
	bool writes; /* that is read */
};

static struct call some_call(uint32_t len)
{
	uint32_t offset = below(2) ? below(60) : below(len + 20), size = 1 + below(120);
	int32_t diff = (int32_t)below(120) - 60;

	switch (below(9)) {
	case 0:
		return (struct call){ sl_bpf_skb_load_bytes, { offset, 0, size }, .reads = true };
	case 1:
		return (struct call){ sl_bpf_skb_store_bytes, { offset, 0, size, below(4) },
			.writes = true };
	case 2:
		return (struct call){ sl_bpf_l3_csum_replace,
			{ offset, below(65536), below(65536), below(2) ? 2 : 4 } };
	case 3:
		return (struct call){ sl_bpf_l4_csum_replace,
			{ offset, below(65536), below(65536),
				(below(2) ? 2u : 4u) | below(2) << 5 } };
	case 4:
		return (struct call){ sl_bpf_skb_change_tail,
			{ below(2) ? below(len + 100) : len + (uint32_t)diff, 0 } };
	case 5:
		return (struct call){ sl_bpf_skb_adjust_room,
			{ (uint64_t)(int64_t)diff, below(2), 0 } };
	case 6:
		return (struct call){ sl_bpf_skb_change_head, { below(40), 0 } };
	case 7:
		return below(2) ? (struct call){ sl_bpf_skb_vlan_pop, { 0 } }
				: (struct call){ sl_bpf_skb_vlan_push,
					  { RTE_BE16(0x8100), below(4096) } };
	default:
		return (struct call){ sl_bpf_skb_change_proto,
			{ below(2) ? RTE_BE16(0x86dd) : RTE_BE16(0x0800), 0 } };
	}
}

static uint64_t make(const struct call *call, struct test_packet *packet, uint8_t *memory)
{
	uint64_t r3 = call->reads || call->writes ? (uintptr_t)memory : call->args[1];

	return call->fn(&packet->ctx, 0, call->args[0], r3, call->args[2], call->args[3]);
}

static void contents(struct test_packet *packet, uint8_t *bytes, uint32_t *ret_len)
{
	*ret_len = sl_segments_len(&packet->ctx);
	EXPECT_TRUE(sl_segments_read(&packet->ctx, 0, bytes, *ret_len));
}

/* The chain is what the context says, as whoever sends it sees it. */
static void check_chain(bool small)
{
	uint32_t len = 0, count = 0;
	bool fits = sl_packet_end(&cut.ctx);

	/* It begins before the buffer, and there is no room to move it up: it will be dropped. */
	if (!fits && small)
		return;
	EXPECT_TRUE(fits);
	for (const struct rte_mbuf *m = &cut.mbuf; m; m = m->next, count++) {
		len += m->data_len;
		EXPECT_LE(m->data_off + m->data_len, m->buf_len);
	}
	EXPECT_EQ(len, cut.mbuf.pkt_len);
	EXPECT_EQ(len, cut.ctx.len);
	EXPECT_EQ(count, cut.mbuf.nb_segs);
}

/* False when there was no room for it: from then on the two differ. */
static bool call_both(const struct call *call, unsigned *in_pieces)
{
	static uint8_t memory[2][256], bytes[2][sizeof(whole.buf)];
	uint32_t lens[2];
	uint64_t rets[2];

	for (unsigned i = 0; i < sizeof(memory[0]); i++)
		memory[0][i] = memory[1][i] = (uint8_t)(i * 3);
	rets[0] = make(call, &whole, memory[0]);
	rets[1] = make(call, &cut, memory[1]);
	if ((int64_t)rets[1] == -ENOMEM && rets[0] != rets[1])
		return false;
	EXPECT_EQ(rets[0], rets[1]);
	EXPECT_MEMEQ(memory[0], memory[1], sizeof(memory[0]));
	contents(&whole, bytes[0], &lens[0]);
	contents(&cut, bytes[1], &lens[1]);
	EXPECT_EQ(lens[0], lens[1]);
	EXPECT_MEMEQ(bytes[0], bytes[1], lens[0]);
	EXPECT_EQ(whole.ctx.protocol, cut.ctx.protocol);
	EXPECT_EQ(whole.ctx.vlan_tci, cut.ctx.vlan_tci);
	*in_pieces += cut.mbuf.nb_segs > 1;
	return true;
}

static void compare(bool small)
{
	unsigned in_pieces = 0, no_room = 0, done = 0;

	for (unsigned round = 0; round < ROUNDS && !sl_test_has_failed(); round++) {
		make_packets(small);
		for (unsigned i = 0; i < CALLS && whole.ctx.len > 60; i++) {
			struct call call = some_call(whole.ctx.len);
			bool same;

			snprintf(last_call, sizeof(last_call), "%#llx %#llx %#llx %#llx",
				(unsigned long long)call.args[0], (unsigned long long)call.args[1],
				(unsigned long long)call.args[2], (unsigned long long)call.args[3]);
			TRACE_PUSH("round %u, call %u: function %p with %s", round, i,
				(void *)(uintptr_t)call.fn, last_call);
			same = call_both(&call, &in_pieces);
			TRACE_POP();
			done++;
			if (!same) {
				no_room++;
				break;
			}
		}
		check_chain(small);
	}
	EXPECT_GT(in_pieces, done / 20);
	if (!small)
		EXPECT_EQ(no_room, 0);
	EXPECT_LT(no_room, done / 4);
}

TEST(segments, are_as_one_piece)
{
	compare(false);
}

TEST(segments, are_as_one_piece_where_there_is_room)
{
	compare(true);
}
