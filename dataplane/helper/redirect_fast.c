#include "redirect.h"
#include "row.h"

enum { ACT_SHOT = 2, ACT_REDIRECT = 7 };

/* The verdict says that there is a request; the run holds it until the port layer acts on it. */
SL_FAST
SL_HELPER_FN(redirect)
{
	struct sl_run *run = ctx->run;

	if (sl_unlikely(r2 & ~(ctx->is_skb ? (uint64_t)BPF_F_INGRESS : 0)))
		return ctx->is_skb ? ACT_SHOT : XDP_ABORTED;
	run->redirect_ifindex = (uint32_t)r1;
	run->redirect_flags = r2;
	run->redirect_map = NULL;
	return ctx->is_skb ? ACT_REDIRECT : XDP_REDIRECT;
}

SL_FAST
SL_HELPER_FN(redirect_peer)
{
	if (r2)
		return ACT_SHOT;
	ctx->run->redirect_ifindex = (uint32_t)r1;
	ctx->run->redirect_flags = SL_REDIRECT_PEER;
	ctx->run->redirect_map = NULL;
	return ACT_REDIRECT;
}
