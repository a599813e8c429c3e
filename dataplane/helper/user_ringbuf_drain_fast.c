#include <errno.h>

#include "dynptr.h"
#include "ringbuf.h"
#include "row.h"

#define WAKEUP_FLAGS (BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP)
#define MAX_SAMPLES (128u << 10) /* of one call: the kernel's BPF_MAX_USER_RINGBUF_SAMPLES */

/* The samples that were given to the callback, or what was wrong with the first that could not be. */
static inline int64_t drain(struct sl_ctx *ctx, struct sl_ringbuf *ring, sl_callback_fn callback,
	uint64_t arg, bool *ret_any)
{
	int64_t given = 0;
	uint64_t stop = 0;

	for (uint32_t i = 0; i < MAX_SAMPLES && !stop; i++) {
		struct sl_dynptr dynptr;
		void *sample;
		uint32_t size;
		int err = sl_user_ringbuf_peek(ring, &sample, &size);

		if (err == -ENODATA)
			break;
		if (sl_unlikely(err && err != -EAGAIN))
			return err;
		*ret_any = true;
		if (sl_unlikely(err))
			continue;
		sl_dynptr_init(&dynptr, sample, SL_DYNPTR_LOCAL, 0, size);
		stop = callback(ctx, (uint64_t)&dynptr, arg, 0, 0, 0);
		sl_user_ringbuf_release(ring, size);
		given++;
	}
	return given;
}

SL_FAST_INLINE
SL_HELPER_FN(user_ringbuf_drain)
{
	struct sl_ringbuf *ring = sl_ringbuf_of((const struct sl_map *)r1);
	bool any = false;
	int64_t ret;

	if (sl_unlikely(r4 & ~(uint64_t)WAKEUP_FLAGS))
		return sl_helper_ret(-EINVAL);
	if (sl_unlikely(!sl_user_ringbuf_begin(ring)))
		return sl_helper_ret(-EBUSY);
	ret = drain(ctx, ring, (sl_callback_fn)r2, r3, &any);
	sl_user_ringbuf_end(ring, (r4 & BPF_RB_FORCE_WAKEUP) || (!(r4 & BPF_RB_NO_WAKEUP) && any));
	return sl_helper_ret(ret);
}
