#pragma once

#include "defs.h"

struct sl_env;

/* Finds calls with spills around them that a kernel would remove. -ENOMEM. */
SL_CONTROL int sl_fastcall_find(struct sl_env *env);
/* The stack of a function is accessed from `off` up: spills that are read elsewhere have to stay. */
SL_CONTROL void sl_fastcall_access(struct sl_env *env, uint32_t func, int32_t off);
/* What counts of a function's stack, after exploration. */
SL_CONTROL uint32_t sl_fastcall_stack_bytes(const struct sl_env *env, uint32_t func);
SL_CONTROL void sl_fastcall_free(struct sl_env *env);
