#pragma once

#include <dlfcn.h>

/*
 * The function that a name means behind this library: libc's, or that of the next preloaded
 * library. Looked up at the first use, which may be before any constructor has run.
 */
#define REAL(name)                                                                       \
	({                                                                               \
		static __typeof__(name) *sl_cached;                                      \
		__typeof__(name) *sl_fn = __atomic_load_n(&sl_cached, __ATOMIC_RELAXED); \
		if (!sl_fn) {                                                            \
			sl_fn = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);             \
			__atomic_store_n(&sl_cached, sl_fn, __ATOMIC_RELAXED);           \
		}                                                                        \
		sl_fn;                                                                   \
	})
