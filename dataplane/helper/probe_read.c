#include <errno.h>
#include <string.h>

#include "nofault.h"
#include "row.h"

/*
 * Reads of addresses that the verifier knows nothing of: where the kernel's programs read the
 * kernel, ours read the process that runs them. There is no user space below it.
 */

SL_HELPER_FN(probe_read_kernel)
{
	void *to = (void *)r1;
	uint32_t size = (uint32_t)r2;
	int err = sl_nofault_read(to, (const void *)r3, size);

	if (err)
		memset(to, 0, size);
	return sl_helper_ret(err);
}

const struct sl_helper sl_helper_probe_read_kernel = {
	SL_ROW(probe_read_kernel, ANY),
	.flags = SL_HELPER_GPL | SL_HELPER_READS_ANYTHING,
	.args = { SL_ARG_MEM_UNINIT, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING },
};

SL_HELPER_FN(probe_read_kernel_str)
{
	char *to = (char *)r1;
	uint32_t size = (uint32_t)r2;
	int ret;

	if (size == 0)
		return 0;
	ret = sl_nofault_string(to, (const void *)r3, size);
	if (ret < 0)
		memset(to, 0, size);
	return sl_helper_ret(ret);
}

const struct sl_helper sl_helper_probe_read_kernel_str = {
	SL_ROW(probe_read_kernel_str, ANY),
	.flags = SL_HELPER_GPL | SL_HELPER_LEAVES_MEMORY | SL_HELPER_READS_ANYTHING,
	.args = { SL_ARG_MEM_UNINIT, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING },
};

static uint64_t no_user_space(uint64_t to, uint64_t size)
{
	memset((void *)to, 0, (uint32_t)size);
	return sl_helper_ret(-EFAULT);
}

SL_HELPER_FN(probe_read_user)
{
	return no_user_space(r1, r2);
}

const struct sl_helper sl_helper_probe_read_user = {
	SL_ROW(probe_read_user, ANY),
	.flags = SL_HELPER_GPL | SL_HELPER_READS_ANYTHING,
	.args = { SL_ARG_MEM_UNINIT, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING },
};

SL_HELPER_FN(probe_read_user_str)
{
	return no_user_space(r1, r2);
}

const struct sl_helper sl_helper_probe_read_user_str = {
	SL_ROW(probe_read_user_str, ANY),
	.flags = SL_HELPER_GPL | SL_HELPER_READS_ANYTHING,
	.args = { SL_ARG_MEM_UNINIT, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING },
};
