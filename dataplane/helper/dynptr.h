#pragma once

#include <assert.h>
#include <linux/bpf.h>

#include "defs.h"

/* What a dynptr refers to: the kernel's enum bpf_dynptr_type. */
enum sl_dynptr_type {
	SL_DYNPTR_NONE,
	SL_DYNPTR_LOCAL, /* memory that the program has anyway */
	SL_DYNPTR_RINGBUF, /* a record that is reserved: a reference */
	SL_DYNPTR_SKB,
	SL_DYNPTR_XDP,
	SL_DYNPTR_SKB_META, /* what XDP put in front of the packet */
	SL_DYNPTR_ANY, /* verifier: an argument, of which only the caller knows more */
};

/* At run time: the 16 bytes of struct bpf_dynptr, as the kernel uses them. */
struct sl_dynptr {
	void *data; /* NULL: the dynptr refers to nothing */
	uint32_t size; /* bytes, the type and whether it is read-only */
	uint32_t offset;
};

static_assert(sizeof(struct sl_dynptr) == sizeof(struct bpf_dynptr), "the program's stack slots");

#define SL_DYNPTR_MAX_SIZE ((1u << 24) - 1)
#define SL_DYNPTR_TYPE_SHIFT 28
#define SL_DYNPTR_RDONLY (1u << 31)

static inline void sl_dynptr_set_null(struct sl_dynptr *dynptr)
{
	*dynptr = (struct sl_dynptr){ .data = NULL };
}

static inline void sl_dynptr_init(struct sl_dynptr *dynptr, void *data, enum sl_dynptr_type type,
	uint32_t offset, uint32_t size)
{
	dynptr->data = data;
	dynptr->size = size | (uint32_t)type << SL_DYNPTR_TYPE_SHIFT;
	dynptr->offset = offset;
}

static inline uint32_t sl_dynptr_size(const struct sl_dynptr *dynptr)
{
	return dynptr->size & SL_DYNPTR_MAX_SIZE;
}

static inline enum sl_dynptr_type sl_dynptr_type(const struct sl_dynptr *dynptr)
{
	return (dynptr->size & ~SL_DYNPTR_RDONLY) >> SL_DYNPTR_TYPE_SHIFT;
}

/* [offset, offset + len) lies within it. */
static inline bool sl_dynptr_has(const struct sl_dynptr *dynptr, uint32_t offset, uint32_t len)
{
	uint32_t size = sl_dynptr_size(dynptr);

	return len <= size && offset <= size - len;
}
