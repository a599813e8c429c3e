#include <errno.h>

#include "kfunc_row.h"

/* Most rounds of one loop: the kernel's BPF_MAX_LOOPS. */
#define MAX_ROUNDS (8 * 1024 * 1024)

/* In the eight bytes of struct bpf_iter_num; the number before the next one, and the first not. */
struct num {
	int32_t current, end;
};

static uint64_t refuse(struct num *num, int err)
{
	*num = (struct num){ 0 };
	return (uint32_t)-err;
}

SL_FAST
SL_HELPER_FN(iter_num_new)
{
	struct num *num = (struct num *)(uintptr_t)r1;
	int32_t start = (int32_t)r2, end = (int32_t)r3;

	if (start > end)
		return refuse(num, EINVAL);
	if ((int64_t)end - start > MAX_ROUNDS)
		return refuse(num, E2BIG);
	num->current = (int32_t)((uint32_t)start - 1);
	num->end = end;
	return 0;
}

SL_FAST
SL_HELPER_FN(iter_num_next)
{
	struct num *num = (struct num *)(uintptr_t)r1;
	int32_t next = (int32_t)((uint32_t)num->current + 1);

	if (next >= num->end) {
		*num = (struct num){ 0 };
		return 0;
	}
	num->current = next;
	return (uintptr_t)&num->current;
}

SL_FAST
SL_HELPER_FN(iter_num_destroy)
{
	*(struct num *)(uintptr_t)r1 = (struct num){ 0 };
	return 0;
}
