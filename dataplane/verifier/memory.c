#include "memory.h"

#include <malloc.h>
#include <stdlib.h>

static _Thread_local struct {
	size_t used, peak, limit; /* bytes */
	bool exhausted;
} memory = { .limit = SL_STATE_MEMORY_MAX };

void sl_memory_begin(size_t limit_bytes)
{
	memory.used = memory.peak = 0;
	memory.limit = limit_bytes;
	memory.exhausted = false;
}

static bool has_room(size_t size)
{
	if (size <= memory.limit && memory.used <= memory.limit - size)
		return true;
	memory.exhausted = true;
	return false;
}

static void *count(void *block)
{
	memory.used += malloc_usable_size(block);
	memory.peak = sl_max(memory.peak, memory.used);
	return block;
}

void *sl_memory_alloc(size_t size)
{
	return has_room(size) ? count(malloc(size)) : NULL;
}

void *sl_memory_realloc(void *old, size_t size)
{
	size_t old_size = malloc_usable_size(old);
	void *block;

	if (!has_room(size > old_size ? size - old_size : 0))
		return NULL;
	block = realloc(old, size);
	if (!block)
		return NULL;
	memory.used -= old_size;
	return count(block);
}

void sl_memory_free(void *block)
{
	memory.used -= malloc_usable_size(block);
	free(block);
}

size_t sl_memory_peak(void)
{
	return memory.peak;
}

bool sl_memory_exhausted(void)
{
	return memory.exhausted;
}
