#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Who may call a function. The words stand in prototypes as documentation; a worker is a thread
 * that owns a CPU and polls ports, a control thread is any other.
 */
#define SL_CONTROL
#define SL_WORKER
#define SL_ANY

/* Possible CPUs that a build can address: the width of every per-CPU table. */
#define SL_MAX_CPUS 256

#define SL_CACHE_LINE 64
#define sl_aligned(n) __attribute__((aligned(n)))
#define sl_cache_aligned sl_aligned(SL_CACHE_LINE)
#define sl_printf(fmt, args) __attribute__((format(printf, fmt, args)))

#define sl_likely(x) __builtin_expect(!!(x), 1)
#define sl_unlikely(x) __builtin_expect(!!(x), 0)

#define sl_array_size(a) (sizeof(a) / sizeof((a)[0]))
#define sl_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define sl_min(a, b) ((a) < (b) ? (a) : (b))
#define sl_max(a, b) ((a) > (b) ? (a) : (b))

/* Rounds x up to a multiple of n, a power of two. */
#define sl_round_up(x, n) (((x) + (n) - 1) & ~((__typeof__(x))(n) - 1))

/*
 * Code that is compiled twice: natively, and by clang to bitcode that the JIT links into each
 * program and inlines. Only files that a meson.build lists as bitcode sources define such
 * functions; they may call one another and plain libc-free C, nothing else.
 */
#define SL_FAST __attribute__((used))

/*
 * Such a function whose size says nothing about what is left of it when the descriptor is constant:
 * inlined whatever the inliner thinks. (gcc, which only builds it natively, would warn.)
 */
#ifdef __clang__
#define SL_FAST_INLINE __attribute__((used, always_inline))
#else
#define SL_FAST_INLINE SL_FAST
#endif
