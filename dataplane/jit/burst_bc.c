#include "context.h"
#include "packet.h"
#include "prog_layout.h"
#include "traits.h"

#include <linux/bpf.h>
#include <rte_mbuf.h>

/*
 * The burst entry of XDP programs: a template that the JIT links with each of them, defined as
 * sl_program, and inlines it into. The context is then a bundle of registers, and of the set-up
 * below only that remains which the program looks at. TC runs its programs packet by packet, several
 * on one context.
 */
extern const uint32_t sl_program_traits; /* enum sl_traits; a constant of the module */
uint64_t sl_program(struct sl_ctx *ctx, uint64_t tail_calls);

/* False when the mbuf cannot hold what the program made of its packet. */
static inline bool put_packet(struct sl_ctx *ctx, const struct sl_burst *burst, uint32_t i)
{
	if (!(sl_program_traits & SL_TRAIT_MOVES_PACKET))
		return true;
	if (ctx->data_meta < ctx->data)
		burst->meta_lens[i] = ctx->data - ctx->data_meta;
	return sl_packet_end(ctx);
}

static inline void note_redirect(const struct sl_run *run, struct sl_redirect *redirect)
{
	redirect->ifindex = run->redirect_ifindex;
	redirect->entry = run->redirect_entry;
	redirect->flags = run->redirect_flags;
	redirect->map = run->redirect_map;
}

static inline uint32_t run_one(struct sl_ctx *ctx, const struct sl_burst *burst, uint32_t i)
{
	uint32_t verdict;

	if (sl_program_traits & SL_TRAIT_REDIRECTS) {
		ctx->run->redirect_ifindex = 0;
		ctx->run->redirect_map = NULL;
	}
	verdict = sl_program(ctx, SL_TAIL_CALLS);
	if (verdict != XDP_REDIRECT)
		return verdict;
	/* The verdict alone leads nowhere. */
	if (sl_program_traits & SL_TRAIT_REDIRECTS)
		note_redirect(ctx->run, &burst->redirects[i]);
	else
		burst->redirects[i] = (struct sl_redirect){ .ifindex = 0 };
	return verdict;
}

/* `i` is 64 bits wide, so that adding UINT32_MAX for "never" goes past every count. */
static inline void prefetch(const struct sl_burst *burst, uint64_t i)
{
	const struct rte_mbuf *mbuf;

	if (i + burst->prefetch >= burst->count)
		return;
	mbuf = burst->pkts[i + burst->prefetch];
	__builtin_prefetch((const char *)mbuf->buf_addr + mbuf->data_off);
}

/* A copy of the burst, which stores of the program cannot reach, stays in registers. */
static inline struct sl_burst local_burst(const struct sl_burst *burst)
{
	struct sl_burst local = *burst;

	local.prefetch = burst->prefetch ? burst->prefetch : UINT32_MAX;
	return local;
}

SL_FAST
void sl_burst_xdp(struct sl_burst *shared)
{
	const struct sl_burst burst = local_burst(shared);
	struct sl_ctx ctx = *burst.ctx;
	uint32_t verdict;

	ctx.is_skb = false;
	for (uint32_t i = 0; i < burst.count; i++) {
		prefetch(&burst, i);
		sl_packet_begin(&ctx, burst.pkts[i]);
		ctx.len = burst.pkts[i]->pkt_len;
		verdict = run_one(&ctx, &burst, i);
		burst.verdicts[i] = sl_likely(put_packet(&ctx, &burst, i)) ? verdict : XDP_ABORTED;
	}
}
