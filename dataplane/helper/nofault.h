#pragma once

#include "defs.h"

/*
 * Reads of addresses that a program made up, without a system call: a fault in the one instruction
 * that reads is turned into -EFAULT by a handler of SIGSEGV and SIGBUS, which passes every other
 * fault on to whoever had the signal before.
 */

/* Installs the handler; without it such a fault ends the process. Once. */
SL_CONTROL void sl_nofault_start(void);

/* Of an address that may be one; those above are the kernel's, and the first of them all ones. */
#if defined(__x86_64__)
#define SL_NOFAULT_BITS 47
#else
#define SL_NOFAULT_BITS 48
#endif

/*
 * What the kernel says of addresses without reading them, and what corresponds to it here: no
 * program's pointer leads to the first page or to where no address is. (The kernel counts all of
 * user space to it, which our memory is.)
 */
static inline bool sl_nofault_in_range(const void *address)
{
	uint64_t top = (uint64_t)(uintptr_t)address >> SL_NOFAULT_BITS;

	return (uintptr_t)address >= 4096 && (top == 0 || top == UINT64_MAX >> SL_NOFAULT_BITS);
}

/*
 * As the kernel reads what may be anything's address: 0, -EFAULT, or -ERANGE for what is no address
 * of its own, which here is also one below the kernel's half where there is nothing.
 */
SL_ANY int sl_nofault_read(void *to, const void *from, size_t len);

/* 0, or -EFAULT with nothing said about the bytes. */
SL_ANY int sl_nofault_copy(void *to, const void *from, size_t len);

/*
 * Copies a string of at most size - 1 bytes, always terminated. Its length with the NUL, or
 * sl_nofault_read's error, and an empty string, when not all of that can be read. size > 0.
 */
SL_ANY int sl_nofault_string(char *to, const void *from, uint32_t size);
