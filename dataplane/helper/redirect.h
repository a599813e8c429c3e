#pragma once

#include "context.h"

/* Bits of sl_run.redirect_flags that helpers add to BPF_F_INGRESS. */
#define SL_REDIRECT_NEIGH (1ull << 16) /* fill in the link-layer header by neighbour look-up */
#define SL_REDIRECT_PEER (1ull << 17)
#define SL_REDIRECT_NEXTHOP (1ull << 18) /* of sl_run.redirect_nexthop, not the packet's */

/*
 * Sends a copy of the packet out of (BPF_F_INGRESS: into) a port now. 0 or negative errno, -EINVAL
 * for an unknown ifindex; called on workers and in test runs. The port layer sets it once at
 * start-up; NULL: there are no ports.
 */
extern int (*sl_clone_redirect)(struct sl_ctx *ctx, uint32_t ifindex, uint64_t flags);
