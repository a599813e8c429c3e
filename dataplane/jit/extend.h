#pragma once

#include "defs.h"

struct sl_prog;

/*
 * Extensions (BPF_PROG_TYPE_EXT) in place of global functions. Either change compiles the program
 * anew, off the packet path, and publishes the code: a burst or packet runs the old or the new one,
 * and the old one goes a grace period later.
 */

/*
 * Puts a verified extension in place of target's function `func`, of which the caller knows that it
 * fits. The caller holds both programs until sl_extend_end. -EBUSY when the function has one, or when
 * the target is in a jump table.
 */
SL_CONTROL int sl_extend(struct sl_prog *target, uint32_t func, struct sl_prog *extension);

/*
 * The original again. Should the rest not compile, one line is logged and what was compiled last runs
 * on, with references of its own to all it needs.
 */
SL_CONTROL void sl_extend_end(struct sl_prog *target, uint32_t func);
