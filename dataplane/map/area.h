#pragma once

#include "defs.h"

/*
 * Zeroed memory for map contents, page-aligned; from SL_AREA_HUGE_BYTES on it starts at a huge page
 * and asks for huge pages, because a packet's map access is a TLB miss first and a cache miss
 * second.
 */
#define SL_AREA_HUGE_BYTES (2u << 20)

/*
 * `resident_bytes` of it are backed by memory at once, so that a worker does not fault them in one
 * by one; the rest when first touched. NULL when there is not as much memory.
 */
SL_CONTROL void *sl_area_new(size_t len_bytes, size_t resident_bytes);
/*
 * Areas that the calling thread makes from now on prefer this node's memory; -1: none. Memory of
 * another node is taken when that one has none left, as in the kernel.
 */
SL_CONTROL void sl_area_set_node(int node);
/* Backs a part of an area by memory; false when there is not as much. */
SL_CONTROL bool sl_area_populate(void *start, size_t len_bytes);
/* NULL is fine. */
SL_CONTROL void sl_area_free(void *area, size_t len_bytes);

/* A shared area becomes a private copy of itself, at the same address. -ENOMEM. */
SL_CONTROL int sl_area_detach(void *area, size_t len_bytes);

/* A memfd for what is shared, of a fixed size, that only this process's user may open again. Negative errno. */
SL_CONTROL int sl_area_memfd(size_t len_bytes);
/* A sealed memfd named as bpftool expects, with its mapping in *ret_area. Negative errno. */
SL_CONTROL int sl_area_new_shared(size_t len_bytes, void **ret_area);
