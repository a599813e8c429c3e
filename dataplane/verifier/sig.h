#pragma once

#include "defs.h"

struct sl_env;

/*
 * What BTF says of a function's arguments, in the verifier's terms. A global function is verified
 * against it, once and for all callers; every call of it, and of a static function as long as the
 * compiler kept to the declaration, is compared with it.
 */

#define SL_SIG_MAX_ARGS 5

enum sl_sig_kind {
	SL_SIG_SCALAR,
	SL_SIG_CTX,
	SL_SIG_DYNPTR, /* one that is initialised, and not to be released or made anew */
	SL_SIG_MEM, /* size_bytes of memory that may be read and written */
};

struct sl_sig_arg {
	uint8_t kind; /* enum sl_sig_kind */
	bool or_null;
	uint32_t size_bytes;
};

struct sl_sig {
	bool global; /* BTF_FUNC_GLOBAL; the main program's as well */
	bool known; /* arg_count and args are filled in */
	bool unreliable; /* the instructions do not go with the declaration */
	bool called; /* global: some path calls it */
	bool verified; /* global: safe for all arguments that go with the declaration */
	uint8_t arg_count;
	struct sl_sig_arg args[SL_SIG_MAX_ARGS];
};

/* sig.c: one per function, owned by env. -ENOMEM. */
int sl_sigs_new(struct sl_env *env);
/* A function's name; "" without BTF. Borrowed. */
const char *sl_sig_name(const struct sl_env *env, uint32_t func);
/*
 * Fills in a function's arguments from BTF, unless that was done: 0, or a negative errno with the
 * kernel's message. -EFAULT is fatal, all else only for a global function.
 */
int sl_sig_resolve(struct sl_env *env, uint32_t func);
