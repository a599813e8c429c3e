#include "redirect.h"

#include <errno.h>
#include <string.h>

#include "map.h"
#include "row.h"

enum { ACT_SHOT = 2, ACT_REDIRECT = 7 };

int (*sl_clone_redirect)(struct sl_ctx *ctx, uint32_t ifindex, uint64_t flags);

const struct sl_helper sl_helper_redirect = {
	SL_ROW(redirect, TC_XDP),
	.args = { SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

const struct sl_helper sl_helper_redirect_peer = {
	SL_ROW(redirect_peer, TC),
	.args = { SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

/* The low flag bits are the verdict for a slot that is empty. */
SL_HELPER_FN(redirect_map)
{
	struct sl_map *map = (struct sl_map *)r1;
	struct sl_run *run = ctx->run;
	uint64_t verdict_mask = XDP_ABORTED | XDP_DROP | XDP_PASS | XDP_TX;
	uint64_t known = verdict_mask;
	uint32_t key = (uint32_t)r2;
	void *entry = NULL;

	if (map->desc.type == BPF_MAP_TYPE_DEVMAP || map->desc.type == BPF_MAP_TYPE_DEVMAP_HASH)
		known |= BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS;
	if (r3 & ~known)
		return XDP_ABORTED;
	if (!(r3 & BPF_F_BROADCAST))
		entry = map->ops->lookup(&map->desc, ctx, &key);
	if (!(r3 & BPF_F_BROADCAST) && !entry) {
		run->redirect_map = NULL;
		run->redirect_ifindex = 0;
		return r3 & verdict_mask;
	}
	run->redirect_map = map;
	run->redirect_entry = entry;
	run->redirect_flags = r3;
	run->redirect_ifindex = 0;
	return XDP_REDIRECT;
}

const struct sl_helper sl_helper_redirect_map = {
	SL_ROW(redirect_map, XDP),
	.args = { SL_ARG_MAP, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
	.map_types = 1ull << BPF_MAP_TYPE_DEVMAP | 1ull << BPF_MAP_TYPE_DEVMAP_HASH |
		     1ull << BPF_MAP_TYPE_CPUMAP | 1ull << BPF_MAP_TYPE_XSKMAP,
};

SL_HELPER_FN(redirect_neigh)
{
	const struct bpf_redir_neigh *nexthop = (const struct bpf_redir_neigh *)r2;
	int len = (int)r3;

	if ((len && (!nexthop || len < (int)sizeof(*nexthop))) || r4)
		return ACT_SHOT;
	ctx->run->redirect_ifindex = (uint32_t)r1;
	ctx->run->redirect_flags = SL_REDIRECT_NEIGH | (len ? SL_REDIRECT_NEXTHOP : 0);
	ctx->run->redirect_map = NULL;
	if (len)
		memcpy(&ctx->run->redirect_nexthop, nexthop, sizeof(*nexthop));
	return ACT_REDIRECT;
}

const struct sl_helper sl_helper_redirect_neigh = {
	SL_ROW(redirect_neigh, TC),
	.args = { SL_ARG_ANYTHING, SL_ARG_MEM_OR_NULL, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING },
};

SL_HELPER_FN(clone_redirect)
{
	if (r3 & ~(uint64_t)BPF_F_INGRESS)
		return sl_helper_ret(-EINVAL);
	if (!sl_clone_redirect)
		return sl_helper_ret(-EINVAL);
	return sl_helper_ret(sl_clone_redirect(ctx, (uint32_t)r2, r3));
}

const struct sl_helper sl_helper_clone_redirect = {
	SL_ROW(clone_redirect, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};
