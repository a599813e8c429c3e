#include "context.h"

#include "ctx_symbols.h"

/* The fields that are more than a load or a store. */

#define NO_QUEUE_MAPPING 0xffff

SL_FAST
uint64_t sl_ctx_get_hash(struct sl_ctx *ctx)
{
	if (sl_unlikely(ctx->hash_state == SL_HASH_LAZY))
		sl_ctx_compute_hash(ctx);
	return ctx->hash;
}

/* The kernel ignores a queue that would read as "none". */
SL_FAST
void sl_ctx_set_queue_mapping(struct sl_ctx *ctx, uint64_t value)
{
	if (value < NO_QUEUE_MAPPING)
		ctx->queue_mapping = value;
}
