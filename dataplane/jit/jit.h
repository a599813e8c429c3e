#pragma once

#include "defs.h"

struct sl_code;
struct sl_prog;

/*
 * Compiles a verified program (prog->facts) with LLVM for this machine's CPU and sets prog->code.
 * -ENOMEM, or -EIO with one log line when LLVM refuses, which is a bug of ours.
 */
SL_CONTROL int sl_jit_compile(struct sl_prog *prog);

/* Frees the machine code; the caller has waited for a grace period. NULL is fine. */
SL_CONTROL void sl_jit_free(struct sl_code *code);
