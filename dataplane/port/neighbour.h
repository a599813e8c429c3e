#pragma once

#include "defs.h"

struct sl_ctx;
struct sl_port;

/*
 * Makes the packet's Ethernet header that of the next hop which bpf_redirect_neigh asked for, out
 * of this port. 0, or the counter of the packet's end (enum sluice_counter, none of which is 0 that
 * ends one).
 */
SL_WORKER int sl_neighbour_fill(struct sl_ctx *ctx, const struct sl_port *port);
