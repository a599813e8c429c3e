#pragma once

#include "facts.h"

struct btf;
struct btf_type;
struct sl_env;

/*
 * What BTF says of a function's arguments, in the verifier's terms. A global function is verified
 * against it, once and for all callers; every call of it, and of a static function as long as the
 * compiler kept to the declaration, is compared with it.
 */

struct sl_sig {
	bool global; /* BTF_FUNC_GLOBAL; the main program's as well */
	bool known; /* arg_count and args are filled in */
	bool unreliable; /* the instructions do not go with the declaration */
	bool called; /* global: some path calls it */
	bool verified; /* global: safe for all arguments that go with the declaration */
	uint8_t arg_count;
	struct sl_sig_arg args[SL_MAX_ARGS];
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
/* What the kernel calls a type's kind: "INT", "STRUCT", ... */
const char *sl_sig_kind_name(const struct btf_type *type);
/* The type behind typedefs, const, volatile, restrict and tags. */
const struct btf_type *sl_sig_skip_modifiers(const struct btf *btf, uint32_t id);
