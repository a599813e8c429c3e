#pragma once

#include "defs.h"

struct sl_func_fact;
struct sl_log;
struct sl_prog;
struct sl_sig_arg;

/*
 * Whether `prog`, an extension, may be in place of the global function of `target` that has this
 * BTF id: 0 and the function's number, or -EINVAL with the kernel's words. `first` says what the
 * extension's first function does to the packet. `target` NULL: none was given. Asked when the
 * extension is loaded, and again when it is attached to another target. `log` NULL for none.
 */
SL_CONTROL int sl_extension_check(struct sl_log *log, const struct sl_prog *prog,
	const struct sl_func_fact *first, const struct sl_prog *target, uint32_t btf_id,
	uint32_t *ret_func);

/*
 * Whether the arguments that the extension was verified with are what the target's callers are
 * checked for. Stricter than the kernel.
 */
SL_CONTROL int sl_extension_check_args(struct sl_log *log, const struct sl_sig_arg *args,
	unsigned count, const struct sl_prog *target, uint32_t func);
