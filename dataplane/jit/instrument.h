#pragma once

#include <stddef.h>

#include "emit.h"

/*
 * Code that checks itself, to prove the verifier: with SLUICE_JIT_CHECK=1 in the environment when a
 * program is loaded, what the verifier proved of it is tested again as it runs. Every access has to
 * be inside what it was proved to point into, every argument in its range, no branch may go where
 * none was found to go. The first violation is kept, and the program returns 0. Never on in
 * production: the code is several times slower.
 */
SL_CONTROL bool sl_instrument_wanted(void);

/*
 * The first violation since the last call, as a line of text; false when there was none. Any
 * thread; how many there were in all is sl_instrument_count.
 */
SL_ANY bool sl_instrument_take(char *ret_text, size_t size);
SL_ANY uint64_t sl_instrument_count(void);

/* What the emitter puts in; each does nothing in a module that is not instrumented. */
void sl_instrument_enter(struct sl_emitter *e); /* the frame is there */
void sl_instrument_leave(struct sl_emitter *e); /* before a return or a tail call */
void sl_instrument_access(struct sl_emitter *e, unsigned base_regno);
void sl_instrument_value(struct sl_emitter *e); /* after an ld_imm64 */
void sl_instrument_arguments(struct sl_emitter *e, const struct sl_call_fact *call);
void sl_instrument_result(struct sl_emitter *e, const struct sl_call_fact *call);
/* A conditional jump, of which one way may be dead. */
void sl_instrument_branch(struct sl_emitter *e, LLVMValueRef cond);
/* Where no path leads: ends the block. */
void sl_instrument_unreached(struct sl_emitter *e);

/* instrument_run.c: what the code calls. False: stop. */
enum sl_check_flags {
	SL_CHECK_OWN_FRAME = 1 << 8,
	SL_CHECK_CONST_OFF = 1 << 9,
	SL_CHECK_LENIENT = 1 << 10, /* a callback gets pointers that nobody registered */
	SL_CHECK_KIND = 0xff, /* enum sl_mem_kind */
};

struct sl_ctx;
struct sl_map;

void sl_check_enter(struct sl_ctx *ctx, uint64_t frame, uint64_t len_bytes);
void sl_check_leave(void);
bool sl_check_access(struct sl_ctx *ctx, uint64_t pc, uint64_t flags, uint64_t address,
	uint64_t off, uint64_t len_bytes);
bool sl_check_range(uint64_t pc, uint64_t value, uint64_t min, uint64_t max);
void sl_check_object(uint64_t address, uint64_t len_bytes);
void sl_check_map_value(const struct sl_map *map, uint64_t address);
bool sl_check_dead(uint64_t pc);
