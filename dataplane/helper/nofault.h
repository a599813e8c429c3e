#pragma once

#include "defs.h"

/*
 * Reads of addresses that a program made up, without a system call: a fault in the one instruction
 * that reads is turned into -EFAULT by a handler of SIGSEGV and SIGBUS, which passes every other
 * fault on to whoever had the signal before.
 */

/* Installs the handler; without it such a fault ends the process. Once. */
SL_CONTROL void sl_nofault_start(void);

/* 0, or -EFAULT with nothing said about the bytes. */
SL_ANY int sl_nofault_copy(void *to, const void *from, size_t len);

/*
 * Copies a string of at most size - 1 bytes, always terminated. Its length with the NUL, or
 * -EFAULT when its first byte cannot be read. size > 0.
 */
SL_ANY int sl_nofault_string(char *to, const void *from, uint32_t size);
