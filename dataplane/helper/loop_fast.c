#include <errno.h>

#include "map.h"
#include "row.h"

#define MAX_LOOPS (8u << 20) /* the kernel's BPF_MAX_LOOPS */

/* Where the callback is known, which is nearly always, this becomes a loop around its body. */
SL_FAST_INLINE
SL_HELPER_FN(loop)
{
	sl_callback_fn callback = (sl_callback_fn)r2;

	if (sl_unlikely(r4))
		return sl_helper_ret(-EINVAL);
	/* All 64 bits, as where the kernel places the loop into the program. */
	if (sl_unlikely(r1 > MAX_LOOPS))
		return sl_helper_ret(-E2BIG);
	for (uint64_t i = 0; i < r1; i++) {
		if (callback(ctx, i, r3, 0, 0, 0))
			return i + 1;
	}
	return r1;
}
