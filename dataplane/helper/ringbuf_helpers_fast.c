#include "ringbuf.h"

#include <errno.h>
#include <string.h>

#include "dynptr.h"
#include "row.h"

/* RINGBUF: the checks of the arguments in the kernel's order; the ring's producers are map/'s. */

#define WAKEUP_FLAGS (BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP)

static inline struct sl_ringbuf *ring_of(uint64_t map)
{
	return sl_ringbuf_of((const struct sl_map *)map);
}

SL_FAST
SL_HELPER_FN(ringbuf_output)
{
	void *record;

	if (sl_unlikely(r4 & ~(uint64_t)WAKEUP_FLAGS))
		return sl_helper_ret(-EINVAL);
	record = sl_ringbuf_reserve(ring_of(r1), r3);
	if (sl_unlikely(!record))
		return sl_helper_ret(-EAGAIN);
	memcpy(record, (const void *)r2, r3);
	sl_ringbuf_commit(record, r4, false);
	return 0;
}

SL_FAST
SL_HELPER_FN(ringbuf_reserve)
{
	return r3 ? 0 : (uint64_t)sl_ringbuf_reserve(ring_of(r1), r2);
}

SL_FAST
SL_HELPER_FN(ringbuf_submit)
{
	sl_ringbuf_commit((void *)r1, r2, false);
	return 0;
}

SL_FAST
SL_HELPER_FN(ringbuf_discard)
{
	sl_ringbuf_commit((void *)r1, r2, true);
	return 0;
}

SL_FAST
SL_HELPER_FN(ringbuf_query)
{
	return sl_ringbuf_query(ring_of(r1), r2);
}

SL_FAST
SL_HELPER_FN(ringbuf_reserve_dynptr)
{
	struct sl_dynptr *dynptr = (struct sl_dynptr *)r4;
	uint32_t size = (uint32_t)r2;
	void *record;

	sl_dynptr_set_null(dynptr);
	if (r3)
		return sl_helper_ret(-EINVAL);
	if (size > SL_DYNPTR_MAX_SIZE)
		return sl_helper_ret(-E2BIG);
	record = sl_ringbuf_reserve(ring_of(r1), size);
	if (!record)
		return sl_helper_ret(-EINVAL);
	sl_dynptr_init(dynptr, record, SL_DYNPTR_RINGBUF, 0, size);
	return 0;
}

static uint64_t commit_dynptr(struct sl_dynptr *dynptr, uint64_t flags, bool discard)
{
	if (!dynptr->data)
		return 0;
	sl_ringbuf_commit(dynptr->data, flags, discard);
	sl_dynptr_set_null(dynptr);
	return 0;
}

SL_FAST
SL_HELPER_FN(ringbuf_submit_dynptr)
{
	return commit_dynptr((struct sl_dynptr *)r1, r2, false);
}

SL_FAST
SL_HELPER_FN(ringbuf_discard_dynptr)
{
	return commit_dynptr((struct sl_dynptr *)r1, r2, true);
}
