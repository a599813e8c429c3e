#include "dynptr.h"

#include <errno.h>
#include <string.h>

#include "row.h"

/* Dynptrs: memory whose bounds are checked when the program runs. Offsets and lengths are 32 bits. */

SL_FAST
SL_HELPER_FN(dynptr_from_mem)
{
	struct sl_dynptr *dynptr = (struct sl_dynptr *)r4;
	uint32_t size = (uint32_t)r2;

	sl_dynptr_set_null(dynptr);
	if (size > SL_DYNPTR_MAX_SIZE)
		return sl_helper_ret(-E2BIG);
	if (r3)
		return sl_helper_ret(-EINVAL);
	sl_dynptr_init(dynptr, (void *)r1, SL_DYNPTR_LOCAL, 0, size);
	return 0;
}

/* NULL for memory that is not in one piece. */
static uint8_t *bytes_of(const struct sl_dynptr *dynptr, uint32_t offset)
{
	switch (sl_dynptr_type(dynptr)) {
	case SL_DYNPTR_LOCAL:
	case SL_DYNPTR_RINGBUF:
		return (uint8_t *)dynptr->data + dynptr->offset + offset;
	default:
		return NULL;
	}
}

SL_FAST
SL_HELPER_FN(dynptr_read)
{
	const struct sl_dynptr *from = (const struct sl_dynptr *)r3;
	uint32_t len = (uint32_t)r2, offset = (uint32_t)r4;
	const uint8_t *bytes;

	if (!from->data || r5)
		return sl_helper_ret(-EINVAL);
	if (!sl_dynptr_has(from, offset, len))
		return sl_helper_ret(-E2BIG);
	bytes = bytes_of(from, offset);
	if (!bytes)
		return sl_helper_ret(-EFAULT);
	memmove((void *)r1, bytes, len);
	return 0;
}

SL_FAST
SL_HELPER_FN(dynptr_write)
{
	const struct sl_dynptr *to = (const struct sl_dynptr *)r1;
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r4;
	uint8_t *bytes;

	if (!to->data || (to->size & SL_DYNPTR_RDONLY))
		return sl_helper_ret(-EINVAL);
	if (!sl_dynptr_has(to, offset, len))
		return sl_helper_ret(-E2BIG);
	bytes = bytes_of(to, offset);
	if (!bytes)
		return sl_helper_ret(-EFAULT);
	if (r5)
		return sl_helper_ret(-EINVAL);
	memmove(bytes, (const void *)r3, len);
	return 0;
}

SL_FAST
SL_HELPER_FN(dynptr_data)
{
	const struct sl_dynptr *dynptr = (const struct sl_dynptr *)r1;
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r3;

	if (!dynptr->data || (dynptr->size & SL_DYNPTR_RDONLY) ||
		!sl_dynptr_has(dynptr, offset, len))
		return 0;
	return (uint64_t)bytes_of(dynptr, offset);
}
