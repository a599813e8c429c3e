#pragma once

#include "defs.h"

struct sl_code;
struct sl_prog;

/*
 * Compiles a verified program (prog->facts) with LLVM for this machine's CPU and sets prog->code
 * and own_code. -ENOMEM, or -EIO with one log line when LLVM refuses, which is a bug of ours.
 */
SL_CONTROL int sl_jit_compile(struct sl_prog *prog);

/*
 * The same for a program with other programs in place of functions of its own (by function, NULL for
 * those that stay). `linked` gets the code and holds what it needs; its used_maps are the
 * facts->map_count maps of the program and then those of each extension.
 */
SL_CONTROL int sl_jit_link(
	const struct sl_prog *prog, struct sl_prog *const *extensions, struct sl_prog *linked);

/*
 * What the machine code of a published program is made from: LLVM's intermediate representation after
 * optimisation, as text to be freed. It is made anew, which takes as long as loading the program.
 */
SL_CONTROL int sl_jit_print(const struct sl_prog *prog, char **ret_text);

/* Frees the machine code; the caller has waited for a grace period. NULL is fine. */
SL_CONTROL void sl_jit_free(struct sl_code *code);
