#pragma once

#include <stddef.h>
#include <stdint.h>

#include "defs.h"

/*
 * The memory of one verification's states, counted and bounded: a hostile program can make the
 * verifier keep a hundred thousand states of eight full stacks each. The kernel charges its states to
 * the loader's memory cgroup; here the bound is SL_STATE_MEMORY_MAX, about twice what the largest
 * programs that the kernel accepts within its budget need.
 *
 * One verification runs on a thread at a time, so the count is the thread's.
 */
#define SL_STATE_MEMORY_MAX (512u << 20) /* bytes */

SL_CONTROL void sl_memory_begin(size_t limit_bytes);
/* NULL beyond the limit as well. Free with sl_memory_free() on the same thread. */
SL_CONTROL void *sl_memory_alloc(size_t size);
SL_CONTROL void *sl_memory_realloc(void *old, size_t size);
SL_CONTROL void sl_memory_free(void *block);
SL_CONTROL size_t sl_memory_peak(void);
/* Whether an allocation failed because of the limit since sl_memory_begin(). */
SL_CONTROL bool sl_memory_exhausted(void);
