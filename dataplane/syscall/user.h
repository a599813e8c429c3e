#pragma once

#include "defs.h"

/*
 * Memory that a caller of bpf(2) points to. An address that cannot be read or written is -EFAULT
 * and never a crash: the kernel does the copy, on the process's own address space, or the caller's
 * side does (caller.h), so not with a lock held.
 */
SL_CONTROL int sl_user_read(void *dst, uint64_t address, size_t len);
SL_CONTROL int sl_user_write(uint64_t address, const void *src, size_t len);

/* As many bytes up to `size` - 1 as there are before a NUL; adds the NUL. -EFAULT. */
SL_CONTROL int sl_user_read_string(char *dst, uint64_t address, size_t size);

/*
 * A struct that has grown over time: copies what both sides know, zeroes the rest of dst. -E2BIG
 * when the caller's is larger and not zero there, or larger than a page.
 */
SL_CONTROL int sl_user_read_struct(void *dst, size_t known, uint64_t address, size_t len);

static inline uint64_t sl_user_address(const void *p)
{
	return (uintptr_t)p;
}
