#pragma once

#include "defs.h"

struct sl_ctx;
struct sl_burst;

/*
 * What compiled code is called through. A program is a function of its context; `tail_calls` is
 * what is left of MAX_TAIL_CALL_CNT (33), handed on by every bpf_tail_call.
 */
typedef uint64_t (*sl_prog_fn)(struct sl_ctx *ctx, uint64_t tail_calls);

#define SL_TAIL_CALLS 33

/*
 * Or'ed to it: each jump is noted in the packet's path (ctx->run->path) by the function below. The
 * layer above ours sets it once.
 */
#define SL_TAIL_CALLS_TRACED (1ull << 33)

/* Runs the program over a burst of packets (context.h), verdicts into the burst. */
typedef void (*sl_burst_fn)(struct sl_burst *burst);

/* Machine code of one program; immutable once published. */
struct sl_code {
	sl_prog_fn run;
	sl_burst_fn burst; /* NULL for a type that is not run in bursts */
	const void *text; /* start and size of the machine code, for dumps */
	uint32_t text_len_bytes;
	/* Phase times of the compilation. */
	uint64_t emit_ns, link_ns, optimize_ns, codegen_ns;
};

/* Runs the program `repeat` times on one context; returns the last result. */
static inline uint64_t sl_code_repeat(
	const struct sl_code *code, struct sl_ctx *ctx, uint32_t repeat)
{
	sl_prog_fn run = code->run;
	uint64_t result = 0;

	while (repeat-- > 0)
		result = run(ctx, SL_TAIL_CALLS);
	return result;
}
