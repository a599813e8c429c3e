#include "csum.h"

#include "row.h"

/* The difference that replacing `from` by `to` makes to a checksum, folded to 16 bits. */
SL_FAST
SL_HELPER_FN(csum_diff)
{
	/* A size does not say that there is something. */
	uint32_t from_size = r1 ? (uint32_t)r2 : 0, to_size = r3 ? (uint32_t)r4 : 0;
	uint32_t sum = (uint32_t)r5;

	if (from_size && to_size)
		sum = sl_csum_sub(sl_csum_partial((const void *)r3, to_size, sum),
			sl_csum_partial((const void *)r1, from_size, 0));
	else if (to_size)
		sum = sl_csum_partial((const void *)r3, to_size, sum);
	else if (from_size)
		sum = ~sl_csum_partial((const void *)r1, from_size, ~sum);
	return sl_csum_fold(sum);
}
