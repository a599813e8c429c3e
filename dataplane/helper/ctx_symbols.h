#pragma once

#include "context.h"

/* Field accesses that are functions: what the rows' read_symbol and write_symbol name. */
SL_ANY uint64_t sl_ctx_get_hash(struct sl_ctx *ctx);
SL_ANY void sl_ctx_set_queue_mapping(struct sl_ctx *ctx, uint64_t value);

/* Dissects the flow and sets hash and hash_state (hash.c). */
SL_ANY void sl_ctx_compute_hash(struct sl_ctx *ctx);
