#pragma once

#include "defs.h"

/*
 * The formats of bpf_trace_printk, bpf_trace_vprintk and bpf_snprintf: the kernel's subset of
 * printf. Allocates nothing and never faults on a program's pointers.
 */

/* More arguments than this are refused, by all three. */
#define SL_FORMAT_MAX_ARGS 12

/*
 * Writes at most size bytes with the NUL (size may be 0) and returns the length that the whole
 * text has, without it. -EINVAL for a format that the kernel refuses: unknown conversions, more
 * of them than arguments, no NUL within fmt_size, control characters.
 */
SL_ANY int sl_format(char *to, uint32_t size, const char *fmt, uint32_t fmt_size,
	const uint64_t *args, uint32_t arg_count);

/* Only the check: 0 or -EINVAL. */
SL_ANY int sl_format_check(const char *fmt, uint32_t fmt_size, uint32_t arg_count);
